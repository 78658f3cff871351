"""The SQL of the Hub's admins: all sessions, counts, and people who change. The connection comes first."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Row,
    Select,
    delete,
    distinct,
    exists,
    func,
    or_,
    select,
    update,
)

from .queries_paging import page
from .queries_tokens import revoke_tokens_of
from .queries_versions import rename_maker
from .schema import invite_links, invites, now, participants, presence, sessions, users


def counts(connection: Connection, online_since: datetime) -> dict[str, int]:
    """How much there is: `users`, `sessions`, `active_sessions`, `online_users`, `open_invites`, `gone_users`."""
    here = _here(online_since)
    queries = {
        "users": select(func.count()).select_from(users),
        "sessions": select(func.count()).select_from(sessions),
        "active_sessions": select(func.count(distinct(presence.c.document_id))).where(*here),
        "online_users": select(func.count(distinct(presence.c.username))).where(*here),
        "open_invites": select(func.count()).where(invites.c.state == "pending", invites.c.expires_at > now()),
        "gone_users": select(func.count()).where(users.c.gone_at.is_not(None)),
    }
    row = connection.execute(select(*(query.scalar_subquery().label(name) for name, query in queries.items()))).one()
    return dict(row._mapping)


def _here(online_since: datetime) -> tuple[ColumnElement[bool], ...]:
    return presence.c.connections > 0, presence.c.last_seen > online_since


def all_users(
    connection: Connection,
    online_since: datetime,
    limit: int,
    after: Sequence[Any] | None,
    name: str,
    gone: bool | None,
) -> tuple[Sequence[Row[Any]], int]:
    """Users by name: username, display_name, created_at, gone_at, is_online, owned_sessions; and how many there are.

    Args:
        name: only those who have this in their names; "": all.
        gone: only those whom the Hub knows no more, or knows; None: all.
    """
    conditions: list[ColumnElement[bool]] = []
    if name:
        columns = (users.c.username, users.c.display_name)
        conditions.append(or_(*(column.icontains(name, autoescape=True) for column in columns)))
    if gone is not None:
        conditions.append(users.c.gone_at.is_not(None) if gone else users.c.gone_at.is_(None))
    query = page(_users(online_since).where(*conditions), [users.c.username], limit, after, ascending=True)
    total = select(func.count()).select_from(users).where(*conditions)
    return connection.execute(query).all(), connection.execute(total).scalar_one()


def known_user(connection: Connection, online_since: datetime, username: str) -> Row[Any] | None:
    """One of them, as `all_users` gives them."""
    return connection.execute(_users(online_since).where(users.c.username == username)).one_or_none()


def _users(online_since: datetime) -> Select[Any]:
    is_online = exists().where(presence.c.username == users.c.username, *_here(online_since))
    owned = select(func.count()).where(sessions.c.owner == users.c.username).scalar_subquery()
    return select(
        users.c["username", "display_name", "created_at", "gone_at"],
        is_online.label("is_online"),
        owned.label("owned_sessions"),
    )


def close_offers(connection: Connection, document_id: str) -> None:
    """Withdraw all open invites and links of a session."""
    pending = update(invites).filter_by(document_id=document_id, state="pending")
    connection.execute(pending.values(state="revoked", answered_at=now()))
    active = update(invite_links).filter_by(document_id=document_id).where(invite_links.c.revoked_at.is_(None))
    connection.execute(active.values(revoked_at=now()))


def sessions_of_others(connection: Connection, username: str) -> Sequence[str]:
    """The documents that a user takes part in, and others own."""
    query = (
        select(sessions.c.document_id)
        .join(participants, participants.c.document_id == sessions.c.document_id)
        .where(participants.c.username == username, sessions.c.owner != username)
        .order_by(sessions.c.document_id)
    )
    return connection.execute(query).scalars().all()


def sessions_owned(connection: Connection, username: str) -> Sequence[str]:
    """The documents that a user owns."""
    query = select(sessions.c.document_id).filter_by(owner=username).order_by(sessions.c.document_id)
    return connection.execute(query).scalars().all()


def user_is_known(connection: Connection, username: str) -> bool:
    """Whether a user has been here, or was invited."""
    return connection.execute(select(users.c.user_id).filter_by(username=username)).one_or_none() is not None


def rename_user(connection: Connection, username: str, new: str) -> None:
    """Everything of a user's is under the new name from now on; a server that reports says its own new name."""
    connection.execute(delete(presence).filter_by(username=username))
    connection.execute(update(users).filter_by(username=username).values(username=new))
    old_display_name = update(users).filter_by(username=new, display_name=username)
    connection.execute(old_display_name.values(display_name=new))
    connection.execute(update(users).filter_by(username=new).values(checked_at=None, gone_at=None))
    rename_maker(connection, username, new)
    # The old name may be somebody else's tomorrow.
    revoke_tokens_of(connection, username)


def delete_user(connection: Connection, username: str) -> None:
    """Remove a user, who owns nothing any more, with their invites, participation, presence and activity."""
    connection.execute(delete(users).filter_by(username=username))
    rename_maker(connection, username, None)
    revoke_tokens_of(connection, username)
