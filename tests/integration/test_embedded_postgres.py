"""The PostgreSQL of the demo and of the tests."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import psycopg2
import pytest

from jupyter_rtc_amprenta.demo.errors import DemoError
from jupyter_rtc_amprenta.demo.postgres import EmbeddedPostgres

pytestmark = pytest.mark.integration


@pytest.fixture
def server(tmp_path: Path) -> Iterator[EmbeddedPostgres]:
    server = EmbeddedPostgres(tmp_path / "postgres")
    yield server
    server.stop("immediate")


def run(url: str, statement: str) -> list[tuple[object, ...]]:
    connection = psycopg2.connect(url)
    try:
        with connection, connection.cursor() as cursor:
            cursor.execute(statement)
            return cursor.fetchall() if cursor.description else []
    finally:
        connection.close()


def test_keeps_its_data_its_port_and_its_password(server: EmbeddedPostgres) -> None:
    url = server.start()
    database = server.create_database("rtc")
    run(database, "CREATE TABLE kept AS SELECT 1 AS one")
    server.stop()
    assert server.pid is None
    assert server.start() == url
    assert server.create_database("rtc") == database
    assert run(database, "SELECT one FROM kept") == [(1,)]


def test_is_found_by_another_object_and_belongs_to_none(server: EmbeddedPostgres) -> None:
    url = server.start()
    other = EmbeddedPostgres(server.directory)
    assert other.pid == server.pid
    assert other.start() == url
    other.stop()
    assert server.pid is None


@pytest.mark.parametrize("end", ["kill", "immediate"])
def test_recovers_after_a_crash(server: EmbeddedPostgres, end: str) -> None:
    url = server.start()
    run(url, "CREATE TABLE kept AS SELECT 1 AS one")
    if end == "kill":
        assert server.pid is not None
        os.kill(server.pid, signal.SIGKILL)
    else:
        server.stop("immediate")
    assert server.start() == url
    assert run(url, "SELECT one FROM kept") == [(1,)]


def test_a_stale_pid_file_that_names_a_stranger_is_no_obstacle(server: EmbeddedPostgres) -> None:
    url = server.start()
    server.stop()
    (server.data / "postmaster.pid").write_text(f"{os.getpid()}\n{server.data}\n")
    assert server.pid is None
    assert server.start() == url


def test_takes_another_port_when_its_own_is_taken(server: EmbeddedPostgres) -> None:
    url = server.start()
    server.stop()
    with socket.create_server(("127.0.0.1", urlsplit(url).port or 0)):
        moved = server.start()
    assert moved != url
    assert run(moved, "SELECT 1") == [(1,)]


def test_asks_for_the_password(server: EmbeddedPostgres) -> None:
    parts = urlsplit(server.start())
    with pytest.raises(psycopg2.OperationalError, match="password"):
        psycopg2.connect(
            host=parts.hostname, port=parts.port, user="postgres", password="guessed", dbname="postgres"
        )


def test_drops_a_database_that_is_in_use(server: EmbeddedPostgres) -> None:
    server.start()
    user = psycopg2.connect(server.create_database("gone"))
    server.drop_database("gone")
    server.drop_database("gone")
    with pytest.raises(psycopg2.OperationalError, match="does not exist"):
        psycopg2.connect(server.url("gone"))
    user.close()


def test_says_what_the_log_says_when_it_cannot_start(server: EmbeddedPostgres) -> None:
    server.start()
    server.stop()
    wrong = EmbeddedPostgres(server.directory, settings={"shared_buffers": "lots"})
    with pytest.raises(DemoError, match="shared_buffers"):
        wrong.start()
