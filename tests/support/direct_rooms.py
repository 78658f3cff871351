"""Rooms of direct mode in the process of a test."""

from __future__ import annotations

from pathlib import Path

from jupyter_events import EventLogger
from jupyter_server.services.contents.largefilemanager import AsyncLargeFileManager
from jupyter_server_fileid.manager import ArbitraryFileIdManager
from jupyter_server_ydoc.loaders import FileLoader
from jupyter_server_ydoc.utils import EVENTS_SCHEMA_PATH

from jupyter_rtc_amprenta.directroom import DirectRoom
from jupyter_rtc_amprenta.ystore import PostgresYStore


async def room_of(store: PostgresYStore, folder: Path) -> DirectRoom:
    """A room over `a.txt` in a folder, which is made unless it is there; opened."""
    if not (folder / "a.txt").exists():
        (folder / "a.txt").write_text("base\n")
    manager = AsyncLargeFileManager(root_dir=str(folder))
    ids = ArbitraryFileIdManager(root_dir=str(folder), db_path=str(folder / ".ids.db"))
    events = EventLogger()
    events.register_event_schema(EVENTS_SCHEMA_PATH)
    loader = FileLoader(ids.index("a.txt"), ids, manager, store.log, poll_interval=0.2)
    room = DirectRoom("text:file:1", "text", "file", loader, events, store, store.log, 60)
    room.create_task(room.start())
    await room.started.wait()
    await room.initialize()
    return room
