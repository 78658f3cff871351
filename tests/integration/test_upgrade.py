"""An upgrade while people type: the schema first, then the processes, one after the other; and what does not fit."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from sqlalchemy import Connection, text
from support.logs import text_of
from support.old_code import OldCode
from support.yjs_client import YjsClient, until
from support.yjs_processes import YjsProcess

from jupyter_rtc_amprenta.core import migrate, queries
from jupyter_rtc_amprenta.core.database import Database
from jupyter_rtc_amprenta.core.protocol import CloseCode
from jupyter_rtc_amprenta.core.tokens import Keyring, new_private_key

pytestmark = [pytest.mark.anyio, pytest.mark.integration]

DOCUMENT = "text_of_an_upgrade"


@pytest.fixture
def emptied(database_url: str) -> Iterator[Database]:
    """An empty database."""
    database = Database(database_url)
    database.call(lambda connection: connection.execute(text("DROP SCHEMA public CASCADE; CREATE SCHEMA public")))
    yield database
    database.close()


@pytest.fixture
def processes() -> Iterator[list[YjsProcess]]:
    """What is left of these is ended."""
    started: list[YjsProcess] = []
    yield started
    for process in started:
        if process.process.poll() is None:
            process.kill()


class Typist:
    """Somebody who types on, and knows what was acknowledged."""

    def __init__(self, client: YjsClient, name: str) -> None:
        self.client = client
        self.acknowledged: set[str] = set()
        self._name = name
        self._task = asyncio.create_task(self._type())

    async def _type(self) -> None:
        number = 0
        while True:
            word = f"{self._name}{number} "
            self.client.text.insert(len(str(self.client.text)), word)
            await self.client.committed()
            self.acknowledged.add(word)
            number += 1

    async def types_on(self, words: int = 10) -> None:
        """Wait until so many more are acknowledged."""
        count = len(self.acknowledged) + words
        await until(lambda: self._task.done() or len(self.acknowledged) >= count, "acknowledged", 30)
        if self._task.done():
            self._task.result()

    async def stop(self) -> None:
        self._task.cancel()
        await asyncio.wait([self._task])


async def test_a_rolling_upgrade_with_people_at_work(
    tmp_path: Path, database_url: str, emptied: Database, processes: list[YjsProcess]
) -> None:
    (tmp_path / "old").mkdir()
    old = OldCode(tmp_path / "old")
    environ = {"RTC_DATABASE_URL": database_url}
    people_come = [f"token --user {name} --document {DOCUMENT}" for name in ("alice", "bob")]
    revision, *made = old.run("migrate", *people_come, **environ)
    assert old.revision in revision
    tokens = dict(zip(("alice", "bob"), made, strict=True))
    for log_file, code in (("old.log", old.environment), ("new.log", {})):
        processes.append(YjsProcess(tmp_path / log_file, **code, **environ))
    await processes[0].becomes(200, seconds=90)
    # The new one can be started beside it before the schema is brought up: it takes nobody in until then.
    await processes[1].becomes(503, seconds=90)

    def client(process: YjsProcess, name: str, **more: Any) -> YjsClient:
        return YjsClient(f"ws://127.0.0.1:{process.port}/doc/{DOCUMENT}?token={tokens[name]}", **more)

    async with client(processes[0], "alice") as alice, client(processes[0], "bob") as bob:
        people = [Typist(alice, "a"), Typist(bob, "b")]
        await asyncio.gather(*(person.types_on() for person in people))
        # 1. The schema, while everybody types. The old process goes on with it.
        await asyncio.to_thread(migrate.upgrade, database_url)
        await asyncio.gather(*(person.types_on() for person in people))
        assert (alice.close_code, bob.close_code) == (None, None)
        async with client(processes[0], "bob") as late:
            await until(lambda: "a0 " in str(late.text))
        # 2. New processes beside the old ones; whoever comes, comes to either.
        await processes[1].becomes(200)
        async with client(processes[1], "bob") as second:
            people.append(Typist(second, "s"))
            await asyncio.gather(*(person.types_on() for person in people))
            await until(lambda: "s0 " in str(alice.text) and "a0 " in str(second.text), "both hear each other")
            # 3. The old ones are told to end: who was there is sent away to come back, and finds the new ones.
            await asyncio.gather(*(person.stop() for person in people[:2]))
            await asyncio.to_thread(processes[0].terminate)
            await until(lambda: alice.close_code == bob.close_code == CloseCode.TRY_LATER)
            async with client(processes[1], "alice", doc=alice.doc) as again:
                people[0] = Typist(again, "c")
                await people[0].types_on()
                await asyncio.gather(people[0].stop(), people[2].stop())
                await asyncio.gather(again.committed(), second.committed())
                written = text_of(emptied.call(queries.read_history, DOCUMENT))
                await until(lambda: str(again.text) == str(second.text) == written, "all have the same")
    for person in people:
        assert person.acknowledged <= {f"{word} " for word in written.split()}
    assert len(set(written.split())) == len(written.split()), "nothing is there twice"
    assert "Traceback" not in processes[0].log + processes[1].log


def _bring_to(connection: Connection, revision: str) -> None:
    """Make the schema of a revision, as its code did."""
    config = migrate._config()
    config.attributes["connection"] = connection
    command.upgrade(config, revision)


def _say(connection: Connection, revision: str) -> None:
    """Let the schema be of another revision, by its own word."""
    connection.execute(text("UPDATE alembic_version SET version_num = :it"), {"it": revision})


async def test_a_schema_that_does_not_fit_is_told_and_heals(
    tmp_path: Path, database_url: str, emptied: Database, processes: list[YjsProcess], start: Any
) -> None:
    newest, before = migrate._revisions()[:2]
    emptied.call(_bring_to, before)
    key = new_private_key()
    environ = {"RTC_DATABASE_URL": database_url, "RTC_SIGNING_KEY": key}
    service = start(**environ, RTC_YJS_IN_SERVICE="false")
    token = Keyring([key]).api_token("alice", 600)
    processes.append(YjsProcess(tmp_path / "yjs.log", **environ))

    async def told(words: str) -> None:
        await until(lambda: words in service.health(503, 60)["database"]["detail"], words, 60)
        answer = service.get("/sessions", token)
        assert (answer.status_code, answer.json()["code"]) == (503, "schema_mismatch")
        assert words in answer.json()["detail"]

    await told(f"({before}) is older than this version needs: run 'jupyter-rtc migrate'")
    sentence = f"The database's schema ({before}) is older than this version needs: run 'jupyter-rtc migrate'."
    await processes[0].becomes(503, seconds=90, database=sentence)
    refused = YjsClient(f"ws://127.0.0.1:{processes[0].port}/doc/{DOCUMENT}?token={token}")
    await refused.connect()
    await until(lambda: refused.close_code == CloseCode.TRY_LATER)
    assert "run 'jupyter-rtc migrate'" in refused.close_reason

    assert migrate.upgrade(database_url) == newest
    service.health(200)
    assert service.get("/sessions", token).status_code == 200
    await processes[0].becomes(200, seconds=90)

    emptied.call(_say, "9999")
    await told("(9999) is newer than this version needs: upgrade jupyter-rtc-amprenta here")
    # Who is at work goes on: each version leaves the tables as the one before it needs them.
    await processes[0].becomes(200, seconds=90)
    emptied.call(_say, newest)
    service.health(200)
