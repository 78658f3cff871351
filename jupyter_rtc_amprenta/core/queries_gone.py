"""The SQL on users whom the Hub knows no more. The connection comes first; the caller owns the transaction."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import Connection, or_, select, update

from .queries_tokens import revoke_tokens_of
from .schema import invites, now, users


def take_unchecked(connection: Connection, before: datetime, limit: int) -> Sequence[str]:
    """Users whom the Hub was not asked for since a time: they are taken, and no other replica takes them too."""
    due = or_(users.c.checked_at.is_(None), users.c.checked_at < before)
    chosen = (
        select(users.c.user_id)
        .where(due)
        .order_by(users.c.checked_at.asc().nulls_first(), users.c.username)
        .limit(limit)
        .with_for_update(skip_locked=True, key_share=True)
    )
    taken = update(users).where(users.c.user_id.in_(chosen)).values(checked_at=now())
    return connection.execute(taken.returning(users.c.username)).scalars().all()


def mark(connection: Connection, username: str, is_known: bool) -> bool:
    """Keep whether the Hub knows a user; the tokens of one who is gone are refused.

    Returns:
        whether that has changed.
    """
    was = users.c.gone_at.is_not(None) if is_known else users.c.gone_at.is_(None)
    values = {"gone_at": None if is_known else now()}
    changed = connection.execute(update(users).filter_by(username=username).where(was).values(values)).rowcount > 0
    if changed and not is_known:
        revoke_tokens_of(connection, username)
    return changed


def withdraw_invites_to(connection: Connection, username: str) -> Sequence[str]:
    """Take all open invites to a user back; gives the documents that they were to."""
    pending = update(invites).filter_by(invited_user=username, state="pending")
    closed = pending.values(state="revoked", answered_at=now()).returning(invites.c.document_id)
    return connection.execute(closed).scalars().all()
