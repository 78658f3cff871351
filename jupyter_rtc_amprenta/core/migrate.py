"""The PostgreSQL schema's version: bring it to the newest, or say that it is not. Alembic is imported here alone."""

from __future__ import annotations

from functools import cache

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, func, select

from .database import Database
from .errors import ConfigurationError, SchemaMismatch

# The key of PostgreSQL's advisory lock that lets one migration at a time run. Arbitrary, but never to be changed.
_LOCK = 0x616D7072746E6131


def upgrade(url: str) -> str:
    """Bring the schema to the newest revision: all of it in one transaction, and one at a time.

    Args:
        url: of a PostgreSQL database, as `core.database.parse_url` takes it.

    Returns:
        the revision that the schema has now.

    Raises:
        ConfigurationError: the URL can't be understood, or is not PostgreSQL's.
        DatabaseUnavailable: nothing was changed.
        SchemaMismatch: the schema is newer than this version of the code.
    """
    database = Database(url, threads=1)
    if database.is_sqlite:
        raise ConfigurationError("Migrations are for PostgreSQL: use a database URL such as postgresql://…")
    try:
        return database.call(_upgrade)
    finally:
        database.close()


def _upgrade(connection: Connection) -> str:
    connection.execute(select(func.pg_advisory_xact_lock(_LOCK)))
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
