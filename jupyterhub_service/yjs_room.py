"""One document in memory: its clients, fan-out, and the way to the log.

A room applies an update, hands it to the log, to the other replicas and to its other clients, and tells with
`committed()` when it is in PostgreSQL.
"""

from __future__ import annotations

import asyncio
import logging
import time
from dataclasses import dataclass, field
from typing import Any

from pycrdt import Doc, TransactionEvent, merge_updates

from jupyter_rtc_amprenta.core import protocol
from jupyter_rtc_amprenta.core.causal import is_complete
from jupyter_rtc_amprenta.core.documentlog import DocumentLog
from jupyter_rtc_amprenta.core.errors import DocumentNotFound, DocumentTooLarge, GenerationChanged
from jupyter_rtc_amprenta.core.protocol import CloseCode, Frame, MessageType, SyncType

from .metrics import Metrics
from .yjs_awareness import Presences
from .yjs_connection import Connection
from .yjs_gaps import MOST_BYTES, Gaps
from .yjs_peers import Peers

log = logging.getLogger(__name__)

# At most so often are a room's clients told of edits: at once after a pause, merged while many people type.
TELL_SECONDS = 0.01
# Telling them may take a fifth of the time: who is many is told less often, and a room never lags behind itself.
_PAUSES = 4


@dataclass
class _Outgoing:
    """The updates that leave together, and who made them."""

    updates: list[bytes] = field(default_factory=list)
    origins: set[Connection | None] = field(default_factory=set)
    since: float = 0.0


class Room:
    """One document in memory.

    Args:
        document_id: the document.
        generation: of its history.
        position: the log's position that `doc` stands for.
        doc: the document, loaded.
        log_: where its updates are kept.
        metrics: what is counted.
        peers: the other replicas.
    """

    def __init__(
        self,
        document_id: str,
        generation: int,
        position: int,
        doc: Doc,
        log_: DocumentLog,
        metrics: Metrics,
        peers: Peers,
    ) -> None:
        self.document_id = document_id
        self.generation = generation
        self.position = position
        self.doc = doc
        self.connections: set[Connection] = set()
        self.presences = Presences(self.connections, lambda parts: peers.tell_awareness(self, parts))
        self.refused_edits = 0
        # Its history is no longer the log's: it takes no one in any more, the next client loads it anew.
        self.outdated = False
        self.size = len(doc.get_update())
        self._log, self._metrics, self._peers = log_, metrics, peers
        self._gaps = Gaps()
        self._gaps_timer: asyncio.TimerHandle | None = None
        self._gaps_rest_until = 0.0
        self._origin: Connection | None = None
        self._from_log: bytes | None = None
        self._persist = True
        self._last_change = b""
        self._state: bytes | None = None
        self._outgoing = _Outgoing()
        self._told_at = 0.0
        self._pause = TELL_SECONDS
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
        self._gaps.leave(connection)
        self.presences.leave(connection)

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
            self.presences.receive(connection, frame.body)
        elif frame.type == MessageType.QUERY_AWARENESS:
            self._send_present(connection)

    async def committed(self, connection: Connection | None = None) -> None:
        """Wait until all that was applied so far, and all that `connection` has sent, is in PostgreSQL.

        Raises:
            DocumentNotFound, GenerationChanged: it never will be.
        """
        if connection is not None:
            await self._gaps.filled(connection)
        await self._peers.confirmed(self)
        await self._log.committed(self.document_id)

    def end_all(self, code: int, reason: str) -> None:
        """Send every client away."""
        for connection in list(self.connections):
            connection.end(code, reason)

    def close(self) -> None:
        """Leave memory: a document that is observed would stay in it for ever."""
        self.doc.unobserve(self._subscription)
        self.presences.close()
        if self._gaps_timer is not None:
            self._gaps_timer.cancel()

    # --- the document ---

    async def seed(self, update: bytes) -> bool:
        """Make `update` the document's first, if it has none (rule 1).

        Returns:
            whether it is the first now.

        Raises:
            ProtocolError: it is not a Yjs update, or a part of one.
            DocumentNotFound, GenerationChanged, DatabaseUnavailable.
        """
        alone: Doc = Doc()
        _apply(alone, update)
        if not is_complete(alone, update):
            raise protocol.ProtocolError("A seed is a whole document; this update needs another one before it.")
        if not await self._log.append_first(self.document_id, update, self.generation):
            return False
        self._persist = False
        try:
            _apply(self.doc, update)
        finally:
            self._persist = True
        return True

    def require_whole(self, update: bytes) -> None:
        """Refuse an update of which something would wait for an edit that is not here.

        Raises:
            ProtocolError: it would, or it is no Yjs update.
        """
        trial: Doc = Doc()
        _apply(trial, self.state())
        _apply(trial, update)
        if not is_complete(trial, update):
            raise protocol.ProtocolError("Something that this update needs is not in the document.")

    def state(self) -> bytes:
        """The whole document, as one update; kept until it changes: after a restart everybody asks for it."""
        if self._state is None:
            self._state = self.doc.get_update()
        return self._state

    def apply_logged(self, update: bytes) -> None:
        """Apply what the log holds, or what another replica will append: it is not appended here.

        Raises:
            ProtocolError: it is not a Yjs update.
        """
        if not self._apply_logged(update):
            self._gaps.add(None, update)

    def append(self, update: bytes) -> None:
        """Append an update that the document holds and the log does not."""
        asked = time.monotonic()
        committed = self._log.append(self.document_id, update, self.generation)
        committed.add_done_callback(lambda done: self._on_committed(done, asked))

    def _answer_step_1(self, connection: Connection, state_vector: bytes) -> None:
        try:
            update = self.state() if state_vector in (b"", b"\x00") else self.doc.get_update(state_vector)
        except ValueError as error:
            raise protocol.ProtocolError("The state vector can't be read.") from error
        connection.send(protocol.encode_step_2(update))

    def _edit(self, connection: Connection, update: bytes) -> None:
        if connection.claims.permissions != "read-write":
            self.refused_edits += 1
            self._metrics.refused("reader's edit")
            return
        if not self._apply_edit(connection, update):
            self._hold(connection, update)

    def _apply_edit(self, connection: Connection, update: bytes) -> bool:
        """Apply a client's update; whether all of it is in the document now."""
        self._origin = connection
        try:
            return self._apply(update)
        finally:
            self._origin = None

    def _apply_logged(self, update: bytes) -> bool:
        self._from_log = update
        try:
            return self._apply(update)
        finally:
            self._from_log = None

    def _apply(self, update: bytes) -> bool:
        self._last_change = b""
        _apply(self.doc, update)
        # Mostly the change is the update, byte for byte: then nothing of it waits.
        return self._last_change == update or is_complete(self.doc, update)

    def _apply_again(self, connection: Connection | None, update: bytes) -> None:
        if connection is None:
            self._apply_logged(update)
        else:
            self._apply_edit(connection, update)

    def _look_at_gaps(self) -> None:
        """Apply again what waits. Whoever lets a lot wait makes it rare, and not everything slow."""
        began, self._gaps_timer = time.monotonic(), None
        self._gaps.look(self.doc, self._apply_again)
        ended = time.monotonic()
        self._gaps_rest_until = ended + 20 * (ended - began)

    def _hold(self, connection: Connection, update: bytes) -> None:
        """Something before this update is missing: ask the client for all that this document lacks."""
        if self._gaps.add(connection, update):
            user = connection.claims.username
            log.info("document=%s user=%s: an edit waits for one before it", self.document_id, user)
            connection.send(protocol.encode_step_1(self.doc.get_state()))
        if self._gaps.bytes_in_doc > MOST_BYTES:
            self._begin_anew()

    def _begin_anew(self) -> None:
        """Forget what hangs in the air: it was never acknowledged, and its clients come back with all they have."""
        log.warning("document=%s: too much waits for edits that did not come", self.document_id)
        whole: Doc[Any] = Doc()
        whole.apply_update(self.doc.get_update())
        self.doc.unobserve(self._subscription)
        self.doc, self._subscription = whole, whole.observe(self._changed)
        waiting, self._gaps = self._gaps, Gaps()
        for connection in waiting.clients:
            connection.end(CloseCode.TRY_LATER, "Edits before yours are missing; come back with all of them.")
            waiting.leave(connection)

    def _changed(self, event: TransactionEvent) -> None:
        """The document changed: called within the transaction, so nothing here touches a document."""
        update = event.update
        if update == protocol.EMPTY_UPDATE:
            return
        self._last_change, self._state = update, None
        self.size += len(update)
        self._metrics.operations.inc()
        # What comes from the log may complete what a client has sent before: then the change is more than it.
        if self._persist and update != self._from_log:
            self.append(update)
            self._peers.tell_update(self, update)
        if not self._outgoing.updates:
            self._outgoing.since = time.monotonic()
            wait = max(0.0, self._told_at + self._pause - self._outgoing.since)
            asyncio.get_running_loop().call_later(wait, self._send_outgoing)
        self._outgoing.updates.append(update)
        self._outgoing.origins.add(self._origin)

    def _send_outgoing(self) -> None:
        """What came together leaves as one message; a client that made all of it needs no copy."""
        began, (outgoing, self._outgoing) = time.monotonic(), (self._outgoing, _Outgoing())
        update = outgoing.updates[0] if len(outgoing.updates) == 1 else merge_updates(*outgoing.updates)
        only = next(iter(outgoing.origins)) if len(outgoing.origins) == 1 else None
        message = protocol.encode_update(update)
        for connection in list(self.connections):
            if connection is not only:
                connection.send(message)
        if self._gaps and self._gaps_timer is None:
            wait = max(0.0, self._gaps_rest_until - time.monotonic())
            self._gaps_timer = asyncio.get_running_loop().call_later(wait, self._look_at_gaps)
        self._told_at = time.monotonic()
        self._pause = max(TELL_SECONDS, _PAUSES * (self._told_at - began))
        self._metrics.fanout_seconds.observe(self._told_at - outgoing.since)

    def _on_committed(self, committed: asyncio.Future[int], asked: float) -> None:
        if committed.cancelled():
            return
        if (error := committed.exception()) is None:
            self._metrics.commit_seconds.observe(time.monotonic() - asked)
            self._peers.committed(self, committed.result())
            return
        log.error("document=%s: an edit was refused by the log: %s", self.document_id, error)
        self.outdated = True
        self.end_all(*close_reason(error))

    def _send_present(self, connection: Connection) -> None:
        if (message := self.presences.message()) is not None:
            connection.send(message)


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
