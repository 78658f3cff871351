"""The log of all documents: append (group commit) and read. One per process and database.

`append` fixes the order before it returns, and gives a future that is done once the update is committed: that
is what an acknowledgement waits for. One task commits what waits for all documents in one transaction: at once
when idle, in batches under load. While the database is away it goes on trying, and nothing is forgotten; what
waits is bounded in bytes, and callers stop reading from their clients at the bound (`wait_for_room`).
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import random
import time
from collections import deque
from dataclasses import dataclass
from uuid import uuid4

from . import queries
from .database import Database
from .errors import DatabaseError, DatabaseUnavailable, RtcError
from .queries import History, News, Pending

log = logging.getLogger(__name__)

# One transaction takes at most this much, so that a backlog neither makes a transaction of minutes nor a
# statement that the server refuses.
BATCH_BYTES = 8 * 2**20
BATCH_UPDATES = 2000
_FIRST_RETRY_SECONDS = 0.1
_LONGEST_RETRY_SECONDS = 5.0
# An outage shorter than this is `degraded`: a restart, a fail-over. Longer, and somebody should look.
FAILING_AFTER_SECONDS = 30.0


@dataclass
class _Waiting:
    pending: Pending
    committed: asyncio.Future[int]


class DocumentLog:
    """Appends to and reads from the log.

    Args:
        database: PostgreSQL, or a local store's SQLite file.
        max_pending_bytes: the bound on what waits for the database; 0: none.
    """

    def __init__(self, database: Database, max_pending_bytes: int = 0) -> None:
        self.database = database
        self.pending_bytes = 0
        self._writer = uuid4().hex
        self._writer_seq: dict[str, int] = {}
        self._max_pending_bytes = max_pending_bytes
        self._queue: deque[_Waiting] = deque()
        self._last: dict[str, asyncio.Future[int]] = {}
        self._wake = asyncio.Event()
        self._room = asyncio.Event()
        self._room.set()
        self._task: asyncio.Task[None] | None = None
        self._down_since: float | None = None

    # --- writing ---

    def append(self, document_id: str, payload: bytes, generation: int | None) -> asyncio.Future[int]:
        """Append an update. Its place among this process's updates is fixed when this returns.

        Args:
            document_id: a document that the log knows (`create`).
            payload: the Yjs update.
            generation: of the history that the update was made on; see `queries.Pending`.

        Returns:
            a future of the log's position once it is committed. It may raise DocumentNotFound or
            GenerationChanged. It need not be awaited, and cancelling it does not cancel the write.
        """
        number = self._writer_seq[document_id] = self._writer_seq.get(document_id, 0) + 1
        pending = Pending(document_id, generation, self._writer, number, payload)
        committed: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._queue.append(_Waiting(pending, committed))
        self._last[document_id] = committed
        self.pending_bytes += len(payload)
        if self._max_pending_bytes and self.pending_bytes >= self._max_pending_bytes:
            self._room.clear()
        self._wake.set()
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._write())
        # Whoever awaits it may be cancelled, and the future with them; `flush` must go on waiting for it.
        told = asyncio.shield(committed)
        # An error is also told to whoever asks with `committed()`; unasked for, it is in the log.
        told.add_done_callback(_retrieve)
        return told

    async def append_first(self, document_id: str, payload: bytes, generation: int) -> bool:
        """Append the seed: only if nothing was ever appended to this document.

        Returns:
            whether it was appended.

        Raises:
            DocumentNotFound, GenerationChanged, DatabaseUnavailable.
        """
        # Named by what it holds: a second try finds the first one, and no update of this log is numbered after it.
        pending = Pending(document_id, generation, hashlib.sha256(payload).hexdigest()[:32], 1, payload)
        return await self.database.run(queries.append_first, pending)

    async def committed(self, document_id: str) -> None:
        """Wait until all that was appended to this document so far is committed.

        Raises:
            DocumentNotFound, GenerationChanged: it was refused, and never will be.
        """
        if (last := self._last.get(document_id)) is not None:
            await asyncio.shield(last)

    async def flush(self, timeout: float | None = None) -> bool:
        """Wait until all that was appended so far is committed or refused.

        Args:
            timeout: how long to wait, in seconds; None: without end.

        Returns:
            whether nothing waits any more.
        """
        if waiting := [last for last in self._last.values() if not last.done()]:
            await asyncio.wait(waiting, timeout=timeout)
        return all(last.done() for last in waiting)

    async def wait_for_room(self) -> None:
        """Wait until what is pending is under its bound: called before more is read from a client."""
        await self._room.wait()

    @property
    def is_full(self) -> bool:
        """Whether what is pending has reached its bound."""
        return not self._room.is_set()

    @property
    def state(self) -> str:
        """`ok`, `degraded` (the database is away, for less than half a minute) or `failing`."""
        if self._down_since is None:
            return "ok"
        return "failing" if time.monotonic() - self._down_since > FAILING_AFTER_SECONDS else "degraded"

    async def stop(self, timeout: float = 5.0) -> bool:
        """Commit what waits, within a deadline, and end.

        Returns:
            whether everything was committed; what was not is said in the log, and was never acknowledged.
        """
        done = await self.flush(timeout)
        if self._task is not None:
            self._task.cancel()
        if not done:
            log.error("%d updates were not committed before the deadline.", len(self._queue))
        return done

    # --- reading ---

    async def create(self, document_id: str) -> int:
        """Make the log know the document.

        Returns:
            its generation.

        Raises:
            DatabaseUnavailable.
        """
        return await self.database.run(queries.create_document, document_id)

    async def read(self, document_id: str, until: int | None = None) -> History:
        """Read a document, including what this process has appended before the call.

        Args:
            until: the position to stop at; None reads all.

        Raises:
            DocumentNotFound: the log has no such document.
            DatabaseUnavailable: nothing is known.
        """
        last = self._last.get(document_id)
        if last is not None and not last.done():
            await asyncio.wait([last])
        return await self.database.run(queries.read_history, document_id, until)

    async def read_since(self, document_id: str, since: int) -> News:
        """Read what other processes have appended after a position.

        Raises:
            DocumentNotFound: the log has no such document.
            DatabaseUnavailable: nothing is known.
        """
        return await self.database.run(queries.read_since, document_id, since, self._writer)

    def forget(self, document_id: str) -> None:
        """A document was closed: nothing more is kept of it here, unless something still waits."""
        last = self._last.get(document_id)
        if last is not None and last.done():
            del self._last[document_id]

    # --- the writer ---

    async def _write(self) -> None:
        while True:
            await self._wake.wait()
            while batch := self._next_batch():
                await self._commit(batch)
            self._wake.clear()

    def _next_batch(self) -> list[_Waiting]:
        """What one transaction takes; it stays queued until it is committed."""
        batch: list[_Waiting] = []
        size = 0
        for waiting in self._queue:
            size += len(waiting.pending.payload)
            if batch and (size > BATCH_BYTES or len(batch) == BATCH_UPDATES):
                break
            batch.append(waiting)
        return batch

    async def _commit(self, batch: list[_Waiting]) -> None:
        outcome = await self._until_it_answers([waiting.pending for waiting in batch])
        positions = {name: iter(result) for name, result in outcome.items() if isinstance(result, list)}
        for waiting in batch:
            document_id = waiting.pending.document_id
            self.pending_bytes -= len(waiting.pending.payload)
            if document_id in positions:
                waiting.committed.set_result(next(positions[document_id]))
            else:
                _refuse(waiting, outcome[document_id])
        for _ in batch:
            self._queue.popleft()
        if self.pending_bytes < max(self._max_pending_bytes, 1):
            self._room.set()

    async def _until_it_answers(self, batch: list[Pending]) -> dict[str, list[int] | RtcError]:
        delay = _FIRST_RETRY_SECONDS
        while True:
            try:
                outcome = await self.database.run(queries.append, batch)
            except DatabaseUnavailable as error:
                if self._down_since is None:
                    self._down_since = time.monotonic()
                    log.warning("%s Edits wait and are tried again: %s", error, error.__cause__)
                # Jitter: all processes of a deployment lose the database at the same moment.
                await asyncio.sleep(delay * random.uniform(0.5, 1.0))
                delay = min(2 * delay, _LONGEST_RETRY_SECONDS)
            except DatabaseError as error:
                log.error("The database refuses a batch of %d updates: %s", len(batch), error.__cause__)
                return await self._one_by_one(batch, error)
            else:
                if self._down_since is not None:
                    log.warning("The database answers again, after %.1f s.", time.monotonic() - self._down_since)
                    self._down_since = None
                return outcome

    async def _one_by_one(self, batch: list[Pending], refusal: DatabaseError) -> dict[str, list[int] | RtcError]:
        """A batch was refused: keep one document's trouble from the others."""
        documents = {pending.document_id for pending in batch}
        if len(documents) == 1:
            return dict.fromkeys(documents, refusal)
        outcome: dict[str, list[int] | RtcError] = {}
        for document_id in documents:
            outcome |= await self._until_it_answers([p for p in batch if p.document_id == document_id])
        return outcome


def _refuse(waiting: _Waiting, error: RtcError) -> None:
    log.error("document=%s: an update was refused: %s", waiting.pending.document_id, error)
    waiting.committed.set_exception(error)
    _retrieve(waiting.committed)


def _retrieve(told: asyncio.Future[int]) -> None:
    if not told.cancelled():
        told.exception()
