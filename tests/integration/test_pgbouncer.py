"""Behind pgbouncer's transaction pooling, where each transaction may have any session."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import text
from support.logs import Author, new_keys, text_of
from support.pgbouncer import PgBouncer
from support.yjs_client import until
from support.yjs_processes import Deployment

from jupyter_rtc_amprenta.core import migrate
from jupyter_rtc_amprenta.core.compaction import Retention
from jupyter_rtc_amprenta.core.database import Database
from jupyter_rtc_amprenta.core.documentlog import DocumentLog
from jupyter_rtc_amprenta.core.logpolicy import LogPolicy
from jupyter_rtc_amprenta.core.tokens import new_private_key

pytestmark = [pytest.mark.anyio, pytest.mark.integration]

DOCUMENT = "text_behind_pgbouncer"
COUNT = 150


@pytest.fixture
def pooled_url(database_url: str) -> Iterator[str]:
    if not PgBouncer.is_there():
        pytest.skip("LOUD: no pgbouncer here (apt-get install pgbouncer); .ci/run installs it")
    bouncer = PgBouncer(database_url)
    bouncer.start()
    yield bouncer.url
    bouncer.stop()


async def test_two_processes_write_read_and_compact(pooled_url: str) -> None:
    policy = LogPolicy(keys=new_keys("k1"), retention=Retention(1e9, 10, grace=0.0))
    databases = [Database(pooled_url) for _ in range(2)]
    logs = [DocumentLog(database, policy=policy) for database in databases]
    authors = [Author(), Author()]
    assert migrate.upgrade(pooled_url)
    await logs[0].create("d")

    async def write(log: DocumentLog, author: Author, mark: str) -> None:
        for number in range(COUNT):
            appended = log.append("d", author.write(f"{mark}{number} "), 1)
            if number % 10 == 0:
                await appended
        await log.committed("d")

    async def compact(log: DocumentLog) -> None:
        while True:
            await log.compact("d")
            await log.read("d")

    compacting = asyncio.gather(*map(compact, logs))
    await asyncio.gather(*(write(*one) for one in zip(logs, authors, "ab", strict=True)))
    compacting.cancel()
    await asyncio.wait([compacting])
    expected = sorted(f"{mark}{number}" for mark in "ab" for number in range(COUNT))
    for log in logs:
        history = await log.read("d")
        assert (history.seq, sorted(text_of(history).split())) == (2 * COUNT, expected)
        await log.stop()
    for database in databases:
        database.close()


async def test_what_another_listens_for_is_not_kept(pooled_url: str) -> None:
    database = Database(pooled_url)

    def notices(connection: object) -> int:
        connection.exec_driver_sql("SELECT 1")
        return len(connection.connection.driver_connection.notifies)

    # Two sessions, and both of them listen.
    for _ in range(10):
        await asyncio.gather(*(database.run(lambda c: c.execute(text("LISTEN here"))) for _ in range(4)))
    for _ in range(20):
        await database.run(lambda c: c.execute(text("NOTIFY here")))
    heard = [await database.run(notices) for _ in range(20)]
    assert sum(heard) <= len(heard), "what was heard before is kept"
    database.close()


async def test_two_yjs_servers_find_each_others_edits_without_being_called(
    tmp_path: Path, pooled_url: str
) -> None:
    # LISTEN does not work there: they look every few seconds, unless there is a Redis.
    deployment = Deployment(tmp_path, pooled_url, new_private_key())
    deployment.document(DOCUMENT, {"alice": "read-write", "bob": "read-write"})
    first, second = deployment.start(2)
    for replica in (first, second):
        await replica.becomes(200)
    async with deployment.client(first, DOCUMENT) as alice, deployment.client(second, DOCUMENT, "bob") as bob:
        alice.text.insert(0, "from alice ")
        await until(lambda: str(bob.text) == "from alice ")
        bob.text.insert(0, "from bob ")
        await until(lambda: str(alice.text) == "from bob from alice ")
    deployment.stop()
