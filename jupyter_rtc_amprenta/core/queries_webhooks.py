"""The SQL of webhooks: how far each target has been told. The connection comes first."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, select, update
from sqlalchemy.dialects.postgresql import insert as upsert

from .queries_record import event_position
from .schema import now
from .schema_record import events, webhook_positions


@dataclass(frozen=True)
class Batch:
    """What a target is told next.

    Attributes:
        events: in order; those that are not wanted are left out.
        position: the id of the last event that the target need not be told of after these, wanted or not.
        attempts: how often it was tried before.
    """

    events: Sequence[Row[Any]]
    position: int
    attempts: int


def know_target(connection: Connection, target: str) -> None:
    """Begin with a new target: it is told what happens from now on."""
    row = {"target": target, "event_id": event_position(connection)[1], "attempts": 0, "retry_at": now()}
    connection.execute(upsert(webhook_positions).values(row).on_conflict_do_nothing())


def claim_batch(
    connection: Connection, target: str, actions: Collection[str], until: datetime, limit: int
) -> Batch | None:
    """What a target is told next. Until the given time no other replica gets it: a claim, should this one die.

    Returns:
        None where nothing has happened, it is not time yet, or another replica is about it.
    """
    due = select(webhook_positions).filter_by(target=target).where(webhook_positions.c.retry_at <= now())
    row = connection.execute(due.with_for_update(skip_locked=True)).one_or_none()
    if row is None:
        return None
    newest = max(event_position(connection)[1], row.event_id)
    wanted = events.c.event_id.between(row.event_id + 1, newest) & events.c.action.in_(actions)
    found = connection.execute(select(events).where(wanted).order_by(events.c.event_id).limit(limit)).all()
    if not found:
        if newest > row.event_id:
            told(connection, target, newest)
        return None
    connection.execute(update(webhook_positions).filter_by(target=target).values(retry_at=until))
    return Batch(found, newest if len(found) < limit else found[-1].event_id, row.attempts)


def told(connection: Connection, target: str, position: int) -> None:
    """A target was told, or given up on, up to an event."""
    one = update(webhook_positions).filter_by(target=target)
    connection.execute(one.values(event_id=position, attempts=0, retry_at=now()))


def failed(connection: Connection, target: str, position: int, attempts: int, retry_at: datetime) -> None:
    """A target did not answer; it was told up to an event (`position`), and is tried again at a time."""
    one = update(webhook_positions).filter_by(target=target)
    connection.execute(one.values(event_id=position, attempts=attempts, retry_at=retry_at))
