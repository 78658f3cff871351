"""The SQL on the audit, and on what is kept for a time only. The connection comes first."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, delete, insert, select

from .queries_paging import page
from .schema import activity
from .schema_record import audit, events


@dataclass(frozen=True)
class AuditFilter:
    """Which entries of the audit are wanted; None: all of them.

    Attributes:
        username: who did it.
        document_id: the document it was done with.
        action: what was done, or `refused`.
        since: not before this time.
        until: before this time.
    """

    username: str | None = None
    document_id: str | None = None
    action: str | None = None
    since: datetime | None = None
    until: datetime | None = None

    def conditions(self) -> list[ColumnElement[bool]]:
        """What the entries must fulfil."""
        equal = {"username": self.username, "document_id": self.document_id, "action": self.action}
        found = [audit.c[name] == value for name, value in equal.items() if value is not None]
        if self.since is not None:
            found.append(audit.c.created_at >= self.since)
        if self.until is not None:
            found.append(audit.c.created_at < self.until)
        return found


def audit_entries(
    connection: Connection, wanted: AuditFilter, limit: int, after: Sequence[Any] | None = None
) -> Sequence[Row[Any]]:
    """Entries of the audit, the newest first, by (audit_id)."""
    query = select(audit).where(*wanted.conditions())
    return connection.execute(page(query, [audit.c.audit_id], limit, after)).all()


def all_entries(connection: Connection, wanted: AuditFilter) -> Iterator[Row[Any]]:
    """All such entries, the oldest first, some at a time."""
    query = select(audit).where(*wanted.conditions()).order_by(audit.c.audit_id)
    yield from connection.execution_options(yield_per=1000).execute(query)


def add_entries(connection: Connection, entries: Sequence[dict[str, Any]]) -> None:
    """Keep entries that were made before: each has all columns but the id."""
    connection.execute(insert(audit), entries)


def forget(connection: Connection, audit_before: datetime | None, activity_before: datetime | None) -> tuple[int, int]:
    """Remove what is older than these times (None: nothing), and say how much of the audit and the activity it was."""
    counts = []
    for table, before in ((audit, audit_before), (activity, activity_before)):
        if before is None:
            counts.append(0)
        else:
            counts.append(connection.execute(delete(table).where(table.c.created_at < before)).rowcount)
    return counts[0], counts[1]


def forget_events(connection: Connection, before: datetime) -> None:
    """Remove events that everybody has been told of, or will not be told of any more."""
    connection.execute(delete(events).where(events.c.created_at < before))
