"""The SQL of compaction and of re-encryption. The connection comes first.

Whoever changes anything has locked the document.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from sqlalchemy import Connection, Row, Table, bindparam, delete, func, insert, select, update

from . import queries
from .crypto import EncryptionKeys, metadata_place, snapshot_place, update_place
from .errors import DocumentNotFound
from .schema import now, yjs_documents, yjs_snapshots, yjs_updates, yjs_writers

# A writer is one run of a process; after this long nothing of it is tried again. (Were it, the update would be in
# the log twice, which Yjs does not mind.)
_WRITER_MEMORY = timedelta(days=30)


@dataclass(frozen=True)
class Stored:
    """What the log keeps of a document: rows and their bytes as they are stored."""

    updates: int
    snapshots: int
    size: int


class Counted(NamedTuple):
    """How far a document's log has come, its newest snapshot, and the bytes since that."""

    generation: int
    seq: int
    snapshot_seq: int
    tail_bytes: int
    created_at: datetime

    def continues(self, before: Counted) -> bool:
        """Whether it is the same document, to which nothing was done but appending."""
        identity = (self.created_at, self.generation, self.snapshot_seq)
        return identity == (before.created_at, before.generation, before.snapshot_seq)


def take_turn(connection: Connection, document_id: str, *, wait: bool) -> bool:
    """Let nobody else compact the document until the transaction ends.

    A lock of its own, which nobody needs who appends. (A local store is one process's, which does one at a time.)

    Args:
        wait: until nobody else does.

    Returns:
        whether it is one's turn.
    """
    if connection.dialect.name != "postgresql":
        return True
    key = func.hashtextextended(f"rtc compaction {document_id}", 0)
    if not wait:
        return connection.execute(select(func.pg_try_advisory_xact_lock(key))).scalar_one()
    connection.execute(select(func.pg_advisory_xact_lock(key)))
    return True


def counted(connection: Connection, document_id: str, *, lock: bool) -> Counted:
    """How far a document's log has come.

    Args:
        lock: lock the document until the transaction ends, as `queries.lock_document` does.

    Raises:
        DocumentNotFound: the log has no such document.
    """
    if lock:
        row = queries.lock_row(connection, document_id)
        return Counted(*(getattr(row, name) for name in Counted._fields))
    columns = [yjs_documents.c[name] for name in Counted._fields]
    found = connection.execute(select(*columns).filter_by(document_id=document_id)).one_or_none()
    if found is None:
        raise DocumentNotFound(f"There is no document {document_id}.")
    return Counted(*found)


def stored(connection: Connection, document_id: str) -> Stored:
    """How much the log keeps of a document."""
    count: list[int] = []
    size = 0
    for table in (yjs_updates, yjs_snapshots):
        query = select(func.count(), func.coalesce(func.sum(func.length(table.c.payload)), 0))
        rows, its_bytes = connection.execute(query.where(table.c.document_id == document_id)).one()
        count.append(rows)
        size += int(its_bytes)
    return Stored(*count, size)


def document_ids(connection: Connection) -> list[str]:
    """Every document of the log."""
    return list(connection.execute(select(yjs_documents.c.document_id).order_by(yjs_documents.c.document_id)).scalars())


def due(connection: Connection, among: Collection[str], updates: int, size: int) -> list[str]:
    """Which of these documents have got so many updates, or so many bytes, since their last snapshot."""
    table = yjs_documents.c
    many = (table.seq - table.snapshot_seq >= updates) | (table.tail_bytes >= size)
    query = select(table.document_id).where(table.document_id.in_(sorted(among)), many)
    return list(connection.execute(query).scalars())


def last_before(connection: Connection, document_id: str, generation: int, time: datetime) -> int:
    """The last position whose update came before `time`; 0: none is kept that did."""
    table = yjs_updates.c
    query = select(func.max(table.seq)).filter_by(document_id=document_id, generation=generation)
    return connection.execute(query.where(table.created_at < time)).scalar() or 0


def snapshot_positions(connection: Connection, document_id: str, generation: int) -> set[int]:
    """Where there are snapshots."""
    query = select(yjs_snapshots.c.seq).filter_by(document_id=document_id, generation=generation)
    return set(connection.execute(query).scalars())


@dataclass(frozen=True)
class Snapshot:
    """The state that all updates up to a position make, ready to be written.

    Attributes:
        size: of the state, in bytes.
    """

    row: dict[str, Any]
    size: int


def snapshot(
    connection: Connection, document_id: str, generation: int, seq: int, state: bytes, keys: EncryptionKeys
) -> Snapshot:
    """Compress and encrypt what is to be kept as a snapshot.

    Raises:
        NoResultFound: there is no update at this position.
    """
    payload, key_id = keys.seal(state, document_id, snapshot_place(document_id, generation, seq))
    at = {"document_id": document_id, "generation": generation, "seq": seq}
    time = connection.execute(select(yjs_updates.c.created_at).filter_by(**at)).scalar_one()
    return Snapshot(at | {"payload": payload, "key_id": key_id, "created_at": time}, len(state))


def add_snapshot(connection: Connection, new: Snapshot) -> None:
    """Keep it."""
    connection.execute(insert(yjs_snapshots).values(new.row))


def remove_merged(
    connection: Connection, document_id: str, generation: int, until: int, snapshots: Iterable[int]
) -> None:
    """Remove the updates up to a position, which a snapshot stands for, and snapshots that nobody needs."""
    queries.remember_writers(connection, document_id, until)
    at = {"document_id": document_id, "generation": generation}
    connection.execute(delete(yjs_updates).filter_by(**at).where(yjs_updates.c.seq <= until))
    connection.execute(delete(yjs_snapshots).filter_by(**at).where(yjs_snapshots.c.seq.in_(sorted(snapshots))))
    old = yjs_writers.c.merged_at < now() - _WRITER_MEMORY
    connection.execute(delete(yjs_writers).where(yjs_writers.c.document_id == document_id, old))


def note_snapshot(connection: Connection, document_id: str, found: Counted, size: int) -> None:
    """The newest snapshot is where the document was found, and this large; what came since is its tail."""
    rest = yjs_documents.c.tail_bytes - found.tail_bytes
    values = {"snapshot_seq": found.seq, "snapshot_bytes": size, "tail_bytes": rest}
    connection.execute(update(yjs_documents).filter_by(document_id=document_id).values(values))


def count_tails(connection: Connection, after: str, most: int) -> str | None:
    """Count what documents hold that were there before it was counted; some of them, in the order of their ids.

    Args:
        after: the last id of the call before; "": begin.
        most: at most so many documents.

    Returns:
        the last id; None: there are no more.
    """
    table, sizes = yjs_documents.c, yjs_updates.c
    uncounted = (table.tail_bytes == 0) & (table.snapshot_seq == 0) & (table.seq > 0)
    query = select(table.document_id).where(uncounted, table.document_id > after).order_by(table.document_id)
    ids = connection.execute(query.limit(most).with_for_update(key_share=True)).scalars().all()
    size = select(func.coalesce(func.sum(func.length(sizes.payload)), 0)).where(
        sizes.document_id == table.document_id, sizes.generation == table.generation
    )
    counted = update(yjs_documents).where(table.document_id.in_(ids)).values(tail_bytes=size.scalar_subquery())
    connection.execute(counted)
    return ids[-1] if ids else None


def encrypt_anew(connection: Connection, document_id: str, keys: EncryptionKeys, most: int) -> int:
    """Encrypt up to `most` rows of each table with the first key, which are not yet.

    Returns:
        how many there were.

    Raises:
        EncryptionError: one of them can't be decrypted; nothing is changed.
    """
    return sum(_encrypt_rows(connection, document_id, table, keys, most) for table in (yjs_updates, yjs_snapshots))


def _encrypt_rows(connection: Connection, document_id: str, table: Table, keys: EncryptionKeys, most: int) -> int:
    other = table.c.key_id.is_distinct_from(keys.key_id)
    query = select(table).filter_by(document_id=document_id).where(other).order_by(table.c.seq).limit(most)
    rows = [
        {"at_generation": row.generation, "at_seq": row.seq, "key_id": keys.key_id}
        | {
            column: keys.seal(keys.open(bytes(value), row.key_id, document_id, place), document_id, place)[0]
            for column, value, place in _sealed(row, table)
        }
        for row in connection.execute(query).all()
    ]
    for columns in {frozenset(row) for row in rows}:
        _replace(connection, document_id, table, [row for row in rows if row.keys() == columns])
    return len(rows)


def _sealed(row: Row[Any], table: Table) -> list[tuple[str, bytes, bytes]]:
    """What of a row is encrypted: column, value and place."""
    if table is yjs_snapshots:
        return [("payload", row.payload, snapshot_place(row.document_id, row.generation, row.seq))]
    place = (row.document_id, row.generation, row.writer, row.writer_seq)
    values = [("payload", row.payload, update_place(*place)), ("metadata", row.metadata, metadata_place(*place))]
    return [part for part in values if part[1] is not None]


def _replace(connection: Connection, document_id: str, table: Table, rows: Sequence[dict[str, Any]]) -> None:
    statement = update(table).where(
        table.c.document_id == document_id,
        table.c.generation == bindparam("at_generation"),
        table.c.seq == bindparam("at_seq"),
    )
    names = [name for name in rows[0] if not name.startswith("at_")]
    connection.execute(statement.values({name: bindparam(name) for name in names}), rows)


def rows_not_encrypted_with(connection: Connection, key_id: str | None) -> int:
    """How many updates and snapshots are plain, or encrypted with another key."""
    counts = [
        connection.execute(select(func.count()).where(table.c.key_id.is_distinct_from(key_id))).scalar_one()
        for table in (yjs_updates, yjs_snapshots)
    ]
    return sum(counts)
