"""The PostgreSQL schema's version: bring it to the newest, or say that it is not. Alembic is imported here alone."""

from __future__ import annotations

import logging
import random
import time
from functools import cache

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, func, select

from . import queries_compaction
from .database import Database
from .errors import ConfigurationError, DatabaseUnavailable, SchemaMismatch

log = logging.getLogger(__name__)

# The key of PostgreSQL's advisory lock that lets one migration at a time run. Arbitrary, but never to be changed.
_LOCK = 0x616D7072746E6131
LOCK_TIMEOUT_SECONDS = 2
_LOCK_NOT_AVAILABLE = "55P03"
_TRY_SECONDS = 30.0
_DOCUMENTS_AT_ONCE = 200


def upgrade(url: str) -> str:
    """Bring the schema to the newest revision: all of it in one transaction, and one at a time, on a live system.

    Whoever waits for a table's lock makes all wait who come after it: so it gives up soon, and tries again. What
    must be done to each document is done afterwards, to a few at a time.

    Args:
        url: of a PostgreSQL database, as `core.database.parse_url` takes it.

    Returns:
        the revision that the schema has now.

    Raises:
        ConfigurationError: the URL can't be understood, or is not PostgreSQL's.
        DatabaseUnavailable: nothing was changed; or, after half a minute, a table is in use all the time.
        SchemaMismatch: the schema is newer than this version of the code.
    """
    database = Database(url, threads=1)
    if database.is_sqlite:
        raise ConfigurationError("Migrations are for PostgreSQL: use a database URL such as postgresql://…")
    try:
        revision = _until_not_in_use(database)
        last: str | None = ""
        while last is not None:
            last = database.call(queries_compaction.count_tails, last, _DOCUMENTS_AT_ONCE)
        return revision
    finally:
        database.close()


def _until_not_in_use(database: Database) -> str:
    deadline = time.monotonic() + _TRY_SECONDS
    while True:
        try:
            return database.call(_upgrade)
        except DatabaseUnavailable as error:
            in_use = getattr(getattr(error.__cause__, "orig", None), "pgcode", None) == _LOCK_NOT_AVAILABLE
            if not in_use or time.monotonic() > deadline:
                raise
            log.warning("A table is in use; the migration is tried again.")
            time.sleep(random.uniform(0.5, 1.0))


def _upgrade(connection: Connection) -> str:
    connection.execute(select(func.pg_advisory_xact_lock(_LOCK)))
    # Only from here on: another migration is waited for however long it takes.
    connection.execute(select(func.set_config("lock_timeout", f"{LOCK_TIMEOUT_SECONDS:g}s", True)))
    _refuse_newer(_revision(connection))
    config = _config()
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
    return _revisions()[0]


def require_current(connection: Connection) -> str:
    """Check that the schema is the one that this code was written for.

    Returns:
        its revision.

    Raises:
        SchemaMismatch: it is older or newer; its text says what to do.
    """
    revision = _revision(connection)
    _refuse_newer(revision)
    if revision is None:
        raise SchemaMismatch("The database has no schema yet: run 'jupyter-rtc migrate'.")
    if revision != _revisions()[0]:
        raise SchemaMismatch(
            f"The database's schema ({revision}) is older than this version needs: run 'jupyter-rtc migrate'."
        )
    return revision


def is_known(revision: str) -> bool:
    """Whether this code knows a revision: it is not newer than the code."""
    return revision in _revisions()


def _refuse_newer(revision: str | None) -> None:
    if revision is not None and revision not in _revisions():
        raise SchemaMismatch(
            f"The database's schema ({revision}) is newer than this version needs: upgrade jupyter-rtc-amprenta here."
        )


def _revision(connection: Connection) -> str | None:
    return MigrationContext.configure(connection).get_current_revision()


@cache
def _revisions() -> tuple[str, ...]:
    """All that this code knows, the newest first."""
    return tuple(script.revision for script in ScriptDirectory.from_config(_config()).walk_revisions())


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", f"{__package__}:migrations")
    config.set_main_option("path_separator", "os")
    return config
