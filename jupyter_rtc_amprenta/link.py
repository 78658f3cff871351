"""A room as a peer of the Y.js server: one room's connection to `/doc/{document_id}`.

Plain y-websocket: on connecting, both sides tell their state vector (step 1) and answer with what the other
lacks (step 2); then updates go both ways as they are made. After its updates the link sends an echo request
(message 102) that bears their number; when it comes back, they are committed in PostgreSQL.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable
from contextlib import suppress
from enum import StrEnum

from pycrdt import merge_updates
from tornado.httpclient import HTTPClientError, HTTPRequest
from tornado.websocket import WebSocketClientConnection, WebSocketClosedError, websocket_connect

from .client import Credentials
from .core import protocol
from .core.errors import HistoryReplaced, ProtocolError, ServiceError, ServiceUnavailable
from .core.protocol import CloseCode, MessageType, SyncType
from .linkawareness import LinkAwareness
from .splitdoc import SplitDocument

log = logging.getLogger(__name__)

_FIRST_RETRY_SECONDS = 0.3
_LONGEST_RETRY_SECONDS = 15.0
# A refusal is not for ever: somebody may be invited again.
_REFUSED_RETRY_SECONDS = 60.0
_CONNECT_SECONDS = 10.0
_PING_SECONDS = 20.0
_LARGEST_MESSAGE = 2**30
# The first edit after a pause goes at once; those that follow within this leave together. A progress bar makes a
# hundred a second, and the Y.js server takes a bounded number of messages.
_TOGETHER_SECONDS = 0.02


class LinkState(StrEnum):
    """How a link is."""

    CONNECTING = "connecting"
    LIVE = "live"
    OFFLINE = "offline"
    REFUSED = "refused"


class Link:
    """Keeps one room connected.

    Args:
        name: the document, for the log.
        document: the room's documents; updates of `shared` must be told with `send`.
        awareness: who is here, on both sides.
        admit: called before each connection; does what must be done first (register, seed), and gives the
            document's URL and the credentials. Its ServiceUnavailable means "try again", its ServiceError
            "refused", its HistoryReplaced that this room's history is not the document's.
        on_replaced: called once when the room must be built anew; the link has ended then.
        on_refused: called with each refusal; its status is HTTP's, or the close code.
    """

    def __init__(
        self,
        name: str,
        document: SplitDocument,
        awareness: LinkAwareness,
        admit: Callable[[], Awaitable[tuple[str, Credentials]]],
        on_replaced: Callable[[str], None],
        on_refused: Callable[[ServiceError], None],
    ) -> None:
        self.name = name
        self.state = LinkState.CONNECTING
        self.reason = ""
        self.permissions = "read-write"
        # Set once the first exchange is done, or can't be for now: the room may open.
        self.settled = asyncio.Event()
        self._document = document
        self._awareness = awareness
        self._admit = admit
        self._on_replaced = on_replaced
        self._on_refused = on_refused
        self._socket: WebSocketClientConnection | None = None
        # What is sent now comes after our step 2; and that, and all since, was acknowledged on this connection.
        self._caught_up = self._has_caught_up = False
        self._made = self._acknowledged = 0
        # Of `shared`, as it was when the last acknowledged echo was asked for: this much is committed.
        self.acknowledged_state = protocol.EMPTY_STATE_VECTOR
        self._asked: tuple[int, bytes] | None = None
        self._asking: asyncio.Handle | None = None
        self._unsent: list[bytes] = []
        self._sent_at = 0.0
        self._sending: asyncio.TimerHandle | None = None
        self._all_committed = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    @property
    def unacknowledged(self) -> int:
        """How many updates of this server are not known to be committed."""
        return self._made - self._acknowledged

    def start(self) -> None:
        """Begin to connect, and go on until `stop`."""
        self._awareness.start(self._send)
        self._awareness.show_link(self.state, self.reason)
        self._task = asyncio.create_task(self._run())

    async def stop(self, timeout: float = 2.0) -> None:
        """Give the last updates a moment to be acknowledged, and leave."""
        if self.state is LinkState.LIVE and self.unacknowledged:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._all_committed.wait(), timeout)
        if self.unacknowledged:
            log.warning(
                "document=%s: %d edits are not known to be committed. They are kept here, and sent when it is "
                "opened again.",
                self.name,
                self.unacknowledged,
            )
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    def send(self, update: bytes) -> None:
        """An update that this server made. What can't be sent now goes with the next step 2."""
        self._made += 1
        self._all_committed.clear()
        if not self._caught_up:
            return
        self._unsent.append(update)
        if self._sending is None:
            loop = asyncio.get_running_loop()
            wait = self._sent_at + _TOGETHER_SECONDS - loop.time()
            if wait <= 0:
                self._send_unsent()
            else:
                self._sending = loop.call_later(wait, self._send_unsent)

    def _send_unsent(self) -> None:
        updates, self._unsent, self._sending = self._unsent, [], None
        if updates:
            self._sent_at = asyncio.get_running_loop().time()
            self._send(protocol.encode_update(updates[0] if len(updates) == 1 else merge_updates(*updates)))
            self._ask_whether_committed()

    async def _run(self) -> None:
        delay = _FIRST_RETRY_SECONDS
        while True:
            try:
                url, credentials = await self._admit()
                self.permissions = credentials.permissions
                if await self._connected(url, credentials):
                    delay = _FIRST_RETRY_SECONDS
            except HistoryReplaced as error:
                self._become(LinkState.REFUSED, str(error))
                self._on_replaced(str(error))
                return
            except ServiceUnavailable as error:
                self._become(LinkState.OFFLINE, str(error))
            except ServiceError as error:
                self._become(LinkState.REFUSED, str(error))
                self._on_refused(error)
                delay = _REFUSED_RETRY_SECONDS
            except (
                Exception
            ) as error:  # the local store, a proxy's page: a link that ends is never begun again
                log.exception("document=%s: the link failed", self.name)
                self._become(LinkState.OFFLINE, str(error))
            # Jitter: every link of a Hub loses the server at the same moment.
            await asyncio.sleep(delay * random.uniform(0.5, 1.0))
            delay = min(2 * delay, _LONGEST_RETRY_SECONDS)

    async def _connected(self, url: str, credentials: Credentials) -> bool:
        """Hold one connection until it ends.

        Returns:
            whether it came to be live.

        Raises:
            ServiceUnavailable: the Y.js server does not answer, or sent us away to come back.
            ServiceError: it refused us.
            HistoryReplaced: it holds another history of this document.
        """
        self._socket = await _connect(url, credentials.token)
        try:
            self._send(protocol.encode_step_1(self._document.shared.get_state()))
            while isinstance(message := await self._socket.read_message(), bytes):
                self._receive(message)
            was_live = self.state is LinkState.LIVE
            self._raise_for(self._socket.close_code, self._socket.close_reason or "")
            return was_live
        finally:
            self._caught_up = self._has_caught_up = False
            # The next step 2 has it all.
            self._asked, self._unsent = None, []
            self._socket.close()
            self._socket = None
            self._awareness.disconnected()

    def _raise_for(self, code: int | None, reason: str) -> None:
        if code == CloseCode.RIGHTS_CHANGED:
            self._become(LinkState.CONNECTING, reason)
        elif code == CloseCode.WRONG_GENERATION:
            raise HistoryReplaced(reason)
        elif code is not None and 4400 <= code < 4500 and code != CloseCode.NOT_AUTHENTICATED:
            raise ServiceError(reason, code)
        else:
            raise ServiceUnavailable(reason or "The connection to the Y.js server broke.", code or 0)

    def _receive(self, message: bytes) -> None:
        try:
            frame = protocol.decode(message)
            if frame.sync is SyncType.STEP_1:
                self._answer_step_1(frame.body)
            elif frame.sync is not None:
                self._document.apply_remote(frame.body)
                if frame.sync is SyncType.STEP_2:
                    self._become(LinkState.LIVE)
            elif frame.type == MessageType.AWARENESS:
                self._awareness.receive(frame.body)
            elif frame.type == MessageType.ECHO:
                self._committed(frame.body)
        except (ProtocolError, ValueError) as error:
            log.error("document=%s: a message of the Y.js server is left out: %s", self.name, error)

    def _answer_step_1(self, state_vector: bytes) -> None:
        self._document.flush()
        self._send(protocol.encode_step_2(self._document.shared.get_update(state_vector)))
        self._caught_up = True
        self._awareness.connected()
        self._ask_whether_committed()

    def _ask_whether_committed(self) -> None:
        """One request at a time: its answer speaks for everything sent before it."""
        if self._asked is None and self._asking is None:
            # Not now: it may be an observer that calls, in which the document can't be read.
            self._asking = asyncio.get_running_loop().call_soon(self._ask)

    def _ask(self) -> None:
        self._asking = None
        # What is made and not sent would be said to be committed by the answer: it is asked when that was sent.
        if self._caught_up and self._asked is None and not self._unsent:
            self._asked = self._made, self._document.shared.get_state()
            self._send(protocol.encode_echo(protocol.write_uint(self._made)))

    def _committed(self, body: bytes) -> None:
        number, _ = protocol.read_uint(body, 0)
        if self._asked is None or self._asked[0] != number:
            return
        self._acknowledged, self.acknowledged_state = self._asked
        self._asked = None
        if self._acknowledged < self._made:
            self._ask_whether_committed()
            return
        self._all_committed.set()
        if not self._has_caught_up:
            self._has_caught_up = True
            log.info("document=%s: all that is here is committed.", self.name)

    def _send(self, message: bytes) -> None:
        if self._socket is None:
            return
        try:
            sent = asyncio.ensure_future(self._socket.write_message(message, binary=True))
        except WebSocketClosedError:
            return
        # That it broke is seen where it is read from.
        sent.add_done_callback(lambda done: done.cancelled() or done.exception())

    def _become(self, state: LinkState, reason: str = "") -> None:
        if (state, reason) != (self.state, self.reason):
            log.info("document=%s: the link is %s%s", self.name, state, f": {reason}" if reason else "")
            self.state, self.reason = state, reason
            self._awareness.show_link(state, reason)
        if state is not LinkState.CONNECTING:
            self.settled.set()


async def _connect(url: str, token: str) -> WebSocketClientConnection:
    request = HTTPRequest(url, headers={"Authorization": f"Bearer {token}"}, connect_timeout=_CONNECT_SECONDS)
    try:
        socket = await websocket_connect(
            request,
            ping_interval=_PING_SECONDS,
            ping_timeout=_PING_SECONDS,
            max_message_size=_LARGEST_MESSAGE,
        )
    except (OSError, HTTPClientError) as error:
        raise ServiceUnavailable(f"The Y.js server at {url} does not answer: {error}") from None
    socket.protocol.set_nodelay(True)
    return socket
