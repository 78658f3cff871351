"""The SQL of backups: what is read, in one picture of the database, and what is put back. Connections come first."""

from __future__ import annotations

import secrets
from collections.abc import Collection, Generator, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, TypeVar

from sqlalchemy import Connection, Row, Select, Table, delete, func, insert, select, text, update
from sqlalchemy.dialects.postgresql import insert as upsert

from . import queries, queries_leases
from .crypto import EncryptionKeys, metadata_place, snapshot_place, update_place
from .queries_record import Activity, Actor, record_audit
from .schema import (
    activity,
    document_files,
    invite_links,
    invites,
    participants,
    presence,
    revoked_tokens,
    sessions,
    signing_keys,
    token_cutoffs,
    users,
    versions,
    yjs_documents,
    yjs_snapshots,
    yjs_updates,
    yjs_writers,
)
from .schema_record import audit, events, idempotency_keys, webhook_positions

T = TypeVar("T")

# What belongs to one document, in the order in which it can be put back.
OF_DOCUMENT: tuple[Table, ...] = (
    yjs_documents, yjs_snapshots, yjs_updates, versions, sessions, participants, invites, invite_links, activity,
)  # fmt: skip
# What belongs to none.
GENERAL: tuple[Table, ...] = (users, revoked_tokens, token_cutoffs, audit, webhook_positions)
# presence is reported again within seconds. Nobody may mint tokens with a backup, and a new signing key is made where
# there is none. The generation changes, so no late second try of an append is let in, whoever its writer is; for the
# same reason servers agree anew on who saves a shared file. Events and repeated requests are of the last hours.
LEFT_OUT: tuple[Table, ...] = (presence, signing_keys, yjs_writers, document_files, events, idempotency_keys)

_ORDER: Mapping[str, Sequence[str]] = {
    "yjs_documents": (), "yjs_snapshots": ("generation", "seq"), "yjs_updates": ("generation", "seq"),
    "versions": ("seq", "version_id"), "sessions": (), "participants": ("username",), "invites": ("invite_id",),
    "invite_links": ("link_id",), "activity": ("activity_id",),
}  # fmt: skip
# How many rows are fetched and put back at a time: a snapshot is as large as its document.
_ROWS = {"yjs_snapshots": 4, "yjs_updates": 200}
_OTHER_ROWS = 500
_MOST_STEPS = 2**31


# --- reading ---------------------------------------------------------------------------------------------------


def begin_reading(connection: Connection) -> None:
    """Before anything else in a transaction: all its statements see one state of the database."""
    connection.execute(text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY"))


def counts(connection: Connection) -> dict[str, int]:
    """How many documents there are, and the id of the newest event that was ever told."""
    documents = connection.execute(select(func.count()).select_from(yjs_documents)).scalar_one()
    return {"documents": documents, "event_id": connection.execute(text(_LAST_EVENT)).scalar_one()}


_LAST_EVENT = "SELECT CASE WHEN is_called THEN last_value ELSE 0 END FROM events_event_id_seq"


def general_rows(connection: Connection, table: Table) -> Iterator[Row[Any]]:
    """All rows of a table that belongs to no document."""
    return _streamed(connection, select(table).order_by(*table.primary_key.columns), table)


def document_rows(
    connection: Connection, table: Table, document_id: str | None = None
) -> Generator[Row[Any], None, None]:
    """The rows of a table, document by document, in the order in which `yjs_documents` has them.

    To be closed before the transaction ends.

    Args:
        document_id: of this document alone; None: of all.
    """
    query = select(table).order_by(table.c.document_id, *(table.c[name] for name in _ORDER[table.name]))
    if document_id is not None:
        query = query.where(table.c.document_id == document_id)
    return _streamed(connection, query, table)


def _streamed(connection: Connection, query: Select[Any], table: Table) -> Generator[Row[Any], None, None]:
    """Through a cursor at the server: never all rows at once."""
    options = {"stream_results": True, "yield_per": _ROWS.get(table.name, _OTHER_ROWS)}
    with connection.execute(query, execution_options=options) as result:
        yield from result


# --- encryption ------------------------------------------------------------------------------------------------


def opened(table: Table, row: Mapping[str, Any], keys: EncryptionKeys) -> dict[str, Any]:
    """A row with its bytes decrypted, and without the name of their key.

    Raises:
        EncryptionError: they can't be, with these keys.
    """
    plain = dict(row)
    if table not in (yjs_updates, yjs_snapshots):
        return plain
    key_id = plain.pop("key_id")
    for column, place in _places(table, row):
        if plain[column] is not None:
            plain[column] = keys.open(bytes(plain[column]), key_id, row["document_id"], place)
    return plain


def _sealed(table: Table, row: dict[str, Any], keys: EncryptionKeys) -> dict[str, Any]:
    if table not in (yjs_updates, yjs_snapshots):
        return row
    sealed = row | {"key_id": keys.key_id}
    for column, place in _places(table, row):
        if row[column] is not None:
            sealed[column], _ = keys.seal(row[column], row["document_id"], place)
    return sealed


def _places(table: Table, row: Mapping[str, Any]) -> list[tuple[str, bytes]]:
    document_id, generation = row["document_id"], row["generation"]
    if table is yjs_snapshots:
        return [("payload", snapshot_place(document_id, generation, row["seq"]))]
    place = (document_id, generation, row["writer"], row["writer_seq"])
    return [("payload", update_place(*place)), ("metadata", metadata_place(*place))]


# --- putting back ----------------------------------------------------------------------------------------------


def existing(connection: Connection, document_ids: Collection[str]) -> set[str]:
    """Which of these documents there are."""
    found: set[str] = set()
    for some in _portions(sorted(document_ids), 1000):
        query = select(yjs_documents.c.document_id).where(yjs_documents.c.document_id.in_(some))
        found.update(connection.execute(query).scalars())
    return found


def require_free(connection: Connection, document_ids: Collection[str]) -> None:
    """Check that no server has one of these documents open in direct mode.

    Raises:
        DocumentLeased: one has, and would not notice.
    """
    leased = select(yjs_documents.c.document_id).where(yjs_documents.c.lease_holder.is_not(None))
    for document_id in connection.execute(leased).scalars().all():
        if document_id in document_ids:
            queries_leases.require_free(connection, document_id)


def make_room(connection: Connection, document: Mapping[str, Any]) -> int:
    """Lock a document, made if there is none, and remove all that it holds: what a backup holds comes in its place.

    Whoever still holds the history that was here, or one of a database that was lost, is refused: generation and
    lease epoch go up by a random step, since nobody knows any more how far they had come.

    Args:
        document: its row in the backup.

    Returns:
        its generation from now on.

    Raises:
        DocumentLeased: a server has it open in direct mode, and would not notice.
    """
    document_id = document["document_id"]
    queries.create_document(connection, document_id)
    here, _ = queries.lock_document(connection, document_id)
    queries_leases.require_free(connection, document_id)
    queries.remember_writers(connection, document_id)
    # With the session goes what hangs on it.
    for table in (yjs_updates, yjs_snapshots, versions, sessions):
        connection.execute(delete(table).where(table.c.document_id == document_id))
    generation = max(here, document["generation"]) + _step()
    epoch = func.greatest(yjs_documents.c.lease_epoch, document["lease_epoch"]) + _step()
    fence = {"generation": generation, "lease_epoch": epoch, "lease_holder": None, "lease_expires_at": None}
    one = update(yjs_documents).filter_by(document_id=document_id)
    connection.execute(one.values(dict(document) | fence))
    return generation


def put_rows(connection: Connection, table: Table, rows: Iterable[dict[str, Any]], keys: EncryptionKeys) -> None:
    """Put rows of a document back, a few at a time."""
    for some in _portions(rows, _ROWS.get(table.name, _OTHER_ROWS)):
        connection.execute(insert(table), [_sealed(table, row, keys) for row in some])


def file_is_taken(connection: Connection, session: Mapping[str, Any]) -> bool:
    """Whether the file of a session is another document's by now."""
    # A file on a shared volume is nobody's own; see `uq_sessions_shared_file`.
    whose = "shared" if session["shared"] else "file_owner"
    file = {name: session[name] for name in (whose, "volume", "file_id", "document_type")}
    return connection.execute(select(sessions.c.document_id).filter_by(**file)).first() is not None


def tell_restored(connection: Connection, document_id: str, generation: int, seq: int, detail: str) -> None:
    """Keep in the audit that it was restored, and tell whoever has it open."""
    record_audit(connection, Actor(""), [Activity(document_id, "restored", detail)])
    queries.notify(connection, queries.CHANNEL, [f"{document_id} {generation} {seq}"])


def put_users(connection: Connection, known: Iterable[dict[str, Any]]) -> dict[str, str]:
    """Make users known again.

    Returns:
        what they are called now, by what they were called: who was renamed since is the same user.
    """
    called: dict[str, str] = {}
    for some in _portions(known, _OTHER_ROWS):
        by_id = select(users.c.user_id, users.c.username).where(users.c.user_id.in_([row["user_id"] for row in some]))
        now_called = {row.user_id: row.username for row in connection.execute(by_id)}
        called |= {row["username"]: now_called.get(row["user_id"], row["username"]) for row in some}
        new = [row for row in some if row["user_id"] not in now_called]
        if new:
            connection.execute(upsert(users).on_conflict_do_nothing(constraint="uq_users_username"), new)
    return called


def put_audit(connection: Connection, entries: Iterable[dict[str, Any]]) -> None:
    """Put entries of the audit back that are not there. An id that another entry has by now is given up."""
    for some in _portions(entries, _OTHER_ROWS):
        _put_audit(connection, some)


def _put_audit(connection: Connection, entries: Sequence[dict[str, Any]]) -> None:
    ids = select(audit.c.audit_id, audit.c.created_at).where(audit.c.audit_id.in_([row["audit_id"] for row in entries]))
    here = {row.audit_id: row.created_at for row in connection.execute(ids)}
    lost = [row for row in entries if row["audit_id"] not in here]
    moved = [row for row in entries if here.get(row["audit_id"], row["created_at"]) != row["created_at"]]
    _raise_sequence(connection, "audit_audit_id_seq", max((row["audit_id"] for row in lost), default=0))
    for rows in (lost, [{name: row[name] for name in row if name != "audit_id"} for row in moved]):
        if rows:
            connection.execute(insert(audit), rows)


def put_missing(connection: Connection, table: Table, rows: Iterable[dict[str, Any]]) -> None:
    """Put rows of a table back that are not there: what is there is newer."""
    for some in _portions(rows, _OTHER_ROWS):
        connection.execute(upsert(table).on_conflict_do_nothing(), some)


def go_beyond_events(connection: Connection, event_id: int) -> None:
    """Where fewer events were told than a backup knows of: count on from beyond all that was ever told.

    Who listened to a database that was lost comes back with the id of an event that the backup does not know of.
    """
    if connection.execute(text(_LAST_EVENT)).scalar_one() < event_id:
        _raise_sequence(connection, "events_event_id_seq", event_id + _step())


def _raise_sequence(connection: Connection, name: str, beyond: int) -> None:
    raised = "SELECT setval(:name, greatest(:beyond, nextval(:name)))"
    if beyond:
        connection.execute(text(raised), {"name": name, "beyond": beyond})


def _step() -> int:
    return 1 + secrets.randbelow(_MOST_STEPS)


def _portions(rows: Iterable[T], size: int) -> Iterator[list[T]]:
    remaining = iter(rows)
    while some := list(islice(remaining, size)):
        yield some
