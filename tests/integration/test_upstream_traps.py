"""Ways in which jupyter-collaboration and pycrdt lose, double or delay edits, and that linked rooms do not.

Each test names the trap; where it costs little, what stock does is shown beside, so that a version that mends it is
noticed. Traps of stores are in `test_ystore.py` and `test_documentlog.py`; whose file wins, in `test_opening.py`.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from jupyter_ydoc import YNotebook
from pycrdt import Doc, Text
from pycrdt.websocket import WebsocketServer, YRoom
from support.simulation import Hub, Server
from support.tabs import Pipe
from support.yjs_client import until

from jupyter_rtc_amprenta.core import protocol, queries_local
from jupyter_rtc_amprenta.core.errors import ServiceUnavailable
from jupyter_rtc_amprenta.documentroom import SeparateRoom
from jupyter_rtc_amprenta.rooms import LinkedRoom
from jupyter_rtc_amprenta.upstream import GuardedRoomHandler

pytestmark = [pytest.mark.anyio, pytest.mark.integration]


@pytest.fixture
async def hub(database_url: str) -> AsyncIterator[Hub]:
    hub = Hub(database_url)
    await hub.start()
    yield hub
    await hub.end_all()


@pytest.fixture
async def alice(hub: Hub, tmp_path: Path) -> AsyncIterator[Server]:
    """Her server, with a text open."""
    server = Server(hub, "alice", tmp_path / "alice")
    server.home.mkdir()
    server.file.write_text("base\n")
    await server.start()
    await committed(server)
    yield server
    await server.stop()


@pytest.fixture
async def bob(hub: Hub, alice: Server, tmp_path: Path) -> AsyncIterator[Server]:
    """His, with the same document."""
    server = Server(hub, "bob", tmp_path / "bob")
    await server.join("text_alice")
    await server.start()
    yield server
    await server.stop()


async def committed(server: Server) -> None:
    link = server.room.linked.link
    await until(lambda: link.state == "live" and link.unacknowledged == 0, "committed")


async def kept(server: Server) -> str:
    """What the local store has of the document, in order, by itself; the server is down."""
    store = server._new_store()
    file = await store.database.run(queries_local.find_by_path, server.path, "text:file:")
    doc: Doc = Doc()
    for update in (await store.log.read(file.room_id)).updates:
        doc.apply_update(update)
    await store.close()
    return str(doc.get("source", type=Text))


# --- writes as tasks of their own: unordered, cancelled by `stop`, never flushed ---


async def test_edits_of_the_last_ticks_before_a_room_stops_are_kept(alice):
    for number in range(11):
        alice.tab.type(f"{number} ", 0)
        if number % 4 == 0:
            await asyncio.sleep(0)
    # They are on their way to the room, through its pipe and its tasks; it stops as soon as it has heard the last.
    await until(lambda: "10 " in alice.room._document.get(), every=0)
    await alice.stop()
    expected = "".join(f"{number} " for number in reversed(range(11))) + "base\n"
    assert await kept(alice) == expected
    assert alice.file.read_text() == expected


async def test_what_is_typed_is_kept_in_order_through_a_kill(alice):
    for number in range(50):
        alice.tab.type(f"{number} ", len(alice.tab.text))
    await until(lambda: "49 " in alice.room._document.get())
    await alice.linking.store.log.flush()
    await alice.crash()
    assert await kept(alice) == "base\n" + "".join(f"{number} " for number in range(50))


# --- the errors of stores reach browsers, and break the close ---


async def test_the_text_of_an_error_is_short_and_tells_nothing(alice, monkeypatch):
    await alice.stop()

    async def fails(*_: object) -> None:
        raise RuntimeError("secret of postgresql://user:password@host " * 10)

    monkeypatch.setattr("jupyter_rtc_amprenta.localstore.LocalStore.histories", fails)
    with pytest.raises(ServiceUnavailable) as error:
        await alice.start()
    # As upstream's handler puts it into the close frame.
    reason = {"reason": "initialization_error", "reloadable": False, "errorReason": str(error.value)}
    assert len(json.dumps(reason).encode()) <= 123
    assert "secret" not in str(error.value)


# --- the file wins over the store, and each reopening appends everything again ---


async def test_an_edit_that_reached_the_store_and_not_the_file_is_not_undone(alice):
    alice.room._save_delay = 600
    alice.tab.type("late ", 0)
    await until(lambda: alice.room._document.get() == "late base\n")
    await alice.linking.store.log.flush()
    await alice.crash()
    assert alice.file.read_text() == "base\n"
    alice.forget_tab()
    await alice.start()
    assert alice.tab.text == "late base\n"
    await until(lambda: alice.file.read_text() == "late base\n")


async def test_opening_again_appends_nothing(alice):
    await alice.stop()
    sizes = []
    for _ in range(3):
        await alice.start()
        sizes.append((await alice.linking.store.log.read(alice.room.room_id)).seq)
        await alice.stop()
    assert sizes[0] == sizes[1] == sizes[2]


# --- two seeds of one document share clocks: garbage ---


async def test_a_seed_has_a_client_of_its_own(alice, hub, tmp_path):
    seeds = []
    for name in ("carol", "dave"):
        server = Server(hub, name, tmp_path / name)
        server.home.mkdir()
        server.file.write_text(f"{name}'s\n")
        await server.start()
        doc: Doc = Doc()
        doc.apply_update(server.room.linked._seed)
        # As y-protocols writes state vectors: a count, then client and clock of each.
        client, _ = protocol.read_uint(doc.get_state(), 1)
        seeds.append(client)
        await server.stop()
    assert 0 not in seeds and len(set(seeds)) == 2


# --- a document forgets what waits for its predecessor ---


async def test_an_edit_that_overtakes_its_predecessor_is_not_lost(alice, bob, hub):
    updates: list[bytes] = []
    fork: Doc = Doc()
    fork.apply_update(alice.tab.doc.get_update())
    fork.observe(lambda event: updates.append(event.update))
    text = fork.get("source", type=Text)
    text.insert(0, "first ")
    text.insert(6, "second ")
    first, second = updates
    alice.tab.send(protocol.encode_update(second))
    await asyncio.sleep(0.1)
    assert "second" not in alice.room._document.get()
    alice.tab.send(protocol.encode_update(first))
    await until(lambda: bob.tab.text == "first second base\n", "bob has both")
    await committed(alice)
    await alice.linking.store.log.flush()
    await alice.crash()
    assert await kept(alice) == "first second base\n"


# --- rooms that take each other down, and that never end ---


class StopsWhileBroadcasting:
    """A room that is stopped in the moment in which an update is broadcast."""

    def __init__(self, room: YRoom) -> None:
        self.room = room

    async def happens_in(self, server: WebsocketServer, another: YRoom) -> bool:
        """Whether another room of the server still serves afterwards."""
        for room in (self.room, another):
            await server.start_room(room)
            await room.ydoc_observed.wait()
        pipe = Pipe("")
        serving = asyncio.create_task(another.serve(pipe))
        await pipe.read_message()
        self.room.ydoc.get("source", type=Text).insert(0, "x")
        await self.room.stop()
        for _ in range(5):
            await asyncio.sleep(0.01)
        another.ydoc.get("source", type=Text).insert(0, "x")
        try:
            await asyncio.wait_for(pipe.read_message(), 0.5)
        except TimeoutError:
            return False
        finally:
            pipe.end()
            await serving
        return True


class Separate(SeparateRoom):
    """`SeparateRoom`'s own, without a file."""

    def __init__(self) -> None:
        YRoom.__init__(self, exception_handler=lambda error, _: True)

    room_id = "room"
    stop = YRoom.stop


@pytest.mark.parametrize("room_class", [YRoom, Separate], ids=["stock", "ours"])
async def test_a_room_that_stops_while_it_broadcasts_does_not_end_all_others(room_class):
    server = WebsocketServer(exception_handler=lambda error, _: True, auto_clean_rooms=False)
    running = asyncio.create_task(server.start())
    await server.started.wait()
    still_serves = await StopsWhileBroadcasting(room_class()).happens_in(server, room_class())
    await server.stop()
    await running
    if room_class is YRoom:
        assert not still_serves, "upstream has mended it: SeparateRoom is needed no more"
    else:
        assert still_serves


async def test_a_browser_that_fails_in_a_broadcast_takes_no_edit_with_it(alice, bob):
    async def fails(message: bytes) -> None:
        raise ConnectionResetError

    broken = Pipe(alice.session)
    serving = alice.hub.begin_in("alice", alice.room.serve(broken))
    await until(lambda: broken in alice.room.clients)
    broken.send = fails  # type: ignore[method-assign]
    for number in range(20):
        bob.tab.type(f"{number} ", 0)
        await asyncio.sleep(0.005)
    broken.end()
    await serving
    alice.tab.type("after ", 0)
    await until(lambda: bob.tab.text.startswith("after ") or " after " in bob.tab.text)
    await committed(alice)
    await committed(bob)
    # A tab that missed a message comes back, as its socket's ping finds out.
    alice.tab.disconnect()
    await alice.start()
    await until(lambda: alice.tab.text == bob.tab.text == alice.room._document.get())
    assert all(alice.tab.text.count(f"{number} ") >= 1 for number in range(20))
    await alice.linking.store.log.flush()
    await alice.crash()
    assert await kept(alice) == bob.tab.text


@pytest.mark.parametrize("together", [1, 2, 3])
async def test_browsers_that_leave_together_do_not_leave_their_room_behind(together):
    cleaned: list[object] = []

    class Handler(GuardedRoomHandler):
        log = logging.getLogger(__name__)  # type: ignore[assignment]

        def __init__(self, room: Any) -> None:
            self.room, self._room_id = room, "JupyterLab:globalAwareness"
            self._message_queue = asyncio.Queue()

        async def _clean_room(self) -> None:
            cleaned.append(self)

    room = object.__new__(LinkedRoom)
    handlers = [Handler(room) for _ in range(together)]
    stays = Handler(room)
    room.clients = {*handlers, stays}
    for handler in handlers:
        handler.on_close()
    await asyncio.sleep(0)
    assert cleaned == [], "somebody is there"
    room.clients = {stays} | set(handlers)
    stays.on_close()
    await asyncio.sleep(0)
    assert cleaned == [stays]


# --- servers that save each other for ever; paths that travel ---


async def test_one_keystroke_is_saved_once_at_each_server_and_then_all_is_quiet(alice, bob):
    saves: list[str] = []
    for server in (alice, bob):
        intend = server.room.linked.record.intend_to_save

        async def counted(digest: str, intend: Any = intend, user: str = server.user) -> None:
            saves.append(user)
            await intend(digest)

        server.room.linked.record.intend_to_save = counted
    seq = (await alice.linking.store.log.read(alice.room.room_id)).seq
    alice.tab.type("x", 0)
    await until(lambda: bob.file.read_text() == alice.file.read_text() == "xbase\n")
    await asyncio.sleep(1)
    assert sorted(saves) == ["alice", "bob"]
    # The keystroke, and the server's word that it is saved.
    assert (await alice.linking.store.log.read(alice.room.room_id)).seq <= seq + 3
    assert alice.room._document.path == bob.room._document.path == "notes.txt"
    assert "path" not in alice.room.linked.split.shared.get("state", type=type(alice.tab.state)).to_py()


# --- what was changed outside overwrites who is typing ---


def notebook(minor: int) -> dict[str, Any]:
    cells = [
        {
            "cell_type": "code",
            "source": f"first{number} = 1\nsecond{number} = 2",
            "metadata": {},
            "execution_count": 1,
            "outputs": [{"output_type": "stream", "name": "stdout", "text": "printed\n"}],
        }
        for number in range(3)
    ]
    if minor == 5:
        cells = [cell | {"id": f"cell{number}"} for number, cell in enumerate(cells)]
    return {"cells": cells, "metadata": {}, "nbformat": 4, "nbformat_minor": minor}


@pytest.mark.parametrize("minor", [4, 5])
async def test_a_script_changes_a_notebook_in_which_somebody_is_typing(hub, tmp_path, minor):
    server = Server(hub, "alice", tmp_path / "alice", "notebook")
    server.home.mkdir()
    content = notebook(minor)
    server.file.write_text(json.dumps(content))
    await server.start()
    document: YNotebook = server.tab.document
    typed_into = document.ycells[0]["source"]
    typed_into.insert(5, "TYPED")
    content["cells"][0]["source"] = "first0 = 1\nsecond0 = 2\n# by a script"
    content["cells"][1]["source"] = "replaced"
    server.file.write_text(json.dumps(content))
    await until(lambda: "# by a script" in str(typed_into), "in the text in which somebody types")
    typed_into.insert(10, "MORE")
    await until(lambda: "firstTYPEDMORE" in server.file.read_text())
    cells = json.loads(server.file.read_text())["cells"]
    sources = ["".join(cell["source"]) for cell in cells]
    assert sources == [
        "firstTYPEDMORE0 = 1\nsecond0 = 2\n# by a script",
        "replaced",
        "first2 = 1\nsecond2 = 2",
    ]
    assert all(cell["outputs"] for cell in cells)
    await server.stop()


async def test_what_is_done_in_one_transaction_is_never_saved_in_halves(hub, tmp_path):
    """Upstream reads a notebook cell by cell, and lets others edit in between."""
    server = Server(hub, "alice", tmp_path / "alice", "notebook")
    server.home.mkdir()
    server.file.write_text(json.dumps(notebook(5)))
    await server.start()
    cells, halves = server.tab.document.ycells, []
    for number in range(100):
        with server.tab.doc.transaction():
            for at in (0, 2):
                source = cells[at]["source"]
                del source[:]
                source += f"{number}"
        await asyncio.sleep(0.01)
        saved = json.loads(server.file.read_text() or "{}").get("cells", [])
        if saved and saved[0]["source"] != saved[2]["source"] and number > 30:
            halves.append(saved)
    assert halves == []
    await server.stop()


# --- edits that wait for each other's acknowledgement ---


async def test_a_rooms_socket_does_not_wait_for_acknowledgements(monkeypatch):
    asked: list[bool] = []

    class Handler(GuardedRoomHandler):
        def __init__(self) -> None:
            pass

        def set_nodelay(self, value: bool) -> None:
            asked.append(value)

    async def opened(self: object, room_id: str) -> None:
        assert asked == [True]

    monkeypatch.setattr(GuardedRoomHandler.__bases__[0], "open", opened)
    await Handler().open("room")
    assert asked == [True]
