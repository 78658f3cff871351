"""Servers, processes, the database and files come and go in the middle of typing; contents are asserted everywhere."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Iterator
from urllib.parse import urlsplit

import pytest
from support.people import BrowserRoom, Person, sources
from support.running_demo import RunningDemo
from support.shared_notebook import (
    NOTEBOOK,
    Shared,
    both_show,
    home_files,
    server_of,
    service_of,
    type_at_once,
)
from support.wire import Wire
from support.yjs_client import until

pytestmark = [pytest.mark.anyio, pytest.mark.acceptance, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def own_demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningDemo]:
    """A demo whose parts these tests may kill."""
    demo = RunningDemo(tmp_path_factory.mktemp("attacks") / "demo")
    demo.start()
    yield demo
    demo.end()


@pytest.fixture(scope="module")
def wire(own_demo: RunningDemo) -> Iterator[Wire]:
    """What bob's server reaches the Y.js server by; both servers are started with it."""
    wire = Wire(urlsplit(own_demo.ready["yjs_url"]).port)
    own_demo.configure("bob", RtcExtension={"collaboration_yjs_url": f"ws://127.0.0.1:{wire.port}"})
    for name in ("alice", "bob"):
        own_demo.start_server(name)
    yield wire
    wire.end()


@pytest.fixture(scope="module")
def shared(wire: Wire, own_demo: RunningDemo) -> Shared:
    return Shared(own_demo)


async def come_back(person: Person, path: str, tab: BrowserRoom) -> BrowserRoom:
    """The user's server is started again, and the tab, which stayed open, finds it."""
    await asyncio.to_thread(person.start_server)
    return await person.open(path, tab)


async def everything_is_equal(
    shared: Shared, at_alice: BrowserRoom, at_bob: BrowserRoom, words: int, mark: str
) -> None:
    expected = await both_show(at_alice, at_bob, words, mark)
    await shared.saved()
    assert sources(shared.stored()) == expected
    await until(lambda: shared.assert_files(expected), "both files")
    await at_alice.close()
    await at_bob.close()


async def type_through(
    shared: Shared, mark: str, attack: Callable[[], object]
) -> tuple[BrowserRoom, BrowserRoom]:
    """Both type, and in the middle of it the attack happens."""
    at_alice, at_bob = await shared.open()
    typing = asyncio.create_task(type_at_once(at_alice, at_bob, 30, mark))
    await asyncio.sleep(0.25)
    await asyncio.to_thread(attack)
    await typing
    return at_alice, at_bob


@pytest.mark.parametrize("victim", ["alice", "bob"])
async def test_a_users_server_is_killed(shared, victim):
    mark = victim[0].upper()
    at_alice, at_bob = await type_through(shared, mark, lambda: server_of(shared.demo, victim).kill())
    if victim == "alice":
        at_alice = await come_back(shared.alice, NOTEBOOK, at_alice)
    else:
        at_bob = await come_back(shared.bob, shared.bobs_path, at_bob)
    await everything_is_equal(shared, at_alice, at_bob, 30, mark)


async def test_the_yjs_server_is_killed(shared):
    at_alice, at_bob = await type_through(shared, "Y", lambda: service_of(shared.demo).kill())
    assert {d["link"] for d in shared.alice.status()["documents"]} != {"live"}
    at_alice.type_into(5, "alone ")
    # The Hub looks after its services every half minute.
    await until(lambda: sources(at_bob.contents())[5].startswith("alone "), "bob sees it", timeout=60)
    await everything_is_equal(shared, at_alice, at_bob, 30, "Y")


async def test_postgresql_is_killed(shared):
    def attack() -> None:
        shared.demo.postgres.stop("immediate")

    at_alice, at_bob = await type_through(shared, "P", attack)
    await both_show(at_alice, at_bob, 30, "P")
    assert not all(d["saved"] for d in shared.alice.status()["documents"]), "nothing is said to be committed"
    shared.demo.postgres.start()
    await everything_is_equal(shared, at_alice, at_bob, 30, "P")


async def test_bob_is_offline_for_a_minute_while_both_edit(shared, wire):
    at_alice, at_bob = await shared.open()
    wire.cut()
    cut_at = time.monotonic()
    link = lambda: {document["link"] for document in shared.bob.status()["documents"]}  # noqa: E731
    await until(lambda: link() == {"offline"}, "bob's server is cut off", every=0.2)
    await type_at_once(at_alice, at_bob, 30, "O")
    for shown, own, foreign in ((at_alice, "a", "b"), (at_bob, "b", "a")):
        text = "".join(sources(shown.contents()))
        assert text.count(f"[O{own}") == 30 and f"[O{foreign}" not in text, "they are apart"
    await until(lambda: "[Oa29]" in sources(shared.alice.file(NOTEBOOK))[1], "alice's file")
    await until(lambda: "[Ob29]" in sources(shared.bob.file(shared.bobs_path))[2], "bob's file")
    assert not all(document["saved"] for document in shared.bob.status()["documents"])
    log = shared.demo.directory / "logs" / "server-bob.log"
    assert "the link is offline" in log.read_text(), "an operator finds it there"
    await asyncio.sleep(cut_at + 60 - time.monotonic())
    wire.mend()
    await everything_is_equal(shared, at_alice, at_bob, 30, "O")


async def test_an_older_version_is_checked_out_under_the_open_notebook(shared):
    at_alice, at_bob = await shared.open()
    file = shared.alice.home / NOTEBOOK
    older = json.loads(file.read_text())
    older["cells"][6]["source"] = ["# as it was in the older version\n", "1 + 1"]
    older["cells"].append({"cell_type": "markdown", "id": "from-git", "metadata": {}, "source": ["from git"]})
    at_bob.type_into(7, "[bob types meanwhile]")
    await until(lambda: sources(at_alice.contents())[7].startswith("[bob types"))
    typing = asyncio.create_task(type_at_once(at_alice, at_bob, 30, "G"))
    await asyncio.sleep(0.2)
    file.write_text(json.dumps(older, indent=1))
    await typing
    await until(lambda: sources(at_bob.contents())[-1] == "from git", "bob has the new cell")
    shown = sources(at_bob.contents())
    assert shown[6] == "# as it was in the older version\n1 + 1"
    assert shown.count("from git") == 1
    assert home_files(shared.alice) == [file.relative_to(shared.alice.home)], (
        "merged, so nothing is kept beside"
    )
    await everything_is_equal(shared, at_alice, at_bob, 30, "G")


async def test_an_old_file_does_not_beat_what_bob_wrote_meanwhile(shared):
    at_alice, at_bob = await shared.open()
    at_alice.type_into(11, "[alice's last word] ")
    await until(lambda: "[alice's last word]" in sources(at_bob.contents())[11])
    # The Hub interrupts it before the next save is due: it says goodbye, and leaves nothing unsaved.
    began = time.monotonic()
    await asyncio.to_thread(shared.alice.stop_server)
    assert time.monotonic() - began < 20, "it had to be killed"
    assert "[alice's last word]" in sources(shared.alice.file(NOTEBOOK))[11]
    session = shared.bob.call("GET", f"/sessions/{shared.document_id}").json()["session"]
    assert [p["is_online"] for p in session["participants"] if p["username"] == "alice"] == [False]
    await at_alice.close()
    old = (shared.alice.home / NOTEBOOK).read_bytes()
    at_bob.type_into(8, "[while alice was away]")
    await until(lambda: "[while alice was away]" in json.dumps(shared.stored()))
    assert (shared.alice.home / NOTEBOOK).read_bytes() == old
    await asyncio.to_thread(shared.alice.start_server)
    at_alice = await shared.alice.open(NOTEBOOK)
    assert sources(at_alice.contents()) == sources(at_bob.contents())
    await everything_is_equal(shared, at_alice, at_bob, 0, "-")


async def test_a_file_that_was_changed_while_its_server_was_away_is_merged(shared):
    at_alice, at_bob = await shared.open()
    await at_alice.close()
    await asyncio.to_thread(shared.alice.stop_server)
    file = shared.alice.home / NOTEBOOK
    changed = json.loads(file.read_text())
    changed["cells"][9]["source"] = ["[by a script] ", *changed["cells"][9]["source"]]
    file.write_text(json.dumps(changed))
    at_bob.type_into(10, "[by bob] ")
    await until(lambda: "[by bob]" in json.dumps(shared.stored()))
    await asyncio.to_thread(shared.alice.start_server)
    at_alice = await shared.alice.open(NOTEBOOK)
    await until(
        lambda: sources(at_bob.contents())[9].count("[by a script] ") == 1, "bob has the script's change"
    )
    assert sources(at_alice.contents())[10].count("[by bob] ") == 1
    await everything_is_equal(shared, at_alice, at_bob, 0, "-")


async def test_nothing_of_all_this_was_a_conflict(shared):
    assert len(home_files(shared.alice)) == len(home_files(shared.bob)) == 1
