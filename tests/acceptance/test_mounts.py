"""A shared volume on the real Hub: one notebook in the folder that alice's and bob's servers both have."""

from __future__ import annotations

import asyncio
import json
import subprocess
from collections.abc import Iterator
from typing import Any

import nbformat
import psycopg2
import pytest
from support.people import BrowserRoom, Person, in_postgresql, sources
from support.running_demo import RunningDemo
from support.shared_notebook import both_show, server_of, type_at_once
from support.yjs_client import until

pytestmark = [pytest.mark.anyio, pytest.mark.acceptance, pytest.mark.timeout(300)]

PATH = "Team/plan.ipynb"
FIRST = ["title = 'plan'", "one = 1", "two = 2", "three = 3"]


@pytest.fixture(scope="module")
def own_demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningDemo]:
    demo = RunningDemo(tmp_path_factory.mktemp("mounts") / "demo", users="alice,bob", RTC_LEASE_SECONDS="5")
    demo.start()
    for name in ("alice", "bob"):
        demo.start_server(name)
    yield demo
    demo.end()


class Team:
    """The folder, and the notebook in it."""

    def __init__(self, demo: RunningDemo) -> None:
        self.demo = demo
        self.alice, self.bob = Person(demo, "alice"), Person(demo, "bob")
        self.folder = (self.alice.home / "Team").resolve()
        cells = [nbformat.v4.new_code_cell(source, id=f"cell{n}") for n, source in enumerate(FIRST)]
        (self.folder / "plan.ipynb").write_text(nbformat.writes(nbformat.v4.new_notebook(cells=cells)))
        self.git("init", "-q")
        self.git("add", "plan.ipynb")
        self.git("commit", "-q", "-m", "first")

    def git(self, *arguments: str) -> None:
        who = ["-c", "user.name=alice", "-c", "user.email=alice@example.org"]
        subprocess.run(["git", *who, *arguments], cwd=self.folder, check=True, capture_output=True)

    async def open(self, tabs: tuple[Any, Any] = (None, None)) -> tuple[BrowserRoom, BrowserRoom]:
        return await self.alice.open(PATH, tabs[0]), await self.bob.open(PATH, tabs[1])

    def documents(self) -> list[str]:
        return [
            one["document_id"]
            for person in (self.alice, self.bob)
            for one in person.status()["documents"]
            if one["path"] == PATH
        ]

    def on_disk(self) -> list[str]:
        return sources(self.alice.file(PATH))

    def stored(self, document_id: str) -> dict[str, Any]:
        connection = psycopg2.connect(self.demo.ready["database_url"])
        try:
            with connection.cursor() as cursor:
                cursor.execute(
                    "SELECT payload FROM yjs_updates WHERE document_id = %s ORDER BY seq", (document_id,)
                )
                return in_postgresql([bytes(row[0]) for row in cursor.fetchall()])
        finally:
            connection.close()

    async def everywhere(self, at: tuple[BrowserRoom, BrowserRoom], expected: list[str]) -> None:
        """Both tabs, the file and PostgreSQL hold this."""
        (document_id,) = set(self.documents())
        for one in at:
            await until(
                lambda one=one: sources(one.contents()) == expected, f"{expected} in a tab", timeout=30
            )
        await until(lambda: self.on_disk() == expected, f"{expected} in the file", timeout=30)
        await until(lambda: sources(self.stored(document_id)) == expected, "in PostgreSQL")


@pytest.fixture(scope="module")
def team(own_demo: RunningDemo) -> Team:
    return Team(own_demo)


async def closed(*tabs: BrowserRoom) -> None:
    for tab in tabs:
        await tab.close()


async def test_both_open_one_document_and_type_at_once(team):
    at_alice, at_bob = await team.open()
    assert len(team.documents()) == 2 and len(set(team.documents())) == 1
    await type_at_once(at_alice, at_bob, 15, "1")
    expected = await both_show(at_alice, at_bob, 15, "1")
    await team.everywhere((at_alice, at_bob), expected)
    session = team.bob.call("GET", f"/sessions/{team.documents()[0]}").json()
    assert session["user_permissions"] == "read-write"
    assert {one["username"] for one in session["session"]["participants"]} == {"alice", "bob"}
    await closed(at_alice, at_bob)


async def test_git_checkout_of_an_older_version_is_taken_in_once(team):
    at_alice, at_bob = await team.open()
    await team.everywhere((at_alice, at_bob), team.on_disk())
    team.git("checkout", "plan.ipynb")
    await team.everywhere((at_alice, at_bob), FIRST)
    notebook = json.loads((team.folder / "plan.ipynb").read_text())
    notebook["cells"].append(nbformat.v4.new_code_cell("script = 1", id="script"))
    (team.folder / "plan.ipynb").write_text(json.dumps(notebook))
    at_alice.type_into(1, "# alice\n")
    await team.everywhere((at_alice, at_bob), [FIRST[0], "# alice\n" + FIRST[1], *FIRST[2:], "script = 1"])
    await closed(at_alice, at_bob)


@pytest.mark.parametrize("name", ["alice", "bob"])
async def test_kill_9_of_a_server_while_both_type(team, name):
    mark = name.upper()[0]
    at_alice, at_bob = await team.open()
    before = sources(at_alice.contents())
    typing = asyncio.create_task(type_at_once(at_alice, at_bob, 20, mark))
    await asyncio.sleep(0.2)
    server_of(team.demo, name).kill()
    await typing
    person = team.alice if name == "alice" else team.bob
    survivor = at_bob if name == "alice" else at_alice
    # The other server saves what it shows, though the one that saved before is gone.
    await until(lambda: team.on_disk() == sources(survivor.contents()) != before, "the file", timeout=30)
    await asyncio.to_thread(person.stop_server)
    await asyncio.to_thread(person.start_server)
    tabs = await team.open((at_alice, at_bob))
    # The killed server's tab comes back with what it had typed meanwhile.
    expected = await both_show(*tabs, 20, mark)
    assert len(expected) == len(before)
    await team.everywhere(tabs, expected)
    await closed(*tabs)


async def test_left_alone_nothing_is_saved(team):
    tabs = await team.open()
    tabs[0].type_into(0, "y")
    await team.everywhere(tabs, sources(tabs[0].contents()))
    await asyncio.sleep(3)
    (document_id,) = set(team.documents())
    file = team.folder / "plan.ipynb"
    before = file.stat().st_mtime_ns, len(tabs[0].edits()), len(tabs[1].edits())
    stored = team.stored(document_id)
    await asyncio.sleep(10)
    assert before == (file.stat().st_mtime_ns, len(tabs[0].edits()), len(tabs[1].edits()))
    assert stored == team.stored(document_id)
    await closed(*tabs)


async def test_a_rename_in_one_server_is_followed_in_the_other(team):
    tabs = await team.open()
    (document_id,) = set(team.documents())
    renamed = team.bob.at_server("PATCH", f"api/contents/{PATH}", json={"path": "Team/renamed.ipynb"})
    assert renamed.status_code == 200, renamed.text
    await until(lambda: tabs[0].state.get("path") == "Team/renamed.ipynb", "alice's tab knows", timeout=30)
    tabs[0].type_into(2, "# renamed\n")
    await until(lambda: "# renamed" in (team.folder / "renamed.ipynb").read_text(), "the file", timeout=30)
    assert not (team.folder / "plan.ipynb").exists()
    assert {one["document_id"] for one in team.alice.status()["documents"]} == {document_id}
    await closed(*tabs)


def test_nothing_was_kept_beside(team):
    notebooks = [path.name for path in team.folder.glob("*.ipynb")]
    assert notebooks == ["renamed.ipynb"]
