"""A Yjs client over y-websocket's protocol, for tests: pycrdt's document on a tornado socket."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from pycrdt import Doc, Map, Text
from tornado.httpclient import HTTPRequest
from tornado.websocket import WebSocketClientConnection, WebSocketClosedError, websocket_connect

from jupyter_rtc_amprenta.core import protocol
from jupyter_rtc_amprenta.core.protocol import ClientState, MessageType, SyncType


async def until(
    condition: Callable[[], Any], what: str = "", timeout: float = 30.0, every: float = 0.02
) -> Any:
    """Wait until a condition holds, and give what it gave; one that asks the API is not tried too often (`every`)."""
    deadline = time.monotonic() + timeout
    while not (result := condition()):
        assert time.monotonic() < deadline, f"not within {timeout} s: {what or condition}"
        await asyncio.sleep(every)
    return result


class YjsClient:
    """A client of one document or room.

    Args:
        url: of the WebSocket.
        headers: such as an Authorization.
        doc: to sync; a new one by default.
    """

    def __init__(self, url: str, headers: dict[str, str] | None = None, doc: Doc | None = None) -> None:
        self.doc: Doc = Doc() if doc is None else doc
        self.states: dict[int, ClientState] = {}
        self.echoes: list[bytes] = []
        self.messages: list[bytes] = []
        self.synced = asyncio.Event()
        self.close_code: int | None = None
        self.close_reason: str | None = None
        self._url = url
        self._headers = headers or {}
        self._socket: WebSocketClientConnection
        self._reader: asyncio.Task[None] | None = None
        self._applying = False
        self._subscription: Any = self.doc.observe(self._changed)

    async def __aenter__(self) -> YjsClient:
        await self.connect()
        await asyncio.wait_for(self.synced.wait(), 60)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def connect(self) -> None:
        self._socket = await websocket_connect(
            HTTPRequest(self._url, headers=self._headers), max_message_size=2**30
        )
        self._begin()

    def _begin(self) -> None:
        self._reader = asyncio.create_task(self._read())
        self.send(protocol.encode_step_1(self.doc.get_state()))

    async def close(self) -> None:
        if self._subscription is not None:
            self.doc.unobserve(self._subscription)
            self._subscription = None
        self._socket.close()
        if self._reader is not None:
            await asyncio.wait([self._reader], timeout=5)

    def send(self, message: bytes) -> None:
        # A tab whose server is gone goes on; what it makes goes with the next step 2.
        with suppress(WebSocketClosedError):
            sent = asyncio.ensure_future(self._socket.write_message(message, binary=True))
            sent.add_done_callback(lambda done: done.cancelled() or done.exception())

    async def committed(self, timeout: float = 30.0) -> None:
        """Wait until all that was sent so far is acknowledged."""
        number = str(time.monotonic_ns()).encode()
        self.send(protocol.encode_echo(number))
        await until(lambda: number in self.echoes, "acknowledged", timeout)

    @property
    def text(self) -> Text:
        return self.doc.get("source", type=Text)

    @property
    def state(self) -> Map:
        return self.doc.get("state", type=Map)

    def present(self, name: str, clock: int = 1, **state: Any) -> None:
        """Announce an awareness state under the document's client id."""
        own = ClientState(self.doc.client_id, clock, {"user": {"name": name}} | state)
        self.send(protocol.encode_awareness(protocol.encode_states([own])))

    def names(self) -> set[str]:
        """The names of who is here."""
        return {s.state["user"]["name"] for s in self.states.values() if s.state and "user" in s.state}

    def _changed(self, event: Any) -> None:
        if not self._applying:
            self.send(protocol.encode_update(event.update))

    async def _read(self) -> None:
        while (message := await self._socket.read_message()) is not None:
            self.messages.append(message)
            frame = protocol.decode(message)
            if frame.sync is SyncType.STEP_1:
                self.send(protocol.encode_step_2(self.doc.get_update(frame.body)))
            elif frame.sync is not None:
                self._apply(frame.body)
                if frame.sync is SyncType.STEP_2:
                    self.synced.set()
            elif frame.type == MessageType.AWARENESS:
                for state in protocol.decode_states(frame.body):
                    self.states[state.client_id] = state
            elif frame.type == MessageType.ECHO:
                self.echoes.append(frame.body)
        self.close_code, self.close_reason = self._socket.close_code, self._socket.close_reason

    def _apply(self, update: bytes) -> None:
        self._applying = True
        try:
            self.doc.apply_update(update)
        finally:
            self._applying = False
