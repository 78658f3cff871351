"""The log's SQL that reads: a document as it is, as it was, and how it came to be. The connection comes first."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, Select, func, select, text

from .crypto import PLAIN, EncryptionKeys, metadata_place, snapshot_place, update_place
from .errors import DatabaseError, DocumentNotFound, HistoryCompacted
from .schema import yjs_documents, yjs_snapshots, yjs_updates


@dataclass(frozen=True)
class Entry:
    """One update of the log."""

    seq: int
    payload: bytes
    created_at: datetime
    metadata: bytes | None = None


@dataclass(frozen=True)
class History:
    """A document as the log holds it: apply `snapshot`, if there is one, then `entries` in order.

    Attributes:
        generation: raised when the document was reset.
        seq: the last position; 0 where nothing was ever appended.
        snapshot_at: when the document was in the snapshot's state.
    """

    generation: int
    seq: int
    snapshot: bytes | None
    entries: tuple[Entry, ...]
    snapshot_at: datetime | None = None

    @property
    def updates(self) -> list[bytes]:
        """All that must be applied, in order."""
        first = [] if self.snapshot is None else [self.snapshot]
        return first + [entry.payload for entry in self.entries]


def begin_reading(connection: Connection) -> None:
    """Before anything else in a transaction: all its statements see one state of the database.

    An append or a compaction that commits between two of them would tear the picture.
    """
    if connection.dialect.name == "postgresql":
        connection.execute(text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY"))


def read_in_one_picture(connection: Connection, document_id: str, *args: Any, **options: Any) -> History:
    """`read_history` in a transaction of its own, without locking anything."""
    begin_reading(connection)
    return read_history(connection, document_id, *args, **options)


def read_history(
    connection: Connection,
    document_id: str,
    until: int | None = None,
    keys: EncryptionKeys = PLAIN,
    *,
    whole: bool = False,
) -> History:
    """Read a document: a snapshot and all that came after it.

    The caller has either called `begin_reading` or locked the document.

    Args:
        until: the position to stop at; None reads to the end.
        keys: what it may be encrypted with.
        whole: begin with the oldest snapshot that the kept updates continue, not with the newest.

    Raises:
        DocumentNotFound: the log has no such document.
        HistoryCompacted: the state at that position is not kept any more.
        EncryptionError: it can't be decrypted with these keys.
        DatabaseError: rows are missing: the document is not what was acknowledged.
    """
    columns = (yjs_documents.c.generation, yjs_documents.c.seq)
    document = connection.execute(select(*columns).filter_by(document_id=document_id)).one_or_none()
    if document is None:
        raise DocumentNotFound(f"There is no document {document_id}.")
    limit = document.seq if until is None else min(until, document.seq)
    at = {"document_id": document_id, "generation": document.generation}
    begin = first_kept(connection, document_id, document.generation) - 1 if whole else limit
    snapshot = connection.execute(_newest_snapshot(at, min(begin, limit))).one_or_none()
    rows = connection.execute(_rows(at, snapshot.seq if snapshot else 0, limit)).all()
    if (snapshot.seq if snapshot else 0) + len(rows) != limit:
        if until is not None and until < document.seq:
            raise HistoryCompacted(f"The document's state at position {until} is not kept any more.")
        raise DatabaseError("Updates are missing in the database: restore it from a backup.")
    entries = tuple(_entry(row, at, keys) for row in rows)
    if snapshot is None:
        return History(document.generation, limit, None, entries)
    place = snapshot_place(document_id, document.generation, snapshot.seq)
    # psycopg2 gives memoryviews, which pycrdt refuses.
    payload = keys.open(bytes(snapshot.payload), snapshot.key_id, document_id, place)
    return History(document.generation, limit, payload, entries, snapshot.created_at)


@dataclass(frozen=True)
class News:
    """What the log has beyond a position.

    Attributes:
        seq: the last position now.
        updates: what must be applied, in order, without the reader's own.
        whole: whether these are all of the document, since the updates after the position are merged by now.
    """

    generation: int
    seq: int
    updates: list[bytes]
    whole: bool = False


def read_since(
    connection: Connection, document_id: str, since: int, writer: str, keys: EncryptionKeys = PLAIN
) -> News:
    """Read what others have appended after a position, in a transaction of its own.

    Args:
        since: the position that the reader has.
        writer: the reader's own name; what it wrote it has.
        keys: what the document may be encrypted with.

    Raises:
        DocumentNotFound: the log has no such document.
        EncryptionError: it can't be decrypted with these keys.
    """
    begin_reading(connection)
    columns = (yjs_documents.c.generation, yjs_documents.c.seq)
    document = connection.execute(select(*columns).filter_by(document_id=document_id)).one_or_none()
    if document is None:
        raise DocumentNotFound(f"There is no document {document_id}.")
    at = {"document_id": document_id, "generation": document.generation}
    rows = connection.execute(_rows(at, since, document.seq)).all()
    if len(rows) == document.seq - since:
        updates = [_entry(row, at, keys).payload for row in rows if row.writer != writer]
        return News(document.generation, document.seq, updates)
    # Positions have no gap: what is missing was merged, or the document was reset.
    history = read_history(connection, document_id, keys=keys)
    return News(history.generation, history.seq, history.updates, whole=True)


def first_kept(connection: Connection, document_id: str, generation: int) -> int:
    """The position of the first update that is kept as such; where none is, one beyond all positions."""
    query = select(func.min(yjs_updates.c.seq)).filter_by(document_id=document_id, generation=generation)
    first = connection.execute(query).scalar()
    return first if first is not None else 2**62


def _newest_snapshot(at: dict[str, Any], limit: int) -> Select[Any]:
    table = yjs_snapshots.c
    query = select(table.seq, table.payload, table.key_id, table.created_at).filter_by(**at)
    return query.where(table.seq <= limit).order_by(table.seq.desc()).limit(1)


def _rows(at: dict[str, Any], after: int, limit: int) -> Select[Any]:
    table = yjs_updates.c
    columns = (table.seq, table.writer, table.writer_seq, table.payload, table.metadata)
    columns += (table.key_id, table.created_at)
    return select(*columns).filter_by(**at).where(table.seq > after, table.seq <= limit).order_by(table.seq)


def _entry(row: Row[Any], at: dict[str, Any], keys: EncryptionKeys) -> Entry:
    document_id = at["document_id"]
    payload, metadata = bytes(row.payload), None if row.metadata is None else bytes(row.metadata)
    if row.key_id is not None:
        place = (document_id, at["generation"], row.writer, row.writer_seq)
        payload = keys.open(payload, row.key_id, document_id, update_place(*place))
        if metadata is not None:
            metadata = keys.open(metadata, row.key_id, document_id, metadata_place(*place))
    return Entry(row.seq, payload, row.created_at, metadata)
