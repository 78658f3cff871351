"""Fixtures of all tests: a real PostgreSQL, and databases in it."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from uuid import uuid4

import hypothesis
import psycopg2
import pytest

from jupyter_rtc_amprenta.core import migrate
from jupyter_rtc_amprenta.core.database import Database
from jupyter_rtc_amprenta.demo.postgres import EmbeddedPostgres

# A busy machine is no fault of the code's.
hypothesis.settings.register_profile("untimed", deadline=None)
hypothesis.settings.load_profile("untimed")


@pytest.fixture
def anyio_backend() -> str:
    """What runs `async def` tests that bear the mark `anyio`."""
    return "asyncio"


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedPostgres]:
    """A PostgreSQL of the tests' own; without fsync, since no test pulls the plug on the machine."""
    server = EmbeddedPostgres(tmp_path_factory.mktemp("postgres"), settings={"fsync": "off"})
    server.start()
    yield server
    server.stop("immediate")


@pytest.fixture(scope="session")
def migrated_template(request: pytest.FixtureRequest) -> str:
    """The URL of a server in which databases can be made, and the name of a migrated one in it."""
    url = os.environ.get("RTC_TEST_DATABASE_URL") or request.getfixturevalue("postgres").url()
    name = f"rtc_template_{uuid4().hex[:8]}"
    _execute(url, f'CREATE DATABASE "{name}"')
    migrate.upgrade(_in(url, name))
    return f"{url} {name}"


@pytest.fixture
def database_url(migrated_template: str) -> Iterator[str]:
    """A fresh, migrated database."""
    url, template = migrated_template.split()
    name = f"rtc_test_{uuid4().hex[:8]}"
    _execute(url, f'CREATE DATABASE "{name}" TEMPLATE "{template}"')
    yield _in(url, name)
    _execute(url, f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')


@pytest.fixture
async def database(database_url: str, anyio_backend: str) -> AsyncIterator[Database]:
    """The same, connected."""
    database = Database(database_url)
    yield database
    database.close()


@pytest.fixture(scope="session")
def test_data() -> Path:
    """Real notebooks and traces, where they are."""
    folder = Path(os.environ.get("RTC_TEST_DATA", Path(__file__).parents[2] / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip("LOUD: no real input: set RTC_TEST_DATA to a folder with notebooks/ and traces/")
    return folder


def _execute(url: str, statement: str) -> None:
    connection = psycopg2.connect(url)
    try:
        connection.autocommit = True
        connection.cursor().execute(statement)
    finally:
        connection.close()


def _in(url: str, name: str) -> str:
    return url.rpartition("/")[0] + "/" + name
