"""What is kept for a time only: the audit, the activity, events, the keys of repeated requests, revoked tokens."""

from __future__ import annotations

import asyncio
import logging
import random
from datetime import datetime, timedelta

from sqlalchemy import Connection

from jupyter_rtc_amprenta.core import queries_audit, queries_repeats, queries_tokens
from jupyter_rtc_amprenta.core.database import Database
from jupyter_rtc_amprenta.core.errors import DatabaseError
from jupyter_rtc_amprenta.core.schema import now
from jupyter_rtc_amprenta.core.settings import Settings

log = logging.getLogger(__name__)

_LOOK_SECONDS = 3600.0
# Whoever comes back later than this reads everything anew, and a webhook that was away for longer misses some.
EVENTS_HOURS = 24
KEYS_HOURS = 24


class Retention:
    """Removes what is too old, once an hour.

    Args:
        database: PostgreSQL.
        settings: how long the audit and the activity are kept.
    """

    def __init__(self, database: Database, settings: Settings) -> None:
        self._database = database
        self._settings = settings

    async def run(self) -> None:
        """Look, for as long as the service runs; replicas not all at once."""
        while True:
            await asyncio.sleep(_LOOK_SECONDS * random.uniform(0.5, 1.0))
            try:
                await self.forget()
            except DatabaseError as error:
                log.info("Nothing old was removed: %s", error)

    async def forget(self) -> None:
        """Remove it now.

        Raises:
            DatabaseError.
        """
        days = self._settings.audit_days, self._settings.activity_days
        entries, lines = await self._database.run(_forget, now(), *days)
        if entries or lines:
            log.info("Removed as too old: %d entries of the audit, %d of the activity.", entries, lines)


def _forget(
    connection: Connection, time: datetime, audit_days: int, activity_days: int
) -> tuple[int, int]:
    queries_audit.forget_events(connection, time - timedelta(hours=EVENTS_HOURS))
    queries_repeats.forget_keys(connection, time - timedelta(hours=KEYS_HOURS))
    queries_tokens.forget_tokens(connection, time)
    before = [time - timedelta(days=days) if days else None for days in (audit_days, activity_days)]
    return queries_audit.forget(connection, *before)
