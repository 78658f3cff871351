"""The SQL about documents that are open at a Y.js server: who may do what with them, how far they have come, and who
calls when they change. The connection comes first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, select

from .schema import participants, sessions, users, yjs_documents


@dataclass(frozen=True)
class DocumentRights:
    """Who may do what with some documents, now.

    Attributes:
        generations: by document; a document that is not in it does not exist.
        permissions: by (document, user); who is not in it may do nothing.
        closed: why a document's session is over, by document.
    """

    generations: dict[str, int]
    permissions: dict[tuple[str, str], str]
    closed: dict[str, str]


def document_rights(connection: Connection, document_ids: Sequence[str]) -> DocumentRights:
    """The rights of everybody on these documents: what open connections are held against."""
    ids = sorted(set(document_ids))
    table, person = yjs_documents.c, participants.c
    generations = connection.execute(select(table.document_id, table.generation).where(table.document_id.in_(ids)))
    permissions = connection.execute(
        select(person.document_id, person.username, person.permissions).where(person.document_id.in_(ids))
    )
    over = select(sessions.c["document_id", "closed_reason"]).where(
        sessions.c.document_id.in_(ids), sessions.c.closed_at.is_not(None)
    )
    return DocumentRights(
        {row.document_id: row.generation for row in generations},
        {(row.document_id, row.username): row.permissions for row in permissions},
        {row.document_id: row.closed_reason for row in connection.execute(over)},
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


def listener(connection: Connection, channels: Sequence[str]) -> None:
    """Make this connection hear what `notify` says."""
    for channel in channels:
        connection.exec_driver_sql(f'LISTEN "{channel}"')
