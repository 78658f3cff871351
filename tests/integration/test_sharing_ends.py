"""Who is removed keeps a copy, which says that it is one; who is let in again goes on with it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sqlalchemy import delete
from support.simulation import Hub, Server
from support.yjs_client import until

from jupyter_rtc_amprenta.core import queries_people
from jupyter_rtc_amprenta.core.schema import participants

pytestmark = [pytest.mark.anyio, pytest.mark.integration]

DOCUMENT = "text_alice"


class Shared:
    """alice's text, which bob has joined and opened."""

    def __init__(self, hub: Hub, home: Path) -> None:
        self.hub = hub
        self.alice, self.bob = Server(hub, "alice", home / "alice"), Server(hub, "bob", home / "bob")
        self.alice.home.mkdir()
        self.alice.file.write_text("base\n")

    async def remove_bob(self) -> None:
        gone = delete(participants).where(participants.c.username == "bob")
        await self.hub.database.run(lambda connection: connection.execute(gone))

    async def let_bob_in(self) -> None:
        await self.hub.database.run(queries_people.add_participant, DOCUMENT, "bob", "read-write")

    def bobs_files(self) -> list[str]:
        return sorted(path.name for path in self.bob.home.glob("*.txt"))


@pytest.fixture
async def shared(database_url: str, tmp_path: Path) -> AsyncIterator[Shared]:
    shared = Shared(Hub(database_url), tmp_path)
    await shared.hub.start()
    await shared.alice.start()
    await shared.bob.join(DOCUMENT)
    await shared.bob.start()
    await until(lambda: shared.bob.room.linked.link.state == "live")
    yield shared
    for server in (shared.alice, shared.bob):
        await server.stop()
    await shared.hub.crash()
    shared.hub.database.close()


async def test_a_copy_is_marked_when_it_is_closed_and_no_longer_when_it_is_shared_again(shared: Shared) -> None:
    await shared.remove_bob()
    await until(lambda: shared.bob.room.linked.file.ended == "removed", "bob's server knows")
    assert shared.bob.room.linked.status()["ended"] == "removed"
    await until(lambda: shared.bob.tab.must_reload, "his page is told")
    await shared.bob.start()
    shared.bob.tab.type("mine ", 0)
    await until(lambda: shared.bob.file.read_text() == "mine base\n", "the copy is his to change")
    await shared.bob.stop()
    assert shared.bobs_files() == ["notes (no longer shared).txt"]
    assert shared.alice.tab.text == "base\n"

    await shared.let_bob_in()
    shared.bob.path = "notes (no longer shared).txt"
    shared.bob._file_ids().move("notes.txt", shared.bob.path)
    await shared.bob.start()
    await until(lambda: shared.alice.tab.text == shared.bob.tab.text == "mine base\n", "they go on")
    assert shared.bob.room.linked.file.ended is None
    await shared.bob.stop()
    assert shared.bobs_files() == ["notes.txt"]


async def test_the_owners_file_keeps_its_name(shared: Shared) -> None:
    await shared.bob.stop()
    await shared.alice.stop()
    assert [path.name for path in shared.alice.home.glob("*.txt")] == ["notes.txt"]
    assert shared.bobs_files() == ["notes.txt"]
