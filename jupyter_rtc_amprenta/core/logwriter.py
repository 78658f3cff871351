"""What waits for the database: a queue in order, one task that commits it, and what to do while nobody answers."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from .database import in_short
from .errors import DatabaseError, DatabaseFull, DatabaseUnavailable, RtcError
from .queries import Pending
from .spool import Spool

log = logging.getLogger(__name__)

# One transaction takes at most this much, so that a backlog neither makes a transaction of minutes nor a
# statement that the server refuses.
BATCH_BYTES = 8 * 2**20
BATCH_UPDATES = 2000
_FIRST_RETRY_SECONDS = 0.1
_LONGEST_RETRY_SECONDS = 5.0
# An outage shorter than this is `degraded`: a restart, a fail-over. Longer, and somebody should look.
FAILING_AFTER_SECONDS = 30.0

Commit = Callable[[list[Pending], bool], Awaitable[dict[str, list[int] | RtcError]]]


@dataclass
class _Waiting:
    pending: Pending
    committed: asyncio.Future[int]
    # Whether an earlier try may have committed it.
    tried: bool = False


class LogWriter:
    """Commits updates in the order in which they were submitted, as often as it takes.

    Args:
        commit: appends a batch, told whether an earlier try may have appended some of it; see `queries.append`.
        max_pending_bytes: the bound on what waits; 0: none.
        spool: where it waits on the disk too while the database is away; None: nowhere.
    """

    def __init__(self, commit: Commit, max_pending_bytes: int, spool: Spool | None) -> None:
        self.pending_bytes = 0
        self._commit_batch = commit
        self._max_pending_bytes = max_pending_bytes
        self._spool = spool
        self._spooled = 0
        self._left: list[Pending] = spool.left_by_others() if spool else []
        self._queue: deque[_Waiting] = deque()
        self._last: dict[str, asyncio.Future[int]] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._wake: asyncio.Event
        self._room: asyncio.Event
        self._task: asyncio.Task[None] | None = None
        self._down_since: float | None = None
        self._trouble = ""
        self._disk_is_full = self._spool_is_full = False

    def submit(self, pending: Pending) -> asyncio.Future[int]:
        """Queue an update; its place is fixed when this returns. See `DocumentLog.append`."""
        self.attach()
        # Whoever awaits it may be cancelled, and the future with them; `flush` must go on waiting for it.
        told = asyncio.shield(self._enqueue(pending))
        # An error is also told to whoever asks with `last()`; unasked for, it is in the log.
        told.add_done_callback(_retrieve)
        self._wake.set()
        return told

    def last(self, document_id: str) -> asyncio.Future[int] | None:
        """The document's last update that was submitted, if it is remembered."""
        self.attach()
        return self._last.get(document_id)

    def forget(self, document_id: str) -> None:
        """Nothing more is remembered of a document, unless something still waits."""
        last = self._last.get(document_id)
        if last is not None and last.done():
            del self._last[document_id]

    async def flush(self, timeout: float | None) -> bool:
        """Wait until all that was submitted so far is committed or refused; whether it is."""
        self.attach()
        if waiting := [last for last in self._last.values() if not last.done()]:
            await asyncio.wait(waiting, timeout=timeout)
        return all(last.done() for last in waiting)

    async def wait_for_room(self) -> None:
        """Wait until what is pending is under its bound."""
        self.attach()
        await self._room.wait()

    @property
    def is_full(self) -> bool:
        """Whether what is pending has reached its bound."""
        return 0 < self._max_pending_bytes <= self.pending_bytes

    @property
    def state(self) -> str:
        """`ok`; `degraded`: the database is away; `failing`: for over half a minute, or a disk is full, or all is.

        Somebody must do something where it is failing, since it does not pass by itself.
        """
        if self._down_since is None:
            return "ok"
        is_long = time.monotonic() - self._down_since > FAILING_AFTER_SECONDS
        return "failing" if is_long or self._disk_is_full or self._spool_is_full or self.is_full else "degraded"

    @property
    def trouble(self) -> str:
        """Why it is not `ok`, for people; "" where it is."""
        if self._down_since is None:
            return ""
        sentences = [self._trouble]
        if self._spool_is_full:
            sentences.append("The spool can't be written: edits wait in memory alone.")
        if self.is_full:
            sentences.append("RTC_MAX_PENDING_BYTES wait: nothing more is read from clients until it answers.")
        return " ".join(sentences)

    async def stop(self, timeout: float) -> bool:
        """Commit what waits, within a deadline, and end; whether everything was committed."""
        done = await self.flush(timeout)
        if self._task is not None:
            self._task.cancel()
        if not done:
            kept = " They are in the spool, and are tried again at the next start." if self._spool else ""
            log.error("%d updates were not committed before the deadline.%s", len(self._queue), kept)
        if self._spool is not None:
            if not done:
                self._spool.add([waiting.pending for waiting in self._queue][self._spooled :])
            self._spool.close(keep=not done)
        return done

    def attach(self) -> None:
        """Work in the running event loop from now on: tests, and some servers, make a new one in the same process."""
        loop = asyncio.get_running_loop()
        if loop is not self._loop:
            self._loop, self._task = loop, None
            self._wake, self._room = asyncio.Event(), asyncio.Event()
            self._wake.set()
            if not self.is_full:
                self._room.set()
            # Who waited in a loop that is gone can't be told any more; what waits is committed all the same.
            waiting, self._queue = self._queue, deque()
            self._last.clear()
            self.pending_bytes = 0
            left, self._left = self._left, []
            for pending in left + [waiting.pending for waiting in waiting]:
                self._enqueue(pending)
            for kept in self._queue:
                kept.tried = True
        if self._task is None or self._task.done():
            self._task = loop.create_task(self._write())

    def _enqueue(self, pending: Pending) -> asyncio.Future[int]:
        committed: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._queue.append(_Waiting(pending, committed))
        self._last[pending.document_id] = committed
        self.pending_bytes += len(pending.payload)
        if self.is_full and self._room.is_set():
            log.error(
                "%d bytes wait for the database (RTC_MAX_PENDING_BYTES): nothing more is read from clients meanwhile.",
                self.pending_bytes,
            )
            self._room.clear()
        return committed

    # --- the task ---

    async def _write(self) -> None:
        while True:
            await self._wake.wait()
            while batch := self._next_batch():
                await self._commit(batch)
            self._wake.clear()
            if self._queue:
                self._wake.set()

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
        again = any(waiting.tried for waiting in batch)
        for waiting in batch:
            waiting.tried = True
        outcome = await self._until_it_answers([waiting.pending for waiting in batch], again)
        positions = {name: iter(result) for name, result in outcome.items() if isinstance(result, list)}
        refused: list[Pending] = []
        for waiting in batch:
            document_id = waiting.pending.document_id
            self.pending_bytes -= len(waiting.pending.payload)
            if document_id in positions:
                waiting.committed.set_result(next(positions[document_id]))
            else:
                refused.append(waiting.pending)
                _refuse(waiting, outcome[document_id])
        for _ in batch:
            self._queue.popleft()
        if not self.is_full:
            self._room.set()
        await self._settle_spool(len(batch), refused)

    async def _settle_spool(self, count: int, refused: list[Pending]) -> None:
        if self._spool is None:
            return
        self._spooled = max(0, self._spooled - count)
        if refused:
            await asyncio.to_thread(self._spool.keep_refused, refused)
        if not self._queue:
            self._spooled = 0
            await asyncio.to_thread(self._spool.clear)

    async def _until_it_answers(self, batch: list[Pending], again: bool) -> dict[str, list[int] | RtcError]:
        delay = _FIRST_RETRY_SECONDS
        while True:
            try:
                outcome = await self._commit_batch(batch, again)
            except DatabaseUnavailable as error:
                if self._down_since is None:
                    self._down_since = time.monotonic()
                    log.warning("%s Edits wait and are tried again: %s", error, in_short(error))
                self._trouble, self._disk_is_full = str(error), isinstance(error, DatabaseFull)
                # Jitter: all processes of a deployment lose the database at the same moment.
                await self._pause(delay * random.uniform(0.5, 1.0))
                delay, again = min(2 * delay, _LONGEST_RETRY_SECONDS), True
            except DatabaseError as error:
                log.error("The database refuses a batch of %d updates: %s", len(batch), in_short(error))
                return await self._one_by_one(batch, error)
            else:
                if self._down_since is not None:
                    log.warning("The database answers again, after %.1f s.", time.monotonic() - self._down_since)
                    self._down_since, self._spool_is_full = None, False
                return outcome

    async def _pause(self, seconds: float) -> None:
        """Wait before the next try; what comes in meanwhile goes to the spool at once."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            self._wake.clear()
            if self._spool is not None and len(self._queue) > self._spooled:
                new = [waiting.pending for waiting in self._queue][self._spooled :]
                self._spool_is_full = not await asyncio.to_thread(self._spool.add, new)
                if self._spool_is_full:
                    break
                self._spooled += len(new)
            elif self._spool is None:
                await asyncio.sleep(left)
            else:
                try:
                    await asyncio.wait_for(self._wake.wait(), left)
                except TimeoutError:
                    break
        await asyncio.sleep(end - time.monotonic())
        self._wake.set()

    async def _one_by_one(self, batch: list[Pending], refusal: DatabaseError) -> dict[str, list[int] | RtcError]:
        """A batch was refused: keep one document's trouble from the others."""
        documents = {pending.document_id for pending in batch}
        if len(documents) == 1:
            return dict.fromkeys(documents, refusal)
        outcome: dict[str, list[int] | RtcError] = {}
        for document_id in documents:
            outcome |= await self._until_it_answers([p for p in batch if p.document_id == document_id], True)
        return outcome


def _refuse(waiting: _Waiting, error: RtcError) -> None:
    log.error("document=%s: an update was refused: %s", waiting.pending.document_id, error)
    waiting.committed.set_exception(error)
    _retrieve(waiting.committed)


def _retrieve(told: asyncio.Future[int]) -> None:
    if not told.cancelled():
        told.exception()
