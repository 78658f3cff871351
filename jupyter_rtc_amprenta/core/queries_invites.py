"""The SQL on invites. The connection comes first; lists are paged as `queries_people.py` says."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any
from uuid import uuid4

from sqlalchemy import ColumnElement, Connection, Row, Select, case, select, update
from sqlalchemy.dialects.postgresql import insert as upsert

from .queries_paging import page
from .schema import invites, now, sessions


@dataclass(frozen=True)
class NewInvite:
    """An offer to take part; both users must be known (`queries_people.remember_user`)."""

    document_id: str
    invited_user: str
    invited_by: str
    message: str
    permissions: str
    expires_at: datetime


def renew_invite(connection: Connection, new: NewInvite) -> str:
    """Make an invite; one that is still open for this user and document is renewed instead.

    Returns:
        its invite_id.
    """
    renewed = asdict(new) | {"created_at": now()}
    statement = upsert(invites).values(renewed | {"invite_id": str(uuid4()), "state": "pending"})
    return connection.execute(
        statement.on_conflict_do_update(
            index_elements=["document_id", "invited_user"],
            index_where=invites.c.state == "pending",
            set_=renewed,
        ).returning(invites.c.invite_id)
    ).scalar_one()


def lock_invite(connection: Connection, invite_id: str) -> Row[Any] | None:
    """One invite, with the session's owner, title, path and document_type; nobody else can answer it meanwhile."""
    query = _invites().where(invites.c.invite_id == invite_id).with_for_update(of=invites)
    return connection.execute(query).one_or_none()


def prolong_invite(connection: Connection, invite_id: str, expires_at: datetime) -> None:
    """Let an open invite be accepted until another time."""
    connection.execute(update(invites).filter_by(invite_id=invite_id).values(expires_at=expires_at))


def close_invite(connection: Connection, invite_id: str, state: str) -> None:
    """An invite was answered or revoked.

    Args:
        state: `accepted`, `declined` or `revoked`.
    """
    connection.execute(update(invites).filter_by(invite_id=invite_id).values(state=state, answered_at=now()))


def invites_of_user(
    connection: Connection, username: str, limit: int, after: Sequence[Any] | None
) -> Sequence[Row[Any]]:
    """Whereto a user was invited, by (open ones first, newest first, invite_id)."""
    return _paged(connection, _invites().where(invites.c.invited_user == username), limit, after)


def invites_of_session(
    connection: Connection, document_id: str, limit: int, after: Sequence[Any] | None
) -> Sequence[Row[Any]]:
    """Who was invited to a session, by (open ones first, newest first, invite_id)."""
    return _paged(connection, _invites().where(invites.c.document_id == document_id), limit, after)


def _invites() -> Select[Any]:
    columns = sessions.c["owner", "title", "path", "document_type"]
    joined = sessions.c.document_id == invites.c.document_id
    return select(invites, columns, _is_open().label("is_open")).join(sessions, joined)


def _is_open() -> ColumnElement[int]:
    return case((invites.c.state == "pending", 1), else_=0)


def _paged(
    connection: Connection, query: Select[Any], limit: int, after: Sequence[Any] | None
) -> Sequence[Row[Any]]:
    keys = (_is_open(), invites.c.created_at, invites.c.invite_id)
    return connection.execute(page(query, keys, limit, after)).all()
