"""The log's SQL that writes. The connection comes first; the caller owns the transaction.

Reading stands in `queries_history.py`, compaction in `queries_compaction.py`, what concerns people in
`queries_people.py`, and what the Y.js server asks of open documents in `queries_open.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ARRAY, Connection, Row, Text, bindparam, func, insert, select, update
from sqlalchemy.dialects import postgresql, sqlite

from .crypto import PLAIN, EncryptionKeys, metadata_place, update_place
from .errors import (
    DocumentError,
    DocumentNotFound,
    DocumentTooLarge,
    GenerationChanged,
    LeaseLost,
    RtcError,
)
from .queries_history import Entry, History, read_history  # noqa: F401 - one door to the log
from .schema import now, yjs_documents, yjs_snapshots, yjs_updates, yjs_writers

# PostgreSQL's NOTIFY: ids only, never bytes. Y.js servers beside each other listen to it.
CHANNEL = "rtc_updates"


@dataclass(frozen=True)
class Pending:
    """An update that waits to be appended.

    Attributes:
        document_id: the document.
        generation: of the history that the update was made on; None: whatever it is, and the document is made
            where there is none (direct mode, where the lease fences).
        writer: who appends (one process's log), 32 hex digits.
        writer_seq: the writer's own count for this document, from 1: what makes a second try harmless.
        payload: the Yjs update.
        lease_epoch: of the lease that the writer holds (direct mode); None: none is asked for.
        metadata: what a Y-store was given along with it; gone once the update is compacted.
    """

    document_id: str
    generation: int | None
    writer: str
    writer_seq: int
    payload: bytes
    lease_epoch: int | None = None
    metadata: bytes | None = None


def create_document(connection: Connection, document_id: str) -> int:
    """Make sure that the log knows the document.

    Returns:
        its generation.
    """
    values = {"document_id": document_id, "created_at": now(), "updated_at": now()}
    connection.execute(_dialect(connection).insert(yjs_documents).values(values).on_conflict_do_nothing())
    return connection.execute(select(yjs_documents.c.generation).filter_by(document_id=document_id)).scalar_one()


def _dialect(connection: Connection) -> Any:
    """Whose `insert` knows ON CONFLICT."""
    return sqlite if connection.dialect.name == "sqlite" else postgresql


def lock_document(connection: Connection, document_id: str, *, shared: bool = False) -> tuple[int, int]:
    """Lock the document's row until the transaction ends: whoever appends, resets or compacts does this first.

    Args:
        shared: let others lock it so too: for reading.

    Returns:
        (generation, seq).

    Raises:
        DocumentNotFound: the log has no such document.
    """
    row = lock_row(connection, document_id, shared=shared)
    return row.generation, row.seq


def lock_row(connection: Connection, document_id: str, *, shared: bool = False) -> Row[Any]:
    """The same, and all that the log notes of the document.

    Raises:
        DocumentNotFound: the log has no such document.
    """
    query = select(yjs_documents).filter_by(document_id=document_id).with_for_update(read=shared, key_share=not shared)
    row = connection.execute(query).one_or_none()
    if row is None:
        raise DocumentNotFound(f"There is no document {document_id}.")
    return row


def append(
    connection: Connection, batch: Sequence[Pending], keys: EncryptionKeys = PLAIN, max_document_bytes: int = 0
) -> dict[str, list[int] | RtcError]:
    """Append a batch: each document's updates in their order.

    Documents are locked in the order of their ids, so that two writers can't wait for each other. An update
    that an earlier try has committed is left out. Whoever listens on `CHANNEL` is told.

    Args:
        keys: what the updates are encrypted with.
        max_document_bytes: what a document may have; 0: no limit.

    Returns:
        by document: the positions of its updates, in their order, or why they were refused.
    """
    outcome: dict[str, list[int] | RtcError] = {}
    appended: list[str] = []
    for document_id in sorted({pending.document_id for pending in batch}):
        updates = [pending for pending in batch if pending.document_id == document_id]
        try:
            generation, outcome[document_id] = _append_to_document(
                connection, document_id, updates, keys, max_document_bytes
            )
        except DocumentError as error:
            outcome[document_id] = error
        else:
            appended.append(f"{document_id} {generation} {max(outcome[document_id])}")
    notify(connection, CHANNEL, appended)
    return outcome


def _append_to_document(
    connection: Connection, document_id: str, updates: Sequence[Pending], keys: EncryptionKeys, max_bytes: int
) -> tuple[int, list[int]]:
    document = _lock_or_make(connection, document_id, any(pending.generation is None for pending in updates))
    for pending in updates:
        _check_fences(document, pending)
    new = _not_yet_written(connection, updates)
    size = sum(len(pending.payload) for pending in new)
    _check_size(document, size, max_bytes)
    rows: list[dict[str, Any]] = []
    if new:
        time = now()
        at = {"generation": document.generation, "created_at": time}
        rows = [
            row_of(pending, document.generation, keys) | at | {"seq": document.seq + n}
            for n, pending in enumerate(new, 1)
        ]
        connection.execute(insert(yjs_updates), rows)
        values = {
            "seq": document.seq + len(new),
            "tail_bytes": yjs_documents.c.tail_bytes + size,
            "updated_at": time,
        }
        connection.execute(update(yjs_documents).filter_by(document_id=document_id).values(values))
    positions = {(row["writer"], row["writer_seq"]): row["seq"] for row in rows}
    if len(new) < len(updates):
        # Others may have appended since the earlier try: its positions are not the last ones.
        positions |= _positions(connection, document_id, {pending.writer for pending in updates})
    # Where compaction has merged it meanwhile, the last position is the one whose state has it for certain.
    last = document.seq + len(new)
    return document.generation, [positions.get((pending.writer, pending.writer_seq), last) for pending in updates]


def _lock_or_make(connection: Connection, document_id: str, make: bool) -> Row[Any]:
    try:
        return lock_row(connection, document_id)
    except DocumentNotFound:
        if not make:
            raise
    create_document(connection, document_id)
    return lock_row(connection, document_id)


def _check_fences(document: Row[Any], pending: Pending) -> None:
    """Rule 9: who holds an older history, or a lease that went to another, is refused."""
    if pending.generation not in (None, document.generation):
        raise GenerationChanged(f"The document was reset: its generation is {document.generation}.")
    if pending.lease_epoch not in (None, document.lease_epoch):
        raise LeaseLost(f"The document is written by {document.lease_holder or 'another server'} now.")


def _check_size(document: Row[Any], new: int, most: int) -> None:
    size = document.snapshot_bytes + document.tail_bytes + new
    if most and new and size > most:
        raise DocumentTooLarge(f"A document may have {most} bytes (RTC_MAX_DOCUMENT_BYTES); it would have {size}.")


def has_tail(connection: Connection, document_id: str, size: int) -> bool:
    """Whether more than so many bytes were appended since the newest snapshot."""
    table = yjs_documents.c
    query = select(table.tail_bytes > size).filter_by(document_id=document_id)
    return bool(connection.execute(query).scalar())


def row_of(pending: Pending, generation: int, keys: EncryptionKeys) -> dict[str, Any]:
    """An update as it is kept, but for its position and time."""
    place = (pending.document_id, generation, pending.writer, pending.writer_seq)
    payload, key_id = keys.seal(pending.payload, pending.document_id, update_place(*place))
    metadata = pending.metadata
    if metadata is not None:
        metadata, _ = keys.seal(metadata, pending.document_id, metadata_place(*place))
    return {
        "document_id": pending.document_id,
        "writer": pending.writer,
        "writer_seq": pending.writer_seq,
        "payload": payload,
        "metadata": metadata,
        "key_id": key_id,
    }


def _not_yet_written(connection: Connection, updates: Sequence[Pending]) -> list[Pending]:
    """Without what an earlier try, whose answer was lost, has committed."""
    document_id = updates[0].document_id
    written = {
        writer: written_by(connection, document_id, writer) for writer in {pending.writer for pending in updates}
    }
    return [pending for pending in updates if pending.writer_seq > written[pending.writer]]


def written_by(connection: Connection, document_id: str, writer: str) -> int:
    """The last of a writer's own numbers that the log has, in a row or merged by compaction; 0: none."""
    table = yjs_updates.c
    rows = select(func.max(table.writer_seq)).where(table.document_id == document_id, table.writer == writer)
    merged = select(yjs_writers.c.writer_seq).filter_by(document_id=document_id, writer=writer)
    known = connection.execute(select(rows.scalar_subquery(), merged.scalar_subquery())).one()
    return max(known[0] or 0, known[1] or 0)


def _positions(connection: Connection, document_id: str, writers: set[str]) -> dict[tuple[str, int], int]:
    table = yjs_updates.c
    query = select(table.writer, table.writer_seq, table.seq).where(
        table.document_id == document_id, table.writer.in_(writers)
    )
    return {(row.writer, row.writer_seq): row.seq for row in connection.execute(query)}


def rename_document(connection: Connection, document_id: str, new_id: str) -> None:
    """Give a history another name (in the local store, whose names are the rooms', and which is not encrypted)."""
    row = connection.execute(select(yjs_documents).filter_by(document_id=document_id)).one_or_none()
    if row is None:
        return
    connection.execute(insert(yjs_documents).values({**row._mapping, "document_id": new_id}))
    for table in (yjs_updates, yjs_snapshots, yjs_writers):
        connection.execute(update(table).filter_by(document_id=document_id).values(document_id=new_id))
    connection.execute(yjs_documents.delete().where(yjs_documents.c.document_id == document_id))


def remove_history(connection: Connection, document_id: str) -> None:
    """Remove a history wholly."""
    connection.execute(yjs_documents.delete().where(yjs_documents.c.document_id == document_id))


def append_first(
    connection: Connection, pending: Pending, keys: EncryptionKeys = PLAIN, max_document_bytes: int = 0
) -> bool:
    """The seed: append only where nothing was ever appended (rule 1).

    Returns:
        whether it is the document's first update now (also if an earlier try had made it so).

    Raises:
        DocumentNotFound, GenerationChanged, DocumentTooLarge: see `append`.
    """
    _, seq = lock_document(connection, pending.document_id)
    if seq > 0:
        return not _not_yet_written(connection, [pending])
    outcome = append(connection, [pending], keys, max_document_bytes)[pending.document_id]
    if isinstance(outcome, RtcError):
        raise outcome
    return True


def reset_document(connection: Connection, document_id: str) -> int:
    """Begin the document anew: all that was appended is gone, and who still holds it is refused.

    Returns:
        the new generation.

    Raises:
        DocumentNotFound: the log has no such document.
    """
    generation, _ = lock_document(connection, document_id)
    remember_writers(connection, document_id)
    for table in (yjs_updates, yjs_snapshots):
        connection.execute(table.delete().where(table.c.document_id == document_id))
    counters = dict.fromkeys(("seq", "snapshot_seq", "snapshot_bytes", "tail_bytes"), 0)
    values = {"generation": generation + 1, "updated_at": now()} | counters
    notify(connection, CHANNEL, [f"{document_id} {generation + 1} 0"])
    connection.execute(update(yjs_documents).filter_by(document_id=document_id).values(values))
    return generation + 1


def remember_writers(connection: Connection, document_id: str, until: int | None = None) -> None:
    """Before rows are deleted: keep how far each writer's updates had come, so that no late second try doubles one.

    Args:
        until: the last position that is deleted; None: all are.
    """
    table = yjs_updates.c
    query = select(table.writer, func.max(table.writer_seq).label("last")).filter_by(document_id=document_id)
    if until is not None:
        query = query.where(table.seq <= until)
    rows = [
        {"document_id": document_id, "writer": row.writer, "writer_seq": row.last, "merged_at": now()}
        for row in connection.execute(query.group_by(table.writer))
    ]
    if rows:
        new = _dialect(connection).insert(yjs_writers)
        values = {name: new.excluded[name] for name in ("writer_seq", "merged_at")}
        connection.execute(new.on_conflict_do_update(index_elements=["document_id", "writer"], set_=values), rows)


def notify(connection: Connection, channel: str, payloads: Sequence[str]) -> None:
    """Tell who listens, with the commit; PostgreSQL alone can. A payload has less than 8000 bytes."""
    if payloads and connection.dialect.name == "postgresql":
        listed = func.unnest(bindparam("payloads", list(payloads), ARRAY(Text))).column_valued()
        connection.execute(select(func.pg_notify(channel, listed)))
