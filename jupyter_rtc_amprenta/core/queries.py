"""The log's SQL, all of it. The connection comes first; the caller owns the transaction.

The statements of sessions, participants and invites stand in `queries_people.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import ARRAY, Connection, Text, bindparam, case, func, insert, select, update
from sqlalchemy.dialects import postgresql, sqlite

from .errors import DocumentNotFound, GenerationChanged, RtcError
from .schema import now, participants, users, yjs_documents, yjs_snapshots, yjs_updates

# PostgreSQL's NOTIFY with each append, `document_id generation seq`: Y.js servers beside each other listen to it.
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
    """

    document_id: str
    generation: int | None
    writer: str
    writer_seq: int
    payload: bytes


@dataclass(frozen=True)
class Entry:
    """One update of the log."""

    seq: int
    payload: bytes
    created_at: datetime


@dataclass(frozen=True)
class History:
    """A document as the log holds it: apply `snapshot`, if there is one, then `entries` in order.

    Attributes:
        generation: raised when the document was reset.
        seq: the last position; 0 where nothing was ever appended.
    """

    generation: int
    seq: int
    snapshot: bytes | None
    entries: tuple[Entry, ...]

    @property
    def updates(self) -> list[bytes]:
        """All that must be applied, in order."""
        first = [] if self.snapshot is None else [self.snapshot]
        return first + [entry.payload for entry in self.entries]


def create_document(connection: Connection, document_id: str) -> int:
    """Make sure that the log knows the document.

    Returns:
        its generation.
    """
    values = {"document_id": document_id, "created_at": now(), "updated_at": now()}
    dialect = sqlite if connection.dialect.name == "sqlite" else postgresql
    connection.execute(dialect.insert(yjs_documents).values(values).on_conflict_do_nothing())
    return connection.execute(
        select(yjs_documents.c.generation).filter_by(document_id=document_id)
    ).scalar_one()


def lock_document(connection: Connection, document_id: str, *, shared: bool = False) -> tuple[int, int]:
    """Lock the document's row until the transaction ends: whoever appends, resets or compacts does this first.

    Args:
        shared: let others lock it so too: for reading.

    Returns:
        (generation, seq).

    Raises:
        DocumentNotFound: the log has no such document.
    """
    columns = (yjs_documents.c.generation, yjs_documents.c.seq)
    row = connection.execute(
        select(*columns).filter_by(document_id=document_id).with_for_update(read=shared)
    ).one_or_none()
    if row is None:
        raise DocumentNotFound(f"There is no document {document_id}.")
    return row.generation, row.seq


def append(connection: Connection, batch: Sequence[Pending]) -> dict[str, list[int] | RtcError]:
    """Append a batch: each document's updates in their order.

    Documents are locked in the order of their ids, so that two writers can't wait for each other. An update
    that an earlier try has committed is left out.

    Returns:
        by document: the positions of its updates, in their order, or why they were refused.
    """
    outcome: dict[str, list[int] | RtcError] = {}
    appended: list[str] = []
    for document_id in sorted({pending.document_id for pending in batch}):
        updates = [pending for pending in batch if pending.document_id == document_id]
        try:
            outcome[document_id] = _append_to_document(connection, document_id, updates)
        except (DocumentNotFound, GenerationChanged) as error:
            outcome[document_id] = error
        else:
            appended.append(f"{document_id} {updates[0].generation or 0} {max(outcome[document_id])}")
    notify(connection, CHANNEL, appended)
    return outcome


def _append_to_document(connection: Connection, document_id: str, updates: Sequence[Pending]) -> list[int]:
    if any(pending.generation is None for pending in updates):
        create_document(connection, document_id)
    generation, seq = lock_document(connection, document_id)
    for pending in updates:
        if pending.generation not in (None, generation):
            raise GenerationChanged(f"The document was reset: its generation is {generation}.")
    time = now()
    rows = []
    for pending in _not_yet_written(connection, updates):
        seq += 1
        rows.append(
            {
                "document_id": document_id,
                "generation": generation,
                "seq": seq,
                "writer": pending.writer,
                "writer_seq": pending.writer_seq,
                "payload": pending.payload,
                "created_at": time,
            }
        )
    if rows:
        connection.execute(insert(yjs_updates), rows)
        connection.execute(
            update(yjs_documents).filter_by(document_id=document_id).values(seq=seq, updated_at=time)
        )
    positions = {(row["writer"], row["writer_seq"]): row["seq"] for row in rows}
    if len(rows) < len(updates):
        # Others may have appended since the earlier try: its positions are not the last ones.
        positions |= _positions(connection, document_id, {pending.writer for pending in updates})
    return [positions.get((pending.writer, pending.writer_seq), seq) for pending in updates]


def _not_yet_written(connection: Connection, updates: Sequence[Pending]) -> list[Pending]:
    """Without what an earlier try, whose answer was lost, has committed."""
    table = yjs_updates.c
    written: dict[str, int] = {}
    for writer in {pending.writer for pending in updates}:
        query = select(func.max(table.writer_seq)).where(
            table.document_id == updates[0].document_id, table.writer == writer
        )
        written[writer] = connection.execute(query).scalar() or 0
    return [pending for pending in updates if pending.writer_seq > written[pending.writer]]


def _positions(connection: Connection, document_id: str, writers: set[str]) -> dict[tuple[str, int], int]:
    table = yjs_updates.c
    query = select(table.writer, table.writer_seq, table.seq).where(
        table.document_id == document_id, table.writer.in_(writers)
    )
    return {(row.writer, row.writer_seq): row.seq for row in connection.execute(query)}


def rename_document(connection: Connection, document_id: str, new_id: str) -> None:
    """Give a history another name (in the local store, whose names are the rooms')."""
    row = connection.execute(select(yjs_documents).filter_by(document_id=document_id)).one_or_none()
    if row is None:
        return
    connection.execute(insert(yjs_documents).values({**row._mapping, "document_id": new_id}))
    for table in (yjs_updates, yjs_snapshots):
        connection.execute(update(table).filter_by(document_id=document_id).values(document_id=new_id))
    connection.execute(yjs_documents.delete().where(yjs_documents.c.document_id == document_id))


def append_first(connection: Connection, pending: Pending) -> bool:
    """The seed: append only where nothing was ever appended (rule 1).

    Returns:
        whether it is the document's first update now (also if an earlier try had made it so).

    Raises:
        DocumentNotFound, GenerationChanged: see `append`.
    """
    _, seq = lock_document(connection, pending.document_id)
    if seq > 0:
        return not _not_yet_written(connection, [pending])
    _append_to_document(connection, pending.document_id, [pending])
    notify(connection, CHANNEL, [f"{pending.document_id} {pending.generation or 0} 1"])
    return True


def read_history(connection: Connection, document_id: str, until: int | None = None) -> History:
    """Read a document: its newest snapshot and all that came after it.

    Args:
        until: the position to stop at; None reads to the end.

    Raises:
        DocumentNotFound: the log has no such document.
    """
    # Locked, since an append that commits between two of these statements would tear the picture.
    generation, seq = lock_document(connection, document_id, shared=True)
    limit = seq if until is None else min(until, seq)
    at = {"document_id": document_id, "generation": generation}
    snapshot = connection.execute(
        select(yjs_snapshots.c.seq, yjs_snapshots.c.payload)
        .filter_by(**at)
        .where(yjs_snapshots.c.seq <= limit)
        .order_by(yjs_snapshots.c.seq.desc())
        .limit(1)
    ).one_or_none()
    table = yjs_updates.c
    rows = connection.execute(
        select(table.seq, table.payload, table.created_at)
        .filter_by(**at)
        .where(table.seq > (snapshot.seq if snapshot else 0), table.seq <= limit)
        .order_by(table.seq)
    ).all()
    # psycopg2 gives memoryviews, which pycrdt refuses.
    entries = tuple(Entry(row.seq, bytes(row.payload), row.created_at) for row in rows)
    return History(generation, limit, bytes(snapshot.payload) if snapshot else None, entries)


def reset_document(connection: Connection, document_id: str) -> int:
    """Begin the document anew: all that was appended is gone, and who still holds it is refused.

    Returns:
        the new generation.

    Raises:
        DocumentNotFound: the log has no such document.
    """
    generation, _ = lock_document(connection, document_id)
    for table in (yjs_updates, yjs_snapshots):
        connection.execute(table.delete().where(table.c.document_id == document_id))
    values = {"generation": generation + 1, "seq": 0, "updated_at": now()}
    connection.execute(update(yjs_documents).filter_by(document_id=document_id).values(values))
    return generation + 1


@dataclass(frozen=True)
class DocumentRights:
    """Who may do what with some documents, now.

    Attributes:
        generations: by document; a document that is not in it does not exist.
        permissions: by (document, user); who is not in it may do nothing.
    """

    generations: dict[str, int]
    permissions: dict[tuple[str, str], str]


def document_rights(connection: Connection, document_ids: Sequence[str]) -> DocumentRights:
    """The rights of everybody on these documents: what open connections are held against."""
    ids = sorted(set(document_ids))
    table, person = yjs_documents.c, participants.c
    generations = connection.execute(
        select(table.document_id, table.generation).where(table.document_id.in_(ids))
    )
    permissions = connection.execute(
        select(person.document_id, person.username, person.permissions).where(person.document_id.in_(ids))
    )
    return DocumentRights(
        {row.document_id: row.generation for row in generations},
        {(row.document_id, row.username): row.permissions for row in permissions},
    )


def ping(connection: Connection) -> None:
    """Ask for nothing: whether the database answers at all."""
    connection.execute(select(1))


def display_name(connection: Connection, username: str) -> str:
    """What people call a user; the username where nothing else is known."""
    name = connection.execute(select(users.c.display_name).filter_by(username=username)).scalar()
    return name or username


def positions(connection: Connection, document_ids: Sequence[str]) -> dict[str, tuple[int, int]]:
    """(generation, seq) of these documents; one that is not there does not exist."""
    table = yjs_documents.c
    rows = connection.execute(
        select(table.document_id, table.generation, table.seq).where(table.document_id.in_(sorted(set(document_ids))))
    )
    return {row.document_id: (row.generation, row.seq) for row in rows}


def notify(connection: Connection, channel: str, payloads: Sequence[str]) -> None:
    """Tell who listens, with the commit; PostgreSQL alone can. A payload has less than 8000 bytes."""
    if payloads and connection.dialect.name == "postgresql":
        listed = func.unnest(bindparam("payloads", list(payloads), ARRAY(Text))).column_valued()
        connection.execute(select(func.pg_notify(channel, listed)))


def listener(connection: Connection, channels: Sequence[str]) -> None:
    """Make this connection hear what `notify` says."""
    for channel in channels:
        connection.exec_driver_sql(f'LISTEN "{channel}"')


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


def read_since(connection: Connection, document_id: str, since: int, writer: str) -> News:
    """Read what others have appended after a position.

    Args:
        since: the position that the reader has.
        writer: the reader's own name; what it wrote it has.

    Raises:
        DocumentNotFound: the log has no such document.
    """
    found = positions(connection, [document_id])
    if document_id not in found:
        raise DocumentNotFound(f"There is no document {document_id}.")
    generation, seq = found[document_id]
    table = yjs_updates.c
    rows = connection.execute(
        select(table.seq, case((table.writer == writer, None), else_=table.payload).label("payload"))
        .filter_by(document_id=document_id, generation=generation)
        .where(table.seq > since, table.seq <= seq)
        .order_by(table.seq)
    ).all()
    if len(rows) == seq - since:
        return News(generation, seq, [bytes(row.payload) for row in rows if row.payload is not None])
    # Positions have no gap: what is missing was merged, or the document was reset.
    history = read_history(connection, document_id)
    return News(history.generation, history.seq, history.updates, whole=True)
