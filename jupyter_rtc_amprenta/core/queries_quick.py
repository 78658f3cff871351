"""Appending and reading in as little as can be: what nearly all of it is. The connection comes first.

`queries.append` asks, locks, looks for an earlier try, writes, counts and tells: seven ways to the database and back,
and a transaction around them. This does the same where all is as expected; what is not, it leaves. In PostgreSQL it is
one statement, in a local store two. `queries_history.read_history` reads any document as of any position, in one
statement that takes PostgreSQL longer to plan than to run; here is the newest state of one that is not large.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from itertools import accumulate, count, groupby, pairwise, repeat
from typing import Any, NamedTuple

from sqlalchemy import Connection

from .crypto import EncryptionKeys, snapshot_place
from .queries import CHANNEL, Pending, row_of
from .queries_history import Entry, History, entries_of
from .schema import now

# The documents that are as expected are locked in the order of their ids, so that two writers can't wait for each
# other. What is checked of a row is checked again once it is locked.
_APPEND = """
WITH wanted AS (
  SELECT * FROM unnest(%(documents)s::text[], %(generations)s::bigint[], %(epochs)s::bigint[], %(counts)s::bigint[],
    %(sizes)s::bigint[]) AS wanted (document_id, generation, epoch, count, size)
), locked AS (
  SELECT document_id, wanted.count, wanted.size FROM yjs_documents known JOIN wanted USING (document_id)
  WHERE known.generation = wanted.generation
    AND (wanted.epoch IS NULL OR known.lease_epoch = wanted.epoch)
    AND (%(most)s = 0 OR known.snapshot_bytes + known.tail_bytes + wanted.size <= %(most)s)
  ORDER BY document_id FOR NO KEY UPDATE OF known
), counted AS (
  UPDATE yjs_documents known SET seq = known.seq + locked.count, tail_bytes = known.tail_bytes + locked.size,
    updated_at = %(time)s
  FROM locked WHERE known.document_id = locked.document_id
  RETURNING known.document_id, known.generation, known.seq - locked.count AS before, known.seq
), appended AS (
  INSERT INTO yjs_updates
    (document_id, generation, seq, writer, writer_seq, payload, metadata, key_id, created_at)
  SELECT document_id, counted.generation, counted.before + new.place, new.writer, new.writer_seq, new.payload,
    new.metadata, new.key_id, %(time)s
  FROM unnest(%(document_id)s::text[], %(place)s::bigint[], %(writer)s::text[], %(writer_seq)s::bigint[],
    %(payload)s::bytea[], %(metadata)s::bytea[], %(key_id)s::text[])
    AS new (document_id, place, writer, writer_seq, payload, metadata, key_id) JOIN counted USING (document_id)
)
SELECT document_id, before, pg_notify(%(channel)s, document_id || ' ' || generation || ' ' || seq) FROM counted
"""

# The same for one document, which nearly every batch is about, and how it is read: with its newest snapshot and all
# that came after it, in one row; of a large one there is nothing in it. These functions are in the schema (migration
# 0006), where their plans are kept: to plan takes longer than to run.
_APPEND_TO_ONE = """
SELECT %(document)s AS document_id, rtc_append_updates AS before FROM rtc_append_updates(
  %(document)s, %(generation)s, %(epoch)s, %(count)s, %(size)s, %(most)s, %(time)s, %(channel)s, %(place)s::bigint[],
  %(writer)s::text[], %(writer_seq)s::bigint[], %(payload)s::bytea[], %(metadata)s::bytea[], %(key_id)s::text[])
WHERE rtc_append_updates IS NOT NULL
"""
_READ = "SELECT * FROM rtc_read_document(%(document)s, %(most)s)"

# SQLite's two: nobody is told, since one process has the file, and the transaction has its lock.
_COUNT_IN_FILE = """
UPDATE yjs_documents SET seq = seq + :count, tail_bytes = tail_bytes + :size, updated_at = :time
WHERE document_id = :document AND generation = :generation AND (:epoch IS NULL OR lease_epoch = :epoch)
  AND (:most = 0 OR snapshot_bytes + tail_bytes + :size <= :most)
RETURNING seq - :count
"""
_APPEND_TO_FILE = """
INSERT INTO yjs_updates (document_id, generation, seq, writer, writer_seq, payload, metadata, key_id, created_at)
VALUES (:document_id, :generation, :seq, :writer, :writer_seq, :payload, :metadata, :key_id, :created_at)
"""
# Of a snapshot or a tail, for which the one statement is the faster way. (What is not counted yet has no tail there.)
_MOST_BYTES = 2**19

# Before, SQLite did not know RETURNING.
_RETURNING = (3, 35, 0)
# As SQLAlchemy writes a time into SQLite.
_TIME_IN_FILE = "%Y-%m-%d %H:%M:%S.%f"


def append(
    connection: Connection, batch: Sequence[Pending], keys: EncryptionKeys, max_document_bytes: int
) -> dict[str, list[int]]:
    """Append what no earlier try can have appended.

    Args:
        batch: updates that were never handed to the database before.

    Returns:
        by document: the positions of its updates, in their order. A document that is not among them got nothing: it
        is not there, was reset, is leased to another, or is full. `queries.append` tells, or makes it.

    Raises:
        DatabaseError: nothing was appended.
        DatabaseUnavailable: nothing is known; another try must look for this one.
    """
    by_document = {
        document_id: list(updates)
        for document_id, updates in groupby(sorted(batch, key=_document), key=_document)
    }
    wanted = [_wanted(document_id, updates) for document_id, updates in by_document.items()]
    if not (wanted := [values for values in wanted if values is not None]):
        return {}
    if connection.dialect.name == "sqlite":
        if sqlite3.sqlite_version_info < _RETURNING:
            return {}
        return _append_to_file(connection, wanted, by_document, keys, max_document_bytes)
    parameters: dict[str, object] = {"most": max_document_bytes, "time": now(), "channel": CHANNEL}
    parameters |= _columns(by_document, {one.document: one.generation for one in wanted}, keys)
    if len(wanted) == 1:
        rows = connection.exec_driver_sql(_APPEND_TO_ONE, parameters | wanted[0]._asdict())
    else:
        names = ("documents", "generations", "epochs", "counts", "sizes")
        rows = connection.exec_driver_sql(
            _APPEND, parameters | dict(zip(names, map(list, zip(*wanted, strict=True)), strict=True))
        )
    return {row.document_id: _positions(row.before, by_document[row.document_id]) for row in rows}


def read_quickly(cursor: Any, document_id: str, keys: EncryptionKeys) -> History | None:
    """Read the newest state of a document in PostgreSQL; the cursor is psycopg2's.

    Returns:
        None where it is large, or not there, or not as a whole: `queries_history.read_history` tells.

    Raises:
        EncryptionError: it can't be decrypted with these keys.
    """
    cursor.execute(_READ, {"document": document_id, "most": _MOST_BYTES})
    generation, seq, snapshot_seq, payload, key_id, tail, lengths, *sealed = cursor.fetchone()
    start, lengths = snapshot_seq or 0, lengths or ()
    if seq is None or start + len(lengths) != seq:
        return None
    snapshot = None
    if snapshot_seq is not None:
        place = snapshot_place(document_id, generation, snapshot_seq)
        snapshot = keys.open(bytes(payload), key_id, document_id, place)
    tail, ends = bytes(tail or b""), accumulate(lengths, initial=0)
    payloads = [tail[begin:end] for begin, end in pairwise(ends)]
    if sealed[0] is None:
        return History(generation, seq, snapshot, tuple(map(Entry, count(start + 1), payloads)))
    rows = zip(repeat(None), count(start + 1), payloads, *sealed, strict=False)
    return History(generation, seq, snapshot, entries_of(rows, document_id, generation, keys))


class _Wanted(NamedTuple):
    """What a document must be, and what it gets."""

    document: str
    generation: int
    epoch: int | None
    count: int
    size: int


def _append_to_file(
    connection: Connection,
    wanted: Sequence[_Wanted],
    by_document: dict[str, list[Pending]],
    keys: EncryptionKeys,
    max_document_bytes: int,
) -> dict[str, list[int]]:
    appended: dict[str, list[int]] = {}
    time = now().strftime(_TIME_IN_FILE)
    for one in wanted:
        counted = one._asdict() | {"most": max_document_bytes, "time": time}
        before = connection.exec_driver_sql(_COUNT_IN_FILE, counted).scalar()
        if before is None:
            continue
        updates = by_document[one.document]
        appended[one.document] = _positions(before, updates)
        rows = [
            row_of(pending, one.generation, keys) | {"generation": one.generation, "seq": seq, "created_at": time}
            for pending, seq in zip(updates, appended[one.document], strict=True)
        ]
        connection.exec_driver_sql(_APPEND_TO_FILE, rows)
    return appended


def _positions(before: int, updates: Sequence[Pending]) -> list[int]:
    return list(range(before + 1, before + 1 + len(updates)))


def _document(pending: Pending) -> str:
    return pending.document_id


def _wanted(document_id: str, updates: Sequence[Pending]) -> _Wanted | None:
    """What the document must be; None: its updates don't agree on it."""
    # Where any generation is right, it is the first one nearly always.
    generations = {pending.generation or 1 for pending in updates}
    epochs = {pending.lease_epoch for pending in updates}
    if len(generations) > 1 or len(epochs) > 1:
        return None
    size = sum(len(pending.payload) for pending in updates)
    return _Wanted(document_id, generations.pop(), epochs.pop(), len(updates), size)


def _columns(
    by_document: dict[str, list[Pending]], generations: dict[str, int], keys: EncryptionKeys
) -> dict[str, list[object]]:
    names = ("document_id", "place", "writer", "writer_seq", "payload", "metadata", "key_id")
    columns: dict[str, list[object]] = {name: [] for name in names}
    for document_id, generation in generations.items():
        for place, pending in enumerate(by_document[document_id], 1):
            row = row_of(pending, generation, keys) | {"place": place}
            for name in names:
                columns[name].append(row[name])
    return columns
