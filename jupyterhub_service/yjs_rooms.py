"""The Y.js server's rooms: one document in memory, its clients, fan-out, awareness and the way to the log.

No sockets here: a client is whatever has `Connection`'s two methods. A room applies an update, hands it to the
log and to the other clients in the same tick, and tells with `committed()` when it is in PostgreSQL.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass, field
from typing import Any, Protocol

from pycrdt import Doc, TransactionEvent, merge_updates

from jupyter_rtc_amprenta.core import protocol
from jupyter_rtc_amprenta.core.applying import apply_updates
from jupyter_rtc_amprenta.core.documentlog import DocumentLog
from jupyter_rtc_amprenta.core.errors import DocumentNotFound, DocumentTooLarge, GenerationChanged, RtcError
from jupyter_rtc_amprenta.core.protocol import ClientState, CloseCode, Frame, MessageType, SyncType
from jupyter_rtc_amprenta.core.tokens import DocumentClaims

log = logging.getLogger(__name__)

# A room without clients stays this long: a page that is reloaded finds it still in memory.
IDLE_SECONDS = 30.0


class Connection(Protocol):
    """A client of a room; `claims` say who it is, and what it may do."""

    claims: DocumentClaims

    def send(self, message: bytes) -> None:
        """Queue a message to the client."""

    def end(self, code: int, reason: str) -> None:
        """Close the client's connection, now."""


@dataclass
class _Present:
    """One awareness client, and the connection that speaks for it."""

    state: ClientState
    connection: Connection


@dataclass
class _Outgoing:
    """The updates of one tick, and who made them."""

    updates: list[bytes] = field(default_factory=list)
    origins: set[Connection | None] = field(default_factory=set)


class Room:
    """One document in memory.

    Args:
        document_id: the document.
        generation: of its history.
        doc: the document, loaded.
        log_: where its updates are kept.
    """

    def __init__(self, document_id: str, generation: int, doc: Doc, log_: DocumentLog) -> None:
        self.document_id = document_id
        self.generation = generation
        self.doc = doc
        self.connections: set[Connection] = set()
        self.refused_edits = 0
        # Its history is no longer the log's: it takes no one in any more, the next client loads it anew.
        self.outdated = False
        self.size = len(doc.get_update())
        self._log = log_
        self._present: dict[int, _Present] = {}
        self._origin: Connection | None = None
        self._persist = True
        self._outgoing = _Outgoing()
        self._subscription = doc.observe(self._changed)

    # --- clients ---

    def join(self, connection: Connection) -> None:
        """Take a client in: it is asked for what the room lacks, and told who is here."""
        self.connections.add(connection)
        connection.send(protocol.encode_step_1(self.doc.get_state()))
        self._send_present(connection)

    def leave(self, connection: Connection) -> None:
        """Let a client go; whom it spoke for is gone for the others at once."""
        self.connections.discard(connection)
        gone = [p.state for p in self._present.values() if p.connection is connection]
        for state in gone:
            del self._present[state.client_id]
        if gone:
            left = [ClientState(state.client_id, state.clock, None) for state in gone]
            self._broadcast(protocol.encode_awareness(protocol.encode_states(left)))

    def receive(self, connection: Connection, frame: Frame) -> None:
        """Handle one message that is not an echo. Unknown types are ignored.

        Raises:
            ProtocolError: the body is not of its type's form.
        """
        if frame.sync is SyncType.STEP_1:
            self._answer_step_1(connection, frame.body)
        elif frame.edits:
            self._edit(connection, frame.body)
        elif frame.type == MessageType.AWARENESS:
            self._receive_awareness(connection, frame.body)
        elif frame.type == MessageType.QUERY_AWARENESS:
            self._send_present(connection)

    async def committed(self) -> None:
        """Wait until all that was applied so far is in PostgreSQL.

        Raises:
            DocumentNotFound, GenerationChanged: it never will be.
        """
        await self._log.committed(self.document_id)

    def close(self, code: int, reason: str) -> None:
        """Send every client away."""
        for connection in list(self.connections):
            connection.end(code, reason)

    # --- the document ---

    async def seed(self, update: bytes) -> bool:
        """Make `update` the document's first, if it has none (rule 1).

        Returns:
            whether it is the first now.

        Raises:
            ProtocolError: it is not a Yjs update.
            DocumentNotFound, GenerationChanged, DatabaseUnavailable.
        """
        _apply(Doc(), update)
        if not await self._log.append_first(self.document_id, update, self.generation):
            return False
        self._persist = False
        try:
            _apply(self.doc, update)
        finally:
            self._persist = True
        return True

    def state(self) -> bytes:
        """The whole document, as one update."""
        return self.doc.get_update()

    def _answer_step_1(self, connection: Connection, state_vector: bytes) -> None:
        try:
            update = self.doc.get_update(state_vector)
        except ValueError as error:
            raise protocol.ProtocolError("The state vector can't be read.") from error
        connection.send(protocol.encode_step_2(update))

    def _edit(self, connection: Connection, update: bytes) -> None:
        if connection.claims.permissions != "read-write":
            self.refused_edits += 1
            return
        self._origin = connection
        try:
            _apply(self.doc, update)
        finally:
            self._origin = None

    def _changed(self, event: TransactionEvent) -> None:
        """The document changed: called within the transaction, so nothing here touches a document."""
        update = event.update
        if update == protocol.EMPTY_UPDATE:
            return
        self.size += len(update)
        if self._persist:
            self._log.append(self.document_id, update, self.generation).add_done_callback(self._on_committed)
        if not self._outgoing.updates:
            asyncio.get_running_loop().call_soon(self._send_outgoing)
        self._outgoing.updates.append(update)
        self._outgoing.origins.add(self._origin)

    def _send_outgoing(self) -> None:
        """What came in one tick leaves as one message; a client that made all of it needs no copy."""
        outgoing, self._outgoing = self._outgoing, _Outgoing()
        update = outgoing.updates[0] if len(outgoing.updates) == 1 else merge_updates(*outgoing.updates)
        only = next(iter(outgoing.origins)) if len(outgoing.origins) == 1 else None
        self._broadcast(protocol.encode_update(update), leave_out=only)

    def _on_committed(self, committed: asyncio.Future[int]) -> None:
        if committed.cancelled() or (error := committed.exception()) is None:
            return
        log.error("document=%s: an edit was refused by the log: %s", self.document_id, error)
        self.outdated = True
        self.close(*close_reason(error))

    # --- awareness ---

    def _receive_awareness(self, connection: Connection, update: bytes) -> None:
        news = [state for state in protocol.decode_states(update) if self._is_news(state)]
        for state in news:
            if state.state is None:
                self._present.pop(state.client_id, None)
            else:
                self._present[state.client_id] = _Present(state, connection)
        if news:
            # To the sender too: a stock client that hears nothing for half a minute takes its connection for dead.
            # A link does not, and knows its own browsers.
            leave_out = connection if connection.claims.via else None
            self._broadcast(protocol.encode_awareness(protocol.encode_states(news)), leave_out)

    def _is_news(self, state: ClientState) -> bool:
        """As y-protocols decides: a higher clock, or a leave at the same clock."""
        known = self._present.get(state.client_id)
        if known is None:
            return state.state is not None
        return state.clock > known.state.clock or (state.clock == known.state.clock and state.state is None)

    def _send_present(self, connection: Connection) -> None:
        if states := [present.state for present in self._present.values()]:
            connection.send(protocol.encode_awareness(protocol.encode_states(states)))

    def _broadcast(self, message: bytes, leave_out: Connection | None = None) -> None:
        for connection in list(self.connections):
            if connection is not leave_out:
                connection.send(message)


class Rooms:
    """All rooms of this process.

    Args:
        log_: where documents are kept.
        idle_seconds: how long a room without clients stays in memory.
    """

    def __init__(self, log_: DocumentLog, idle_seconds: float = IDLE_SECONDS) -> None:
        self.rooms: dict[str, Room] = {}
        self._log = log_
        self._idle_seconds = idle_seconds
        self._loading: dict[str, asyncio.Task[Room]] = {}
        self._evictions: dict[str, asyncio.Task[None]] = {}

    async def open(self, document_id: str) -> Room:
        """The document's room; it is loaded once, however many ask at the same time.

        Raises:
            DocumentNotFound: the log has no such document.
            DatabaseUnavailable: nothing is known.
        """
        if (eviction := self._evictions.pop(document_id, None)) is not None:
            eviction.cancel()
        room = self.rooms.get(document_id)
        if room is not None and not room.outdated:
            return room
        if (loading := self._loading.get(document_id)) is None:
            loading = self._loading[document_id] = asyncio.create_task(self._load(document_id))
            loading.add_done_callback(lambda _: self._loading.pop(document_id, None))
        return await asyncio.shield(loading)

    def left(self, room: Room) -> None:
        """A client has left: without clients the room goes too, after a while."""
        if not room.connections and room.document_id not in self._evictions:
            self._evictions[room.document_id] = asyncio.create_task(self._evict(room))

    @property
    def connections(self) -> list[tuple[Room, Connection]]:
        """Every client of every room."""
        return [(room, connection) for room in self.rooms.values() for connection in room.connections]

    async def _load(self, document_id: str) -> Room:
        history = await self._log.read(document_id)
        doc: Doc[Any] = Doc()
        await apply_updates(doc, history.updates)
        room = self.rooms[document_id] = Room(document_id, history.generation, doc, self._log)
        return room

    async def _evict(self, room: Room) -> None:
        await asyncio.sleep(self._idle_seconds)
        try:
            # What is not committed is in this memory alone.
            await room.committed()
        except RtcError as error:
            log.error("document=%s: closed with edits that the log refused: %s", room.document_id, error)
        self._evictions.pop(room.document_id, None)
        if not room.connections and self.rooms.get(room.document_id) is room:
            del self.rooms[room.document_id]
            self._log.forget(room.document_id)


def close_reason(error: BaseException) -> tuple[int, str]:
    """The close code and the reason for what the log answered."""
    if isinstance(error, DocumentNotFound):
        return CloseCode.NO_DOCUMENT, str(error)
    if isinstance(error, GenerationChanged):
        return CloseCode.WRONG_GENERATION, str(error)
    if isinstance(error, DocumentTooLarge):
        return CloseCode.TOO_LARGE, str(error)
    return CloseCode.TRY_LATER, str(error)


def _apply(doc: Doc, update: bytes) -> None:
    try:
        doc.apply_update(update)
    except (ValueError, RuntimeError) as error:
        raise protocol.ProtocolError("The update can't be read.") from error
