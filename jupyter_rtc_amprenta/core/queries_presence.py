"""The SQL on presence, who is connected now, and on activity, what happened. The connection comes first."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, insert, select, update
from sqlalchemy.dialects.postgresql import insert as upsert

from .schema import activity, now, participants, presence, sessions, users


@dataclass(frozen=True)
class Present:
    """A document that a server has open for its owner.

    Attributes:
        document_id: the document.
        connections: how many of the owner's tabs show it; 0 means that they have left.
        place: where in it the owner is, for people; None where it is not known.
    """

    document_id: str
    connections: int
    place: str | None


@dataclass(frozen=True)
class Activity:
    """Something that a user did.

    Attributes:
        document_id: the document it was done with.
        action: `created`, `joined`, `left`, `invited`, `accepted`, `declined` or `revoked`.
        detail: whom it was done to, where there is somebody.
    """

    document_id: str
    action: str
    detail: str = ""


def lock_user(connection: Connection, username: str) -> None:
    """Let one transaction at a time change a user's presence: two would tell one arrival twice."""
    connection.execute(select(users.c.user_id).filter_by(username=username).with_for_update(key_share=True))


def replace_presence(
    connection: Connection, username: str, server: str, documents: Sequence[Present]
) -> None:
    """Keep what a server says as its whole present state. What it names no more, its owner has left."""
    time = now()
    here = [present.document_id for present in documents]
    left = update(presence).filter_by(username=username, server=server)
    connection.execute(
        left.where(presence.c.connections > 0, presence.c.document_id.not_in(here)).values(
            connections=0, place=None, last_seen=time
        )
    )
    if documents:
        rows = [
            {
                "document_id": present.document_id,
                "username": username,
                "server": server,
                "connections": present.connections,
                "place": present.place,
                "last_seen": time,
            }
            for present in documents
        ]
        statement = upsert(presence).values(rows)
        new = {column: statement.excluded[column] for column in ("connections", "place", "last_seen")}
        connection.execute(statement.on_conflict_do_update(constraint="pk_presence", set_=new))


def online_documents(connection: Connection, username: str, online_since: datetime) -> set[str]:
    """The documents that a user has open now, on whichever server."""
    query = select(presence.c.document_id).where(
        presence.c.username == username, presence.c.connections > 0, presence.c.last_seen > online_since
    )
    return set(connection.execute(query).scalars())


def documents_entered(connection: Connection, username: str, document_ids: Collection[str]) -> set[str]:
    """Those of these documents that the user takes part in."""
    query = select(participants.c.document_id).where(
        participants.c.username == username, participants.c.document_id.in_(document_ids)
    )
    return set(connection.execute(query).scalars())


def record_activity(connection: Connection, username: str, happened: Sequence[Activity]) -> None:
    """Keep what a user did just now; it counts as its sessions' last activity."""
    if not happened:
        return
    time = now()
    rows = [asdict(one) | {"username": username, "created_at": time} for one in happened]
    connection.execute(insert(activity), rows)
    # Locked in one order: two servers that report on the same sessions must not wait for each other.
    of_these = sessions.c.document_id.in_({one.document_id for one in happened})
    in_order = select(sessions.c.document_id).where(of_these).order_by(sessions.c.document_id)
    connection.execute(in_order.with_for_update(key_share=True))
    connection.execute(update(sessions).where(of_these).values(last_activity=time))


def latest_activity(connection: Connection, document_id: str, limit: int) -> Sequence[Row[Any]]:
    """What happened last in a session, oldest first: username, action, detail, created_at."""
    columns = activity.c["username", "action", "detail", "created_at"]
    query = (
        select(columns)
        .filter_by(document_id=document_id)
        .order_by(activity.c.activity_id.desc())
        .limit(limit)
    )
    return connection.execute(query).all()[::-1]
