"""The table of docs/opening.md, row by row, against a real Y.js server and PostgreSQL."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from pycrdt import Doc, Text
from sqlalchemy import update
from support.simulation import Hub, Server
from support.yjs_client import until

from jupyter_rtc_amprenta.core import queries
from jupyter_rtc_amprenta.core.documentlog import DocumentLog
from jupyter_rtc_amprenta.core.errors import DatabaseUnavailable
from jupyter_rtc_amprenta.core.schema import participants
from jupyter_rtc_amprenta.filerecord import FileRecord, FileVerdict
from jupyter_rtc_amprenta.filesaver import FileSaver

pytestmark = [pytest.mark.anyio, pytest.mark.integration]

DOCUMENT = "text_alice"


class World:
    """alice's server and file, and bob, who has joined."""

    def __init__(self, hub: Hub, home: Path) -> None:
        self.hub = hub
        self.alice, self.bob = Server(hub, "alice", home / "alice"), Server(hub, "bob", home / "bob")
        self.alice.home.mkdir()
        self.alice.file.write_text("base\n")

    async def shared(self) -> None:
        """Both have it open."""
        await self.alice.start()
        await self.bob.join(DOCUMENT)
        await self.bob.start()

    async def both_show(self, text: str) -> None:
        await until(lambda: self.alice.tab.text == self.bob.tab.text == text, f"{text!r} at both")

    async def alice_shows(self, text: str, file: str | None = None) -> None:
        await until(lambda: self.alice.tab.text == text, f"{text!r}, not {self.alice.tab.text!r}")
        await until(lambda: self.alice.file.read_text() == (text if file is None else file), "the file")

    async def stored(self) -> str:
        doc: Doc = Doc()
        for item in (await DocumentLog(self.hub.database).read(DOCUMENT)).updates:
            doc.apply_update(item)
        return str(doc.get("source", type=Text))

    async def committed(self, server: Server) -> None:
        await until(
            lambda: server.room.linked.link.unacknowledged == 0 and server.room.linked.link.state == "live"
        )

    def kept_beside(self, server: Server | None = None) -> list[str]:
        home = (server or self.alice).home
        return [path.read_text() for path in sorted(home.glob("*(conflict *"))]

    def lose_store(self) -> None:
        (self.alice.home / ".jupyter" / "rtc_rooms.db").unlink()


@pytest.fixture
async def world(database_url: str, tmp_path: Path) -> AsyncIterator[World]:
    world = World(Hub(database_url), tmp_path)
    await world.hub.start()
    yield world
    for server in (world.alice, world.bob):
        await server.stop()
    await world.hub.crash()
    world.hub.database.close()


async def test_row_1_the_file_is_the_seed(world):
    await world.alice.start()
    await world.committed(world.alice)
    assert await world.stored() == "base\n"
    assert world.kept_beside() == []


async def test_row_2_a_lost_store_and_a_file_that_shows_the_document(world):
    await world.alice.start()
    await world.alice.stop()
    world.lose_store()
    world.alice.forget_tab()
    await world.alice.start()
    await world.alice_shows("base\n")
    assert world.kept_beside() == []


async def test_row_3_a_lost_store_and_a_file_that_holds_something_else(world):
    await world.shared()
    await world.alice.stop()
    world.lose_store()
    world.alice.forget_tab()
    world.bob.tab.type("bob ", 0)
    await world.committed(world.bob)
    world.alice.file.write_text("other\n")
    await world.alice.start()
    await world.alice_shows("bob base\n")
    assert world.kept_beside() == ["other\n"]


async def test_rows_4_and_5_a_history_begins_without_the_yjs_server_and_is_accepted_later(world):
    await world.hub.crash()
    await world.alice.start()
    world.alice.tab.type("alone ", 0)
    await world.alice_shows("alone base\n")
    await world.alice.stop()
    await world.hub.start()
    await world.alice.start()
    await world.committed(world.alice)
    await world.alice_shows("alone base\n")
    assert await world.stored() == "alone base\n"
    assert world.kept_beside() == []


async def test_unsaved_edits_of_a_history_that_is_dropped_are_kept_beside(world):
    """bob's server dies before it has saved, and he becomes a reader: what he typed is in the local store alone."""
    await world.shared()
    await world.hub.crash()
    world.bob.room._save_delay = 600
    world.bob.tab.type("typed ", 0)
    await until(lambda: world.bob.room._document.get() == "typed base\n")
    await world.bob.room.linked._store.log.flush()
    await world.bob.crash()
    assert world.bob.file.read_text() == "base\n"
    world.bob.forget_tab()
    change = update(participants).where(participants.c.username == "bob").values(permissions="read-only")
    await world.hub.database.run(lambda connection: connection.execute(change))
    await world.hub.start()
    await world.bob.start()
    await world.both_show("base\n")
    assert world.kept_beside(world.bob) == ["typed base\n"]


async def test_what_is_dropped_is_kept_beside_before_it_is_dropped(world, monkeypatch):
    """bob's server dies between the two."""
    await world.shared()
    await world.hub.crash()
    world.bob.room._save_delay = 600
    world.bob.tab.type("typed ", 0)
    await until(lambda: world.bob.room._document.get() == "typed base\n")
    await world.bob.room.linked._store.log.flush()
    await world.bob.crash()
    await world.hub.give(DOCUMENT, "bob", "read-only")
    await world.hub.start()
    dying = asyncio.Event()

    async def dies(*_: object) -> None:
        dying.set()
        await asyncio.Event().wait()

    monkeypatch.setattr("jupyter_rtc_amprenta.localstore.LocalStore.reset", dies)
    starting = asyncio.ensure_future(world.bob.start())
    await dying.wait()
    await world.bob.crash()
    await asyncio.wait([starting])
    assert world.kept_beside(world.bob) == ["typed base\n"]


async def test_a_seed_whose_answer_got_lost_is_ours(world):
    await world.hub.crash()
    await world.alice.start()
    seed = world.alice.room.linked._seed
    await world.hub.start()
    log = DocumentLog(world.hub.database)
    await until(lambda: world.alice.room.linked.link.state == "live")
    await world.alice.stop()
    assert seed is not None and (await log.read(DOCUMENT)).updates[0] == seed
    # As if the answer had not come: the server does not know that it was accepted, and has typed on.
    store = world.alice.forget_generation()
    world.alice.tab.type("typed on ", 0)
    await store
    await world.alice.start()
    await world.committed(world.alice)
    await world.alice_shows("typed on base\n")
    assert world.kept_beside() == []


async def seed_elsewhere(world: World, text: str) -> None:
    """Another server of alice's home has begun the document meanwhile."""
    log = DocumentLog(world.hub.database)
    assert await log.append_first(DOCUMENT, Doc({"source": Text(text)}).get_update(), 1)


async def begun_offline_though_registered(world: World) -> None:
    """alice's server has registered the file, and then can't reach the Y.js server."""
    await world.alice.start()
    await world.alice.stop()
    world.lose_store()
    world.alice.forget_tab()
    await world.hub.database.run(queries.reset_document, DOCUMENT)
    await world.hub.database.run(lambda c: c.execute(update(queries.yjs_documents).values(generation=1)))
    await world.hub.crash()
    await world.alice.start()
    world.alice.tab.type("mine ", 0)
    await world.alice_shows("mine base\n")


async def test_row_6_a_history_that_came_second_is_dropped(world):
    await begun_offline_though_registered(world)
    await world.alice.stop()
    world.alice.forget_tab()
    await seed_elsewhere(world, "theirs\n")
    await world.hub.start()
    await world.alice.start()
    await world.alice_shows("theirs\n")
    assert world.kept_beside() == ["mine base\n"]
    assert await world.stored() == "theirs\n"


async def test_row_14_a_room_that_is_open_finds_that_it_came_second(world):
    await begun_offline_though_registered(world)
    await seed_elsewhere(world, "theirs\n")
    room = world.alice.room
    await world.hub.start()
    await until(lambda: room._stopping is not None and room._stopping.done(), "the room is closed")
    world.alice.forget_tab()
    await world.alice.stop()
    await world.alice.start()
    await world.alice_shows("theirs\n")
    assert world.kept_beside() == ["mine base\n"]


async def test_row_7_a_stale_file_does_not_beat_the_log(world):
    await world.shared()
    await world.alice.stop()
    world.bob.tab.type("news ", 0)
    await world.committed(world.bob)
    assert world.alice.file.read_text() == "base\n"
    await world.alice.start()
    await world.alice_shows("news base\n")
    assert world.kept_beside() == []


async def test_row_8_an_outside_change_is_merged(world):
    await world.shared()
    await world.alice.stop()
    world.bob.tab.type("bob ", 0)
    await world.committed(world.bob)
    world.alice.file.write_text("base\nscript\n")
    await world.alice.start()
    await world.both_show("bob base\nscript\n")
    await world.alice_shows("bob base\nscript\n")
    assert world.kept_beside() == []


async def test_row_9_what_is_here_goes_on_without_the_yjs_server(world):
    await world.shared()
    await world.alice.stop()
    await world.hub.crash()
    await world.alice.start()
    world.alice.tab.type("alice ", 0)
    world.bob.tab.type(" bob", 4)
    await world.alice_shows("alice base\n")
    await world.hub.start()
    await world.both_show("alice base bob\n")
    assert world.kept_beside() == []


async def test_row_10_an_outside_change_is_merged_without_the_yjs_server(world):
    await world.shared()
    await world.alice.stop()
    await world.hub.crash()
    world.alice.file.write_text("base\nscript\n")
    await world.alice.start()
    await world.alice_shows("base\nscript\n")
    await world.hub.start()
    await world.both_show("base\nscript\n")


async def test_row_11_a_document_that_was_reset(world):
    await world.shared()
    world.alice.tab.type("old ", 0)
    await world.both_show("old base\n")
    await world.alice.stop()
    await world.bob.stop()
    await world.hub.crash()
    generation = await world.hub.database.run(queries.reset_document, DOCUMENT)
    log = DocumentLog(world.hub.database)
    assert await log.append_first(DOCUMENT, Doc({"source": Text("restored\n")}).get_update(), generation)
    await world.hub.start()
    world.alice.forget_tab()
    await world.alice.start()
    await world.alice_shows("restored\n")
    assert world.kept_beside() == ["old base\n"]


async def test_row_12_edits_that_were_made_without_the_right(world):
    await world.shared()
    await world.hub.crash()
    world.bob.tab.type("forbidden ", 0)
    await until(lambda: world.bob.file.read_text() == "forbidden base\n")
    await world.bob.stop()
    world.bob.forget_tab()
    change = update(participants).where(participants.c.username == "bob").values(permissions="read-only")
    await world.hub.database.run(lambda connection: connection.execute(change))
    await world.hub.start()
    await world.bob.start()
    await world.both_show("base\n")
    await until(lambda: world.bob.file.read_text() == "base\n")
    assert world.kept_beside(world.bob) == ["forbidden base\n"]
    assert await world.stored() == "base\n"


@pytest.mark.parametrize("left", ["", "a longer "], ids=["nothing", "a half"])
async def test_row_13_a_save_that_was_cut_short(world, left):
    await world.alice.start()
    world.alice.tab.type("a longer ", 0)
    await world.alice_shows("a longer base\n")
    room = world.alice.room
    async with room.saver._saving:  # its own save is done
        await room.linked.record.intend_to_save("the digest of what follows")
    await world.alice.crash()
    world.alice.file.write_text(left)
    await world.alice.start()
    await world.alice_shows("a longer base\n")
    assert world.kept_beside() == []


async def test_a_new_file_of_an_old_name_is_another_document(world):
    """What was shared was deleted; bob must never see what is in the new file of its name."""
    await world.shared()
    await world.alice.stop()
    world.alice.forget_tab()
    await world.alice.replace_file("private\n")
    await world.alice.start()
    await world.alice_shows("private\n")
    assert world.alice.room.linked.file.own
    assert "private" not in world.bob.tab.text + world.bob.file.read_text()


@pytest.mark.parametrize("file_is_old", [False, True], ids=["as it was", "old"])
async def test_what_comes_while_the_file_is_looked_at_is_saved_too(world, monkeypatch, file_is_old):
    """alice types when bob's server has compared its file to the document, and does not serve its room yet."""
    await world.shared()
    await world.bob.stop()
    if file_is_old:
        world.alice.tab.type("before ", 0)
        await world.committed(world.alice)
    settle = FileSaver.settle

    async def settle_and_wait(saver: FileSaver, verdict: FileVerdict, on_disk: object) -> None:
        await settle(saver, verdict, on_disk)
        assert verdict is (FileVerdict.WRITE if file_is_old else FileVerdict.AS_IT_IS)
        world.alice.tab.type("meanwhile ", 0)
        await until(lambda: "meanwhile" in saver._linked.content())

    monkeypatch.setattr(FileSaver, "settle", settle_and_wait)
    await world.bob.start()
    text = "meanwhile before base\n" if file_is_old else "meanwhile base\n"
    await until(lambda: world.bob.file.read_text() == text, "bob's file")


@pytest.mark.parametrize("ends", ["fails", "is cancelled"])
async def test_an_outside_change_whose_merge_does_not_end_is_not_overwritten(world, monkeypatch, ends):
    """The local store refuses it, or alice's server stops in its middle; what she typed is saved after that."""
    await world.alice.start()
    room = world.alice.room
    room._save_delay = 600
    # The change is told once, by this test alone.
    room.saver._stop_watching()
    room._file.observe(room.room_id, noticed_elsewhere)
    world.alice.tab.type("typed ", 0)
    await until(lambda: room._document.get() == "typed base\n")
    take_in, merging = FileRecord.take_in, asyncio.Event()

    async def does_not_end(*_: object) -> bool:
        merging.set()
        if ends == "is cancelled":
            await asyncio.Event().wait()
        raise DatabaseUnavailable("The database does not answer.")

    monkeypatch.setattr(FileRecord, "take_in", does_not_end)
    with world.alice.file.open("a") as file:
        file.write("script\n")
    merge = asyncio.create_task(room.saver.outside_change())
    await merging.wait()
    merge.cancel()
    await asyncio.wait([merge])
    monkeypatch.setattr(FileRecord, "take_in", take_in)
    await world.alice.stop()
    assert world.alice.file.read_text() == "typed base\nscript\n"
    assert await world.stored() == "typed base\nscript\n"


async def noticed_elsewhere(*_: object) -> None:
    """As upstream's loader tells its rooms of what was changed."""
