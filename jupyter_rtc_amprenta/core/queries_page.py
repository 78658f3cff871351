"""The SQL that the web page needs beside the API's: who is here now, whom one knows. The connection comes first."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, select

from .schema import participants, presence, users


def people_here(
    connection: Connection, document_ids: Collection[str], online_since: datetime
) -> Sequence[Row[Any]]:
    """Who is in these documents now, by name: document_id, username, display_name; once, on however many servers."""
    query = (
        select(presence.c.document_id, users.c["username", "display_name"])
        .join(users, users.c.username == presence.c.username)
        .join(
            participants,
            (participants.c.document_id == presence.c.document_id)
            & (participants.c.username == presence.c.username),
        )
        .where(
            presence.c.document_id.in_(document_ids),
            presence.c.connections > 0,
            presence.c.last_seen > online_since,
        )
        .distinct()
        .order_by(users.c.username)
    )
    return connection.execute(query).all()


def colleagues_of(connection: Connection, username: str, limit: int) -> Sequence[Row[Any]]:
    """Those who take part in a session that the user takes part in too, by name: username, display_name."""
    mine = select(participants.c.document_id).where(participants.c.username == username)
    query = (
        select(users.c["username", "display_name"])
        .join(participants, participants.c.username == users.c.username)
        .where(participants.c.document_id.in_(mine), users.c.username != username)
        .distinct()
        .order_by(users.c.username)
        .limit(limit)
    )
    return connection.execute(query).all()
