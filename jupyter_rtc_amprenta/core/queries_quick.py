"""Appending in one statement: what nearly every append is. The connection comes first.

PostgreSQL alone. `queries.append` asks, locks, looks for an earlier try, writes, counts and tells: seven ways to the
database and back, and a transaction around them. This does the same where all is as expected; what is not, it leaves.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

from sqlalchemy import Connection

from .crypto import EncryptionKeys
from .queries import CHANNEL, Pending, row_of
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
    names = ("documents", "generations", "epochs", "counts", "sizes")
    parameters = dict(zip(names, map(list, zip(*wanted, strict=True)), strict=True))
    generations = dict(zip(parameters["documents"], parameters["generations"], strict=True))
    parameters |= _columns(by_document, generations, keys)
    parameters |= {"most": max_document_bytes, "time": now(), "channel": CHANNEL}
    rows = connection.exec_driver_sql(_APPEND, parameters).all()
    return {row.document_id: [row.before + n + 1 for n in range(len(by_document[row.document_id]))] for row in rows}


def _document(pending: Pending) -> str:
    return pending.document_id


def _wanted(document_id: str, updates: Sequence[Pending]) -> tuple[str, int, int | None, int, int] | None:
    """What the document must be; None: its updates don't agree on it."""
    # Where any generation is right, it is the first one nearly always.
    generations = {pending.generation or 1 for pending in updates}
    epochs = {pending.lease_epoch for pending in updates}
    if len(generations) > 1 or len(epochs) > 1:
        return None
    size = sum(len(pending.payload) for pending in updates)
    return document_id, generations.pop(), epochs.pop(), len(updates), size


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
