"""One client of one document at the Y.js server: its socket, its token, its limits.

`/doc/{document_id}` speaks HTTP too, for servers that hold no socket: `GET` gives the document's state as one
Yjs update, `PUT` with `If-None-Match: *` seeds it: 201 when it was the first, 412 when there is a history.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any

from tornado.iostream import StreamClosedError
from tornado.web import HTTPError
from tornado.websocket import WebSocketClosedError, WebSocketHandler

from jupyter_rtc_amprenta.core import protocol
from jupyter_rtc_amprenta.core.errors import (
    DatabaseError,
    DocumentNotFound,
    ProtocolError,
    RtcError,
    TokenError,
)
from jupyter_rtc_amprenta.core.protocol import CloseCode, MessageType
from jupyter_rtc_amprenta.core.tokens import DocumentClaims

from .yjs_limits import Pace
from .yjs_rights import loss
from .yjs_rooms import Room, close_reason

if TYPE_CHECKING:
    from .yjs_server import YjsServer

log = logging.getLogger(__name__)

# What a slow reader may have unsent before it is sent away, to catch up by reconnecting.
MAX_UNSENT_BYTES = 64 * 2**20


class DocumentHandler(WebSocketHandler):
    """One client of one document."""

    claims: DocumentClaims
    room: Room | None = None

    def initialize(self, server: YjsServer) -> None:
        self.server = server
        self._pace = Pace(server.settings.max_messages_per_second)
        self._counted = False
        self._unsent = 0
        self._entered = asyncio.Event()

    def check_origin(self, origin: str) -> bool:
        # Tokens, not cookies, open this door: a foreign page has none to send.
        return True

    def get_compression_options(self) -> None:
        return None

    def log_exception(self, *error: Any) -> None:
        # Tornado's own line has the query, which may hold a token.
        log.error("%s %s failed", self.request.method, self.request.path, exc_info=error)  # type: ignore[arg-type]

    # --- HTTP ---

    async def get(self, document_id: str) -> None:
        if self.request.headers.get("Upgrade", "").lower() == "websocket":
            await super().get(document_id)
            return
        room = await self._http_room(document_id)
        self.set_header("Content-Type", "application/octet-stream")
        self.set_header("X-Document-Generation", str(room.generation))
        self.finish(room.state())
        self.server.rooms.left(room)

    async def put(self, document_id: str) -> None:
        if self.request.headers.get("If-None-Match") != "*":
            raise HTTPError(428, reason="Only a seed can be put: send If-None-Match: *")
        room = await self._http_room(document_id)
        if self.claims.permissions != "read-write":
            raise HTTPError(403, reason="Only who may write can seed a document")
        try:
            seeded = await room.seed(self.request.body)
        except ProtocolError as error:
            raise HTTPError(400, reason=str(error)) from None
        finally:
            self.server.rooms.left(room)
        self.set_status(201 if seeded else 412)
        self.finish()

    async def _http_room(self, document_id: str) -> Room:
        try:
            return await self._admit(document_id)
        except _Refused as refused:
            raise HTTPError(_HTTP_STATUS.get(refused.code, 503), reason=refused.reason) from None

    # --- the socket ---

    async def open(self, document_id: str) -> None:  # type: ignore[override]
        self.set_nodelay(True)
        try:
            room = await self._admit(document_id)
            self._count(room)
        except _Refused as refused:
            self.end(refused.code, refused.reason)
            # The client's first message waits for this; its close frame is read after it.
            self._entered.set()
            return
        self.room = room
        room.join(self)
        log.info("open document=%s user=%s via=%s", document_id, self.claims.username, self.claims.via or "-")
        self._entered.set()

    async def _admit(self, document_id: str) -> Room:
        """Check the token and open the room.

        Raises:
            _Refused: with the close code and the reason.
        """
        try:
            self.claims = self.server.claims(self._token())
            if self.claims.document_id != document_id:
                raise _Refused(CloseCode.NO_RIGHT, "The token is for another document.")
            if self.server.draining:
                raise _Refused(CloseCode.TRY_LATER, "The server is restarting; come back.")
            room = await self.server.rooms.open(document_id)
        except TokenError as error:
            raise _Refused(CloseCode.NOT_AUTHENTICATED, str(error)) from None
        except (DatabaseError, DocumentNotFound) as error:
            raise _Refused(*close_reason(error)) from None
        rights = await self.server.rights([document_id])
        if lost := rights and loss(room, self.claims, rights):
            self.server.rooms.left(room)
            raise _Refused(*lost)
        asked = self.get_query_argument("generation", str(self.claims.generation))
        if not str(room.generation) == asked == str(self.claims.generation):
            self.server.rooms.left(room)
            raise _Refused(CloseCode.WRONG_GENERATION, f"The document's generation is {room.generation}.")
        return room

    def _count(self, room: Room) -> None:
        most = self.server.settings.max_connections_per_document
        if most and len(room.connections) >= most:
            raise _Refused(CloseCode.TRY_LATER, "Too many connections on this document.")
        if not self.server.users.enter(self.claims.username):
            raise _Refused(CloseCode.TRY_LATER, "Too many connections of this user.")
        self._counted = True

    def _token(self) -> str:
        scheme, _, token = self.request.headers.get("Authorization", "").partition(" ")
        return token.strip() if scheme.lower() == "bearer" else self.get_query_argument("token", "")

    async def on_message(self, message: bytes | str) -> None:
        await self._entered.wait()
        # Nothing more is read from this client while the log is full: its socket fills up, and it waits.
        await self.server.log.wait_for_room()
        if self.room is None or self.ws_connection is None:
            return
        settings = self.server.settings
        if settings.max_message_bytes and len(message) > settings.max_message_bytes:
            self.end(CloseCode.TOO_LARGE, f"A message may have {settings.max_message_bytes} bytes.")
        elif not self._pace.allows_one_more():
            self.end(CloseCode.TOO_FAST, f"{settings.max_messages_per_second} messages a second are allowed.")
        else:
            self._receive(self.room, message)

    def _receive(self, room: Room, message: bytes | str) -> None:
        try:
            frame = protocol.decode(message)
            if frame.type == MessageType.ECHO:
                asyncio.get_running_loop().create_task(self._echo(room, frame.body))
                return
            if frame.edits and self._would_be_too_large(room, frame.body):
                most = self.server.settings.max_document_bytes
                self.end(CloseCode.TOO_LARGE, f"A document may have {most} bytes.")
                return
            room.receive(self, frame)
        except ProtocolError as error:
            self.end(CloseCode.BAD_MESSAGE, str(error))

    def _would_be_too_large(self, room: Room, update: bytes) -> bool:
        most = self.server.settings.max_document_bytes
        if not most or room.size + len(update) <= most:
            return False
        # The size counts updates; what was deleted since is not in the state.
        room.size = len(room.state())
        return room.size + len(update) > most

    async def _echo(self, room: Room, body: bytes) -> None:
        try:
            await room.committed()
        except RtcError as error:
            self.end(*close_reason(error))
        else:
            self.send(protocol.encode_echo(body))

    # --- what a room asks of its connections ---

    def send(self, message: bytes) -> None:
        """Queue a message; a client that does not read is sent away before it fills the memory."""
        if self.ws_connection is None:
            return
        self._unsent += len(message)
        if self._unsent > MAX_UNSENT_BYTES + len(message):
            self.end(CloseCode.TRY_LATER, "You read too slowly; come back to catch up.")
            return
        try:
            sent = asyncio.ensure_future(self.write_message(message, binary=True))
        except WebSocketClosedError:
            return
        sent.add_done_callback(lambda done: self._sent(len(message), done))

    def _sent(self, size: int, done: asyncio.Future[None]) -> None:
        self._unsent -= size
        error = None if done.cancelled() else done.exception()
        if error is not None and not isinstance(error, WebSocketClosedError | StreamClosedError):
            raise error

    def end(self, code: int, reason: str) -> None:
        """Close this client's socket, with a code of `CloseCode` and a sentence."""
        # A close frame has room for 123 bytes.
        self.close(code, reason.encode()[:123].decode(errors="ignore"))

    def on_close(self) -> None:
        if self._counted:
            self.server.users.leave(self.claims.username)
        if self.room is not None:
            room, self.room = self.room, None
            room.leave(self)
            self.server.rooms.left(room)
            log.info(
                "close document=%s user=%s code=%s",
                room.document_id,
                self.claims.username,
                self.close_code or 1006,
            )
        # Whoever waits to be let in goes on, and finds that there is nobody.
        self._entered.set()


class _Refused(Exception):
    """A client is not let in."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason


_HTTP_STATUS = {
    CloseCode.NOT_AUTHENTICATED: 401,
    CloseCode.NO_RIGHT: 403,
    CloseCode.NO_DOCUMENT: 404,
    CloseCode.WRONG_GENERATION: 409,
    CloseCode.TOO_LARGE: 413,
}
