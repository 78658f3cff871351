"""A little Hub in one process: real rooms, links, local stores and files, real Y.js servers and PostgreSQL.

Only the REST service is played (by `PlayedService`, over the real tables), and a browser's tab is a client that the
room serves over a pipe instead of a socket. A server can crash between any two steps: all its tasks end at once, and
its store is closed without a flush.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from contextvars import ContextVar
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any
from uuid import uuid4

from jupyter_events import EventLogger
from jupyter_server.services.contents.largefilemanager import AsyncLargeFileManager
from jupyter_server_fileid.manager import ArbitraryFileIdManager
from jupyter_server_ydoc.loaders import FileLoader
from jupyter_server_ydoc.utils import EVENTS_SCHEMA_PATH
from support.tabs import Tab
from support.yjs_client import until

from jupyter_rtc_amprenta import joining
from jupyter_rtc_amprenta.client import Credentials, Registration, ServiceClient
from jupyter_rtc_amprenta.core import queries_open, queries_participants, queries_people, settings
from jupyter_rtc_amprenta.core.database import Database
from jupyter_rtc_amprenta.core.errors import ServiceError, ServiceUnavailable
from jupyter_rtc_amprenta.core.queries_people import NewSession
from jupyter_rtc_amprenta.core.schema import local_files
from jupyter_rtc_amprenta.core.tokens import Keyring, new_private_key
from jupyter_rtc_amprenta.demo.ports import any_free_port
from jupyter_rtc_amprenta.filewriting import guard_writes
from jupyter_rtc_amprenta.homeid import read_home_id
from jupyter_rtc_amprenta.localstore import LocalStore
from jupyter_rtc_amprenta.mounts import Mounts
from jupyter_rtc_amprenta.rooms import LinkedRoom, Linking
from jupyterhub_service.yjs_server import YjsServer

log = logging.getLogger(__name__)

# Whose task runs: what a crash ends.
_RUNNING_IN: ContextVar[str] = ContextVar("running_in", default="")


class PlayedService(ServiceClient):
    """The Hub's service for one user, straight over its tables."""

    def __init__(self, hub: Hub, user: str) -> None:
        super().__init__("http://played", "", "")
        self._hub, self._user = hub, user

    def document_url(self, document_id: str) -> str:
        """At one of the replicas, as a load balancer chooses it."""
        self._yjs_url = f"ws://127.0.0.1:{self._hub.next_port()}"
        return super().document_url(document_id)

    async def register(
        self, volume: str, room_id: str, kind: str, path: str, title: str, digest: str = ""
    ) -> Registration:
        new = NewSession(
            f"{kind}_{self._user}{self._hub.tag}", self._user, volume, room_id, kind, path, title
        )
        document_id = await self._hub.database.run(_register, new)
        return Registration(document_id, 1, "read-write")

    async def credentials(self, document_id: str, renew: bool = False) -> Credentials:
        if not self._hub.is_up:
            raise ServiceUnavailable("The service is away.")
        rights = await self._hub.database.run(queries_open.document_rights, [document_id])
        permissions = rights.permissions.get((document_id, self._user))
        if permissions is None:
            raise ServiceError("not a participant", 403, "not_a_participant")
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


def _give(connection: Any, document_id: str, user: str, permissions: str | None) -> None:
    if permissions is None:
        queries_participants.remove_participant(connection, document_id, user)
    else:
        queries_people.remember_user(connection, user)
        queries_participants.add_participant(connection, document_id, user, permissions)
        queries_participants.change_permissions(connection, document_id, user, permissions)


class Hub:
    """The Y.js servers, each of which may crash, and what is shared by all servers.

    Args:
        database_url: of PostgreSQL.
        replicas: how many Y.js servers there are.
        tag: ends the ids of all documents, where several hubs have one database.
    """

    def __init__(self, database_url: str, replicas: int = 1, tag: str = "") -> None:
        self.database_url, self.tag = database_url, tag
        self.database = Database(database_url)
        self.keyring = Keyring([new_private_key()])
        self.ports = [any_free_port() for _ in range(replicas)]
        self.tasks: dict[str, set[asyncio.Task[Any]]] = {}
        self.settings: dict[str, Any] = {}
        self._running: dict[int, YjsServer] = {}
        self._turn = count()
        asyncio.get_running_loop().set_task_factory(self._make_task)

    @property
    def is_up(self) -> bool:
        return bool(self._running)

    def next_port(self) -> int:
        running = sorted(self._running) or [0]
        return self.ports[running[next(self._turn) % len(running)]]

    def may_connect_to_write(self, user: str) -> bool:
        """Whether there is a connection of the user's, at any replica, whose edits are taken."""
        return any(
            connection.claims.username == user and connection.claims.permissions == "read-write"
            for yjs in self._running.values()
            for _, connection in yjs.rooms.connections
        )

    async def start(self, replica: int = 0) -> None:
        if replica not in self._running:
            place = {"yjs_server_host": "127.0.0.1", "yjs_server_port": self.ports[replica]}
            chosen = settings.read({}, **place, **self.settings)
            self._running[replica] = YjsServer(chosen, Database(self.database_url), lambda: self.keyring)
            await self.run_in(f"yjs{replica}", self._running[replica].start())

    async def crash(self, replica: int = 0) -> None:
        if (yjs := self._running.pop(replica, None)) is not None:
            yjs._server.stop()
            self.end(f"yjs{replica}")
            await yjs._server.close_all_connections()
            await asyncio.to_thread(yjs.database.close)

    async def end_all(self) -> None:
        for replica in list(self._running):
            await self.crash(replica)
        self.database.close()

    async def give(self, document_id: str, user: str, permissions: str | None) -> None:
        """Change what a user may do with a document; None: nothing."""
        await self.database.run(_give, document_id, user, permissions)

    async def run_in(self, name: str, work: Any) -> Any:
        """Run in a part of the whole, which may crash."""
        return await self.begin_in(name, work)

    def begin_in(self, name: str, work: Any) -> asyncio.Task[Any]:
        """As `run_in`, without waiting."""
        token = _RUNNING_IN.set(name)
        try:
            return asyncio.ensure_future(work)
        finally:
            _RUNNING_IN.reset(token)

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


class _Loader(FileLoader):
    """Upstream's, whose watching fails where a file's id goes while it looks: its task ends then, and so does this."""

    async def _watch_file(self) -> None:
        with suppress(RuntimeError):
            await super()._watch_file()


class Server:
    """One user's server, its file and its tab.

    Args:
        hub: what it belongs to.
        user: whose it is.
        home: the folder of its files.
        kind: of its file, `notebook` or `text`.
    """

    def __init__(self, hub: Hub, user: str, home: Path, kind: str = "text") -> None:
        self.hub, self.user, self.home, self.kind = hub, user, home, kind
        self.tab = Tab(kind)
        self.path = "notes.ipynb" if kind == "notebook" else "notes.txt"
        self.session = uuid4().hex
        self.room: LinkedRoom | None = None
        self.linking: Linking | None = None
        # Awaited before a tab reloads that comes back to another history.
        self.before_reload: Callable[[], Awaitable[None]] | None = None

    @property
    def file(self) -> Path:
        return self.home / self.path

    @property
    def store_path(self) -> Path:
        return self.home / ".jupyter" / "rtc_rooms.db"

    def mounts(self) -> Mounts:
        return Mounts(self.home, read_home_id(self.home), {}, True)

    def client(self) -> PlayedService:
        return PlayedService(self.hub, self.user)

    @property
    def is_running(self) -> bool:
        return self.linking is not None

    @property
    def is_open(self) -> bool:
        """Whether its document is open."""
        return self.room is not None and self.room.ready and self.room._stopping is None

    async def forget_generation(self) -> None:
        """The local store knows no more that the Y.js server has accepted its history."""
        store = self._new_store()
        await store.database.run(lambda c: c.execute(local_files.update().values(generation=0)))
        await store.close()

    async def replace_file(self, text: str) -> None:
        """The file is deleted, and a new one of its name is made."""
        ids = self._file_ids()
        self.file.unlink()
        ids.delete(self.path)
        self.file.write_text(text)

    async def delete_file(self) -> None:
        """In JupyterLab's file browser: as `RtcExtension._follow_files` is told."""
        self._file_ids().delete(self.path)
        self.file.unlink()
        if self.room is not None:
            await self.hub.run_in(self.user, self.room.file_deleted())
        await self.linking.store.deleted(self.path)

    def lose_store(self) -> None:
        """While the server is stopped, the store is lost; the files are not."""
        for path in (self.home / ".jupyter").glob("rtc_rooms.db*"):
            path.unlink()

    def forget_tab(self) -> None:
        """The tab was closed, or has been reloaded: what it held is gone."""
        self.tab.disconnect()
        self.tab = Tab(self.kind)

    async def start(self) -> None:
        """The server starts, opens the document, and the tab finds it."""
        if not self.is_open:
            await self.hub.run_in(self.user, self._open())
        if self.tab.is_connected:
            return
        if self.tab.must_reload or self.tab.session not in ("", self.session):
            if self.before_reload is not None:
                await self.before_reload()
            self.forget_tab()
        if self.room is None:
            return  # it was killed meanwhile
        self.tab.session = self.session
        await self.tab.connect()
        self.hub.begin_in(self.user, self.room.serve(self.tab.pipe))
        await until(lambda: self.tab.synced.is_set() or not self.tab.is_connected)

    async def _open(self) -> None:
        if self.linking is None:
            self._boot()
        manager, ids = self.linking.contents_manager(), self._file_ids()
        loader = _Loader(ids.index(self.path), ids, manager, log, poll_interval=0.2)
        events = EventLogger()
        events.register_event_schema(EVENTS_SCHEMA_PATH)
        room_class = type("Room", (LinkedRoom,), {"linking": self.linking})
        form, kind = ("json", "notebook") if self.kind == "notebook" else ("text", "file")
        room = room_class(
            f"{form}:{kind}:{loader.file_id}", form, kind, loader, events, None, log, 0.05,
            exception_handler=lambda error, _: True,
        )  # fmt: skip
        room.create_task(room.start())
        await room.started.wait()
        self.room = room
        await room.initialize()

    def _boot(self) -> None:
        store, manager, ids = (
            self._new_store(),
            AsyncLargeFileManager(root_dir=str(self.home)),
            self._file_ids(),
        )
        guard_writes(manager)
        self.linking = Linking(
            settings=settings.read({}, open_timeout=2.0),
            mounts=self.mounts(),
            store=store,
            client=self.client(),
            contents_manager=lambda: manager,
            owner=self.user,
            on_clients=lambda: None,
            on_moves=lambda: None,
            id_is_gone=lambda file_id: ids.get_path(file_id) is None,
            joining=asyncio.Lock(),
            forget_tabs=self._forget_tabs,
            tabs_session=lambda: self.session,
            follow_move=ids.move,
            delete_room=LinkedRoom.stop,
            rooms={},
        )
        if store.is_new:
            self._forget_tabs()

    def _forget_tabs(self) -> None:
        self.session = uuid4().hex

    def _new_store(self) -> LocalStore:
        return LocalStore(self.store_path)

    def _file_ids(self) -> ArbitraryFileIdManager:
        return ArbitraryFileIdManager(root_dir=str(self.home), db_path=str(self.home / ".ids.db"))

    async def stop(self) -> None:
        """Kindly."""
        if self.linking is not None:
            room, linking, self.room, self.linking = self.room, self.linking, None, None
            self.tab.disconnect()
            if room is not None:
                await self.hub.run_in(self.user, room.stop())
            await linking.store.close()
            self.hub.end(self.user)

    async def crash(self) -> None:
        """As `kill -9`: whatever was in the middle of something stays there."""
        if self.linking is not None:
            linking, self.room, self.linking = self.linking, None, None
            self.tab.disconnect()
            self.hub.end(self.user)
            await asyncio.sleep(0)
            await asyncio.to_thread(linking.store.database.close)

    def cut(self) -> None:
        """The connection to the Y.js server breaks."""
        if self.room is not None and (socket := self.room.linked.link._socket) is not None:
            socket.close()

    async def join(self, document_id: str) -> None:
        """The document is put among the files, as /rtc/join does; the user becomes a participant."""
        await self.hub.give(document_id, self.user, "read-write")
        await self.fetch(document_id)

    async def fetch(self, document_id: str) -> None:
        """As `join`, for who is a participant."""
        self.home.mkdir(exist_ok=True)
        state = await PlayedService(self.hub, self.user).state(document_id)
        file_type = "notebook" if self.kind == "notebook" else "file"
        model = joining._model(state, file_type)
        text = json.dumps(model["content"]) if self.kind == "notebook" else model["content"]
        self.file.write_text(text)
        ids = self._file_ids()
        store = self._new_store()
        described = {"document_id": document_id, "generation": 1, "permissions": "read-write"}
        found = joining.digest(model["content"], file_type)
        room_id = f"{model['format']}:{file_type}:{ids.index(self.path)}"
        await joining._remember(store, room_id, self.path, described, state, found)
        await store.close()
