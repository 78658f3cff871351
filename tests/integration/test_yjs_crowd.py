"""Many clients at once, of which none lags behind; and pycrdt's own."""

from __future__ import annotations

import asyncio
import re
from collections import defaultdict

import pytest
from httpx_ws import aconnect_ws
from pycrdt import Doc, Provider, Text
from pycrdt.websocket.websocket import HttpxWebsocket
from support.metrics import metric
from support.yjs_client import until
from support.yjs_processes import Deployment
from tornado.websocket import WebSocketClientConnection, websocket_connect

from jupyter_rtc_amprenta.core import protocol
from jupyter_rtc_amprenta.core.protocol import ClientState
from jupyter_rtc_amprenta.core.tokens import new_private_key

pytestmark = [pytest.mark.anyio, pytest.mark.integration]

DOCUMENT = "text_of_a_crowd"
PEOPLE, EDITS, A_SECOND = 50, 40, 10
_MARK = re.compile(rb"<(\d+)\.(\d+)>")


@pytest.fixture
async def deployment(tmp_path, database_url):
    deployment = Deployment(tmp_path, database_url, new_private_key())
    deployment.document(DOCUMENT, {f"user{number}": "read-write" for number in range(PEOPLE)})
    yield deployment
    deployment.stop()


class Typist:
    """Types and moves its cursor; of what the others type it keeps in which order it came, and no document."""

    def __init__(self, number: int, socket: WebSocketClientConnection) -> None:
        self.heard: dict[int, list[int]] = defaultdict(list)
        self.messages = 0
        self.saved = asyncio.Event()
        self._number, self._socket = number, socket
        self._doc: Doc = Doc()
        self._subscription = self._doc.observe(lambda event: self._send(protocol.encode_update(event.update)))

    async def listen(self) -> None:
        while isinstance(message := await self._socket.read_message(), bytes):
            self.messages += 1
            if protocol.decode(message).type == protocol.MessageType.ECHO:
                self.saved.set()
            for who, which in _MARK.findall(message):
                self.heard[int(who)].append(int(which))

    async def type(self) -> None:
        text = self._doc.get("source", type=Text)
        await asyncio.sleep(self._number / PEOPLE / A_SECOND)
        for number in range(EDITS):
            text.insert(len(str(text)), f"<{self._number}.{number}>")
            state = ClientState(self._doc.client_id, number + 1, {"user": {"name": "x"}, "cursor": number})
            self._send(protocol.encode_awareness(protocol.encode_states([state])))
            await asyncio.sleep(1 / A_SECOND)
        self._send(protocol.encode_echo(b"all of it"))

    def _send(self, message: bytes) -> None:
        self._socket.write_message(message, binary=True)


async def test_fifty_who_type_ten_times_a_second_with_cursors_leave_no_queue_behind(deployment):
    (server,) = deployment.start(1, RTC_MAX_CONNECTIONS_PER_USER="0")
    await server.becomes(200)
    urls = [deployment.client(server, DOCUMENT, f"user{number}")._url for number in range(PEOPLE)]
    sockets = [await websocket_connect(url) for url in urls]
    typists = [Typist(number, socket) for number, socket in enumerate(sockets)]
    listening = [asyncio.create_task(typist.listen()) for typist in typists]
    await asyncio.gather(*(typist.type() for typist in typists))
    await asyncio.gather(*(typist.saved.wait() for typist in typists))
    # Everybody has heard of everything that the others made, once, and in each one's order.
    for number, typist in enumerate(typists):
        others = set(range(PEOPLE)) - {number}
        await until(lambda t=typist, o=others: all(len(t.heard[who]) >= EDITS for who in o), f"{number}", 60)
        assert all(typist.heard[who] == list(range(EDITS)) for who in others)
    # What comes together leaves together: far fewer messages than there were edits and cursors.
    sent = 2 * PEOPLE * EDITS
    assert max(typist.messages for typist in typists) < sent / 2
    await until(lambda: metric(server, "rtc_unsent_bytes") == metric(server, "rtc_pending_bytes") == 0)
    assert metric(server, "rtc_document_operations_total") == PEOPLE * EDITS
    for socket in sockets:
        socket.close()
    await asyncio.gather(*listening)
    stored = deployment.stored(DOCUMENT)
    assert len(_MARK.findall(stored.encode())) == PEOPLE * EDITS


async def test_pycrdts_own_providers_join(deployment):
    (server,) = deployment.start()
    await server.becomes(200)
    one, two = Doc(), Doc()
    url = deployment.client(server, DOCUMENT, "user0")._url
    async with (
        aconnect_ws(url) as first,
        aconnect_ws(url) as second,
        Provider(one, HttpxWebsocket(first, DOCUMENT)) as provider,
        Provider(two, HttpxWebsocket(second, DOCUMENT)),
    ):
        await provider.synced.wait()
        one.get("source", type=Text).insert(0, "from pycrdt ")
        await until(lambda: str(two.get("source", type=Text)) == "from pycrdt ")
        two.get("source", type=Text).insert(12, "to pycrdt")
        await until(lambda: str(one.get("source", type=Text)) == "from pycrdt to pycrdt")
        await until(lambda: deployment.stored(DOCUMENT) == "from pycrdt to pycrdt")
