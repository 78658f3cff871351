"""Notices users whom the Hub does not know any more: they were deleted there, or are called otherwise.

The Hub tells a service with the scope `read:users:name` of one user at a time, and nothing by which a renamed user
could be known again. So the service asks for each now and then, lets nobody act with a token that was made for a
user who is gone, takes open invites to them back, and leaves it to an admin to follow the rename, or to erase them:
what they own is nobody's to delete by itself.
"""

from __future__ import annotations

import asyncio
import logging
import random
from datetime import timedelta

from sqlalchemy import Connection

from jupyter_rtc_amprenta.core import queries_gone
from jupyter_rtc_amprenta.core.database import Database
from jupyter_rtc_amprenta.core.errors import DatabaseError
from jupyter_rtc_amprenta.core.queries_record import Activity, Actor, record_audit
from jupyter_rtc_amprenta.core.schema import now

from .errors import Unavailable
from .hub import Hub

log = logging.getLogger(__name__)

CHECK_HOURS = 1
_LOOK_SECONDS = 300.0
_BATCH = 20
# Between two questions: a Hub with thousands of users must not notice.
_PAUSE_SECONDS = 0.05


class UserWatch:
    """Asks the Hub for each user that is known here, once an hour.

    Args:
        database: PostgreSQL, by which replicas share the work.
        hub: tells who exists.
    """

    def __init__(self, database: Database, hub: Hub) -> None:
        self._database = database
        self._hub = hub

    async def run(self) -> None:
        """Ask, for as long as the service runs."""
        while True:
            await asyncio.sleep(_LOOK_SECONDS * random.uniform(0.5, 1.0))
            try:
                await self.check()
            except (DatabaseError, Unavailable) as error:
                log.info("Users were not looked up at the Hub: %s", error)

    async def check(self) -> None:
        """Ask for all whose turn it is.

        Raises:
            Unavailable: the Hub does not answer; whoever was not asked for has their turn in an hour.
            DatabaseError.
        """
        while True:
            due = now() - timedelta(hours=CHECK_HOURS)
            if not (names := await self._database.run(queries_gone.take_unchecked, due, _BATCH)):
                return
            for name in names:
                is_known = await self._hub.display_name(name) is not None
                if await self._database.run(_note, name, is_known):
                    log.warning("%s %s", name, "is at the Hub again." if is_known else "is not at the Hub any more.")
                await asyncio.sleep(_PAUSE_SECONDS)


def _note(connection: Connection, username: str, is_known: bool) -> bool:
    """Whether this is news."""
    if not queries_gone.mark(connection, username, is_known):
        return False
    if not is_known:
        queries_gone.withdraw_invites_to(connection, username)
    record_audit(connection, Actor(""), [Activity("", "returned" if is_known else "gone", username)])
    return True
