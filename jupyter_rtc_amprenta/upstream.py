"""The one place that reaches into jupyter_server_ydoc: puts `LinkedRoom` where `DocumentRoom` stands.

Upstream has no option for the room's class, so its two modules that make rooms are given ours. Everything
non-public that is leaned on, here and in `rooms.py`, is pinned by `tests/unit/test_upstream_contract.py`.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from types import ModuleType
from typing import Any
from uuid import uuid4

import jupyter_server_ydoc.app
import jupyter_server_ydoc.handlers
import jupyter_server_ydoc.utils
from jupyter_server.base.handlers import JupyterHandler
from jupyter_server.serverapp import ServerApp
from jupyter_server.utils import ensure_async
from jupyter_server_ydoc.app import YDocExtension
from jupyter_server_ydoc.handlers import YDocWebSocketHandler
from jupyter_server_ydoc.loaders import FileLoader
from jupyter_server_ydoc.rooms import DocumentRoom
from pycrdt.store import BaseYStore
from pycrdt.websocket import YRoom
from tornado.web import HTTPError

from .core.errors import ConfigurationError
from .linking import Linking
from .rooms import LinkedRoom

_MAKES_ROOMS: tuple[ModuleType, ...] = (jupyter_server_ydoc.app, jupyter_server_ydoc.handlers)
# `~=3.0`: a new major version moves what is leaned on.
TESTED_VERSIONS = "3."
LINKED_FORMATS = ("json", "text")


class GuardedRoomHandler(YDocWebSocketHandler):
    """Upstream's handler of rooms' sockets, without four of its faults.

    It makes the room in `prepare`, before it asks who comes: a stranger's socket would leave one behind. It puts what
    it reads into a queue without end. Each edit is sent on only when the one before it has been acknowledged. And of
    browsers that leave at the same moment none finds itself to be the last, so that their room would never be closed.
    """

    has_left = False

    async def prepare(self) -> None:
        await ensure_async(JupyterHandler.prepare(self))
        user = self.current_user
        if user is None or not await ensure_async(
            self.authorizer.is_authorized(self, user, "execute", self.auth_resource)
        ):
            raise HTTPError(403)
        await super().prepare()

    async def on_message(self, message: bytes) -> None:
        # Tornado reads the next one when this one is done.
        await super().on_message(message)
        if (log := self.settings["rtc_extension"].log_of_rooms) is not None:
            await log.wait_for_room()

    async def open(self, room_id: str) -> None:  # type: ignore[override]
        # A small frame must not wait until the one before it is acknowledged (Nagle's algorithm): 36 ms, not 5.
        self.set_nodelay(True)
        await super().open(room_id)

    def on_close(self) -> None:
        self.has_left = True
        super().on_close()
        if not isinstance(self.room, DocumentRoom):
            return
        others = self.room.clients - {self}
        if others and all(client.has_left for client in others):
            self.room.cleaner = asyncio.create_task(self._clean_room())


def find_extension(serverapp: ServerApp) -> YDocExtension:
    """jupyter-collaboration's server extension.

    Raises:
        ConfigurationError: it is not enabled, or a version that this was not made for.
    """
    found = serverapp.extension_manager.extension_apps.get("jupyter_server_ydoc", set())
    if not found:
        raise ConfigurationError(
            "jupyter-collaboration's server extension is not enabled, so there is nothing to link: run "
            "'jupyter server extension enable jupyter_server_ydoc'."
        )
    if not version("jupyter-server-ydoc").startswith(TESTED_VERSIONS):
        raise ConfigurationError(
            f"jupyter-server-ydoc {version('jupyter-server-ydoc')} is not a version this works with: install 3.x."
        )
    return next(iter(found))


class _LinkedOrStock(type(LinkedRoom)):  # type: ignore[misc]
    """Makes a room linked, or leaves it to upstream; to upstream's questions both are document rooms."""

    stock_store: Callable[..., BaseYStore]

    def __call__(
        cls,
        room_id: str,
        file_format: str,
        file_type: str,
        file: FileLoader,
        logger: Any,
        store: Any,
        *rest: Any,
        **more: Any,
    ) -> DocumentRoom:
        if file_format in LINKED_FORMATS:
            return super().__call__(room_id, file_format, file_type, file, logger, store, *rest, **more)
        # A history of its own: upstream leaves the format out of its name, and would load the text room's.
        store = cls.stock_store(path=f".{file_format}.{file_type}:{file.file_id}.y")
        return DocumentRoom(room_id, file_format, file_type, file, logger, store, *rest, **more)

    def __instancecheck__(cls, room: Any) -> bool:
        return isinstance(room, DocumentRoom)


def link_rooms(linking: Linking, stock_store: Callable[..., BaseYStore]) -> None:
    """From now on every document room of this process is linked, but for those of binary files (`base64:`): what
    merges lines would make nonsense of them. They stay as upstream keeps them.

    Args:
        linking: of this server.
        stock_store: upstream's store, for the rooms that are left to it.
    """
    parts = {"linking": linking, "stock_store": staticmethod(stock_store)}
    use_rooms(_LinkedOrStock("LinkedRoom", (LinkedRoom,), parts))


def use_rooms(room_class: type[DocumentRoom]) -> None:
    """From now on every document room of this process is of this class."""
    for module in _MAKES_ROOMS:
        module.DocumentRoom = room_class
    jupyter_server_ydoc.app.YDocWebSocketHandler = GuardedRoomHandler


def stop_when_interrupted(serverapp: ServerApp) -> None:
    """Take SIGINT for a request to stop, as SIGTERM is.

    It is how the Hub's local spawners end a server. Jupyter Server takes it so at a terminal alone: without one its
    event loop is left where it stands, no extension is stopped, nothing is flushed, and where a thread waits for the
    loop the process stays until the Hub kills it, a minute later.
    """
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, serverapp._signal_stop)


def interrupt_as_before(serverapp: ServerApp) -> None:
    """The opposite of `stop_when_interrupted`: another interrupt ends what is left."""
    if signal.getsignal(signal.SIGINT) == serverapp._signal_stop:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def forget_tabs(collaboration: YDocExtension) -> None:
    """Tabs that were open so far are asked to reload when they come back: what they hold is not the document's."""
    # Both look at their own: one when a tab opens a document, the other when it comes back.
    jupyter_server_ydoc.handlers.SERVER_SESSION = jupyter_server_ydoc.utils.SERVER_SESSION = str(uuid4())
    if collaboration.session_store_path:
        Path(collaboration.session_store_path).unlink(missing_ok=True)


def tabs_session() -> str:
    """What a tab that is opened now names as its session."""
    return jupyter_server_ydoc.handlers.SERVER_SESSION


def global_room(collaboration: YDocExtension) -> YRoom | None:
    """JupyterLab's room for what all its pages know of each other; None while no page is open."""
    return collaboration.ywebsocket_server.rooms.get("JupyterLab:globalAwareness")


def unlink_rooms() -> None:
    """Put upstream's room back."""
    for module in _MAKES_ROOMS:
        module.DocumentRoom = DocumentRoom
    jupyter_server_ydoc.app.YDocWebSocketHandler = YDocWebSocketHandler
