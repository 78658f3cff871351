"""Whether the database can be used: asked again and again, so that the service heals by itself."""

from __future__ import annotations

import asyncio
import logging
import random

from sqlalchemy import Connection

from jupyter_rtc_amprenta.core.database import Database
from jupyter_rtc_amprenta.core.errors import ConfigurationError, DatabaseError, DatabaseUnavailable
from jupyter_rtc_amprenta.core.keyring import load_keyring
from jupyter_rtc_amprenta.core.migrate import require_current
from jupyter_rtc_amprenta.core.tokens import Keyring

log = logging.getLogger(__name__)

# Half of it at least. Whoever finds the database away has it looked at once.
_CHECK_SECONDS = 10.0
_FIRST_RETRY_SECONDS = 0.25


class DatabaseWatch:
    """Asks the database whether it answers and has this code's schema, and loads the signing keys.

    Args:
        database: PostgreSQL.
        signing_key: `RTC_SIGNING_KEY`, or "".
    """

    def __init__(self, database: Database, signing_key: str) -> None:
        self._database = database
        self._signing_key = signing_key
        self._keyring: Keyring | None = None
        self._trouble: DatabaseError | None = DatabaseUnavailable("The database was not asked yet.")
        self._look = asyncio.Event()

    @property
    def trouble(self) -> str:
        """Why the database can't be used; empty where it can."""
        return "" if self._trouble is None else str(self._trouble)

    def keyring(self) -> Keyring:
        """The signing keys; once the database has answered they stay, whatever becomes of it.

        Raises:
            DatabaseError: they are not loaded yet; see `require`.
        """
        if self._keyring is None:
            raise self._anew()
        return self._keyring

    def require(self) -> None:
        """Raise what is wrong with the database, without asking it.

        Raises:
            DatabaseError: it was away, or its schema did not fit, when it was asked last.
        """
        if self._trouble is not None:
            raise self._anew()

    def look_now(self) -> None:
        """Something failed: ask at once, rather than at the next turn."""
        self._look.set()

    async def run(self) -> None:
        """Ask for as long as the service runs."""
        retry = _FIRST_RETRY_SECONDS
        while True:
            await self._ask()
            delay, retry = (
                (_CHECK_SECONDS, _FIRST_RETRY_SECONDS)
                if self._trouble is None
                else (retry, min(2 * retry, _CHECK_SECONDS))
            )
            self._look.clear()
            try:
                # Jitter: all processes of a deployment lose the database at the same moment.
                await asyncio.wait_for(self._look.wait(), delay * random.uniform(0.5, 1.0))
            except TimeoutError:
                continue

    def _anew(self) -> DatabaseError:
        # An exception that is raised again and again collects tracebacks without end.
        return type(self._trouble or DatabaseUnavailable())(self.trouble)

    async def _ask(self) -> None:
        try:
            keyring = await self._database.run(_check, self._signing_key)
        except (DatabaseError, ConfigurationError) as error:
            if str(error) != self.trouble:
                log.warning("%s (%s)", error, error.__cause__)
            self._trouble = error if isinstance(error, DatabaseError) else DatabaseUnavailable(str(error))
        else:
            if self._trouble is not None:
                log.info("The database answers.")
            self._trouble, self._keyring = None, keyring


def _check(connection: Connection, signing_key: str) -> Keyring:
    require_current(connection)
    return load_keyring(connection, signing_key)
