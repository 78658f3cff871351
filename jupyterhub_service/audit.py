"""Refusals go to the audit: gathered here, and written together, so that a refusal costs no transaction of its own."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from typing import Any

from jupyter_rtc_amprenta.core import queries_audit
from jupyter_rtc_amprenta.core.database import Database
from jupyter_rtc_amprenta.core.errors import DatabaseError
from jupyter_rtc_amprenta.core.queries_record import Actor
from jupyter_rtc_amprenta.core.schema import now

log = logging.getLogger(__name__)

_WRITE_SECONDS = 2.0
# Whoever is refused more often than they can be written down is told in the log.
_MOST_WAITING = 5000


class Refusals:
    """What was refused, until it is written.

    Args:
        database: PostgreSQL.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._waiting: deque[dict[str, Any]] = deque()
        self._lost = 0

    def note(self, actor: Actor, document_id: str, method: str, path: str, code: str) -> None:
        """Somebody was refused."""
        if len(self._waiting) >= _MOST_WAITING:
            self._lost += 1
            return
        entry = {
            "created_at": now(),
            "username": actor.username,
            "address": actor.address,
            "action": "refused",
            "document_id": document_id,
            "detail": f"{method} {path}: {code}",
        }
        self._waiting.append(entry)

    async def run(self) -> None:
        """Write them, for as long as the service runs."""
        while True:
            await asyncio.sleep(_WRITE_SECONDS)
            await self.write()

    async def write(self) -> None:
        """Write what waits now; what can't be written waits on."""
        if not self._waiting:
            return
        entries = list(self._waiting)
        try:
            await self._database.run(queries_audit.add_entries, entries)
        except DatabaseError as error:
            log.debug("Refusals can't be written: %s", error)
            return
        for _ in entries:
            self._waiting.popleft()
        if self._lost:
            log.warning("%d refusals were too many to be written into the audit.", self._lost)
            self._lost = 0
