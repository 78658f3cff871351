"""One client of one document at the Y.js server: its socket, its limits.

`/doc/{document_id}` speaks HTTP too, for servers that hold no socket: `GET` gives the document's state as one
Yjs update, `PUT` with `If-None-Match: *` seeds it: 201 when it was the first, 412 when there is a history.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any

from tornado.iostream import StreamClosedError
from tornado.web import HTTPError, stream_request_body
from tornado.websocket import WebSocketHandler

from jupyter_rtc_amprenta.core import protocol
from jupyter_rtc_amprenta.core.errors import ProtocolError, RtcError
from jupyter_rtc_amprenta.core.presence import Speaker
from jupyter_rtc_amprenta.core.protocol import CloseCode, MessageType
from jupyter_rtc_amprenta.core.tokens import DocumentClaims

from .yjs_admission import Admitted, Refused
from .yjs_awareness import most_bytes
from .yjs_limits import Pace, Share
from .yjs_room import Room, close_reason

if TYPE_CHECKING:
    from .yjs_server import YjsServer

log = logging.getLogger(__name__)
access_log = logging.getLogger("jupyterhub_service.yjs_access")

# What a slow reader may have unsent before it is sent away, to catch up by reconnecting. One message may be over it.
MAX_UNSENT_BYTES = 16 * 2**20
# Of who was sent away: the first messages of a stock client, and its close frame.
_FAREWELL_BYTES = 64 * 1024


@stream_request_body
class DocumentHandler(WebSocketHandler):
    """One client of one document."""

    claims: DocumentClaims
    speaker: Speaker
    hub_token = ""
    room: Room | None = None

    def initialize(self, server: YjsServer) -> None:
        self.server = server
        self.answers = Share()
        self._pace = Pace(server.settings.max_messages_per_second)
        self._counted = False
        self._unsent = 0
        self._ended: int | None = None
        # How it is let in, until it is open.
        self._entry: Admitted | Refused | None = None
        # A seed, on its way in.
        self._body = bytearray()
        self._seeder: Admitted | None = None
        self._echoes: list[bytes] = []
        self._echoing: asyncio.Task[None] | None = None

    def check_origin(self, origin: str) -> bool:
        # Tokens, and never cookies, open this door: a foreign page has none to send.
        return True

    def get_compression_options(self) -> None:
        return None

    def log_exception(self, *error: Any) -> None:
        # Tornado's own line has the query, which may hold a token.
        log.error("%s %s failed", self.request.method, self.request.path, exc_info=error)  # type: ignore[arg-type]

    # --- HTTP ---

    async def get(self, document_id: str) -> None:
        if self.request.headers.get("Upgrade", "").lower() == "websocket":
            await self._connect(document_id)
            return
        room = (await self._admitted_by_http(document_id)).room
        self.set_header("Content-Type", "application/octet-stream")
        self.set_header("X-Document-Generation", str(room.generation))
        try:
            self.finish(await room.state())
        finally:
            self.server.rooms.left(room)

    async def prepare(self) -> None:
        """Before a seed's body is read: strangers' bodies are not kept in memory."""
        if self.request.method != "PUT":
            return
        if self.request.headers.get("If-None-Match") != "*":
            raise HTTPError(428, reason="Only a seed can be put: send If-None-Match: *")
        self._seeder = await self._admitted_by_http(self.path_args[0])
        self.claims = self._seeder.claims
        if self.claims.permissions != "read-write":
            raise HTTPError(403, reason="Only who may write can seed a document")
        try:
            self._count(self._seeder.room)
        except Refused as refused:
            self._seeder = None
            raise HTTPError(503, reason=refused.reason) from None

    def data_received(self, chunk: bytes) -> None:
        self._body += chunk

    async def put(self, document_id: str) -> None:
        assert self._seeder is not None
        try:
            seeded = await self._seeder.room.seed(bytes(self._body))
        except ProtocolError as error:
            raise HTTPError(400, reason=str(error)) from None
        except RtcError as error:
            code, reason = close_reason(error)
            raise HTTPError(_HTTP_STATUS.get(code, 503), reason=reason) from None
        self.set_status(201 if seeded else 412)
        self.finish()

    def _let_seeder_go(self) -> None:
        seeder, self._seeder = self._seeder, None
        if seeder is not None:
            self._leave(seeder.room)

    def on_finish(self) -> None:
        self._let_seeder_go()

    def on_connection_close(self) -> None:
        self._let_seeder_go()
        super().on_connection_close()

    async def _admitted_by_http(self, document_id: str) -> Admitted:
        try:
            return await self._admitted(document_id)
        except Refused as refused:
            raise HTTPError(_HTTP_STATUS.get(refused.code, 503), reason=refused.reason) from None

    async def _admitted(self, document_id: str) -> Admitted:
        scheme, _, token = self.request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() not in ("bearer", "token"):
            token = self.get_query_argument("token", "")
        return await self.server.admission.admit(
            document_id, token.strip(), self.get_query_argument("generation", "")
        )

    # --- the socket ---

    @property
    def max_message_size(self) -> int:
        """What the socket reads at most, in bytes; of who is sent away little."""
        most = self.server.settings.max_message_bytes
        # A little over the limit, so that what is just too large is told with our close code.
        return _FAREWELL_BYTES if isinstance(self._entry, Refused) else 2 * most or 2**40

    async def _connect(self, document_id: str) -> None:
        """Serve a socket until it closes. Who is let in is known before a byte of it is read."""
        try:
            self._entry = await self._admitted(document_id)
        except Refused as refused:
            self._entry = refused
        try:
            await super().get(document_id)
        finally:
            if isinstance(self._entry, Admitted):
                # It has gone before it was open.
                self._leave(self._entry.room)

    def open(self, document_id: str) -> None:  # type: ignore[override]
        self.set_nodelay(True)
        entry, self._entry = self._entry, None
        try:
            if isinstance(entry, Refused):
                raise entry
            assert entry is not None
            self.claims, self.speaker, self.hub_token = entry.claims, entry.speaker, entry.hub_token
            self._count(entry.room)
        except Refused as refused:
            access_log.info("refused document=%s code=%d reason=%r", document_id, refused.code, refused.reason)
            self.end(refused.code, refused.reason)
            return
        self.room = entry.room
        self.room.join(self)
        access_log.info(
            "open document=%s user=%s via=%s permissions=%s",
            *(document_id, self.claims.username, self.claims.via or "-", self.claims.permissions),
        )

    def _count(self, room: Room) -> None:
        most = self.server.settings.max_connections_per_document
        if most and len(room.connections) >= most:
            self.server.rooms.left(room)
            raise Refused(CloseCode.TRY_LATER, "Too many connections on this document.")
        if not self.server.users.enter(self.claims.username):
            self.server.rooms.left(room)
            raise Refused(CloseCode.TRY_LATER, "Too many connections of this user.")
        self._counted = True

    async def on_message(self, message: bytes | str) -> None:
        # Nothing more is read from this client while the log is full: its socket fills up, and it waits.
        await self.server.log.wait_for_room()
        if self.room is None or self._ended is not None:
            return
        self.server.metrics.messages.inc()
        settings = self.server.settings
        if settings.max_message_bytes and len(message) > settings.max_message_bytes:
            self.end(CloseCode.TOO_LARGE, f"A message may have {settings.max_message_bytes} bytes.")
        elif not self._pace.allows_one_more():
            self.end(CloseCode.TOO_FAST, f"{settings.max_messages_per_second} messages a second are allowed.")
        else:
            await self._receive(self.room, message)

    async def _receive(self, room: Room, message: bytes | str) -> None:
        most = self.server.settings.max_document_bytes
        try:
            frame = protocol.decode(message)
            if frame.type == MessageType.ECHO:
                self._echo(room, frame.body)
            elif frame.type == MessageType.AWARENESS and len(frame.body) > most_bytes(self.speaker):
                self.end(CloseCode.TOO_LARGE, f"Who is here may be told in {most_bytes(self.speaker)} bytes.")
            elif frame.edits and most and not await room.document.has_room_for(frame.body, most):
                self.end(CloseCode.TOO_LARGE, f"A document may have {most} bytes.")
            else:
                await room.receive(self, frame)
        except ProtocolError as error:
            self.end(CloseCode.BAD_MESSAGE, str(error))

    def _echo(self, room: Room, body: bytes) -> None:
        self._echoes.append(body)
        if len(self._echoes) > _MOST_ECHOES:
            self.end(CloseCode.TOO_FAST, "Too many echo requests wait for the database.")
        elif self._echoing is None or self._echoing.done():
            self._echoing = asyncio.get_running_loop().create_task(self._send_echoes(room))

    async def _send_echoes(self, room: Room) -> None:
        """Answer what was asked so far together: one commit speaks for all of it."""
        while self._echoes and self._ended is None:
            asked, self._echoes = self._echoes, []
            try:
                await room.committed(self)
            except RtcError as error:
                self.end(*close_reason(error))
                return
            for body in asked:
                self.send(protocol.encode_echo(body))

    # --- what a room asks of its connections ---

    def send(self, message: bytes) -> None:
        """Queue a message; a client that does not read is sent away before it fills the memory."""
        if self._ended is not None or self.ws_connection is None or self.room is None:
            return
        if self._unsent > MAX_UNSENT_BYTES:
            self.end(CloseCode.TRY_LATER, "You read too slowly; come back to catch up.")
            return
        frame = self.room.framer.frame(message)
        try:
            # As `write_message` does it, but for the frame, which is made once for all clients.
            sent = self.ws_connection.stream.write(frame)  # type: ignore[attr-defined]
        except StreamClosedError:
            return
        if not sent.done():
            self._count_unsent(len(frame))
            sent.add_done_callback(lambda done: self._sent(len(frame), done))

    def _count_unsent(self, size: int) -> None:
        self._unsent += size
        self.server.unsent_bytes += size

    def _sent(self, size: int, done: asyncio.Future[None]) -> None:
        self._count_unsent(-size)
        error = None if done.cancelled() else done.exception()
        if error is not None and not isinstance(error, StreamClosedError):
            raise error

    def end(self, code: int, reason: str) -> None:
        """Close this client's socket, with a code of `CloseCode` and a sentence; it is out of the room at once."""
        if self._ended is not None:
            return
        self._ended = code
        self.server.metrics.refused(CloseCode(code).name.lower().replace("_", " "))
        # A close frame has room for 123 bytes.
        self.close(code, reason.encode()[:123].decode(errors="ignore"))
        self._out()

    def on_close(self) -> None:
        self._out()

    def _out(self) -> None:
        if self.room is None:
            return
        room, self.room = self.room, None
        room.leave(self)
        if self._echoing is not None and self._echoing is not asyncio.current_task():
            self._echoing.cancel()
        self._leave(room)
        code = self._ended or self.close_code or 1006
        access_log.info("close document=%s user=%s code=%s", room.document_id, self.claims.username, code)

    def _leave(self, room: Room) -> None:
        if self._counted:
            self._counted = False
            self.server.users.leave(self.claims.username)
        self.server.rooms.left(room)


_MOST_ECHOES = 1000
_HTTP_STATUS = {
    CloseCode.NOT_AUTHENTICATED: 401,
    CloseCode.NO_RIGHT: 403,
    CloseCode.NO_DOCUMENT: 404,
    CloseCode.WRONG_GENERATION: 409,
    CloseCode.TOO_LARGE: 413,
}
