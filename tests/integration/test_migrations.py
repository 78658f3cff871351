"""The migrated schema is the one that the code knows; older and newer ones are told apart."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection, inspect, text

from jupyter_rtc_amprenta.core import migrate
from jupyter_rtc_amprenta.core.database import Database
from jupyter_rtc_amprenta.core.errors import ConfigurationError, SchemaMismatch
from jupyter_rtc_amprenta.core.schema import metadata
from jupyter_rtc_amprenta.core.schema_record import audit

# What the code knows as the newest.
NEWEST = migrate._revisions()[0]

pytestmark = [pytest.mark.anyio, pytest.mark.integration]


def _differences(connection: Connection) -> list[object]:
    context = MigrationContext.configure(connection, opts={"compare_server_default": True})
    return compare_metadata(context, metadata)


def _constraints(connection: Connection) -> dict[str, set[str]]:
    """The names of the checks and keys by table, which Alembic does not compare."""
    inspector = inspect(connection)
    return {
        table: {check["name"] for check in inspector.get_check_constraints(table)}
        | {inspector.get_pk_constraint(table)["name"]}
        for table in inspector.get_table_names()
    }


def _empty(connection: Connection) -> None:
    connection.execute(text("DROP SCHEMA public CASCADE"))
    connection.execute(text("CREATE SCHEMA public"))


def _tables(connection: Connection) -> list[str]:
    return inspect(connection).get_table_names()


async def test_the_migrated_schema_is_the_codes(database: Database) -> None:
    # What happened is kept in tables of a module of its own, in the same metadata.
    assert audit.metadata is metadata
    assert await database.run(_differences) == []


async def test_constraints_are_the_same_too(database: Database) -> None:
    migrated = await database.run(_constraints)
    await database.run(_empty)
    await database.run(metadata.create_all)
    made = await database.run(_constraints)
    assert {table: names for table, names in migrated.items() if table != "alembic_version"} == made


async def test_an_upgrade_of_a_current_schema_changes_nothing(database: Database, database_url: str) -> None:
    await database.run(migrate.require_current)
    assert migrate.upgrade(database_url) == NEWEST


async def test_two_upgrades_at_once_make_one_schema(database: Database, database_url: str) -> None:
    await database.run(_empty)
    with ThreadPoolExecutor(4) as threads:
        assert set(threads.map(migrate.upgrade, [database_url] * 4)) == {NEWEST}
    assert await database.run(_differences) == []


async def test_no_schema(database: Database) -> None:
    await database.run(_empty)
    with pytest.raises(SchemaMismatch, match="no schema yet: run 'jupyter-rtc migrate'"):
        await database.run(migrate.require_current)


async def test_a_newer_schema_is_left_alone(database: Database, database_url: str) -> None:
    await database.run(
        lambda connection: connection.execute(text("UPDATE alembic_version SET version_num = '9'"))
    )
    with pytest.raises(SchemaMismatch, match="newer"):
        await database.run(migrate.require_current)
    with pytest.raises(SchemaMismatch, match="newer"):
        migrate.upgrade(database_url)


async def test_an_older_schema_is_told(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(migrate, "_revisions", lambda: ("9999", NEWEST))
    with pytest.raises(SchemaMismatch, match="older than this version needs: run 'jupyter-rtc migrate'"):
        await database.run(migrate.require_current)


async def test_a_failed_upgrade_leaves_nothing(database: Database, database_url: str) -> None:
    await database.run(_empty)
    await database.run(lambda connection: connection.execute(text("CREATE TABLE signing_keys (x int)")))
    with pytest.raises(Exception, match="refused a statement"):
        migrate.upgrade(database_url)
    assert await database.run(_tables) == ["signing_keys"]


async def test_sqlite_is_not_migrated() -> None:
    with pytest.raises(ConfigurationError, match="PostgreSQL"):
        migrate.upgrade("sqlite:///x.db")
