"""Compaction and automatic versions in the background: a task that is there only while documents are edited."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Iterable
from contextlib import suppress
from typing import TYPE_CHECKING

from . import queries_compaction, versions
from .errors import DatabaseUnavailable, RtcError

if TYPE_CHECKING:
    from .documentlog import DocumentLog

log = logging.getLogger(__name__)

# So long after an edit it is looked whether its document should be compacted.
DELAY_SECONDS = 10.0
# A document that has got so much since its last snapshot is compacted.
DUE_UPDATES = 500
DUE_BYTES = 2**20
# One that gets so many updates meanwhile is looked after at once, unless the last look took more than this part of
# the time since: then it waits for that, or for its turn.
_SHARE = 0.05


class Compactor:
    """Looks after the documents that a log appends to.

    Args:
        log_: the log.
        delay: how long after an edit, in seconds.
    """

    def __init__(self, log_: DocumentLog, delay: float = DELAY_SECONDS) -> None:
        self._log = log_
        self._delay = delay
        # How many updates each has got since it was looked after.
        self._touched: Counter[str] = Counter()
        self._hopeless: set[str] = set()
        self._is_due = asyncio.Event()
        self._not_before = 0.0
        self._has_ended = False
        self._task: asyncio.Task[None] | None = None

    def touch(self, document_ids: Iterable[str]) -> None:
        """These documents were appended to; each is named once for each update."""
        if self._has_ended:
            return
        touched = Counter(document_ids)
        self._touched.update(touched)
        if any(self._touched[document_id] >= DUE_UPDATES for document_id in touched):
            self._is_due.set()
        if self._task is None or self._task.done() or self._task.get_loop() is not asyncio.get_running_loop():
            # An event belongs to a loop, and tests make new ones.
            is_due, self._is_due = self._is_due.is_set(), asyncio.Event()
            if is_due:
                self._is_due.set()
            self._task = asyncio.get_running_loop().create_task(self._run())

    async def stop(self) -> None:
        """End; what is being compacted is finished or left as it was, and nothing more is begun."""
        self._has_ended = True
        if self._task is not None:
            self._task.cancel()

    async def round(self) -> None:
        """Look after what was touched since the last round."""
        touched, self._touched = self._touched, Counter()
        self._is_due.clear()
        began = time.monotonic()
        try:
            await self._make_versions(touched)
            run = self._log.database.run
            due = await run(queries_compaction.due, set(touched) - self._hopeless, DUE_UPDATES, DUE_BYTES)
            # Those first that get the most edits.
            for document_id in sorted(due, key=touched.__getitem__, reverse=True):
                await self._compact(document_id)
        except DatabaseUnavailable:
            # The writer says so, and goes on trying; so do we.
            self._touched.update(touched)
        except RtcError as error:
            log.error("Compaction: %s", error)
        now = time.monotonic()
        self._not_before = now + (now - began) / _SHARE

    async def _run(self) -> None:
        while self._touched:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._is_due.wait(), self._delay)
                await asyncio.sleep(min(self._delay, self._not_before - time.monotonic()))
            await self.round()

    async def _make_versions(self, touched: Iterable[str]) -> None:
        policy = self._log.policy
        if policy.automatic_versions and not self._log.database.is_sqlite:
            await self._log.database.run(
                versions.make_automatic, sorted(touched), policy.version_seconds, policy.automatic_versions
            )

    async def _compact(self, document_id: str) -> None:
        try:
            # Another process may be at it already: then it is done.
            report = await self._log.compact(document_id, wait=False)
        except DatabaseUnavailable:
            raise
        except RtcError as error:
            # Not tried again with each edit; `jupyter-rtc compact` says it too.
            self._hopeless.add(document_id)
            log.error("document=%s can't be compacted: %s", document_id, error)
        else:
            if not report.changed:
                return
            log.info(
                "document=%s compacted: %d updates and %d bytes are %d and %d now",
                document_id,
                report.before.updates,
                report.before.size,
                report.after.updates,
                report.after.size,
            )
