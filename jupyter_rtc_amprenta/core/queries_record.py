"""The SQL on what happened: a session's activity, the audit, and the events for whoever listens.

The connection comes first. What tells (`record`, `record_end`) comes last in a transaction: it takes the lock on the
events, and who holds that may wait for nothing else.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Row, func, insert, or_, select, text, update

from .queries_paging import page
from .schema import activity, now, participants, sessions
from .schema_record import audit, events

# Somebody who goes on typing in one place is told of once in this time.
MERGE_SECONDS = 60.0
# What concerns the user that is named in the detail, who perhaps takes no part (yet, or any more).
_ABOUT_SOMEBODY = {"invited", "renewed", "revoked", "removed", "made_reader", "made_writer", "handed_over"}
# An arbitrary number, the same in all processes.
_EVENTS_LOCK = 7_216_311


@dataclass(frozen=True)
class Actor:
    """Who does something.

    Attributes:
        username: the Hub user.
        address: from where, as an IP address; "" where there is none.
    """

    username: str
    address: str = ""


@dataclass(frozen=True)
class Activity:
    """Something that a user did.

    Attributes:
        document_id: the document it was done with.
        action: `created`, `joined`, `left`, `invited`, `renewed`, `accepted`, `declined`, `revoked`, `made_reader`,
            `made_writer`, `handed_over`, `removed`, `resigned`, `linked`, `unlinked`, `entered` (by a link) or
            `edited`; `moved` is told, and not kept.
        detail: whom it was done to, or where, where there is such.
    """

    document_id: str
    action: str
    detail: str = ""


def record(
    connection: Connection,
    actor: Actor,
    happened: Sequence[Activity],
    edits: Sequence[Activity] = (),
    moves: Sequence[Activity] = (),
) -> None:
    """Keep what a user did just now, and tell whoever listens. To be the last statement of its transaction.

    Args:
        happened: goes to the activity of its sessions, and to the audit.
        edits: go to the activity, once a minute for each place; the audit leaves edits to the log.
        moves: are only told.
    """
    told = [*happened, *_new_edits(connection, actor.username, edits)]
    if told:
        _record_activity(connection, actor.username, told)
    record_audit(connection, actor, happened)
    _publish(connection, actor.username, [*told, *moves])


def _new_edits(connection: Connection, username: str, edits: Sequence[Activity]) -> list[Activity]:
    if not edits:
        return []
    just_now = activity.c.created_at > now() - timedelta(seconds=MERGE_SECONDS)
    columns = activity.c["document_id", "action", "detail"]
    rows = connection.execute(select(columns).filter_by(username=username).where(just_now))
    told = {tuple(row) for row in rows}
    return [edit for edit in edits if (edit.document_id, edit.action, edit.detail) not in told]


def _record_activity(connection: Connection, username: str, happened: Sequence[Activity]) -> None:
    time = now()
    rows = [asdict(one) | {"username": username, "created_at": time} for one in happened]
    connection.execute(insert(activity), rows)
    # Locked in one order: two servers that report on the same sessions must not wait for each other.
    of_these = sessions.c.document_id.in_({one.document_id for one in happened})
    in_order = select(sessions.c.document_id).where(of_these).order_by(sessions.c.document_id)
    connection.execute(in_order.with_for_update(key_share=True))
    connection.execute(update(sessions).where(of_these).values(last_activity=time))


def activities_of(
    connection: Connection, document_id: str, limit: int, after: Sequence[Any] | None = None
) -> Sequence[Row[Any]]:
    """What happened in a session, newest first: activity_id, username, action, detail, created_at."""
    columns = activity.c["activity_id", "username", "action", "detail", "created_at"]
    query = select(columns).filter_by(document_id=document_id)
    return connection.execute(page(query, [activity.c.activity_id], limit, after)).all()


def was_removed_since(
    connection: Connection, document_id: str, username: str, time: datetime
) -> bool:
    """Whether a user was taken out of a session after a time."""
    removed = {"document_id": document_id, "action": "removed", "detail": username}
    query = select(activity.c.activity_id).filter_by(**removed).where(activity.c.created_at > time).limit(1)
    return connection.execute(query).one_or_none() is not None


# --- the audit -------------------------------------------------------------------------------------------------


def record_audit(connection: Connection, actor: Actor, happened: Sequence[Activity]) -> None:
    """Keep for the audit alone what a user did."""
    who = {"username": actor.username, "address": actor.address, "created_at": now()}
    if happened:
        connection.execute(insert(audit), [asdict(one) | who for one in happened])


# --- events ----------------------------------------------------------------------------------------------------


def record_end(connection: Connection, actor: Actor, document_id: str, told: Sequence[str]) -> None:
    """Keep that a session was deleted, and tell its participants, who can't be found by it any more."""
    record_audit(connection, actor, [Activity(document_id, "deleted")])
    who = {"username": actor.username, "created_at": now(), "document_id": document_id}
    rows = [who | {"action": "deleted", "detail": "", "recipient": name} for name in told]
    if rows:
        _insert_events(connection, rows)


def _publish(connection: Connection, username: str, happened: Sequence[Activity]) -> None:
    who = {"username": username, "created_at": now()}
    rows = [asdict(one) | who | {"recipient": _recipient(one)} for one in happened]
    if rows:
        _insert_events(connection, rows)


def _insert_events(connection: Connection, rows: Sequence[dict[str, Any]]) -> None:
    # The order of an identity column is not that of commits. Under this lock, which ends with the transaction, it is.
    connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _EVENTS_LOCK})
    connection.execute(insert(events), rows)


def _recipient(one: Activity) -> str | None:
    return one.detail if one.action in _ABOUT_SOMEBODY else None


def event_position(connection: Connection) -> tuple[int, int]:
    """The ids of the oldest and the newest event that is kept; 0 where there is none."""
    ends = func.coalesce(func.min(events.c.event_id), 0), func.coalesce(func.max(events.c.event_id), 0)
    oldest, newest = connection.execute(select(*ends)).one()
    return oldest, newest


def events_after(connection: Connection, event_id: int, limit: int) -> Sequence[Row[Any]]:
    """The events after one, in order, each with its `audience`: the participants, as an array of names."""
    people = select(participants.c.username).where(participants.c.document_id == events.c.document_id)
    query = select(events, func.array(people.scalar_subquery()).label("audience"))
    return connection.execute(query.where(events.c.event_id > event_id).order_by(events.c.event_id).limit(limit)).all()


def events_of_user(
    connection: Connection, username: str, event_id: int, limit: int
) -> Sequence[Row[Any]]:
    """The events after one that a user is told of, in order."""
    mine = select(participants.c.document_id).where(participants.c.username == username)
    concerns = or_(
        events.c.document_id.in_(mine), events.c.recipient == username, events.c.username == username
    )
    query = select(events).where(events.c.event_id > event_id, concerns)
    return connection.execute(query.order_by(events.c.event_id).limit(limit)).all()
