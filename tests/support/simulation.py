"""A little Hub in one process: real rooms, links, local stores and files, a real Y.js server and PostgreSQL.

Only the REST service is played (by `PlayedService`, over the real tables), and browsers are documents that sync
with a room's. A server can crash between any two steps: all its tasks end at once, and its store is closed
without a flush.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextvars import Context, ContextVar, copy_context
from dataclasses import replace
from pathlib import Path
from typing import Any

from jupyter_events import EventLogger
from jupyter_server.services.contents.largefilemanager import AsyncLargeFileManager
from jupyter_server_fileid.manager import ArbitraryFileIdManager
from jupyter_server_ydoc.loaders import FileLoader
from jupyter_server_ydoc.utils import EVENTS_SCHEMA_PATH
from jupyter_ydoc import YUnicode
from pycrdt import Doc

from jupyter_rtc_amprenta import joining
from jupyter_rtc_amprenta.client import Credentials, Registration, ServiceClient
from jupyter_rtc_amprenta.core import queries, queries_people, settings
from jupyter_rtc_amprenta.core.database import Database
from jupyter_rtc_amprenta.core.errors import ServiceError, ServiceUnavailable
from jupyter_rtc_amprenta.core.queries_people import NewSession
from jupyter_rtc_amprenta.core.schema import local_files
from jupyter_rtc_amprenta.core.tokens import Keyring, new_private_key
from jupyter_rtc_amprenta.demo.ports import any_free_port
from jupyter_rtc_amprenta.homeid import read_home_id
from jupyter_rtc_amprenta.localstore import LocalStore
from jupyter_rtc_amprenta.places import Places
from jupyter_rtc_amprenta.rooms import LinkedRoom, Linking
from jupyterhub_service.yjs_server import YjsServer

log = logging.getLogger(__name__)

# Whose task runs: what a crash ends.
_RUNNING_IN: ContextVar[str] = ContextVar("running_in", default="")


class PlayedService(ServiceClient):
    """The Hub's service for one user, straight over its tables."""

    def __init__(self, hub: Hub, user: str) -> None:
        super().__init__("http://played", f"ws://127.0.0.1:{hub.port}", "")
        self._hub, self._user = hub, user

    async def register(
        self, volume: str, room_id: str, kind: str, path: str, title: str, digest: str = ""
    ) -> Registration:
        new = NewSession(f"text_{self._user}", self._user, volume, room_id, kind, path, title)
        document_id = await self._hub.database.run(_register, new)
        return Registration(document_id, 1, "read-write")

    async def credentials(self, document_id: str, renew: bool = False) -> Credentials:
        if not self._hub.is_up:
            raise ServiceUnavailable("The service is away.")
        rights = await self._hub.database.run(queries.document_rights, [document_id])
        permissions = rights.permissions.get((document_id, self._user))
        if permissions is None:
            raise ServiceError("not a participant", 403)
        generation = rights.generations[document_id]
        token = self._hub.keyring.document_token(
            self._user, document_id, permissions, generation, 600, f"{self._user}/"
        )
        return Credentials(token, permissions, generation, 2e9)


def _register(connection: Any, new: NewSession) -> str:
    queries_people.remember_user(connection, new.owner)
    if queries_people.session_exists(connection, new.document_id) and not _is_known(connection, new):
        # The first file's document has a short name, for the tests to find it.
        new = replace(new, document_id=f"{new.document_id}_{new.file_id[-6:]}")
    return queries_people.register_session(connection, new)[0]


def _is_known(connection: Any, new: NewSession) -> bool:
    return queries_people.session_of_file(connection, new) is not None


def _let_in(connection: Any, document_id: str, user: str) -> None:
    queries_people.remember_user(connection, user)
    queries_people.add_participant(connection, document_id, user, "read-write")


class Hub:
    """The Y.js server, which may crash, and what is shared by all servers."""

    def __init__(self, database_url: str) -> None:
        self.database_url = database_url
        self.database = Database(database_url)
        self.keyring = Keyring([new_private_key()])
        self.port = any_free_port()
        self.tasks: dict[str, set[asyncio.Task[Any]]] = {}
        self._yjs: YjsServer | None = None
        asyncio.get_running_loop().set_task_factory(self._make_task)

    @property
    def is_up(self) -> bool:
        return self._yjs is not None

    async def start(self) -> None:
        chosen = settings.read({}, yjs_server_host="127.0.0.1", yjs_server_port=self.port)
        self._yjs = YjsServer(chosen, Database(self.database_url), lambda: self.keyring)
        await self.run_in("yjs", self._yjs.start())

    async def crash(self) -> None:
        if self._yjs is not None:
            yjs, self._yjs = self._yjs, None
            yjs._server.stop()
            self.end("yjs")
            await yjs._server.close_all_connections()
            await asyncio.to_thread(yjs.database.close)

    async def run_in(self, name: str, work: Any) -> Any:
        """Run in a part of the whole, which may crash."""
        token = _RUNNING_IN.set(name)
        try:
            task = asyncio.ensure_future(work)
        finally:
            _RUNNING_IN.reset(token)
        return await task

    def end(self, name: str) -> None:
        """All that runs in this part ends now."""
        for task in self.tasks.pop(name, set()):
            task.cancel()

    def _make_task(self, loop: Any, work: Any, context: Any = None) -> asyncio.Task[Any]:
        task: asyncio.Task[Any] = asyncio.Task(work, loop=loop, context=context)
        if name := (context.get(_RUNNING_IN, "") if context else _RUNNING_IN.get()):
            mine = self.tasks.setdefault(name, set())
            mine.add(task)
            task.add_done_callback(mine.discard)
        return task


class Tab:
    """A browser's tab, which stays open whatever happens, and what it has typed."""

    def __init__(self) -> None:
        self.document = YUnicode(Doc())
        self._subscriptions: list[Callable[[], None]] = []

    @property
    def doc(self) -> Doc:
        return self.document.ydoc

    @property
    def text(self) -> str:
        return self.document.get()

    def type(self, text: str, at: int) -> None:
        position = len(self.text[:at].encode())  # pycrdt counts bytes
        with self.doc.transaction():
            self.document._ysource.insert(position, text)
            self.document._ystate["dirty"] = True

    def connect(self, room: LinkedRoom, server: str) -> None:
        # What the room does of it belongs to the server, and ends with it.
        context = copy_context()
        context.run(_RUNNING_IN.set, server)
        context.run(room.ydoc.apply_update, self.doc.get_update(room.ydoc.get_state()))
        self.doc.apply_update(room.ydoc.get_update(self.doc.get_state()))
        self._pipe(self.doc, room.ydoc, context)
        self._pipe(room.ydoc, self.doc, context)

    def disconnect(self) -> None:
        for stop in self._subscriptions:
            stop()
        self._subscriptions = []

    def _pipe(self, source: Doc, target: Doc, context: Context) -> None:
        loop = asyncio.get_running_loop()
        subscription = source.observe(
            lambda event: loop.call_soon(self._apply, target, event.update, context=context)
        )
        self._subscriptions.append(lambda: source.unobserve(subscription))

    def _apply(self, target: Doc, update: bytes) -> None:
        if self._subscriptions:
            target.apply_update(update)


class Server:
    """One user's server, its file and its tab."""

    def __init__(self, hub: Hub, user: str, home: Path) -> None:
        self.hub, self.user, self.home = hub, user, home
        self.tab = Tab()
        self.path = "notes.txt"
        self.room: LinkedRoom | None = None
        self._store: LocalStore | None = None

    @property
    def file(self) -> Path:
        return self.home / self.path

    @property
    def store_path(self) -> Path:
        return self.home / ".jupyter" / "rtc_rooms.db"

    def places(self) -> Places:
        return Places(self.home, read_home_id(self.home), {}, True)

    def client(self) -> PlayedService:
        return PlayedService(self.hub, self.user)

    async def forget_generation(self) -> None:
        """The local store knows no more that the Y.js server has accepted its history."""
        store = LocalStore(self.home / ".jupyter" / "rtc_rooms.db")
        await store.database.run(lambda c: c.execute(local_files.update().values(generation=0)))
        await store.close()

    async def replace_file(self, text: str) -> None:
        """The file is deleted, and a new one of its name is made."""
        ids = self._file_ids()
        self.file.unlink()
        ids.delete(self.path)
        self.file.write_text(text)

    def _file_ids(self) -> ArbitraryFileIdManager:
        return ArbitraryFileIdManager(root_dir=str(self.home), db_path=str(self.home / ".ids.db"))

    def forget_tab(self) -> None:
        """The tab was closed, or has been reloaded: what it held is gone."""
        self.tab.disconnect()
        self.tab = Tab()

    async def start(self) -> None:
        """The server starts, and the tab finds it."""
        if self.room is None:
            await self.hub.run_in(self.user, self._open())
            assert self.room is not None
            self.tab.connect(self.room, self.user)

    async def _open(self) -> None:
        manager = AsyncLargeFileManager(root_dir=str(self.home))
        ids = self._file_ids()
        loader = FileLoader(ids.index(self.path), ids, manager, log, poll_interval=0.2)
        self._store = LocalStore(self.store_path)
        events = EventLogger()
        events.register_event_schema(EVENTS_SCHEMA_PATH)
        linking = Linking(
            settings=settings.read({}, open_timeout=2.0),
            places=self.places(),
            store=self._store,
            client=self.client(),
            contents_manager=lambda: manager,
            on_clients=lambda: None,
            id_is_gone=lambda file_id: ids.get_path(file_id) is None,
            joining=asyncio.Lock(),
            forget_tabs=lambda: None,
            tabs_session=lambda: "",
            follow_move=ids.move,
            delete_room=LinkedRoom.stop,
            rooms={},
        )
        room_class = type("Room", (LinkedRoom,), {"linking": linking})
        room = room_class(f"text:file:{loader.file_id}", "text", "file", loader, events, None, log, 0.05)
        await room.initialize()
        self.room = room

    async def stop(self) -> None:
        """Kindly."""
        if self.room is not None:
            self.tab.disconnect()
            room, self.room = self.room, None
            await self.hub.run_in(self.user, room.stop())
            await self._store.close()
            self.hub.end(self.user)

    async def crash(self) -> None:
        """As `kill -9`: whatever was in the middle of something stays there."""
        if self.room is not None:
            self.tab.disconnect()
            self.room = None
            self.hub.end(self.user)
            await asyncio.sleep(0)
            await asyncio.to_thread(self._store.database.close)

    def cut(self) -> None:
        """The connection to the Y.js server breaks."""
        if self.room is not None and (socket := self.room.linked.link._socket) is not None:
            socket.close()

    async def join(self, document_id: str) -> None:
        """The document is put among the files, as /rtc/join does."""
        await self.hub.database.run(_let_in, document_id, self.user)
        self.home.mkdir(exist_ok=True)
        state = await PlayedService(self.hub, self.user).state(document_id)
        model = joining._model(state, "file")
        self.file.write_text(model["content"])
        ids = self._file_ids()
        store = LocalStore(self.home / ".jupyter" / "rtc_rooms.db")
        described = {"document_id": document_id, "generation": 1, "permissions": "read-write"}
        found = joining.digest(model["content"], "file")
        await joining._remember(
            store, f"text:file:{ids.index(self.path)}", self.path, described, state, found
        )
        await store.close()
