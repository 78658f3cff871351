"""Compaction: a document's updates become one snapshot, and its older ones go.

What is kept of a document afterwards:

    snapshots  at each position whose state must stay known (a version; a user's server: what a file was saved from)
    snapshot   at the base: everything before the retained history, in one
    updates    after the base: the retained history, which the timeline shows
    snapshot   at the head: what opening the document reads

All in one transaction, of the rows in the database and never of a room's memory, and one compaction of a document at a
time. To merge takes long where a document is large, and updates that are in the log do not change: so it is done first,
and the document's row is locked for what remains. Whoever appends waits for that alone. If the document is another one
by then, it is begun anew.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from pycrdt import Doc, merge_updates
from sqlalchemy import Connection
from sqlalchemy.exc import NoResultFound

from . import queries_compaction
from .causal import load_at_once
from .crypto import EncryptionKeys
from .errors import ContentError, DatabaseError, HistoryCompacted, ProtocolError
from .queries_compaction import Counted, Snapshot, Stored
from .queries_history import first_kept, read_history
from .schema import now

# So often it is tried to merge before the lock; after that, who appends must wait.
_ATTEMPTS = 2

# Tells which positions of a document must stay readable, within the transaction.
KeptPositions = Callable[[Connection, str], Collection[int]]


@dataclass(frozen=True)
class Retention:
    """How much of a document's history is kept as single updates.

    Attributes:
        seconds: older updates are merged.
        updates: at most so many are kept.
        grace: younger updates are kept whatever their number, in seconds: somebody who has just learned a position
            may not have recorded it yet.
    """

    seconds: float = 7 * 86400.0
    updates: int = 10_000
    grace: float = 60.0


@dataclass(frozen=True)
class Report:
    """What compaction did (or, as a dry run, would do) with a document."""

    document_id: str
    before: Stored
    after: Stored

    @property
    def changed(self) -> bool:
        """Whether there was anything to do."""
        return self.before != self.after


def compact(
    connection: Connection,
    document_id: str,
    retention: Retention,
    kept_positions: KeptPositions,
    keys: EncryptionKeys,
    *,
    dry_run: bool = False,
    wait: bool = True,
) -> Report:
    """Compact one document.

    Args:
        dry_run: do all of it, and take it back.
        wait: while somebody else compacts it; else nothing is done then.

    Raises:
        DocumentNotFound: the log has no such document.
        ContentError: it holds bytes that are no Yjs update, which nobody can merge.
        EncryptionError: it can't be decrypted with these keys.
        DatabaseUnavailable, DatabaseError: nothing was changed.
    """
    if not queries_compaction.take_turn(connection, document_id, wait=wait):
        stored = queries_compaction.stored(connection, document_id)
        return Report(document_id, stored, stored)
    savepoint = connection.begin_nested()
    report = _Compaction(connection, document_id, retention, kept_positions, keys).run()
    if dry_run:
        savepoint.rollback()
    else:
        savepoint.commit()
    return report


class _Overtaken(Exception):
    """What was merged is not what has to be, by now."""


@dataclass(frozen=True)
class _Compaction:
    """See `compact`."""

    connection: Connection
    document_id: str
    retention: Retention
    kept_positions: KeptPositions
    keys: EncryptionKeys

    def run(self) -> Report:
        # A local store's transaction has the lock from its beginning.
        for _ in range(0 if self.connection.dialect.name == "sqlite" else _ATTEMPTS):
            try:
                with self.connection.begin_nested():
                    return self._attempt(is_locked=False)
            except (_Overtaken, HistoryCompacted, DatabaseError, NoResultFound):
                # It was reset, or a position was recorded. If rows are missing all the same, it shows in the end.
                continue
        return self._attempt(is_locked=True)

    def _attempt(self, *, is_locked: bool) -> Report:
        found = queries_compaction.counted(self.connection, self.document_id, lock=is_locked)
        before = queries_compaction.stored(self.connection, self.document_id)
        if found.seq:
            self._compact(found, is_locked=is_locked)
        return Report(self.document_id, before, queries_compaction.stored(self.connection, self.document_id))

    def _compact(self, found: Counted, *, is_locked: bool) -> None:
        at = (self.connection, self.document_id, found.generation)
        begin = self._begin(found)
        base = max(begin, self._base(found))
        known = queries_compaction.snapshot_positions(*at)
        needed = self._needed(found, begin, base, known)
        new = {position: self._snapshot(found, position) for position in sorted(needed - known)}
        if not is_locked:
            self._lock(found, begin, known)
            needed = self._needed(found, begin, base, known)
            if not needed <= known | new.keys():
                raise _Overtaken
        for position in sorted(needed - known):
            queries_compaction.add_snapshot(self.connection, new[position])
        if found.seq in new:
            queries_compaction.note_snapshot(self.connection, self.document_id, found, new[found.seq].size)
        queries_compaction.remove_merged(*at, base, known - needed)

    def _lock(self, found: Counted, begin: int, known: Collection[int]) -> None:
        """Lock the document, which must be as it was found, but for what was appended."""
        locked = queries_compaction.counted(self.connection, self.document_id, lock=True)
        there = queries_compaction.snapshot_positions(self.connection, self.document_id, found.generation)
        if not locked.continues(found) or self._begin(found) != begin or there != known:
            raise _Overtaken

    def _begin(self, found: Counted) -> int:
        """The position before the first update that is kept as such."""
        return min(first_kept(self.connection, self.document_id, found.generation) - 1, found.seq)

    def _base(self, found: Counted) -> int:
        """The last position whose update need not be kept as such."""
        time = now()
        old, settled = (
            queries_compaction.last_before(
                self.connection, self.document_id, found.generation, time - timedelta(seconds=seconds)
            )
            for seconds in (self.retention.seconds, self.retention.grace)
        )
        return min(max(old, found.seq - self.retention.updates), settled, found.seq)

    def _needed(self, found: Counted, begin: int, base: int, known: Collection[int]) -> set[int]:
        """Where there must be snapshots."""
        kept = self.kept_positions(self.connection, self.document_id)
        recorded = {position for position in kept if position in known or begin < position <= base}
        return recorded | {found.seq} | ({base} if base else set())

    def _snapshot(self, found: Counted, position: int) -> Snapshot:
        """The state at a position."""
        at = (self.connection, self.document_id, found.generation, position)
        state = merge(read_history(self.connection, self.document_id, position, self.keys).updates)
        return queries_compaction.snapshot(*at, state, self.keys)


def merge(updates: Sequence[bytes]) -> bytes:
    """One update that does what all of these do, in order.

    Made through a document, which is far smaller and faster than `merge_updates`; but a document leaves out what
    waits for a predecessor that is not there. So it is looked whether anything does.

    Raises:
        ContentError: one of them is no Yjs update.
    """
    document: Doc[Any] = Doc()
    try:
        waiting = load_at_once(document, updates)
    except ProtocolError as error:
        raise ContentError("The document holds bytes that are no Yjs update.") from error
    state = document.get_update()
    return merge_updates(state, *waiting) if waiting else state
