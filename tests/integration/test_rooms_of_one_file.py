"""A file's rooms: the notebook and the text of it are two documents; a binary file's is left to upstream."""

from __future__ import annotations

import asyncio
import base64
import json
import logging
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jupyter_server_ydoc.handlers
import nbformat
import pytest
from jupyter_events import EventLogger
from jupyter_server.services.contents.largefilemanager import AsyncLargeFileManager
from jupyter_server_fileid.manager import ArbitraryFileIdManager
from jupyter_server_ydoc.loaders import FileLoader
from jupyter_server_ydoc.rooms import DocumentRoom
from jupyter_server_ydoc.stores import SQLiteYStore
from jupyter_server_ydoc.utils import EVENTS_SCHEMA_PATH
from support.mounts import MountHub, MountService
from support.yjs_client import until

from jupyter_rtc_amprenta import upstream
from jupyter_rtc_amprenta.core import settings
from jupyter_rtc_amprenta.homeid import read_home_id
from jupyter_rtc_amprenta.linking import Linking
from jupyter_rtc_amprenta.localstore import LocalStore
from jupyter_rtc_amprenta.mounts import Mounts
from jupyter_rtc_amprenta.rooms import LinkedRoom

pytestmark = [pytest.mark.anyio, pytest.mark.integration]
log = logging.getLogger(__name__)


@dataclass
class OneServer:
    """alice's server, whose rooms are made as upstream's handlers make them."""

    home: Path
    loader_of: Any
    events: EventLogger
    rooms: list[Any]

    async def open(self, form: str, kind: str, path: str) -> Any:
        file = self.loader_of(path)
        make = jupyter_server_ydoc.handlers.DocumentRoom
        room = make(f"{form}:{kind}:{file.file_id}", form, kind, file, self.events, None, log, save_delay=0.05)
        await room.initialize()
        self.rooms.append(room)
        return room


@pytest.fixture
async def one(database_url: str, tmp_path: Path) -> AsyncIterator[OneServer]:
    hub = MountHub(database_url, tmp_path / "volume")
    await hub.start()
    home = tmp_path / "home"
    home.mkdir()
    manager = AsyncLargeFileManager(root_dir=str(home))
    ids = ArbitraryFileIdManager(root_dir=str(home), db_path=str(tmp_path / "ids.db"))
    store = LocalStore(home / ".jupyter" / "rtc_rooms.db")
    loaders: dict[str, FileLoader] = {}
    linking = Linking(
        settings=settings.read({}, open_timeout=2.0),
        mounts=Mounts(home, read_home_id(home), {}, True),
        store=store,
        client=MountService(hub, "alice", ""),
        contents_manager=lambda: manager,
        owner="alice",
        on_clients=lambda: None,
        on_moves=lambda: None,
        id_is_gone=lambda file_id: ids.get_path(file_id) is None,
        joining=asyncio.Lock(),
        forget_tabs=lambda: None,
        tabs_session=lambda: "",
        follow_move=ids.move,
        delete_room=LinkedRoom.stop,
        rooms={},
    )
    events = EventLogger()
    events.register_event_schema(EVENTS_SCHEMA_PATH)
    SQLiteYStore.db_path = str(tmp_path / "stock.db")

    def loader_of(path: str) -> FileLoader:
        # Upstream has one loader for all rooms of a file.
        if path not in loaders:
            loaders[path] = FileLoader(ids.index(path), ids, manager, log, poll_interval=0.1)
        return loaders[path]

    upstream.link_rooms(linking, lambda path: None)
    one = OneServer(home, loader_of, events, [])
    yield one
    upstream.unlink_rooms()
    for room in one.rooms:
        await room.stop()
    for loader in loaders.values():
        await loader.clean()
    await store.close()
    await hub.end_all()


async def test_a_binary_file_is_left_to_upstream(one):
    (one.home / "x.bin").write_bytes(b"\x00\x01\x02")
    room = await one.open("base64", "file", "x.bin")
    assert type(room) is DocumentRoom
    # As upstream's handlers ask.
    assert isinstance(room, jupyter_server_ydoc.handlers.DocumentRoom)
    assert base64.b64decode(room._document.source) == b"\x00\x01\x02"


async def test_the_text_of_the_same_file_is_no_part_of_it(one):
    (one.home / "x.txt").write_text("text")
    text = await one.open("text", "file", "x.txt")
    binary = await one.open("base64", "file", "x.txt")
    assert isinstance(text, LinkedRoom) and type(binary) is DocumentRoom
    assert text._document.source == "text"
    assert base64.b64decode(binary._document.source) == b"text"


def notebook(*sources: str) -> dict[str, Any]:
    cells = [nbformat.v4.new_code_cell(source, id=f"cell{number}") for number, source in enumerate(sources)]
    return nbformat.v4.new_notebook(cells=cells)


async def test_a_notebook_and_its_text_take_each_others_saves_in_once(one):
    """Two documents: the notebook's editor and the text editor show each other's edits as saves, and double nothing."""
    file = one.home / "x.ipynb"
    file.write_text(nbformat.writes(notebook("one = 1", "two = 2")))
    cells = await one.open("json", "notebook", "x.ipynb")
    text = await one.open("text", "file", "x.ipynb")
    assert cells.linked.file.document_id != text.linked.file.document_id

    cells._document.ycells[0]["source"].insert(0, "# in the notebook\n")
    await until(lambda: "# in the notebook" in text._document.source, "the text shows what the notebook saved")
    at = len(text._document.source.partition("two = 2")[0].encode())
    text._document._ysource.insert(at, "zero = 0; ")
    await until(
        lambda: str(cells._document.ycells[1]["source"]) == "zero = 0; two = 2",
        "the notebook shows what the text saved",
    )
    assert [str(cell["source"]) for cell in cells._document.ycells] == [
        "# in the notebook\none = 1",
        "zero = 0; two = 2",
    ]
    await until(lambda: json.loads(file.read_text()) == json.loads(text._document.source), "the file")
    assert text._document.source.count("# in the notebook") == 1
    # Each may write it once more, in its own form.
    await asyncio.sleep(1)
    before = file.stat().st_mtime_ns
    await asyncio.sleep(1.5)
    assert file.stat().st_mtime_ns == before, "they save each other for ever"
    assert not list(one.home.glob("*conflict*"))
