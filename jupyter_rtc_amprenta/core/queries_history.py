"""The log's SQL that reads: a document as it is, as it was, and how it came to be. The connection comes first."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import (
    CTE,
    BigInteger,
    ColumnElement,
    Connection,
    Integer,
    Select,
    Table,
    bindparam,
    case,
    cast,
    func,
    literal,
    null,
    select,
    type_coerce,
    union_all,
)
from sqlalchemy.types import NullType

from .crypto import PLAIN, EncryptionKeys, metadata_place, snapshot_place, update_place
from .errors import DatabaseError, DocumentNotFound, HistoryCompacted
from .schema import yjs_documents, yjs_snapshots, yjs_updates


class Entry(NamedTuple):
    """One update of the log; when it was appended, and what came along with it, only where the whole was asked for."""

    seq: int
    payload: bytes
    created_at: datetime | None = None
    metadata: bytes | None = None


@dataclass(frozen=True)
class History:
    """A document as the log holds it: apply `snapshot`, if there is one, then `entries` in order.

    Attributes:
        generation: raised when the document was reset.
        seq: the last position; 0 where nothing was ever appended.
        snapshot_at: when the document was in the snapshot's state; only where the whole was asked for.
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


def read_history(
    connection: Connection,
    document_id: str,
    until: int | None = None,
    keys: EncryptionKeys = PLAIN,
    *,
    whole: bool = False,
) -> History:
    """Read a document: a snapshot and all that came after it.

    It is one statement, which sees one state of the database: an append or a compaction that commits meanwhile
    tears nothing, and it is one way to the database and back. Nothing is locked.

    Args:
        until: the position to stop at; None reads to the end.
        keys: what it may be encrypted with.
        whole: begin with the oldest snapshot that the kept updates continue, not with the newest, and read what is
            for people too.

    Raises:
        DocumentNotFound: the log has no such document.
        HistoryCompacted: the state at that position is not kept any more.
        EncryptionError: it can't be decrypted with these keys.
        DatabaseError: rows are missing: the document is not what was acknowledged.
    """
    values = {"document_id": document_id, "until": _BEYOND if until is None else until}
    rows = connection.execute(_WHOLE if whole else _FAST, values).all()
    if not rows:
        raise DocumentNotFound(f"There is no document {document_id}.")
    first, *rows = rows
    generation, last = first.writer_seq, first.seq
    limit = last if until is None else min(until, last)
    snapshot = rows.pop(0) if rows and rows[0].part == _SNAPSHOT else None
    if (snapshot.seq if snapshot else 0) + len(rows) != limit:
        if limit < last:
            raise HistoryCompacted(f"The document's state at position {until} is not kept any more.")
        raise DatabaseError("Updates are missing in the database: restore it from a backup.")
    entries = entries_of(rows, document_id, generation, keys)
    if snapshot is None:
        return History(generation, limit, None, entries)
    place = snapshot_place(document_id, generation, snapshot.seq)
    payload = keys.open(bytes(snapshot.payload), snapshot.key_id, document_id, place)
    return History(generation, limit, payload, entries, snapshot.created_at if whole else None)


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
    """Read what others have appended after a position.

    Args:
        since: the position that the reader has.
        writer: the reader's own name; what it wrote it has.
        keys: what the document may be encrypted with.

    Raises:
        DocumentNotFound: the log has no such document.
        EncryptionError: it can't be decrypted with these keys.
    """
    rows = connection.execute(_SINCE, {"document_id": document_id, "since": since}).all()
    if not rows:
        raise DocumentNotFound(f"There is no document {document_id}.")
    document, *rows = rows
    if len(rows) == document.seq - since:
        others = [row for row in rows if row.writer != writer]
        entries = entries_of(others, document_id, document.writer_seq, keys)
        return News(document.writer_seq, document.seq, [entry.payload for entry in entries])
    # Positions have no gap: what is missing was merged, or the document was reset.
    history = read_history(connection, document_id, keys=keys)
    return News(history.generation, history.seq, history.updates, whole=True)


def first_kept(connection: Connection, document_id: str, generation: int) -> int:
    """The position of the first update that is kept as such; where none is, one beyond all positions."""
    query = select(func.min(yjs_updates.c.seq)).filter_by(document_id=document_id, generation=generation)
    first = connection.execute(query).scalar()
    return first if first is not None else 2**62


def entries_of(
    rows: Iterable[Sequence[Any]], document_id: str, generation: int, keys: EncryptionKeys
) -> tuple[Entry, ...]:
    """Updates as they are read: of each anything, the position, payload, key id, writer, and the writer's own number.

    Raises:
        EncryptionError: one can't be decrypted with these keys.
    """
    # Thousands of them: what is plain takes the short way. psycopg2 gives memoryviews, which pycrdt refuses.
    return tuple(
        [
            Entry(row[1], bytes(row[2]), *row[6:]) if row[3] is None else _decrypted(row, document_id, generation, keys)
            for row in rows
        ]
    )


def _decrypted(row: Sequence[Any], document_id: str, generation: int, keys: EncryptionKeys) -> Entry:
    _, seq, payload, key_id, writer, writer_seq, *rest = row
    place = (document_id, generation, writer, writer_seq)
    payload = keys.open(bytes(payload), key_id, document_id, update_place(*place))
    created_at, metadata = rest or (None, None)
    if metadata is not None:
        metadata = keys.open(bytes(metadata), key_id, document_id, metadata_place(*place))
    return Entry(seq, payload, created_at, metadata)


# --- the statements: one row of the document, perhaps one of a snapshot, and the updates, in this order ---

_BEYOND = 2**62
_DOCUMENT, _SNAPSHOT, _UPDATE = range(3)
_MOST = bindparam("until", type_=BigInteger)


def _of_document(table: Table, document: CTE) -> ColumnElement[bool]:
    return (table.c.document_id == bindparam("document_id")) & (table.c.generation == document.c.generation)


def _part(part: int, *, whole: bool, seq: Any, **given: Any) -> Select[Any]:
    """The columns that all parts have, in the order in which `entries_of` takes them."""
    table = yjs_updates.c
    columns = [table.payload, table.key_id, table.writer, table.writer_seq]
    columns += [table.created_at, table.metadata] if whole else []
    # A database must be told the types of those that are empty.
    values = [given.get(column.name, cast(null(), column.type)).label(column.name) for column in columns]
    return select(literal(part, Integer).label("part"), seq.label("seq"), *values)


def _updates(document: CTE, after: Any, until: Any, *, whole: bool = False, writers: bool = False) -> Select[Any]:
    table = yjs_updates.c
    columns = (table.payload, table.key_id, table.created_at, table.metadata)
    given: dict[str, Any] = {column.name: column for column in columns}
    for column in (table.writer, table.writer_seq):
        # Needed to decrypt; else thousands of them would only be carried along.
        given[column.name] = column if writers else case((table.key_id.is_not(None), column))
    part = _part(_UPDATE, whole=whole, seq=table.seq, **given)
    return part.where(_of_document(yjs_updates, document), table.seq > after, table.seq <= until)


def _document() -> CTE:
    table = yjs_documents.c
    return select(table.generation, table.seq).where(table.document_id == bindparam("document_id")).cte("document")


def _parts(document: CTE, *others: Select[Any], whole: bool = False) -> Select[Any]:
    # The document's position stands in `seq`, its generation in `writer_seq`.
    first = _part(_DOCUMENT, whole=whole, seq=document.c.seq, writer_seq=document.c.generation)
    parts = union_all(first, *others).subquery()
    # psycopg2's own types: SQLAlchemy's would go over each value once more.
    columns = [type_coerce(column, NullType()) if column.name == "payload" else column for column in parts.c]
    return select(*columns).order_by(parts.c.part, parts.c.seq)


def _statement(*, whole: bool) -> Select[Any]:
    """A snapshot, and the updates after it, up to a position."""
    document, table = _document(), yjs_snapshots.c
    newest = (
        select(table.seq, table.payload, table.key_id, table.created_at)
        .where(_of_document(yjs_snapshots, document), table.seq <= _MOST)
        .order_by(table.seq.desc())
        .limit(1)
    )
    if whole:
        kept = select(func.min(yjs_updates.c.seq)).where(_of_document(yjs_updates, document)).scalar_subquery()
        newest = newest.where(table.seq < func.coalesce(kept, _BEYOND))
    snapshot = newest.cte("snapshot")
    base = _part(_SNAPSHOT, whole=whole, **dict(snapshot.c.items()))
    after = func.coalesce(select(snapshot.c.seq).scalar_subquery(), 0)
    return _parts(document, base, _updates(document, after, _MOST, whole=whole), whole=whole)


def _statement_since() -> Select[Any]:
    document = _document()
    after = bindparam("since", type_=BigInteger)
    return _parts(document, _updates(document, after, _BEYOND, writers=True))


_FAST, _WHOLE, _SINCE = _statement(whole=False), _statement(whole=True), _statement_since()
