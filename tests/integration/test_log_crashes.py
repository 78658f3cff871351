"""Processes die at every step of a commit, of a compaction, of a replay; and PostgreSQL in the middle of a load."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import select
from support.dying import Steps, run_until_it_dies
from support.logs import Author, new_keys, text_of

from jupyter_rtc_amprenta.core import migrate, queries, queries_history, queries_quick
from jupyter_rtc_amprenta.core.compaction import Retention
from jupyter_rtc_amprenta.core.crypto import EncryptionKeys
from jupyter_rtc_amprenta.core.database import Database
from jupyter_rtc_amprenta.core.documentlog import DocumentLog
from jupyter_rtc_amprenta.core.logpolicy import LogPolicy
from jupyter_rtc_amprenta.core.queries import Pending
from jupyter_rtc_amprenta.core.schema import prepare_local_store, yjs_updates
from jupyter_rtc_amprenta.core.spool import Spool
from jupyter_rtc_amprenta.demo.postgres import EmbeddedPostgres

pytestmark = pytest.mark.integration

WRITER = "w" * 32
COUNT = 4


@pytest.fixture(params=["postgresql", "sqlite"])
def any_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "postgresql":
        return request.getfixturevalue("database_url")
    url = f"sqlite:///{tmp_path / 'log.db'}"
    database = Database(url)
    database.call(prepare_local_store)
    database.close()
    return url


@pytest.fixture
def keys() -> EncryptionKeys:
    """What is encrypted goes the same way, and one step more."""
    return new_keys("k1")


@pytest.fixture
def updates() -> list[bytes]:
    author = Author()
    return [author.write(f"{number} ") for number in range(COUNT)]


def _policy(keys: EncryptionKeys, **more: object) -> LogPolicy:
    kept: Callable[..., set[int]] = lambda connection, document_id: {1}  # noqa: E731
    return LogPolicy(keys=keys, retention=Retention(1e9, 2, grace=0.0), kept_positions=kept, **more)


def _with_database(url: str, die_at: int, work: Callable[[Database], None]) -> None:
    database = Database(url, threads=1)
    Steps(database, die_at)
    work(database)
    database.close()


def _now(url: str, keys: EncryptionKeys, document_id: str, until: int | None = None) -> tuple[str, int]:
    database = Database(url, threads=1)
    try:
        history = database.call(queries_history.read_history, document_id, until, keys)
    finally:
        database.close()
    return text_of(history), history.seq


def _make(url: str, *document_ids: str) -> None:
    database = Database(url, threads=1)
    for document_id in document_ids:
        database.call(queries.create_document, document_id)
    database.close()


def _whole(count: int) -> str:
    return "".join(f"{number} " for number in range(count))


def _in_a_transaction(database: Database, pending: Pending, keys: EncryptionKeys) -> int:
    return database.call(queries.append, [pending], keys)[pending.document_id][0]


def _in_one_statement(database: Database, pending: Pending, keys: EncryptionKeys) -> int:
    return database.call_one(queries_quick.append, [pending], keys, 0)[pending.document_id][0]


Append = Callable[[Database, Pending, EncryptionKeys], int]


def _dies_at_each_step(url: str, keys: EncryptionKeys, updates: list[bytes], first_try: Append) -> int:
    """A writer dies at each step of its first try; the second one is always a transaction that looks for it.

    Returns:
        how many steps there are.
    """

    def append(die_at: int, document_id: str, append_one: Append) -> tuple[bool, str]:
        def work(told: int) -> None:
            def commit(database: Database) -> None:
                for number, payload in enumerate(updates, 1):
                    pending = Pending(document_id, 1, WRITER, number, payload)
                    os.write(told, f"{append_one(database, pending, keys)}\n".encode())

            _with_database(url, die_at, commit)

        return run_until_it_dies(work)

    die_at, done = 0, False
    while not done:
        die_at += 1
        document_id = f"d{die_at}"
        _make(url, document_id)
        done, told = append(die_at, document_id, first_try)
        acknowledged = len(told.splitlines())
        text, seq = _now(url, keys, document_id)
        assert text == _whole(seq) and seq in (acknowledged, acknowledged + 1)
        append(0, document_id, _in_a_transaction)
        assert _now(url, keys, document_id) == (_whole(len(updates)), len(updates))
    return die_at


def test_a_writer_that_dies_has_what_it_was_told_and_a_second_try_doubles_nothing(
    any_url: str, keys: EncryptionKeys, updates: list[bytes]
) -> None:
    assert _dies_at_each_step(any_url, keys, updates[:2], _in_a_transaction) > 2 * 5


def test_a_writer_that_dies_in_its_one_statement_doubles_nothing_either(
    database_url: str, keys: EncryptionKeys, updates: list[bytes]
) -> None:
    assert _dies_at_each_step(database_url, keys, updates[:2], _in_one_statement) > 2 * 2


def test_a_compaction_that_dies_has_changed_nothing_or_all(
    any_url: str, keys: EncryptionKeys, updates: list[bytes]
) -> None:
    def compact(die_at: int) -> bool:
        def work(told: int) -> None:
            async def run(database: Database) -> None:
                await DocumentLog(database, policy=_policy(keys)).compact("d")

            _with_database(any_url, die_at, lambda database: asyncio.run(run(database)))

        return run_until_it_dies(work)[0]

    _make(any_url, "d")
    database = Database(any_url, threads=1)
    batch = [Pending("d", 1, WRITER, number, payload) for number, payload in enumerate(updates, 1)]
    database.call(queries.append, batch, keys)
    database.close()
    die_at, done = 0, False
    while not done:
        die_at += 1
        done = compact(die_at)
        assert _now(any_url, keys, "d") == (_whole(COUNT), COUNT)
        assert _now(any_url, keys, "d", 1) == (_whole(1), 1)
    assert die_at > 15
    database = Database(any_url, threads=1)
    # Whatever it was, a writer's late second try is found.
    assert database.call(queries.append, batch, keys)["d"][-1] == COUNT
    database.close()


def test_a_replay_that_dies_is_taken_up_by_the_next(
    any_url: str, keys: EncryptionKeys, updates: list[bytes], tmp_path: Path
) -> None:
    folder = tmp_path / "spool"

    def replay(die_at: int) -> bool:
        def work(told: int) -> None:
            async def run(database: Database) -> None:
                log = DocumentLog(database, policy=_policy(keys, spool=folder))
                await log.read("d")
                assert await log.stop()

            _with_database(any_url, die_at, lambda database: asyncio.run(run(database)))

        return run_until_it_dies(work)[0]

    _make(any_url, "d")
    left = Spool(folder, keys)
    left.add(Pending("d", 1, WRITER, number, payload) for number, payload in enumerate(updates, 1))
    left.close(keep=True)
    die_at, done = 0, False
    while not done:
        die_at += 1
        done = replay(die_at)
        text, seq = _now(any_url, keys, "d")
        assert text == _whole(seq)
    assert _now(any_url, keys, "d") == (_whole(COUNT), COUNT)
    # Those that died left files of their own, empty; whoever starts next takes them away.
    assert replay(0)
    assert list(folder.iterdir()) == []
    assert die_at > 5


@pytest.mark.anyio
async def test_what_was_acknowledged_survives_postgresqls_death_in_the_middle_of_a_load(tmp_path: Path) -> None:
    server = EmbeddedPostgres(tmp_path / "postgres")
    server.start()
    try:
        migrate.upgrade(server.url())
        database = Database(server.url())
        log, author = DocumentLog(database), Author()
        await log.create("d")
        told: list[asyncio.Future[int]] = []
        for number in range(600):
            told.append(log.append("d", author.write(f"{number} "), 1))
            if number % 200 == 150:
                await asyncio.to_thread(server.stop, "immediate")
                acknowledged = sum(future.done() for future in told)
                await asyncio.sleep(0.1)
                await asyncio.to_thread(server.start)
                assert (await log.read("d")).seq >= acknowledged
            await asyncio.sleep(0.001)
        async with asyncio.timeout(30):
            positions = await asyncio.gather(*told)
        assert log.state == "ok"
        assert positions == list(range(1, 601))
        assert text_of(await log.read("d")) == _whole(600)
        rows = select(yjs_updates.c.writer_seq).order_by(yjs_updates.c.seq)
        assert await database.run(lambda c: list(c.execute(rows).scalars())) == list(range(1, 601))
        await log.stop()
        database.close()
    finally:
        server.stop("immediate")
