"""Two real Y.js servers over one PostgreSQL, with Redis and without: cut, killed, restarted."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.metrics import metric
from support.yjs_client import until
from support.yjs_processes import Deployment, Redis

from jupyter_rtc_amprenta.core import migrate
from jupyter_rtc_amprenta.core.tokens import new_private_key
from jupyter_rtc_amprenta.demo.postgres import EmbeddedPostgres

pytestmark = [pytest.mark.anyio, pytest.mark.integration]

DOCUMENT = "text_of_two_replicas"


@pytest.fixture(params=["redis", "notify"])
def redis(request: pytest.FixtureRequest) -> Iterator[Redis | None]:
    """A Redis; None: PostgreSQL's NOTIFY alone."""
    if request.param == "notify":
        yield None
        return
    if not Redis.is_there():
        pytest.skip("LOUD: no redis-server here (apt-get install redis-server); .ci/run installs it")
    redis = Redis()
    redis.start()
    yield redis
    redis.stop()


@pytest.fixture
def own_postgres(tmp_path: Path) -> Iterator[EmbeddedPostgres]:
    server = EmbeddedPostgres(tmp_path / "postgres", settings={"fsync": "off"})
    server.start()
    migrate.upgrade(server.url())
    yield server
    server.stop("immediate")


@pytest.fixture
async def deployment(tmp_path, own_postgres, redis) -> Iterator[Deployment]:
    deployment = Deployment(tmp_path, own_postgres.url(), new_private_key(), redis.url if redis else "")
    deployment.document(DOCUMENT, {"alice": "read-write", "bob": "read-write"})
    for replica in deployment.start(2):
        await replica.becomes(200, bus="ok", replicas=2)
    yield deployment
    deployment.stop()


async def test_two_replicas_are_one_server_with_edits_and_presence(deployment):
    first, second = deployment.replicas
    async with deployment.client(first, DOCUMENT) as alice, deployment.client(second, DOCUMENT, "bob") as bob:
        for number in range(50):
            alice.text.insert(0, f"a{number} ")
            bob.text.insert(len(str(bob.text)), f"b{number} ")
            await asyncio.sleep(0.005)
        await alice.committed()
        await bob.committed()
        await until(
            lambda: str(alice.text) == str(bob.text) and "b49" in str(alice.text) and "a49" in str(bob.text)
        )
        assert deployment.stored(DOCUMENT) == str(alice.text)
        alice.present("x", place="there")
        bob.present("x")
        await until(lambda: bob.names() == alice.names() == {"alice", "bob"})
        async with deployment.client(second, DOCUMENT, "bob") as late:
            await until(lambda: "alice" in late.names())
        await alice.close()
        await until(lambda: "alice" not in bob.names(), timeout=5)


async def test_a_replica_that_is_killed_takes_nothing_acknowledged_with_it(deployment):
    first, second = deployment.replicas
    async with deployment.client(second, DOCUMENT, "bob") as bob:
        alice = deployment.client(first, DOCUMENT)
        async with alice:
            alice.present("x")
            alice.text.insert(0, "acknowledged ")
            await alice.committed()
            await until(lambda: bob.names() == {"alice"})
            alice.text.insert(0, "perhaps ")
            await asyncio.sleep(0)
            first.kill()
            await until(lambda: alice.close_code or alice._reader.done())
        await until(lambda: bob.names() == set(), "who was at the dead replica is gone", timeout=20)
        assert "acknowledged" in str(bob.text)
        # Its client comes back at the other one.
        async with deployment.client(second, DOCUMENT, doc=alice.doc) as again:
            await again.committed()
            await until(lambda: str(bob.text) == str(again.text) == "perhaps acknowledged ")
        assert deployment.stored(DOCUMENT) == str(bob.text)


async def test_without_the_bus_both_sides_go_on_and_converge(deployment, redis, own_postgres):
    first, second = deployment.replicas
    async with deployment.client(first, DOCUMENT) as alice, deployment.client(second, DOCUMENT, "bob") as bob:
        alice.present("x")
        await until(lambda: bob.names() == {"alice"})
        if redis is not None:
            redis.stop()
        else:
            cut = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'LISTEN%%'"
            await deployment.database.run(lambda c: c.exec_driver_sql(cut).all())
        for number in range(20):
            alice.text.insert(0, f"a{number} ")
            bob.text.insert(len(str(bob.text)), f"b{number} ")
            await asyncio.sleep(0.02)
        await alice.committed()
        await bob.committed()
        await until(
            lambda: str(alice.text) == str(bob.text) and "a19" in str(bob.text) and "b19" in str(alice.text)
        )
        if redis is not None:
            assert (await first.becomes(503, down=["bus"]))["bus"] == "Redis does not answer."
            # A load balancer goes on sending people here, and nobody restarts a process that lives.
            assert first.answers("/ready") == first.answers("/live") == 200
            await until(lambda: bob.names() == set(), "a replica that is not heard has nobody", timeout=20)
            redis.start()
        await first.becomes(200, status="ok", bus="ok", replicas=2)
        await second.becomes(200, status="ok", bus="ok", replicas=2)
        await until(lambda: bob.names() == {"alice"}, "and has them again")
        alice.text.insert(0, "healed ")
        await until(lambda: str(bob.text).startswith("healed "))
    assert deployment.stored(DOCUMENT) == str(bob.text)


async def test_without_postgresql_acknowledgements_wait_and_nothing_is_lost(deployment, redis, own_postgres):
    first, second = deployment.replicas
    async with deployment.client(first, DOCUMENT) as alice, deployment.client(second, DOCUMENT, "bob") as bob:
        alice.text.insert(0, "before ")
        await until(lambda: str(bob.text) == "before ")
        own_postgres.stop("immediate")
        alice.text.insert(0, "during ")
        bob.text.insert(0, "also ")
        with pytest.raises(AssertionError):
            await alice.committed(timeout=1)
        await first.becomes(503)
        if redis is not None:
            # They hear each other, without the database too.
            await until(lambda: "during" in str(bob.text) and "also" in str(alice.text))
        own_postgres.start()
        await alice.committed(timeout=30)
        await bob.committed(timeout=30)
        await until(lambda: str(alice.text) == str(bob.text), timeout=30)
        await first.becomes(200)
    assert deployment.stored(DOCUMENT) == str(bob.text)
    assert all(word in str(bob.text) for word in ("before", "during", "also"))


_END_WHO_WAITS = """
    SELECT pg_terminate_backend(pid) FROM pg_stat_activity
    WHERE datname = current_database() AND wait_event_type = 'Lock'
"""


async def test_what_a_dead_replica_told_and_did_not_commit_is_appended_by_who_holds_it(
    deployment, redis, own_postgres
):
    if redis is None:
        pytest.skip("over NOTIFY nothing is told before it is committed")
    first, second = deployment.replicas
    alice = deployment.client(first, DOCUMENT)
    async with deployment.client(second, DOCUMENT, "bob") as bob:
        async with alice:
            alice.text.insert(0, "base ")
            await alice.committed()
            await until(lambda: str(bob.text) == "base ")
            # The row is locked: the first replica can't commit, and dies with an edit that the second one has.
            with deployment.database.engine.begin() as connection:
                connection.exec_driver_sql("SELECT 1 FROM yjs_documents FOR UPDATE")
                alice.text.insert(0, "orphan ")
                await until(lambda: str(bob.text) == "orphan base ")
                first.kill()
                # Its statement is at PostgreSQL already, which would finish it without its client.
                connection.exec_driver_sql(_END_WHO_WAITS)
                bob.text.insert(0, "child ")
        # Bob's edit builds on the orphan, so it is acknowledged only when that is in the log too.
        await bob.committed(timeout=30)
        assert deployment.stored(DOCUMENT) == str(bob.text) == "child orphan base "
    assert metric(second, "rtc_replica_updates_adopted_total") == 1
