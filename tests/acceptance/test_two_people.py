"""The main job: alice and bob, each on a server of their own, edit one notebook at the same time."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.people import sources
from support.running_demo import RunningDemo
from support.shared_notebook import NOTEBOOK, Shared, both_show, home_files, server_of, type_at_once
from support.yjs_client import until

pytestmark = [pytest.mark.anyio, pytest.mark.acceptance, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def own_demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningDemo]:
    """A demo that these tests may stop, kill and start again; the notebook is shared with bob."""
    demo = RunningDemo(tmp_path_factory.mktemp("two") / "demo", users="alice,bob,carol")
    demo.start()
    for name in ("alice", "bob"):
        demo.start_server(name)
    yield demo
    demo.end()


@pytest.fixture(scope="module")
def shared(own_demo: RunningDemo) -> Shared:
    return Shared(own_demo)


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
    demo, first, database = shared.demo, shared.demo.ready, shared.demo.postgres.pid
    if end == "ctrl-c":
        assert demo.stop(signal.SIGINT) == 0
        assert demo.processes() == []
        assert demo.postgres.pid is None
        assert not demo.ready_file.exists()
    else:
        demo.kill()
        assert demo.postgres.pid == database
        assert sources(shared.stored()) == expected
    assert demo.start() == first
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

    await until(lambda: online() == {"alice": True, "bob": True}, "both online", every=0.3)
    at_bob.present("bob", user={"name": "bob", "username": "bob"})
    await until(lambda: "bob" in at_alice.names(), "alice sees his cursor")
    killed = time.monotonic()
    server_of(shared.demo, "bob").kill()
    await until(lambda: "bob" not in at_alice.names(), "his cursor vanishes")
    await until(lambda: online() == {"alice": True, "bob": False}, "bob is offline", timeout=60, every=0.3)
    assert time.monotonic() - killed < 60
    await at_alice.close()
    await at_bob.close()


async def test_nothing_was_kept_beside(shared):
    """No conflict copy was made on the way: nothing of all this was a conflict."""
    assert home_files(shared.alice) == [Path(NOTEBOOK)]
    assert home_files(shared.bob) == [Path(shared.bobs_path)]
