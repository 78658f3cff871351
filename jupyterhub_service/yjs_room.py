"""One document and its clients: edits go to the log, to the other replicas and to the other clients.

A room tells with `committed()` when all that was applied is in PostgreSQL.
"""

from __future__ import annotations

import asyncio
import logging
import time

from pycrdt import Doc

from jupyter_rtc_amprenta.core import protocol
from jupyter_rtc_amprenta.core.causal import apply, apply_in_pieces
from jupyter_rtc_amprenta.core.documentlog import DocumentLog
from jupyter_rtc_amprenta.core.errors import (
    DatabaseError,
    DocumentNotFound,
    DocumentTooLarge,
    GenerationChanged,
)
from jupyter_rtc_amprenta.core.protocol import CloseCode, Frame, MessageType, SyncType

from .metrics import Metrics
from .yjs_awareness import Presences
from .yjs_connection import Connection
from .yjs_document import LiveDocument
from .yjs_fanout import Fanout
from .yjs_frames import Framer
from .yjs_peers import Peers

log = logging.getLogger(__name__)


class Room:
    """One document in memory, and who is in it.

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
        self.connections: set[Connection] = set()
        self.document = LiveDocument(doc, self._changed, self._ask, self._send_away, self._broken)
        self.presences = Presences(self.connections, lambda parts: peers.tell_awareness(self, parts))
        self.framer = Framer()
        self.refused_edits = 0
        # Its history is no longer the log's: it takes no one in any more, the next client loads it anew.
        self.outdated = False
        self._log, self._metrics, self._peers = log_, metrics, peers
        self._fanout = Fanout(self.connections, metrics)

    @property
    def doc(self) -> Doc:
        """The document; not to be changed but by the room."""
        return self.document.doc

    # --- clients ---

    def join(self, connection: Connection) -> None:
        """Take a client in: it is asked for what the room lacks, and told who is here."""
        self.connections.add(connection)
        self._ask(connection)
        self._send_present(connection)

    def leave(self, connection: Connection) -> None:
        """Let a client go; whom it spoke for is gone for the others at once."""
        self.connections.discard(connection)
        self.document.leave(connection)
        self.presences.leave(connection)

    async def receive(self, connection: Connection, frame: Frame) -> None:
        """Handle one message that is not an echo. Unknown types are ignored.

        Raises:
            ProtocolError: the body is not of its type's form.
        """
        if frame.sync is SyncType.STEP_1:
            await self._answer_step_1(connection, frame.body)
        elif frame.edits:
            await self._edit(connection, frame.body)
        elif frame.type == MessageType.AWARENESS:
            self.presences.receive(connection, frame.body)
        elif frame.type == MessageType.QUERY_AWARENESS:
            self._send_present(connection)

    async def committed(self, connection: Connection | None = None) -> None:
        """Wait until all that was applied so far, and all that `connection` has sent, is in PostgreSQL.

        Raises:
            DocumentNotFound, GenerationChanged: it never will be.
        """
        await self.document.at_rest()
        if connection is not None:
            await self.document.filled(connection)
        await self._peers.confirmed(self)
        await self._log.committed(self.document_id)

    def end_all(self, code: int, reason: str) -> None:
        """Send every client away."""
        for connection in list(self.connections):
            connection.end(code, reason)

    def close(self) -> None:
        """Leave memory."""
        self.document.close()
        self.presences.close()
        self._fanout.close()

    async def _answer_step_1(self, connection: Connection, state_vector: bytes) -> None:
        # Who asks again and again waits for its answers; a first one is made at once.
        await asyncio.sleep(connection.answers.wait)
        await self.document.at_rest()
        with connection.answers:
            connection.send(self.document.step_2_since(state_vector))

    async def _edit(self, connection: Connection, update: bytes) -> None:
        if connection.claims.permissions != "read-write":
            self.refused_edits += 1
            self._metrics.refused("reader's edit")
            return
        await self.document.take(update, connection)
        if connection not in self.connections:
            # It has gone meanwhile: nobody is asked for what is missing.
            self.document.leave(connection)

    def _ask(self, connection: Connection) -> None:
        connection.send(protocol.encode_step_1(self.doc.get_state()))

    def _send_away(self, connection: Connection) -> None:
        connection.end(CloseCode.TRY_LATER, "Edits before yours are missing; come back with all of them.")

    def _send_present(self, connection: Connection) -> None:
        if (message := self.presences.message()) is not None:
            connection.send(message)

    def _broken(self) -> None:
        log.error("document=%s: an update has broken it in memory; it is loaded anew.", self.document_id)
        self._abandon(CloseCode.TRY_LATER, "Come back: the document must be loaded anew.")

    # --- the document ---

    async def seed(self, update: bytes) -> bool:
        """Make `update` the document's first, if it has none (rule 1).

        Returns:
            whether it is the first now.

        Raises:
            ProtocolError: it is not a Yjs update, or a part of one.
            DocumentNotFound, GenerationChanged.
            DatabaseUnavailable: whether it is the first is not known.
        """
        alone: Doc = Doc()
        if not await apply_in_pieces(alone, update, lambda piece: apply(alone, piece), from_outside=True):
            raise protocol.ProtocolError("A seed is a whole document; this update needs another one before it.")
        try:
            if not await self._log.append_first(self.document_id, update, self.generation):
                return False
        except DatabaseError:
            # It may be in the log, when only the answer was lost, and this room does not have it.
            self._abandon(CloseCode.TRY_LATER, "Come back: the database did not answer.")
            raise
        await self.document.take(update, logged=True)
        return True

    async def require_whole(self, update: bytes) -> None:
        """Refuse an update of which something would wait for an edit that is not here.

        Raises:
            ProtocolError: it would, or it is no Yjs update.
        """
        trial: Doc = Doc()
        await apply_in_pieces(trial, await self.state(), lambda piece: apply(trial, piece))
        if not await apply_in_pieces(trial, update, lambda piece: apply(trial, piece), from_outside=True):
            raise protocol.ProtocolError("Something that this update needs is not in the document.")

    async def state(self) -> bytes:
        """The whole document, as one update."""
        await self.document.at_rest()
        return protocol.decode(self.document.step_2()).body

    def append(self, update: bytes) -> None:
        """Append an update that the document holds and the log does not."""
        asked = time.monotonic()
        committed = self._log.append(self.document_id, update, self.generation)
        committed.add_done_callback(lambda done: self._on_committed(done, asked))

    def _changed(self, update: bytes, origin: Connection | None, is_new: bool) -> None:
        self._metrics.operations.inc()
        self.framer.forget_large()
        if is_new:
            self.append(update)
            self._peers.tell_update(self, update)
        self._fanout.add(update, origin)

    def _on_committed(self, committed: asyncio.Future[int], asked: float) -> None:
        if committed.cancelled():
            return
        if (error := committed.exception()) is None:
            self._metrics.commit_seconds.observe(time.monotonic() - asked)
            self._peers.committed(self, committed.result())
            return
        log.error("document=%s: an edit was refused by the log: %s", self.document_id, error)
        self._abandon(*close_reason(error))

    def _abandon(self, code: int, reason: str) -> None:
        """The log is not what this room holds: its clients find, or load, another one."""
        self.outdated = True
        self.end_all(code, reason)


def close_reason(error: BaseException) -> tuple[int, str]:
    """The close code and the reason for what the log answered."""
    if isinstance(error, DocumentNotFound):
        return CloseCode.NO_DOCUMENT, str(error)
    if isinstance(error, GenerationChanged):
        return CloseCode.WRONG_GENERATION, str(error)
    if isinstance(error, DocumentTooLarge):
        return CloseCode.TOO_LARGE, str(error)
    return CloseCode.TRY_LATER, str(error)
