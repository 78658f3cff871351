"""Every non-public thing of jupyter-collaboration and pycrdt that this project leans on, pinned.

An upgrade that moves one fails here, with a sentence that says what moved and who relies on it.
"""

from __future__ import annotations

import ast
import asyncio
import inspect
import os
import re
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from types import CodeType, SimpleNamespace
from typing import Any

import jupyter_server_ydoc.app
import jupyter_server_ydoc.handlers
import jupyter_server_ydoc.rooms
import jupyter_server_ydoc.utils
import jupyter_ydoc
import pytest
from jupyter_server.auth.utils import HTTP_METHOD_TO_AUTH_ACTION
from jupyter_server.base.handlers import JupyterHandler
from jupyter_server.extension.application import ExtensionApp
from jupyter_server.extension.manager import ExtensionManager
from jupyter_server.serverapp import ServerApp
from jupyter_server.services.api.handlers import IdentityHandler
from jupyter_server.services.contents.filemanager import AsyncFileContentsManager, FileContentsManager
from jupyter_server_ydoc.app import YDocExtension
from jupyter_server_ydoc.handlers import DocSessionHandler, TimelineHandler, YDocWebSocketHandler
from jupyter_server_ydoc.loaders import FileLoader
from jupyter_server_ydoc.rooms import DocumentRoom
from jupyter_server_ydoc.stores import SQLiteYStore
from jupyter_server_ydoc.test_utils import FakeEventLogger, FakeFileIDManager
from jupyter_server_ydoc.utils import (
    LogLevel,
    OutOfBandChanges,
    check_session_compatibility,
    save_current_session,
)
from jupyter_server_ydoc.websocketserver import JupyterWebsocketServer
from jupyter_ydoc import YNotebook, YUnicode, ydocs
from jupyter_ydoc.ybasedoc import YBaseDoc
from jupyterlab_server.handlers import LabHandler
from notebook.app import NotebookBaseHandler
from pycrdt import Awareness, Doc, Map, Text, YMessageType, create_update_message, merge_updates
from pycrdt.store import BaseYStore, YDocNotFound
from pycrdt.websocket import WebsocketServer, YRoom

from jupyter_rtc_amprenta import upstream
from jupyter_rtc_amprenta.core.protocol import EMPTY_UPDATE
from jupyter_rtc_amprenta.perserver import per_server
from jupyter_rtc_amprenta.rooms import LinkedRoom
from jupyter_rtc_amprenta.splitdoc import PER_SERVER_KEYS

# --- what is said when something moved ---


def require(holds: Any, moved: str) -> None:
    assert holds, f"upstream moved: {moved}"


def require_parameters(function: Callable[..., Any], expected: str, user: str) -> None:
    """The names of the parameters, in order; those with a default in brackets."""
    found = " ".join(
        f"[{p.name}]" if p.default is not p.empty else p.name
        for p in inspect.signature(function).parameters.values()
    )
    require(
        found == expected, f"{function.__qualname__} takes ({found}), no longer ({expected}); {user} calls it"
    )


def names_in(function: Callable[..., Any]) -> set[str]:
    """The globals and attributes that a function's code names, inner functions included."""

    def of(code: CodeType) -> set[str]:
        inner = (constant for constant in code.co_consts if isinstance(constant, CodeType))
        return set(code.co_names).union(*(of(each) for each in inner))

    return of(inspect.unwrap(function).__code__)


# --- a real room over a real file ---


class Client:
    """A browser's socket, as a room sees it."""

    path = "room"

    def __init__(self) -> None:
        self.incoming: asyncio.Queue[bytes] = asyncio.Queue()
        self.sent: list[bytes] = []

    async def send(self, message: bytes) -> None:
        self.sent.append(message)

    def __aiter__(self) -> Client:
        return self

    async def __anext__(self) -> bytes:
        if message := await self.incoming.get():
            return message
        raise StopAsyncIteration


@pytest.fixture
def manager(tmp_path: Path) -> AsyncFileContentsManager:
    (tmp_path / "a.txt").write_text("on disk")
    return AsyncFileContentsManager(root_dir=str(tmp_path))


@pytest.fixture
async def loader(manager: AsyncFileContentsManager, anyio_backend: str) -> FileLoader:
    return FileLoader("1", FakeFileIDManager({"1": "a.txt"}), manager)


@pytest.fixture
async def room(loader: FileLoader) -> AsyncIterator[DocumentRoom]:
    room = DocumentRoom("text:file:1", "text", "file", loader, FakeEventLogger(), None, None, save_delay=0.01)
    yield room
    await room.stop()


async def until(condition: Callable[[], Any]) -> None:
    for _ in range(200):
        if condition():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("not within 2 s")


# --- the versions ---


def test_the_installed_version_is_one_that_we_take() -> None:
    installed = version("jupyter-server-ydoc")
    require(
        installed.startswith(upstream.TESTED_VERSIONS),
        f"jupyter-server-ydoc is {installed}; upstream.py says so",
    )


# --- where rooms are made ---


@pytest.mark.parametrize(
    "module", [jupyter_server_ydoc.app, jupyter_server_ydoc.handlers], ids=["app", "handlers"]
)
def test_both_modules_that_make_rooms_take_the_class_from_their_own_globals(module: Any) -> None:
    found = getattr(module, "DocumentRoom", None)
    require(found is DocumentRoom, f"{module.__name__}.DocumentRoom; upstream.link_rooms replaces it")


def test_no_other_module_makes_rooms() -> None:
    folder = Path(jupyter_server_ydoc.rooms.__file__).parent
    makers = {path.name for path in folder.rglob("*.py") if re.search(r"\bDocumentRoom\(", path.read_text())}
    makers -= {"pytest_plugin.py", "rooms.py"}
    require(
        makers == {"app.py", "handlers.py"},
        f"rooms are made in {sorted(makers)}; upstream.link_rooms knows two",
    )


@pytest.mark.parametrize("function", [YDocWebSocketHandler.prepare, YDocExtension.get_document])
def test_rooms_are_made_by_the_modules_global_name(function: Any) -> None:
    require(
        "DocumentRoom" in names_in(function),
        f"{function.__qualname__} makes its room otherwise; see link_rooms",
    )


def test_a_rooms_parameters() -> None:
    require_parameters(
        DocumentRoom.__init__,
        "self room_id file_format file_type file logger ystore log [save_delay] [document_load_progressively] "
        "[notebook_output_delay_threshold_mb] [exception_handler]",
        "LinkedRoom.__init__",
    )


def test_the_handler_of_rooms_is_taken_from_the_modules_global_name() -> None:
    found = getattr(jupyter_server_ydoc.app, "YDocWebSocketHandler", None)
    require(
        found is YDocWebSocketHandler, "jupyter_server_ydoc.app.YDocWebSocketHandler; link_rooms replaces it"
    )
    names = names_in(YDocExtension.initialize_handlers)
    require(
        "YDocWebSocketHandler" in names, "initialize_handlers names its handler otherwise; see link_rooms"
    )


def test_pages_are_told_of_what_comes_into_a_room_as_the_servers_own() -> None:
    """`panel.py` tells JupyterLab's list of who is on other servers so."""
    source = inspect.getsource(YRoom.send_server_awareness)
    require('changes[1] != "local"' in source, "YRoom passes on other origins than 'local'; panel.py")
    prepare = inspect.getsource(YDocWebSocketHandler.prepare)
    require("TransientRoom(" in prepare, "there is no TransientRoom for the global awareness; panel.py")
    awareness = Awareness(Doc())
    awareness.set_local_state({})
    require("lastUpdated" in awareness.meta[awareness.client_id], "Awareness.meta has no lastUpdated; last_of")


def test_jupyter_lab_and_notebook_ask_a_hook_what_their_pages_leave_out() -> None:
    """`frontend.hide_share_button` is one."""
    for handler in (LabHandler, NotebookBaseHandler):
        names = names_in(handler.get_page_config) | set(inspect.unwrap(handler.get_page_config).__code__.co_consts)
        require("page_config_hook" in names, f"{handler.__name__} asks no page_config_hook; hide_share_button")
    require("identity_model" in names_in(IdentityHandler.get), "/api/me asks no identity_model; give_colours")


def test_a_handler_makes_its_room_in_prepare_where_strangers_are_sent_away_first() -> None:
    prepare = YDocWebSocketHandler.prepare
    require(
        inspect.iscoroutinefunction(prepare),
        "YDocWebSocketHandler.prepare is no coroutine; GuardedRoomHandler",
    )
    require(
        "prepare" in vars(JupyterHandler),
        "JupyterHandler.prepare, which finds out who comes; GuardedRoomHandler",
    )
    require(
        "start_room" in names_in(prepare),
        "rooms are not made in YDocWebSocketHandler.prepare; GuardedRoomHandler",
    )
    resource = getattr(YDocWebSocketHandler, "auth_resource", None)
    require(resource == "contents", f"auth_resource is {resource}; GuardedRoomHandler asks for it")
    action = HTTP_METHOD_TO_AUTH_ACTION.get("WEBSOCKET")
    require(action == "execute", f"a websocket asks for {action!r}; GuardedRoomHandler asks for the same")


def test_our_room_stands_where_upstreams_stood_and_is_taken_away_again() -> None:
    linking: Any = SimpleNamespace()
    try:
        upstream.link_rooms(linking, SQLiteYStore)
        for module in (jupyter_server_ydoc.app, jupyter_server_ydoc.handlers):
            assert issubclass(module.DocumentRoom, LinkedRoom) and module.DocumentRoom.linking is linking
        assert issubclass(jupyter_server_ydoc.app.YDocWebSocketHandler, YDocWebSocketHandler)
        assert jupyter_server_ydoc.app.YDocWebSocketHandler is not YDocWebSocketHandler
    finally:
        upstream.unlink_rooms()
    assert jupyter_server_ydoc.app.DocumentRoom is jupyter_server_ydoc.handlers.DocumentRoom is DocumentRoom
    assert jupyter_server_ydoc.app.YDocWebSocketHandler is YDocWebSocketHandler


# --- a room's inside ---


def _leaned_on(cls: type) -> set[str]:
    """The non-public names of itself that a class uses and does not make: its base's."""
    tree = ast.parse(inspect.getsource(cls)).body[0]
    assert isinstance(tree, ast.ClassDef)
    own = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}
    used = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "self":
            (own if isinstance(node.ctx, ast.Store) else used).add(node.attr)
    return {name for name in used - own if name.startswith("_")} | {"_document"}


@pytest.mark.anyio
async def test_a_room_has_every_name_that_ours_uses(room: DocumentRoom) -> None:
    names = _leaned_on(LinkedRoom)
    assert {"_file", "_file_type", "_file_format", "_save_delay", "_document", "_emit"} <= names
    for name in sorted(names):
        require(hasattr(room, name), f"DocumentRoom.{name}; rooms.py uses it")


OVERRIDDEN = {
    "initialize": ("self", True),
    "serve": ("self channel", True),
    "stop": ("self", True),
    "_on_document_change": ("self target event", False),
    "_save_to_disc": ("self", False),
    "_on_outofband_change": ("self", True),
    "_on_filepath_change": ("self", False),
}


@pytest.mark.parametrize("name", OVERRIDDEN)
def test_what_our_room_does_otherwise_is_still_asked_of_it(name: str) -> None:
    parameters, is_coroutine = OVERRIDDEN[name]
    method = getattr(DocumentRoom, name, None)
    require(method is not None, f"DocumentRoom.{name}; LinkedRoom overrides it")
    require_parameters(method, parameters, f"LinkedRoom.{name}")
    require(inspect.iscoroutinefunction(method) is is_coroutine, f"DocumentRoom.{name} is a coroutine or not")
    assert name in vars(LinkedRoom)


def test_nothing_else_is_overridden_unknowingly() -> None:
    ours = {name for name, value in vars(LinkedRoom).items() if callable(value) and not name.startswith("__")}
    overridden = {name for name in ours if hasattr(DocumentRoom, name)}
    assert overridden == set(OVERRIDDEN), "pin what LinkedRoom overrides in OVERRIDDEN"


@pytest.mark.anyio
async def test_a_room_runs_in_start_until_it_is_stopped(room: DocumentRoom) -> None:
    require(inspect.iscoroutinefunction(DocumentRoom.start), "YRoom.start; SeparateRoom overrides it")
    require(not room._stopped.is_set(), "YRoom._stopped; SeparateRoom asks it whether the room has ended")
    users = names_in(WebsocketServer.start_room)
    require({"_task_group", "start"} <= users, "rooms are not started in the server's task group any more")


@pytest.mark.parametrize(
    ("method", "parameters", "user"),
    [
        (DocumentRoom._emit, "self level [action] [msg]", "LinkedRoom.initialize"),
        (DocumentRoom.create_task, "self aw", "LinkedRoom._tell_clients"),
        (YRoom.send_server_awareness, "self type changes", "panel.py"),
        (YRoom.serve, "self channel", "LinkedRoom.serve"),
        (JupyterWebsocketServer.delete_room, "self [name] [room]", "RtcExtension._link"),
    ],
    ids=lambda value: getattr(value, "__qualname__", ""),
)
def test_what_is_called_of_a_room_takes_the_same(method: Any, parameters: str, user: str) -> None:
    require_parameters(method, parameters, user)


def test_log_levels() -> None:
    require(LogLevel.INFO.value == "INFO", "LogLevel.INFO; LinkedRoom.initialize emits with it")


@pytest.mark.anyio
async def test_a_new_room_is_not_ready_and_watches_its_file_and_document(room: DocumentRoom) -> None:
    require(room.ready is False, "a DocumentRoom is made ready; LinkedRoom.initialize makes it so")
    require(room._document.ydoc is room.ydoc, "a room's _document is not its ydoc; LinkedRoom replaces both")
    require(room.awareness.client_id == room.ydoc.client_id, "a room's awareness is not its document's")
    callbacks = (room._file._subscriptions[room.room_id], room._file._filepath_subscriptions[room.room_id])
    expected = (room._on_outofband_change, room._on_filepath_change)
    require(
        callbacks == expected, "a room observes its file otherwise; LinkedRoom overrides the two callbacks"
    )
    require(room.on_message is None, "upstream sets a room's on_message itself; LinkedRoom sets it")
    require(room.clients == set(), "YRoom.clients; LinkedRoom and reporter.py read it")


@pytest.mark.anyio
async def test_a_room_writes_its_path_before_we_can_stop_it(room: DocumentRoom) -> None:
    state = room.ydoc.get("state", type=Map).to_py()
    require(
        state == {"path": "a.txt"},
        f"a new room holds {state}; LinkedRoom.__init__ begins anew because of `path`",
    )


@pytest.mark.anyio
async def test_a_room_uses_the_document_and_awareness_that_it_was_given_after_it_was_made(
    room: DocumentRoom,
) -> None:
    room._document.unobserve()
    room.ydoc = Doc()
    room.awareness = Awareness(room.ydoc)
    room._document = YUnicode(room.ydoc, room.awareness)
    started = asyncio.create_task(room.start())
    await room.started.wait()
    room.ready = True
    await room.ydoc_observed.wait()
    client = Client()
    serving = asyncio.create_task(room.serve(client))
    await until(lambda: client.sent)
    room._document.set("new")
    await until(lambda: len(client.sent) == 2)
    seen: Doc = Doc()
    seen.apply_update(client.sent[1][3:])
    require(
        str(seen.get("source", type=Text)) == "new",
        "YRoom keeps the document of its __init__; LinkedRoom replaces it",
    )
    other = Doc({"source": Text("from a client ")})
    client.incoming.put_nowait(create_update_message(other.get_update()))
    await until(lambda: "from a client " in room._document.get())
    client.incoming.put_nowait(b"")
    await serving
    require(client not in room.clients, "YRoom.serve leaves a client in `clients` that has gone")
    await room.stop()
    await asyncio.wait([started], timeout=2)
    room.stop = lambda: asyncio.sleep(0)  # it was stopped already


@pytest.mark.anyio
async def test_a_room_asks_on_message_before_it_handles_anything(room: DocumentRoom) -> None:
    asked: list[bytes] = []
    client = Client()
    room.on_message = lambda message: bool(asked.append(message) or len(asked) < 3)
    update = create_update_message(Doc({"source": Text("x")}).get_update())
    awareness = bytes([YMessageType.AWARENESS, 1, 0])
    for message in (update, awareness, update, b""):
        client.incoming.put_nowait(message)
    await room.serve(client)
    require(
        asked == [update, awareness, update],
        "YRoom.on_message is not asked of each message, as a whole, in order",
    )
    require(room._document.get() == "x", "YRoom.on_message returning False no longer lets a message through")
    require(
        client.sent[1:] == [], "YRoom.on_message returning True no longer keeps a message from being handled"
    )


@pytest.mark.anyio
async def test_the_hook_for_messages_runs_in_the_task_that_serves(room: DocumentRoom) -> None:
    tasks: list[Any] = []
    client = Client()
    room.on_message = lambda message: bool(tasks.append(asyncio.current_task())) or True
    for message in (b"\x00", b""):
        client.incoming.put_nowait(message)
    serving = asyncio.create_task(room.serve(client))
    await serving
    require(
        tasks == [serving], "YRoom.serve handles messages in another task; rooms.py keeps a ContextVar there"
    )


@pytest.mark.anyio
async def test_stopping_a_room_lets_go_of_its_file(room: DocumentRoom) -> None:
    await room.stop()
    require(room._file.number_of_subscriptions == 0, "DocumentRoom.stop no longer unobserves its file")
    room._file.observe(room.room_id, room._on_outofband_change)


# --- the handler of browsers' sockets ---


def test_a_manual_save_is_the_rooms_own_and_is_awaited() -> None:
    names = names_in(YDocWebSocketHandler.on_message)
    require(
        "_save_to_disc" in names, "YDocWebSocketHandler.on_message saves otherwise; LinkedRoom._save_to_disc"
    )
    source = inspect.getsource(YDocWebSocketHandler.on_message)
    require("await save_task" in source, "on_message no longer awaits the task of _save_to_disc")


@pytest.mark.anyio
async def test_a_handler_without_a_cleanup_delay_cleans_up_nothing(room: DocumentRoom) -> None:
    for method in (YDocWebSocketHandler.initialize, YDocWebSocketHandler._clean_room):
        require(
            "_cleanup_delay" in names_in(method), f"{method.__qualname__} has no _cleanup_delay; see rooms.py"
        )
    handler: Any = SimpleNamespace(room=room, _cleanup_delay=None)
    require(
        await YDocWebSocketHandler._clean_room(handler) is None,
        "YDocWebSocketHandler._clean_room goes on though _cleanup_delay is None; LinkedRoom._close_for_good sets it",
    )


def test_a_handler_is_what_a_room_serves_and_can_be_closed() -> None:
    require("serve" in names_in(YDocWebSocketHandler.open), "YDocWebSocketHandler.open serves otherwise")
    for name in ("close", "send", "get_query_argument", "current_user"):
        require(
            hasattr(YDocWebSocketHandler, name),
            f"YDocWebSocketHandler.{name}; rooms.py and reporter.py use it",
        )


@pytest.mark.parametrize("method", [YDocWebSocketHandler.open, DocSessionHandler.put])
def test_a_tabs_session_is_read_from_the_handlers_module_each_time(method: Any) -> None:
    require(
        "SERVER_SESSION" in names_in(method),
        f"{method.__qualname__} knows SERVER_SESSION otherwise; upstream.forget_tabs",
    )
    require(
        isinstance(jupyter_server_ydoc.handlers.SERVER_SESSION, str), "SERVER_SESSION is no text any more"
    )


@pytest.mark.anyio
async def test_a_tab_that_was_forgotten_is_asked_to_reload_when_it_comes_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Upstream compares a tab's session in two modules: in `handlers`, and in `utils` once more."""
    for module in (jupyter_server_ydoc.handlers, jupyter_server_ydoc.utils):
        monkeypatch.setattr(module, "SERVER_SESSION", module.SERVER_SESSION)
    kept = str(tmp_path / "tabs.json")
    root, old, installed = str(tmp_path), upstream.tabs_session(), version("jupyter-server-ydoc")
    await save_current_session(root, old, installed, asyncio.Lock(), session_store_path=kept)
    known = check_session_compatibility(root, old, installed, session_store_path=kept)
    require(known == (False, ""), "a session of this server is refused; utils.check_session_compatibility")
    collaboration: Any = SimpleNamespace(session_store_path=kept)
    upstream.forget_tabs(collaboration)
    assert upstream.tabs_session() != old
    forgotten = check_session_compatibility(root, old, installed, session_store_path=kept)
    assert forgotten == (True, "unknown_session"), "a tab of before forget_tabs comes back silently"


@pytest.mark.anyio
@pytest.mark.parametrize(("document", "expected"), [(per_server, (False, "")), (None, (True, "version_mismatch"))])
async def test_a_tab_comes_back_silently_whatever_type_of_document_was_opened_last(
    tmp_path: Path, document: Any, expected: tuple[bool, str]
) -> None:
    """Upstream keeps the version of the document opened last for the whole session; ours is one for all types."""
    kept, root, installed = str(tmp_path / "tabs.json"), str(tmp_path), version("jupyter-server-ydoc")
    classes = [YNotebook, YUnicode] if document is None else [per_server(YNotebook), per_server(YUnicode)]
    notebook, text = (kind().version for kind in classes)
    for opened in (notebook, text):
        await save_current_session(
            root, "before", installed, asyncio.Lock(), document_version=opened, session_store_path=kept
        )
    found = check_session_compatibility(
        root, "before", installed, current_document_version=notebook, session_store_path=kept
    )
    assert found == expected


def test_where_sessions_are_kept_is_an_option_that_is_read_late() -> None:
    require(
        YDocExtension.class_traits().get("session_store_path"),
        "YDocExtension.session_store_path; RtcExtension sets it",
    )
    names = names_in(YDocExtension.initialize_settings)
    require(
        "session_store_path" in names,
        "session_store_path is not read in initialize_settings; ours comes before",
    )


def test_the_store_is_an_option_that_is_read_late() -> None:
    trait = YDocExtension.class_traits().get("ystore_class")
    require(
        trait is not None and trait.klass is BaseYStore, "YDocExtension.ystore_class; RtcExtension sets it"
    )
    names = names_in(YDocExtension.initialize_handlers)
    require(
        {"ystore_class", "ywebsocket_server"} <= names,
        "initialize_handlers makes stores or the server otherwise",
    )


def test_a_room_that_fails_to_open_is_told_to_the_browser_by_its_http_error() -> None:
    source = inspect.getsource(YDocWebSocketHandler.open)
    require(
        "isinstance(e, web.HTTPError)" in source,
        "open no longer tells an HTTPError of initialize by close codes",
    )


# --- stores ---


def test_a_store_has_three_things_to_do() -> None:
    abstract = BaseYStore.__abstractmethods__
    require(abstract == {"__init__", "read", "write"}, f"a store must have {sorted(abstract)}; see ystore.py")
    require_parameters(BaseYStore.__init__, "self path [metadata_callback] [log]", "PostgresYStore.__init__")
    require_parameters(BaseYStore.write, "self data", "PostgresYStore.write")
    require(inspect.isasyncgenfunction(BaseYStore.read), "BaseYStore.read is no asynchronous generator")
    require(issubclass(YDocNotFound, Exception), "YDocNotFound")


def test_stores_are_made_with_and_without_a_configuration() -> None:
    made = inspect.getsource(YDocExtension.initialize_handlers)
    require(
        "partial(self.ystore_class, config=self.config)" in made,
        "a socket's store is made otherwise; see ystore.py",
    )
    made = inspect.getsource(YDocExtension.get_document)
    require(
        re.search(r"self\.ystore_class\(\s*path=updates_file_path,\s*log=self\.log,\s*\)", made),
        "get_document's store",
    )


@pytest.mark.parametrize("function", [YDocWebSocketHandler.prepare, YDocExtension.get_document])
def test_a_stores_path_names_type_and_file(function: Any) -> None:
    source = inspect.getsource(function)
    require(
        'f".{file_type}:{file_id}.y"' in source,
        f"{function.__qualname__} names stores otherwise; see ystore.py",
    )


def test_the_timeline_takes_the_update_first_and_the_seconds_last() -> None:
    source = inspect.getsource(TimelineHandler.get)
    require(
        "(item[0], item[-1]) async for item in ystore.read()" in source,
        "TimelineHandler reads stores otherwise",
    )


# --- files ---


@pytest.mark.anyio
async def test_a_file_is_loaded_and_saved_through_its_loader(loader: FileLoader, tmp_path: Path) -> None:
    require_parameters(FileLoader.load_content, "self format file_type", "FileSaver.load")
    require_parameters(FileLoader.maybe_save_content, "self model", "FileSaver._try_to_save")
    require(loader.path == "a.txt", "FileLoader.path; FileSaver names files with it")
    model = await loader.load_content("text", "file")
    require(model["content"] == "on disk", "FileLoader.load_content gives no model with content")
    saved = await loader.maybe_save_content({"format": "text", "type": "file", "content": "new"})
    require(
        saved and saved["hash"], "FileLoader.maybe_save_content no longer gives the hash; FileSaver keeps it"
    )
    require((tmp_path / "a.txt").read_text() == "new", "FileLoader.maybe_save_content does not write")


@pytest.mark.anyio
async def test_a_file_that_was_changed_outside_is_not_written_but_told_once(
    loader: FileLoader, tmp_path: Path
) -> None:
    await loader.load_content("text", "file")
    (tmp_path / "a.txt").write_text("outside")
    os.utime(tmp_path / "a.txt", (2_000_000_000, 2_000_000_000))
    model = {"format": "text", "type": "file", "content": "ours"}
    with pytest.raises(OutOfBandChanges):
        await loader.maybe_save_content(dict(model))
    require(
        (tmp_path / "a.txt").read_text() == "outside", "maybe_save_content overwrites what changed outside"
    )
    saved = await loader.maybe_save_content(dict(model))
    require(
        saved,
        "maybe_save_content tells of an outside change more than once; FileSaver remembers that it was told",
    )


@pytest.mark.anyio
async def test_a_file_that_is_not_writable_gives_none(loader: FileLoader, manager: Any) -> None:
    get = manager.get

    async def read_only(path: str, *args: Any, **options: Any) -> Any:
        return {**await get(path, *args, **options), "writable": False}

    # As readonly.py does.
    manager.get = read_only
    await loader.load_content("text", "file")
    saved: Any = "an exception"
    with suppress(OSError):
        saved = await loader.maybe_save_content({"format": "text", "type": "file", "content": "x"})
    require(
        saved is None,
        "maybe_save_content no longer gives None for a file that is not writable; see filesaver.py",
    )


@pytest.mark.anyio
async def test_a_loader_tells_its_rooms_of_both_kinds_of_change_and_waits_for_them(
    loader: FileLoader, tmp_path: Path
) -> None:
    told: list[str] = []

    async def changed() -> None:
        told.append("content")

    async def renamed() -> None:
        told.append("path")

    loader.observe("room", changed, renamed)
    await loader.load_content("text", "file")
    await loader.maybe_notify()
    assert told == []
    (tmp_path / "a.txt").rename(tmp_path / "b.txt")
    os.utime(tmp_path / "b.txt", (2_000_000_000, 2_000_000_000))
    loader._file_id_manager.move("1", "b.txt")
    await loader.maybe_notify()
    require(
        told == ["path", "content"],
        f"FileLoader.maybe_notify told {told}; LinkedRoom's callbacks are coroutines",
    )


@pytest.mark.parametrize("contents_manager", [FileContentsManager, AsyncFileContentsManager])
def test_a_contents_manager_finds_a_free_name_and_can_be_wrapped(
    contents_manager: Any, tmp_path: Path
) -> None:
    require_parameters(
        contents_manager.increment_filename, "self filename [path] [insert]", "FileSaver.keep_beside"
    )
    require(
        "require_hash" in inspect.signature(contents_manager.get).parameters,
        "contents_manager.get(require_hash)",
    )
    made = contents_manager(root_dir=str(tmp_path))
    made.get = wrapped = lambda path: {}
    require(made.get is wrapped, "a contents manager's get can't be replaced; readonly.py wraps it")


@pytest.mark.parametrize("contents_manager", [FileContentsManager, AsyncFileContentsManager])
def test_a_contents_manager_writes_through_a_method_that_can_be_wrapped(
    contents_manager: Any, tmp_path: Path
) -> None:
    made = contents_manager(root_dir=str(tmp_path))
    for method in (made._save_file, made._save_notebook):
        require("atomic_writing" in names_in(method), f"{method.__name__} does not write through atomic_writing")
    require_parameters(made._get_os_path, "path", "FileSaver._os_path")
    require_parameters(made.perm_to_403, "[os_path]", "filewriting.py")
    require(made._get_os_path("a/b.txt") == str(tmp_path / "a" / "b.txt"), "_get_os_path; filewriting.py compares it")
    require(made.hash_algorithm == "sha256", "contents_manager.hash_algorithm; filewriting.py hashes with it")
    loader = FileLoader("1", FakeFileIDManager({"1": "a.txt"}), made)
    require(hasattr(loader, "_poll_interval"), "FileLoader._poll_interval; FileSaver looks as often")


# --- documents ---


def test_the_server_writes_three_keys_of_state_and_we_know_them() -> None:
    written = set()
    for package in (jupyter_ydoc, jupyter_server_ydoc):
        for path in Path(package.__file__).parent.rglob("*.py"):
            written |= set(re.findall(r"_?ystate\[\"(\w+)\"\]\s*=", path.read_text()))
    require(
        written == {*PER_SERVER_KEYS, "dirty"},
        f"the server writes {sorted(written)} into `state`: decide for each whether it travels (splitdoc.py, rule 10)",
    )


def test_document_classes_are_known_by_type() -> None:
    require(
        ydocs.get("file") is not None and ydocs.get("notebook") is YNotebook, "jupyter_ydoc.ydocs; linked.py"
    )
    for name, cls in ydocs.items():
        require(issubclass(cls, YBaseDoc), f"ydocs[{name!r}] is no YBaseDoc; perserver.per_server extends it")


@pytest.mark.parametrize("name", ["path", "hash", "dirty"])
def test_a_documents_state_is_written_through_properties(name: str) -> None:
    found = vars(YBaseDoc).get(name)
    require(
        isinstance(found, property) and found.fset,
        f"YBaseDoc.{name} is no property; rooms._PerServerState overrides it",
    )
    document = YUnicode()
    setattr(document, name, "x")
    require(document._ystate.to_py() == {name: "x"}, f"YBaseDoc.{name} is kept otherwise than in _ystate")
    require(
        document.ydoc.get("state", type=Map).to_py() == {name: "x"},
        "_ystate is not the document's map `state`",
    )


def test_a_change_is_told_with_the_name_of_what_changed() -> None:
    told = []
    document = YUnicode()
    document.observe(lambda target, event: told.append(target))
    document._ystate["x"] = 1
    document.set("y")
    require(
        told == ["state", "source"], f"a document told {told}; LinkedRoom._on_document_change saves by it"
    )
    document.unobserve()
    document.set("z")
    require(told == ["state", "source"], "YBaseDoc.unobserve; LinkedRoom.__init__ calls it")


def test_reading_a_document_takes_one_tick() -> None:
    for cls in (YNotebook, YUnicode):
        require(
            not inspect.iscoroutinefunction(cls.get),
            f"{cls.__name__}.get is a coroutine; LinkedDocument.content",
        )


# --- pycrdt ---


@pytest.mark.anyio
async def test_a_document_knows_its_open_transaction() -> None:
    doc: Doc = Doc()
    require(doc._txn is None, "Doc._txn is not None outside a transaction; splitdoc.py waits for it")
    with doc.transaction():
        require(doc._txn is not None, "Doc._txn is None inside a transaction; splitdoc.py looks at it")
    async with doc.new_transaction():
        await asyncio.sleep(0)
        require(doc._txn is not None, "Doc._txn is None inside an async transaction; splitdoc.py looks at it")
    require(doc._txn is None, "Doc._txn is not None after a transaction")


def test_an_event_bears_what_is_new_and_nothing_else() -> None:
    doc, updates = Doc(), []
    doc.observe(lambda event: updates.append(event.update))
    other = Doc({"source": Text("one ")})
    first, state = other.get_update(), other.get_state()
    other.get("source", type=Text).insert(4, "two")
    second = other.get_update(state)
    doc.apply_update(second)
    require(
        all(update == EMPTY_UPDATE for update in updates),
        "an update that waits is told; splitdoc.py tells it later",
    )
    doc.apply_update(first)
    whole: Doc = Doc()
    whole.apply_update(updates[-1])
    require(
        str(whole.get("source", type=Text)) == "one two",
        "an event lacks what an earlier update had waited for",
    )
    count = len(updates)
    doc.apply_update(other.get_update())
    require(
        set(updates[count:]) <= {EMPTY_UPDATE},
        "what is known already is told again; splitdoc.py would echo it",
    )


def test_an_update_within_an_open_transaction_comes_out_with_it() -> None:
    doc, updates = Doc(), []
    doc.observe(lambda event: updates.append(event.update))
    with doc.transaction():
        doc.get("source", type=Text).insert(0, "mine")
        doc.apply_update(Doc({"state": Map({"path": "x"})}).get_update())
        require(
            updates == [], "an observer is called before the transaction ends; splitdoc.py waits until it has"
        )
    require(
        len(updates) == 1,
        "a transaction is told in parts; splitdoc.py's comment in _fill_room is out of date",
    )


def test_rubbish_is_a_value_error() -> None:
    for rubbish in (b"foo", b"", b"\xff" * 9):
        with pytest.raises(ValueError):
            Doc().apply_update(rubbish)
        with pytest.raises(ValueError):
            merge_updates(rubbish, rubbish)
        with pytest.raises(ValueError):
            Doc().get_update(rubbish or b"\x01")


def test_merging_keeps_what_waits_and_a_document_does_not() -> None:
    other = Doc({"source": Text("one ")})
    first, state = other.get_update(), other.get_state()
    other.get("source", type=Text).insert(4, "two")
    second = other.get_update(state)
    waiting: Doc = Doc()
    waiting.apply_update(second)
    require(
        waiting.get_update() == EMPTY_UPDATE, "Doc.get_update gives what waits: upstream.md's trap is gone"
    )
    whole: Doc = Doc()
    whole.apply_update(merge_updates(second, first))
    require(
        str(whole.get("source", type=Text)) == "one two",
        "merge_updates drops what waits; linked.py merges with it",
    )


@pytest.mark.anyio
async def test_awareness_keeps_clocks_and_says_where_a_change_came_from() -> None:
    doc: Doc = Doc()
    awareness = Awareness(doc, outdated_timeout=60)
    told: list[tuple[str, dict[str, Any], Any]] = []
    subscription = awareness.observe(lambda topic, change: told.append((topic, *change)))
    client = b"\x01\x07\x03\x02{}"
    awareness.apply_awareness_update(client, "origin")
    require(
        awareness.states.get(7) == {} and awareness.meta[7]["clock"] == 3, "Awareness.meta[client]['clock']"
    )
    update = ("update", {"added": [7], "updated": [], "removed": []}, "origin")
    require(
        update in told,
        "an awareness change is told otherwise than (topic, ({added, updated, removed}, origin))",
    )
    told.clear()
    awareness.remove_awareness_states([7], "left")
    removed = ("update", {"added": [], "updated": [], "removed": [7]}, "left")
    require(
        removed in told, "Awareness.remove_awareness_states tells otherwise; linkawareness.py removes with it"
    )
    require(
        awareness.meta[7]["clock"] == 3,
        "a removed client's clock is forgotten; linkawareness.py tells with it",
    )
    awareness.apply_awareness_update(b"\x01\x08\x01\x02{}", "origin")
    told.clear()
    running = asyncio.create_task(awareness.start())
    await until(lambda: any(topic == "update" and 8 in change["removed"] for topic, change, _ in told))
    origins = {origin for _, change, origin in told if 8 in change["removed"]}
    require(
        origins == {"timeout"},
        f"a silent client is removed with origin {origins}; linkawareness.py knows 'timeout'",
    )
    await awareness.stop()
    await asyncio.wait([running], timeout=2)
    awareness.unobserve(subscription)


# --- jupyter_server ---


def test_an_extension_has_the_hooks_that_ours_uses() -> None:
    for name in (
        "initialize_settings",
        "initialize_handlers",
        "stop_extension",
        "_start_jupyter_server_extension",
    ):
        require(hasattr(ExtensionApp, name), f"ExtensionApp.{name}; RtcExtension has its own")
    require(
        hasattr(ExtensionManager, "extension_apps"),
        "ExtensionManager.extension_apps; upstream.find_extension",
    )


def test_a_signal_stops_the_server_as_upstream_py_lets_sigint_do() -> None:
    source = inspect.getsource(getattr(ServerApp, "_signal_stop", None))
    require("self.stop(from_signal=True)" in source, "ServerApp._signal_stop; upstream.stop_when_interrupted")


def test_extensions_are_loaded_in_the_order_of_their_names_so_that_ours_comes_first() -> None:
    source = inspect.getsource(ExtensionManager.load_all_extensions)
    require(
        "sorted" in source,
        "extensions are not loaded by name any more; ours must set upstream's options first",
    )
    assert "jupyter_rtc_amprenta" < "jupyter_server_ydoc"


def test_this_file_looks_at_our_rooms_as_they_are() -> None:
    assert issubclass(LinkedRoom, DocumentRoom)
