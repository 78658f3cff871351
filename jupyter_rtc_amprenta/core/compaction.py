"""Compaction: a document's updates become one snapshot, and its older ones go.

What is kept of a document afterwards:

    snapshots  at each position whose state must stay known (a version; a user's server: what a file was saved from)
    snapshot   at the base: everything before the retained history, in one
    updates    after the base: the retained history, which the timeline shows
    snapshot   at the head: what opening the document reads

All in one transaction, under the lock on the document's row, of the rows in the database and never of a room's memory.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from pycrdt import Doc, merge_updates
from sqlalchemy import Connection

from . import queries, queries_compaction
from .causal import load_at_once
from .crypto import EncryptionKeys
from .errors import ContentError, ProtocolError
from .queries_compaction import Stored
from .queries_history import first_kept, read_history
from .schema import now

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
) -> Report:
    """Compact one document.

    Args:
        dry_run: do all of it, and take it back.

    Raises:
        DocumentNotFound: the log has no such document.
        ContentError: it holds bytes that are no Yjs update, which nobody can merge.
        EncryptionError: it can't be decrypted with these keys.
        DatabaseUnavailable, DatabaseError: nothing was changed.
    """
    generation, seq = queries.lock_document(connection, document_id)
    before = queries_compaction.stored(connection, document_id)
    savepoint = connection.begin_nested()
    if seq:
        _compact(connection, document_id, generation, seq, retention, kept_positions(connection, document_id), keys)
    after = queries_compaction.stored(connection, document_id)
    if dry_run:
        savepoint.rollback()
    else:
        savepoint.commit()
    return Report(document_id, before, after)


def _compact(
    connection: Connection,
    document_id: str,
    generation: int,
    seq: int,
    retention: Retention,
    kept: Collection[int],
    keys: EncryptionKeys,
) -> None:
    begin = min(first_kept(connection, document_id, generation) - 1, seq)
    base = max(begin, _base(connection, document_id, generation, seq, retention))
    known = queries_compaction.snapshot_positions(connection, document_id, generation)
    recorded = {position for position in kept if position in known or begin < position <= base}
    needed = recorded | {seq} | ({base} if base else set())
    for position in sorted(needed - known):
        history = read_history(connection, document_id, position, keys)
        state = merge(history.updates)
        time = queries_compaction.appended_at(connection, document_id, generation, position)
        queries_compaction.add_snapshot(connection, document_id, generation, position, state, keys, time)
        if position == seq:
            queries_compaction.note_snapshot(connection, document_id, seq, len(state))
    queries_compaction.remove_merged(connection, document_id, generation, base, known - needed)


def _base(connection: Connection, document_id: str, generation: int, seq: int, retention: Retention) -> int:
    """The last position whose update need not be kept as such."""
    time = now()
    old = queries_compaction.last_before(
        connection, document_id, generation, time - timedelta(seconds=retention.seconds)
    )
    settled = queries_compaction.last_before(
        connection, document_id, generation, time - timedelta(seconds=retention.grace)
    )
    return min(max(old, seq - retention.updates), settled)


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
