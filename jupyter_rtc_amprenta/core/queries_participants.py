"""The SQL on participants: who may enter a session. The connection comes first; see also `queries_people.py`."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, Select, Text, and_, delete, exists, func, select, update
from sqlalchemy.dialects.postgresql import ARRAY, aggregate_order_by
from sqlalchemy.dialects.postgresql import insert as upsert

from .queries_paging import page
from .schema import now, participants, presence, users


def add_participant(
    connection: Connection, document_id: str, username: str, permissions: str, *, by_group: bool = False
) -> None:
    """Let a user in; one who is in stays as they are, but no longer by a group alone where somebody lets them in."""
    values = {
        "document_id": document_id,
        "username": username,
        "permissions": permissions,
        "by_group": by_group,
        "joined_at": now(),
    }
    statement = upsert(participants).values(values)
    if by_group:
        statement = statement.on_conflict_do_nothing()
    else:
        statement = statement.on_conflict_do_update(
            constraint="pk_participants", set_={"by_group": False}, where=participants.c.by_group
        )
    connection.execute(statement)


def change_permissions(connection: Connection, document_id: str, username: str, permissions: str) -> bool:
    """Change what a participant may do.

    Returns:
        whether there is such a participant.
    """
    who = {"document_id": document_id, "username": username}
    return (
        connection.execute(update(participants).filter_by(**who).values(permissions=permissions)).rowcount > 0
    )


def remove_participant(connection: Connection, document_id: str, username: str) -> bool:
    """Let a user in no more; nor are they here any more.

    Returns:
        whether there was such a participant.
    """
    who = {"document_id": document_id, "username": username}
    connection.execute(delete(presence).filter_by(**who))
    return connection.execute(delete(participants).filter_by(**who)).rowcount > 0


def is_participant(connection: Connection, document_id: str, username: str) -> bool:
    """Whether the user may enter."""
    query = select(
        exists().where(participants.c.document_id == document_id, participants.c.username == username)
    )
    return connection.execute(query).scalar_one()


def participants_of(
    connection: Connection,
    document_id: str,
    online_since: datetime,
    limit: int,
    after: Sequence[Any] | None = None,
) -> Sequence[Row[Any]]:
    """A session's participants, by (joined_at, username): user_id, username, display_name, permissions, joined_at,
    is_online, last_seen, last_active and place (None for one who never was there)."""
    keys = (participants.c.joined_at, participants.c.username)
    query = _people(document_id, online_since)
    return connection.execute(page(query, keys, limit, after, ascending=True)).all()


def names_of(connection: Connection, document_id: str) -> Sequence[str]:
    """Who takes part in a session."""
    query = select(participants.c.username).filter_by(document_id=document_id)
    return connection.execute(query).scalars().all()


def participant(
    connection: Connection, document_id: str, username: str, online_since: datetime
) -> Row[Any] | None:
    """One participant, as `participants_of` gives them."""
    query = _people(document_id, online_since).where(participants.c.username == username)
    return connection.execute(query).one_or_none()


def _people(document_id: str, online_since: datetime) -> Select[Any]:
    online = and_(presence.c.connections > 0, presence.c.last_seen > online_since)
    latest_first = aggregate_order_by(presence.c.place, presence.c.last_seen.desc())
    seen = (
        select(
            presence.c.username,
            func.bool_or(online).label("is_online"),
            func.max(presence.c.last_seen).label("last_seen"),
            func.max(presence.c.last_active).label("last_active"),
            func.array_agg(latest_first, type_=ARRAY(Text)).filter(online).label("places"),
        )
        .where(presence.c.document_id == document_id)
        .group_by(presence.c.username)
        .subquery()
    )
    return (
        select(
            users.c["user_id", "username", "display_name"],
            participants.c["permissions", "joined_at"],
            func.coalesce(seen.c.is_online, False).label("is_online"),
            seen.c["last_seen", "last_active"],
            seen.c.places[1].label("place"),
        )
        .join(participants, participants.c.username == users.c.username)
        .outerjoin(seen, seen.c.username == users.c.username)
        .where(participants.c.document_id == document_id)
    )
