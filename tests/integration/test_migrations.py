"""The migrated schema is the one that the code knows; older and newer ones are told apart."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import psycopg2
import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection, inspect, text
from support.yjs_client import until

from jupyter_rtc_amprenta import cli
from jupyter_rtc_amprenta.core import migrate
from jupyter_rtc_amprenta.core.database import Database
from jupyter_rtc_amprenta.core.documentlog import DocumentLog
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


async def test_what_old_documents_hold_is_counted_some_at_a_time(
    database: Database, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(migrate, "_DOCUMENTS_AT_ONCE", 2)
    await database.run(_empty)

    def old_schema(connection: Connection) -> None:
        config = migrate._config()
        config.attributes["connection"] = connection
        command.upgrade(config, "0001")
        for number in range(5):
            connection.execute(
                text(
                    "INSERT INTO yjs_documents (document_id, seq, created_at, updated_at) "
                    "VALUES (:d, 2, now(), now())"
                ),
                {"d": f"d{number}"},
            )
            for seq in (1, 2):
                connection.execute(
                    text(
                        "INSERT INTO yjs_updates "
                        "(document_id, generation, seq, writer, writer_seq, payload, created_at) "
                        "VALUES (:d, 1, :n, 'w', :n, :p, now())"
                    ),
                    {"d": f"d{number}", "n": seq, "p": b"x" * (number + 1)},
                )

    await database.run(old_schema)
    assert migrate.upgrade(database_url) == NEWEST
    sizes = text("SELECT tail_bytes FROM yjs_documents ORDER BY document_id")
    assert await database.run(lambda c: list(c.execute(sizes).scalars())) == [2, 4, 6, 8, 10]
    # What is appended meanwhile is not counted twice.
    await DocumentLog(database).append("d0", b"more", 1)
    assert migrate.upgrade(database_url) == NEWEST
    assert await database.run(lambda c: list(c.execute(sizes).scalars())) == [6, 4, 6, 8, 10]


async def test_a_table_in_use_is_not_waited_for_in_everybodys_way(
    database: Database, database_url: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(migrate, "LOCK_TIMEOUT_SECONDS", 0.1)
    await database.run(_empty)
    await database.run(lambda connection: connection.execute(text("CREATE TABLE alembic_version (version_num text)")))
    reader = psycopg2.connect(database_url)
    reader.cursor().execute("LOCK TABLE alembic_version IN ACCESS EXCLUSIVE MODE")
    with ThreadPoolExecutor(1) as threads:
        upgrading = threads.submit(migrate.upgrade, database_url)
        await until(lambda: "tried again" in caplog.text)
        assert not upgrading.done()
        reader.close()
        assert upgrading.result(30) == NEWEST
    assert await database.run(_differences) == []


async def test_sqlite_is_not_migrated() -> None:
    with pytest.raises(ConfigurationError, match="PostgreSQL"):
        migrate.upgrade("sqlite:///x.db")


def test_the_command_tells_what_the_database_says(
    database_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["migrate", f"--database-url={database_url}_of_nobody"]) == 1
    assert "does not exist" in capsys.readouterr().err
