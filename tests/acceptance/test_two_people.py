"""The main job: alice and bob, each on a server of their own, edit one notebook at the same time."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import psycopg2
import pytest
from support.people import BrowserRoom, Person, in_postgresql, sources
from support.running_demo import RunningDemo
from support.yjs_client import until

pytestmark = [pytest.mark.anyio, pytest.mark.acceptance, pytest.mark.timeout(300)]

NOTEBOOK = "Welcome.ipynb"


@pytest.fixture(scope="module")
def own_demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningDemo]:
    """A demo that these tests may stop, kill and start again; the notebook is shared with bob."""
    demo = RunningDemo(tmp_path_factory.mktemp("two") / "demo", users="alice,bob,carol")
    demo.start()
    for name in ("alice", "bob"):
        demo.start_server(name)
    yield demo
    demo.end()


class Shared:
    """The notebook that alice shares with bob."""

    def __init__(self, demo: RunningDemo) -> None:
        self.demo = demo
        self.alice, self.bob = Person(demo, "alice"), Person(demo, "bob")
        self.document_id = ""
        self.bobs_path = ""

    async def open(self) -> tuple[BrowserRoom, BrowserRoom]:
        """Both open it; the first time, alice invites and bob joins."""
        at_alice = await self.alice.open(NOTEBOOK)
        if not self.document_id:
            self.document_id = self.alice.status()["documents"][0]["document_id"]
            self._invite()
        return at_alice, await self.bob.open(self.bobs_path)

    def _invite(self) -> None:
        invited = self.alice.call("POST", f"/sessions/{self.document_id}/invite", json={"username": "bob"})
        assert invited.status_code == 200, invited.text
        accepted = self.bob.call("POST", f"/invites/{invited.json()['invite_id']}/accept").json()
        assert accepted["open_url"].endswith(f"/hub/user-redirect/rtc/join/{self.document_id}")
        self.bobs_path = self.bob.join(self.document_id)
        assert (self.bob.home / self.bobs_path).exists(), "when the join answers, the file is there"

    async def saved(self) -> None:
        """Wait until both servers say that everything is committed."""
        for person in (self.alice, self.bob):
            await until(lambda person=person: all(d["saved"] for d in person.status()["documents"]), "saved")

    def stored(self) -> dict[str, Any]:
        """The notebook as PostgreSQL alone has it."""
        return in_postgresql([bytes(row[0]) for row in self._rows("payload")])

    def position(self) -> list[Any]:
        return self._rows("seq, created_at")

    def _rows(self, columns: str) -> list[Any]:
        query = f"SELECT {columns} FROM yjs_updates WHERE document_id = %s ORDER BY seq"
        connection = psycopg2.connect(self.demo.ready["database_url"])
        try:
            with connection.cursor() as cursor:
                cursor.execute(query, (self.document_id,))
                return cursor.fetchall()
        finally:
            connection.close()

    def assert_files(self, expected: list[str]) -> bool:
        return (
            sources(self.alice.file(NOTEBOOK)) == expected
            and sources(self.bob.file(self.bobs_path)) == expected
        )


@pytest.fixture(scope="module")
def shared(own_demo: RunningDemo) -> Shared:
    return Shared(own_demo)


async def type_at_once(at_alice: BrowserRoom, at_bob: BrowserRoom, words: int, mark: str) -> None:
    """alice types into cell 1, bob into cell 2, and both into cell 3."""
    for number in range(words):
        at_alice.type_into(1, f"[{mark}a{number}]")
        at_bob.type_into(2, f"[{mark}b{number}]")
        (at_alice if number % 2 else at_bob).type_into(3, f"[{mark}c{number}]")
        await asyncio.sleep(0.02)


def assert_each_word_once(sources_: list[str], words: int, mark: str) -> None:
    for number in range(words):
        for cell, person in ((1, "a"), (2, "b"), (3, "c")):
            word = f"[{mark}{person}{number}]"
            assert sources_[cell].count(word) == 1, (
                f"{word} is {sources_[cell].count(word)} times in cell {cell}"
            )


async def both_show(at_alice: BrowserRoom, at_bob: BrowserRoom, words: int, mark: str) -> list[str]:
    def equal() -> bool:
        one, two = sources(at_alice.contents()), sources(at_bob.contents())
        return one == two and one[3].count(f"[{mark}c") == words and one[1].count(f"[{mark}a") == words

    await until(equal, "both show the same")
    result = sources(at_alice.contents())
    assert_each_word_once(result, words, mark)
    return result


async def test_both_type_at_once_and_it_is_everywhere(shared):
    at_alice, at_bob = await shared.open()
    cells = len(at_alice.document.ycells)
    assert cells >= 20
    assert any(
        output.get("data", {}).get("image/png")
        for cell in at_bob.contents()["cells"]
        for output in cell.get("outputs", [])
    )
    await type_at_once(at_alice, at_bob, 20, "1")
    expected = await both_show(at_alice, at_bob, 20, "1")
    assert len(expected) == cells
    await shared.saved()
    assert sources(shared.stored()) == expected
    await until(lambda: shared.assert_files(expected), "both files")
    await at_alice.close()
    await at_bob.close()


async def test_cursors_cross_and_vanish(shared):
    at_alice, at_bob = await shared.open()
    at_alice.present("alice", cursors=[{"anchor": 1}])
    at_bob.present("bob")
    await until(lambda: "alice" in at_bob.names() and "bob" in at_alice.names(), "each sees the other")
    await at_bob.close()
    at_alice.present("alice", 2)
    await until(lambda: "bob" not in at_alice.names(), "bob's cursor is gone", timeout=45)
    await at_alice.close()


async def test_per_server_keys_stay_at_their_server(shared):
    at_alice, at_bob = await shared.open()
    at_alice.type_into(4, "x")
    await until(lambda: at_alice.state.get("hash") and at_bob.state.get("hash"), "saved")
    assert at_alice.state["path"] == NOTEBOOK
    assert at_bob.state["path"] == shared.bobs_path
    await until(lambda: at_alice.state["dirty"] is False and at_bob.state["dirty"] is False, "clean again")
    await at_alice.close()
    await at_bob.close()


async def test_left_alone_nothing_is_saved_or_updated(shared):
    at_alice, at_bob = await shared.open()
    at_alice.type_into(4, "y")
    await shared.saved()
    await asyncio.sleep(3)
    files = [shared.alice.home / NOTEBOOK, shared.bob.home / shared.bobs_path]
    before = shared.position(), [file.stat().st_mtime_ns for file in files]
    edits = len(at_alice.edits()), len(at_bob.edits())
    await asyncio.sleep(25)
    assert before == (shared.position(), [file.stat().st_mtime_ns for file in files])
    assert edits == (len(at_alice.edits()), len(at_bob.edits()))
    await at_alice.close()
    await at_bob.close()


@pytest.mark.parametrize("end", ["ctrl-c", "kill -9"])
async def test_after_a_restart_everything_acknowledged_is_there_once(shared, end):
    mark = end[0]
    at_alice, at_bob = await shared.open()
    await type_at_once(at_alice, at_bob, 10, mark)
    expected = await both_show(at_alice, at_bob, 10, mark)
    await shared.saved()
    if end == "ctrl-c":
        assert shared.demo.stop(signal.SIGINT) == 0
    else:
        shared.demo.kill()
    assert sources(shared.stored()) == expected if end == "kill -9" else True
    shared.demo.start()
    for person in (shared.alice, shared.bob):
        await asyncio.to_thread(person.start_server)
    # The tabs have stayed open: they come back with what they had, as JupyterLab's do.
    at_alice, at_bob = (
        await shared.alice.open(NOTEBOOK, at_alice),
        await shared.bob.open(shared.bobs_path, at_bob),
    )
    assert await both_show(at_alice, at_bob, 10, mark) == expected
    await until(lambda: shared.assert_files(expected), "both files")
    await type_at_once(at_alice, at_bob, 3, mark.upper())
    expected = await both_show(at_alice, at_bob, 3, mark.upper())
    await shared.saved()
    assert sources(shared.stored()) == expected
    await at_alice.close()
    await at_bob.close()


async def test_a_killed_server_shows_its_owner_offline_within_a_minute(shared):
    at_alice, at_bob = await shared.open()

    def online() -> dict[str, bool]:
        session = shared.alice.call("GET", f"/sessions/{shared.document_id}").json()["session"]
        return {person["username"]: person["is_online"] for person in session["participants"]}

    await until(lambda: online() == {"alice": True, "bob": True}, "both online")
    killed = time.monotonic()
    server_of(shared.demo, "bob").kill()
    await until(lambda: online() == {"alice": True, "bob": False}, "bob is offline", timeout=60)
    assert time.monotonic() - killed < 60
    await at_alice.close()
    await at_bob.close()


def server_of(demo: RunningDemo, user: str) -> psutil.Process:
    """The process of a user's own server."""
    for process in demo.processes():
        if (
            "jupyterhub.singleuser" in " ".join(process.cmdline())
            and process.environ().get("JUPYTERHUB_USER") == user
        ):
            return process
    raise AssertionError(f"{user} has no server")


def home_files(person: Person) -> list[Path]:
    found = (path.relative_to(person.home) for path in person.home.rglob("*.ipynb"))
    return sorted(path for path in found if not any(part.startswith(".") for part in path.parts))


async def test_nothing_was_kept_beside(shared):
    """No conflict copy was made on the way: nothing of all this was a conflict."""
    assert home_files(shared.alice) == [Path(NOTEBOOK)]
    assert home_files(shared.bob) == [Path(shared.bobs_path)]
