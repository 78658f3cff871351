"""The SQL on presence: who is connected now, and where. The connection comes first."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, case, or_, select, update
from sqlalchemy.dialects.postgresql import insert as upsert

from .schema import now, participants, presence, users


@dataclass(frozen=True)
class Present:
    """A document that a server has open for its owner.

    Attributes:
        document_id: the document.
        connections: how many of the owner's tabs show it; 0 means that they have left.
        place: where in it the owner is, for people, such as `cell 3`; None where it is not known.
        edited: where the owner has edited since the last report, for people; None where nowhere.
    """

    document_id: str
    connections: int
    place: str | None
    edited: str | None = None


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
                "last_active": time,
            }
            for present in documents
        ]
        statement = upsert(presence).values(rows)
        new = {column: statement.excluded[column] for column in ("connections", "place", "last_seen")}
        edited = [present.document_id for present in documents if present.edited]
        new["last_active"] = _last_active(statement.excluded, edited)
        connection.execute(statement.on_conflict_do_update(constraint="pk_presence", set_=new))


def _last_active(reported: Any, edited: Collection[str]) -> ColumnElement[datetime]:
    """Now for whoever has come, moved or edited since the last report; else as it was."""
    came = presence.c.connections < reported.connections
    moved = presence.c.place.is_distinct_from(reported.place)
    has_acted = or_(came, moved, presence.c.document_id.in_(edited))
    return case((has_acted, reported.last_active), else_=presence.c.last_active)


def places_of(connection: Connection, username: str, server: str) -> dict[str, str | None]:
    """Where a server's owner is, by document: what the server said last."""
    columns = presence.c["document_id", "place"]
    here = select(columns).filter_by(username=username, server=server).where(presence.c.connections > 0)
    return {row.document_id: row.place for row in connection.execute(here)}


def online_documents(connection: Connection, username: str, online_since: datetime) -> set[str]:
    """The documents that a user has open now, on whichever server."""
    query = select(presence.c.document_id).where(
        presence.c.username == username, presence.c.connections > 0, presence.c.last_seen > online_since
    )
    return set(connection.execute(query).scalars())


def documents_entered(
    connection: Connection, username: str, document_ids: Collection[str]
) -> dict[str, str]:
    """Those of these documents that the user takes part in, with what they may do there."""
    query = select(participants.c["document_id", "permissions"]).where(
        participants.c.username == username, participants.c.document_id.in_(document_ids)
    )
    return {row.document_id: row.permissions for row in connection.execute(query)}
