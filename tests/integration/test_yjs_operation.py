"""The Y.js server as a process: the database comes and goes, it is told to end, it is killed; what its log says."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.yjs_client import until
from support.yjs_processes import Deployment

from jupyter_rtc_amprenta.core import migrate
from jupyter_rtc_amprenta.core.documentlog import DocumentLog
from jupyter_rtc_amprenta.core.protocol import CloseCode
from jupyter_rtc_amprenta.core.tokens import new_private_key
from jupyter_rtc_amprenta.core.versions import Versions
from jupyter_rtc_amprenta.demo.postgres import EmbeddedPostgres

pytestmark = [pytest.mark.anyio, pytest.mark.integration]


@pytest.fixture
def own_postgres(tmp_path: Path) -> Iterator[EmbeddedPostgres]:
    server = EmbeddedPostgres(tmp_path / "postgres", settings={"fsync": "off"})
    server.start()
    migrate.upgrade(server.url())
    yield server
    server.stop("immediate")


@pytest.fixture
async def deployment(tmp_path: Path, own_postgres: EmbeddedPostgres) -> Iterator[Deployment]:
    deployment = Deployment(tmp_path, own_postgres.url(), new_private_key())
    for name in ("text_open", "text_new"):
        deployment.document(name, {"alice": "read-write", "rita": "read-only"})
    yield deployment
    deployment.stop()


async def test_without_the_database_open_rooms_go_on_new_ones_are_refused_and_all_heals(deployment, own_postgres):
    (server,) = deployment.start()
    await server.becomes(200)
    async with deployment.client(server, "text_open") as one, deployment.client(server, "text_open") as two:
        one.text.insert(0, "before ")
        await one.committed()
        own_postgres.stop("immediate")
        one.text.insert(0, "during ")
        await until(lambda: str(two.text) == "during before ", "the room goes on")
        with pytest.raises(AssertionError, match="acknowledged"):
            await one.committed(timeout=1)
        refused = deployment.client(server, "text_new")
        await refused.connect()
        await until(lambda: refused.close_code == CloseCode.TRY_LATER)
        assert "database" in refused.close_reason
        answer = await server.becomes(503)
        assert answer["database"] != "ok" and answer["log"] in ("degraded", "failing")
        assert {"database", "log"} <= set(answer["down"])
        assert (server.answers("/ready"), server.answers("/live")) == (503, 200)
        own_postgres.start()
        await one.committed(timeout=30)
        async with deployment.client(server, "text_new") as new:
            new.text.insert(0, "x")
            await new.committed()
        await server.becomes(200)
    assert deployment.stored("text_open") == "during before "
    assert "Traceback" not in server.log


async def test_it_starts_before_the_database_and_ends_within_ten_seconds_without_it(deployment, own_postgres):
    own_postgres.stop("immediate")
    (server,) = deployment.start()
    assert (await server.becomes(503))["database"] == "The database does not answer."
    early = deployment.client(server, "text_open")
    await early.connect()
    await until(lambda: early.close_code == CloseCode.TRY_LATER)
    own_postgres.start()
    await server.becomes(200)
    async with deployment.client(server, "text_open") as one:
        await one.committed()
        own_postgres.stop("immediate")
        one.text.insert(0, "in vain")
        await asyncio.sleep(0.2)
        took = await asyncio.to_thread(server.terminate)
        await until(lambda: one.close_code == CloseCode.TRY_LATER)
    assert took < 10
    assert "not committed" in server.log and "Traceback" not in server.log


async def test_sigterm_commits_what_waits_and_sends_everyone_away_to_come_back(deployment):
    (server,) = deployment.start()
    await server.becomes(200)
    async with (
        deployment.client(server, "text_open") as one,
        deployment.client(server, "text_open") as watcher,
        deployment.client(server, "text_new") as idle,
    ):
        for number in range(200):
            one.text.insert(0, f"{number} ")
        await until(lambda: str(watcher.text) == str(one.text), "the server has all of it", every=0.005)
        took = await asyncio.to_thread(server.terminate)
        await until(lambda: one.close_code == idle.close_code == CloseCode.TRY_LATER)
    assert took < 5
    assert deployment.stored("text_open") == str(one.text)


async def test_after_a_kill_nothing_acknowledged_is_missing(deployment):
    (server,) = deployment.start()
    await server.becomes(200)
    async with deployment.client(server, "text_open") as one:
        for number in range(30):
            one.text.insert(len(str(one.text)), f"{number} ")
        await one.committed()
        acknowledged = str(one.text)
        one.text.insert(0, "not yet ")
        server.kill()
    assert deployment.stored("text_open").endswith(acknowledged)
    server.start()
    await server.becomes(200)
    async with deployment.client(server, "text_open", doc=one.doc) as again:
        await again.committed()
    assert deployment.stored("text_open") == "not yet " + acknowledged


async def test_the_access_log_names_user_document_and_code_and_never_a_token(deployment):
    (server,) = deployment.start()
    await server.becomes(200)
    async with deployment.client(server, "text_open", "rita", permissions="read-only") as rita:
        await rita.committed()
    bad = deployment.client(server, "text_open", "mallory")
    await bad.connect()
    await until(lambda: bad.close_code == CloseCode.NO_RIGHT)
    async with deployment.client(server, "text_open") as one:
        one.send(b"\xff")
        await until(lambda: one.close_code == CloseCode.BAD_MESSAGE)
    await until(lambda: "code=4400" in server.log)
    assert "open document=text_open user=rita via=- permissions=read-only" in server.log
    assert re.search(r"close document=text_open user=rita code=(1000|1005|1006)", server.log)
    assert "refused document=text_open code=4403" in server.log
    assert "close document=text_open user=alice code=4400" in server.log
    assert "token=" not in server.log and "eyJ" not in server.log


async def test_a_version_that_is_restored_from_the_command_line_reaches_who_is_there(deployment, own_postgres):
    (server,) = deployment.start()
    await server.becomes(200)
    environment = {"RTC_DATABASE_URL": own_postgres.url()}
    async with deployment.client(server, "text_open") as one, deployment.client(server, "text_open") as two:
        one.text.insert(0, "as it was")
        await one.committed()
        version = await Versions(DocumentLog(deployment.database)).create("text_open", "good", "alice")
        two.text.insert(0, "spoilt, not ")
        await two.committed()
        said = await asyncio.to_thread(rtc, "restore-version", "text_open", version.version_id, **environment)
        assert "text_open" in said
        await until(lambda: str(one.text) == str(two.text) == "as it was", "nobody has reconnected")
        one.text.insert(9, ", and on")
        await one.committed()
    assert deployment.stored("text_open") == "as it was, and on"
    assert "Traceback" not in server.log


def rtc(*arguments: str, **environment: str) -> str:
    """What `jupyter-rtc` says."""
    command = [sys.executable, "-m", "jupyter_rtc_amprenta.cli", *arguments]
    done = subprocess.run(command, check=False, capture_output=True, text=True, env=os.environ | environment)
    assert done.returncode == 0, done.stderr
    return done.stdout
