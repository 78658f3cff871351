"""The log of all documents: append (group commit), read, compact. One per process and database.

`append` fixes the order before it returns, and gives a future that is done once the update is committed: that
is what an acknowledgement waits for. One task (`logwriter.py`) commits what waits for all documents in one
transaction: at once when idle, in batches under load. While the database is away it goes on trying, and nothing is
forgotten; what waits is bounded in bytes, and callers stop reading from their clients at the bound
(`wait_for_room`).
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
from uuid import uuid4

from . import compaction, queries, queries_history, queries_quick
from .compaction import Report
from .compactor import Compactor
from .database import Database, in_short
from .errors import DatabaseError, DatabaseUnavailable, DocumentTooLarge, RtcError
from .logpolicy import LogPolicy
from .logwriter import LogWriter
from .queries import Pending
from .queries_history import History, News
from .spool import Spool

log = logging.getLogger(__name__)


class DocumentLog:
    """Appends to and reads from the log.

    Args:
        database: PostgreSQL, or a local store's SQLite file.
        max_pending_bytes: the bound on what waits for the database; 0: none.
        policy: keys, limits, what compaction keeps, where an outage is spooled.

    Raises:
        ConfigurationError: the spool's folder can't be used.
    """

    def __init__(
        self, database: Database, max_pending_bytes: int = 0, policy: LogPolicy | None = None
    ) -> None:
        self.database = database
        self.policy = policy or LogPolicy()
        self.compactor = Compactor(self)
        # The epochs of the leases that this process holds (direct mode).
        self.lease_epochs: dict[str, int] = {}
        self._writer_id = uuid4().hex
        self._writer_seq: dict[str, int] = {}
        spool = Spool(self.policy.spool, self.policy.keys) if self.policy.spool else None
        self._writer = LogWriter(self._commit, max_pending_bytes, spool)

    # --- writing ---

    def append(
        self, document_id: str, payload: bytes, generation: int | None, metadata: bytes | None = None
    ) -> asyncio.Future[int]:
        """Append an update. Its place among this process's updates is fixed when this returns.

        Args:
            document_id: a document that the log knows (`create`).
            payload: the Yjs update.
            generation: of the history that the update was made on; see `queries.Pending`.
            metadata: kept with the update until it is compacted.

        Returns:
            a future of the log's position once it is committed. It may raise DocumentNotFound, GenerationChanged,
            LeaseLost or DocumentTooLarge. It need not be awaited, and cancelling it does not cancel the write.
        """
        return self._writer.submit(self._numbered(document_id, payload, generation, metadata))

    async def append_first(self, document_id: str, payload: bytes, generation: int) -> bool:
        """Append the seed: only if nothing was ever appended to this document.

        Returns:
            whether it was appended.

        Raises:
            DocumentNotFound, GenerationChanged, DocumentTooLarge, DatabaseUnavailable.
        """
        # Named by what it holds: a second try finds the first one, and no update of this log is numbered after it.
        pending = Pending(document_id, generation, hashlib.sha256(payload).hexdigest()[:32], 1, payload)
        limit = self.policy.max_document_bytes
        return await self.database.run(queries.append_first, pending, self.policy.keys, limit)

    async def committed(self, document_id: str) -> None:
        """Wait until all that was appended to this document so far is committed.

        Raises:
            DocumentNotFound, GenerationChanged, LeaseLost, DocumentTooLarge: it was refused, and never will be.
        """
        if (last := self._writer.last(document_id)) is not None:
            await asyncio.shield(last)

    async def flush(self, timeout: float | None = None) -> bool:
        """Wait until all that was appended so far is committed or refused.

        Args:
            timeout: how long to wait, in seconds; None: without end.

        Returns:
            whether nothing waits any more.
        """
        return await self._writer.flush(timeout)

    async def wait_for_room(self) -> None:
        """Wait until what is pending is under its bound: called before more is read from a client."""
        await self._writer.wait_for_room()

    @property
    def pending_bytes(self) -> int:
        """What waits for the database, in bytes."""
        return self._writer.pending_bytes

    @property
    def is_full(self) -> bool:
        """Whether what is pending has reached its bound."""
        return self._writer.is_full

    @property
    def state(self) -> str:
        """`ok`; `degraded`: the database is away; `failing`: for over half a minute, or a disk is full, or the bound
        is reached: it does not pass by itself."""
        return self._writer.state

    @property
    def trouble(self) -> str:
        """Why it is not `ok`, for people; "" where it is."""
        return self._writer.trouble

    async def stop(self, timeout: float = 5.0) -> bool:
        """Commit what waits, within a deadline, and end.

        Returns:
            whether everything was committed; what was not is said in the log, and was never acknowledged.
        """
        await self.compactor.stop()
        return await self._writer.stop(timeout)

    # --- reading ---

    async def create(self, document_id: str) -> int:
        """Make the log know the document.

        Returns:
            its generation.

        Raises:
            DatabaseUnavailable.
        """
        return await self.database.run(queries.create_document, document_id)

    async def read(self, document_id: str, until: int | None = None, *, whole: bool = False) -> History:
        """Read a document, including what this process has appended before the call.

        Args:
            until: the position to stop at; None reads all.
            whole: with all updates that are kept, as the timeline shows them, and not what loads fastest.

        Raises:
            DocumentNotFound: the log has no such document.
            HistoryCompacted: the state at that position is not kept any more.
            EncryptionError: it is encrypted with another key.
            DatabaseUnavailable: nothing is known.
        """
        last = self._writer.last(document_id)
        if last is not None and not last.done():
            await asyncio.wait([last])
        if until is None and not whole and not self.database.is_sqlite:
            quickly = queries_quick.read_quickly
            if (found := await self.database.read_quickly(quickly, document_id, self.policy.keys)) is not None:
                return found
        history = queries_history.read_history
        return await self.database.read(history, document_id, until, self.policy.keys, whole=whole)

    async def read_since(self, document_id: str, since: int) -> News:
        """Read what other processes have appended after a position.

        Raises:
            DocumentNotFound: the log has no such document.
            DatabaseUnavailable: nothing is known.
        """
        news = queries_history.read_since
        return await self.database.read(news, document_id, since, self._writer_id, self.policy.keys)

    def forget(self, document_id: str) -> None:
        """A document was closed: nothing more is kept of it here, unless something still waits."""
        self._writer.forget(document_id)

    # --- compaction ---

    async def compact(self, document_id: str, *, dry_run: bool = False, wait: bool = True) -> Report:
        """Merge a document's old updates; see `compaction.compact`.

        Raises:
            DocumentNotFound, ContentError, EncryptionError, DatabaseUnavailable.
        """
        how = (self.policy.retention, self.policy.kept_positions, self.policy.keys)
        return await self.database.run(compaction.compact, document_id, *how, dry_run=dry_run, wait=wait)

    # --- the writer's transaction ---

    def _numbered(
        self, document_id: str, payload: bytes, generation: int | None, metadata: bytes | None
    ) -> Pending:
        number = self._writer_seq[document_id] = self._writer_seq.get(document_id, 0) + 1
        epoch = self.lease_epochs.get(document_id)
        return Pending(document_id, generation, self._writer_id, number, payload, epoch, metadata)

    async def _commit(self, batch: list[Pending], again: bool) -> dict[str, list[int] | RtcError]:
        outcome = await self._append(batch, again)
        self.compactor.touch(pending.document_id for pending in batch)
        for document_id, result in list(outcome.items()):
            if isinstance(result, DocumentTooLarge) and await self._has_shrunk(document_id):
                updates = [pending for pending in batch if pending.document_id == document_id]
                outcome |= await self._append(updates, again=True)
        return outcome

    async def _append(self, batch: list[Pending], again: bool) -> dict[str, list[int] | RtcError]:
        settings = (self.policy.keys, self.policy.max_document_bytes)
        outcome: dict[str, list[int] | RtcError] = {}
        if not again:
            try:
                outcome |= await self.database.run_one(queries_quick.append, batch, *settings)
            except DatabaseUnavailable:
                raise
            except DatabaseError as error:
                # Nothing was appended; whose fault it is shows below.
                log.debug("A batch of %d updates goes one document at a time: %s", len(batch), in_short(error))
        if rest := [pending for pending in batch if pending.document_id not in outcome]:
            outcome |= await self.database.run(queries.append, rest, *settings)
        return outcome

    async def _has_shrunk(self, document_id: str) -> bool:
        """A document is measured by its updates; once they are merged, what was deleted counts no more.

        Returns:
            whether they were merged, and another try makes sense.
        """
        # A tenth, so that a document that is full is not merged again for each edit that is refused.
        if not await self.database.run(queries.has_tail, document_id, self.policy.max_document_bytes // 10):
            return False
        try:
            return (await self.compact(document_id)).changed
        except RtcError:
            # It can't be merged: the refusal stands.
            return False
