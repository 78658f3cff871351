"""Documents as the service registers them, straight in the database."""

from __future__ import annotations

from uuid import uuid4

from sqlalchemy import Connection, insert
from sqlalchemy.dialects import postgresql

from jupyter_rtc_amprenta.core import queries
from jupyter_rtc_amprenta.core.schema import now, participants, sessions, users


def add_document(connection: Connection, document_id: str, people: dict[str, str]) -> None:
    """Register a document; the first of `people` owns it."""
    queries.create_document(connection, document_id)
    for name in people:
        user = {"user_id": str(uuid4()), "username": name, "display_name": name, "created_at": now()}
        connection.execute(postgresql.insert(users).values(user).on_conflict_do_nothing())
    session = {
        "document_id": document_id,
        "owner": next(iter(people)),
        "file_owner": next(iter(people)),
        "volume": "home",
        "file_id": document_id,
        "document_type": "text",
        "path": "notes.txt",
        "title": "notes.txt",
        "created_at": now(),
        "last_activity": now(),
    }
    connection.execute(insert(sessions).values(session))
    for name, permissions in people.items():
        row = {"document_id": document_id, "username": name, "permissions": permissions, "joined_at": now()}
        connection.execute(insert(participants).values(row))
