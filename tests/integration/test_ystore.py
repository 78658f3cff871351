"""Our Y-stores as upstream uses them: alone, in pycrdt-websocket's rooms, and in a Jupyter server (direct mode)."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import requests
from jupyter_ydoc import YUnicode
from pycrdt import Doc, Text
from pycrdt.store import BaseYStore, YDocNotFound
from pycrdt.websocket import YRoom
from sqlalchemy import select
from support.yjs_client import YjsClient, until
from traitlets.config import Config

from jupyter_rtc_amprenta.core import migrate
from jupyter_rtc_amprenta.core.database import Database
from jupyter_rtc_amprenta.core.documentlog import DocumentLog
from jupyter_rtc_amprenta.core.errors import ConfigurationError, DocumentNotFound
from jupyter_rtc_amprenta.core.schema import yjs_documents
from jupyter_rtc_amprenta.demo.ports import any_free_port
from jupyter_rtc_amprenta.demo.postgres import EmbeddedPostgres
from jupyter_rtc_amprenta.localstore import LocalStore
from jupyter_rtc_amprenta.ystore import LinkedYStore, PostgresYStore

pytestmark = [pytest.mark.anyio, pytest.mark.integration]

PATH = ".file:1.y"


@pytest.fixture
async def log(database: Database) -> AsyncIterator[DocumentLog]:
    log = DocumentLog(database)
    yield log
    await log.stop()


async def items(store: BaseYStore) -> list[tuple[bytes, bytes, float]]:
    return [item async for item in store.read()]


async def text_in(log: DocumentLog, document_id: str) -> str:
    """The document's text, as the database has it."""
    doc: Doc = Doc()
    try:
        history = await DocumentLog(log.database).read(document_id)
    except DocumentNotFound:
        return ""
    for update in history.updates:
        doc.apply_update(update)
    return str(doc.get("source", type=Text))


async def committed(log: DocumentLog, document_id: str, text: str) -> None:
    """Wait until the database has this text."""
    for _ in range(500):
        if await text_in(log, document_id) == text:
            return
        await asyncio.sleep(0.02)
    raise AssertionError(f"{await text_in(log, document_id)!r} is committed, not {text!r}")


# --- the store ---


async def test_what_is_written_is_read_in_order_with_its_time(log: DocumentLog) -> None:
    store = PostgresYStore.bound_to(log)(PATH)
    for data in (b"foo", b"", b"\x00\x00", b"bar" * 1000):  # no Yjs updates, and taken all the same
        await store.write(data)
    read = await items(store)
    assert [item[0] for item in read] == [b"foo", b"", b"\x00\x00", b"bar" * 1000]
    assert {item[1] for item in read} == {b""}
    times = [item[-1] for item in read]
    assert times == sorted(times) and all(abs(time.time() - seconds) < 10 for seconds in times)


@pytest.mark.parametrize("asynchronous", [False, True])
async def test_the_metadata_of_an_update_is_read_back(log: DocumentLog, asynchronous: bool) -> None:
    """Upstream's own `test_ystore`, which the design says we pass."""
    count = itertools.count()

    def metadata() -> bytes:
        return str(next(count)).encode()

    async def metadata_later() -> bytes:
        return metadata()

    store = PostgresYStore.bound_to(log)(PATH, metadata_callback=metadata_later if asynchronous else metadata)
    for data in (b"foo", b"bar", b"baz"):
        await store.write(data)
    assert [item[:2] for item in await items(store)] == [(b"foo", b"0"), (b"bar", b"1"), (b"baz", b"2")]


async def test_what_was_never_written_is_not_found(log: DocumentLog) -> None:
    store = PostgresYStore.bound_to(log)(PATH)
    with pytest.raises(YDocNotFound):
        await items(store)
    await log.create(store.document_id)
    with pytest.raises(YDocNotFound):
        await items(store)


async def test_a_document_is_stored_and_loaded(log: DocumentLog) -> None:
    store_class = PostgresYStore.bound_to(log)
    doc = Doc({"source": Text("héllo 🦉")})
    await store_class(PATH).encode_state_as_update(doc)
    loaded: Doc = Doc()
    await store_class(PATH).apply_updates(loaded)
    assert str(loaded.get("source", type=Text)) == "héllo 🦉"


async def test_each_file_and_type_has_a_history_of_its_own(log: DocumentLog) -> None:
    store_class = PostgresYStore.bound_to(log)
    for path in (".file:1.y", ".notebook:1.y", ".file:2.y"):
        await store_class(path).write(path.encode())
    assert [item[0] for item in await items(store_class(".file:1.y"))] == [b".file:1.y"]
    ids = await log.database.run(lambda c: c.execute(select(yjs_documents.c.document_id)).scalars().all())
    assert sorted(ids) == ["file:1", "file:2", "notebook:1"]


async def test_a_store_is_made_in_both_of_upstreams_ways(log: DocumentLog) -> None:
    import logging

    store_class = PostgresYStore.bound_to(log)
    assert issubclass(store_class, BaseYStore)
    for options in (
        {"path": PATH, "log": logging.getLogger("x"), "config": Config()},
        {"path": PATH, "log": logging.getLogger("x")},
        {"path": PATH, "metadata_callback": lambda: b"metadata"},
        {"path": PATH, "log": None, "config": None},
    ):
        store = store_class(**options)
        assert store.path == PATH and store.log is not None
        await store.write(b"x")
    assert len(await items(store)) == 4


async def test_a_store_starts_and_stops_as_upstreams_do(log: DocumentLog) -> None:
    store = PostgresYStore.bound_to(log)(PATH)
    async with store:
        assert store.started.is_set()
        with pytest.raises(RuntimeError):
            await store.start()
        await store.write(b"x")
    with pytest.raises(RuntimeError):
        await store.stop()
    store = PostgresYStore.bound_to(log)(PATH)
    running = asyncio.create_task(store.start())
    await store.started.wait()
    await store.stop()
    await asyncio.wait([running], timeout=2)
    assert running.done() and [item[0] for item in await items(store)] == [b"x"]


async def test_a_store_of_its_own_takes_its_database_from_the_environment_or_its_trait(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RTC_DATABASE_URL", database_url)
    async with PostgresYStore(PATH) as store:
        await store.write(b"environment")
    monkeypatch.delenv("RTC_DATABASE_URL")
    config = Config({"PostgresYStore": {"database_url": database_url}})
    async with PostgresYStore(PATH, config=config) as store:
        await store.write(b"trait")
        assert [item[0] for item in await items(store)] == [b"environment", b"trait"]
    async with PostgresYStore(PATH) as store:
        with pytest.raises(ConfigurationError, match="RTC_DATABASE_URL"):
            await store.write(b"x")


async def test_a_cancelled_write_is_written(log: DocumentLog) -> None:
    store = PostgresYStore.bound_to(log)(PATH)
    writing = [asyncio.create_task(store.write(str(number).encode())) for number in range(5)]
    await asyncio.sleep(0)
    for task in writing:
        task.cancel()
    await asyncio.wait(writing)
    assert await log.stop()
    assert [item[0] for item in await items(store)] == [b"0", b"1", b"2", b"3", b"4"]


# --- in a room of pycrdt-websocket ---


async def test_a_rooms_edits_are_stored_in_order_though_it_is_stopped_in_the_middle(log: DocumentLog) -> None:
    begun: list[bytes] = []

    class Counted(PostgresYStore.bound_to(log)):  # type: ignore[misc]
        async def write(self, data: bytes) -> None:
            begun.append(data)
            await super().write(data)

    room = YRoom(ystore=Counted(PATH))
    running = asyncio.create_task(room.start())
    await room.started.wait()
    await room.ydoc_observed.wait()
    text = room.ydoc.get("source", type=Text)
    for number in range(11):
        text.insert(len(str(text)), f"{number} ")
    # What is still in upstream's own queue of updates, nobody can save.
    await until(lambda: len(begun) == 11)
    await room.stop()
    await asyncio.wait([running], timeout=2)
    assert await log.stop()
    assert await text_in(log, "file:1") == "0 1 2 3 4 5 6 7 8 9 10 "


async def test_the_next_room_goes_on_where_the_last_one_ended(log: DocumentLog) -> None:
    for number in range(3):
        store = PostgresYStore.bound_to(log)(PATH)
        async with YRoom(ready=False, ystore=store) as room:
            if number:
                await store.apply_updates(room.ydoc)
            room.ready = True
            await room.ydoc_observed.wait()
            text = room.ydoc.get("source", type=Text)
            assert str(text) == "".join(str(n) for n in range(number))
            text.insert(number, str(number))
            await committed(log, "file:1", str(text))
    assert await text_in(log, "file:1") == "012"


# --- a linked room's store: read by the timeline alone ---


async def test_the_timeline_reads_a_linked_rooms_shared_history(tmp_path: Path) -> None:
    local = LocalStore(tmp_path / "rooms.db")
    try:
        store_class = LinkedYStore.bound_to(local.log)
        assert issubclass(store_class, BaseYStore)
        with pytest.raises(YDocNotFound):
            await items(store_class(path=".notebook:1.y", log=None, config=Config()))
        await local.open("json:notebook:1", "a.ipynb")
        await local.open("text:file:1", "a.txt")
        for data in (b"one", b"two"):
            await local.log.append("json:notebook:1", data, 1)
        await local.log.append("json:notebook:1#side", b"path and hash", 1)
        await local.log.append("text:file:1", b"text", 1)
        store = store_class(path=".notebook:1.y")
        assert [item[0] for item in await items(store)] == [b"one", b"two"]
        assert all(abs(time.time() - item[-1]) < 10 for item in await items(store))
        assert [item[0] for item in await items(store_class(path=".file:1.y"))] == [b"text"]
        await store.write(b"not this way")
        assert len(await items(store)) == 2
    finally:
        await local.close()


# --- in a Jupyter server ---


class JupyterServer:
    """A server with jupyter-collaboration and our extension, as a process of its own."""

    def __init__(self, folder: Path, **environment: str) -> None:
        self.root = folder / "root"
        self.output = folder / "output.txt"
        for name in ("root", "config", "data", "run"):
            (folder / name).mkdir(exist_ok=True)
        keep = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("RTC_", "PG", "JUPYTER"))
        }
        self._environment = keep | {
            "JUPYTER_CONFIG_DIR": str(folder / "config"),
            "JUPYTER_DATA_DIR": str(folder / "data"),
            "JUPYTER_RUNTIME_DIR": str(folder / "run"),
        }
        self._environment |= environment
        self._process: subprocess.Popen[bytes]

    async def start(self, save_delay: float = 0.2) -> None:
        self.port = any_free_port()
        unneeded = dict.fromkeys(
            ("jupyterlab", "notebook_shim", "jupyter_lsp", "jupyter_server_terminals"), False
        )
        command = [
            sys.executable, "-m", "jupyter_server", "--allow-root", "--no-browser", f"--ServerApp.port={self.port}",
            "--ServerApp.port_retries=0", "--IdentityProvider.token=secret", f"--ServerApp.root_dir={self.root}",
            f"--ServerApp.jpserver_extensions={unneeded}", f"--YDocExtension.document_save_delay={save_delay}",
            "--YDocExtension.file_poll_interval=0.2",
        ]  # fmt: skip
        self._launch(command)
        await until(self._answers, "the server starts", 40)

    def _launch(self, command: list[str]) -> None:
        with self.output.open("ab") as output:
            self._process = subprocess.Popen(
                command, env=self._environment, stdout=output, stderr=output, cwd=self.root
            )

    def _answers(self) -> bool:
        assert self._process.poll() is None, self.output.read_text()
        try:
            return self.get("api/status").ok
        except requests.ConnectionError:
            return False

    async def end(self, how: signal.Signals = signal.SIGTERM) -> None:
        """End it; its tabs must be closed by now."""
        # With or without our extension, a Jupyter server whose rooms' sockets are open waits for them without end.
        await asyncio.sleep(0.3)
        self._process.send_signal(how)
        await asyncio.to_thread(self._process.wait, 20)

    def kill(self) -> None:
        self._process.kill()
        self._process.wait(20)

    def get(self, path: str, method: str = "GET", **options: Any) -> requests.Response:
        headers = {"Authorization": "token secret"}
        return requests.request(
            method, f"http://127.0.0.1:{self.port}/{path}", headers=headers, timeout=10, **options
        )

    async def open(self, path: str) -> Tab:
        """Open a text file as JupyterLab does; the tab connects when it is entered."""
        body = json.dumps({"format": "text", "type": "file"})
        response = await asyncio.to_thread(self.get, f"api/collaboration/session/{path}", "PUT", data=body)
        response.raise_for_status()
        session = response.json()
        tab = Tab(
            f"ws://127.0.0.1:{self.port}/api/collaboration/room/text:file:{session['fileId']}"
            f"?sessionId={session['sessionId']}",
            {"Authorization": "token secret"},
        )
        tab.document_id = f"file:{session['fileId']}"
        return tab


class Tab(YjsClient):
    """A text file, opened."""

    document_id: str

    def type(self, text: str) -> None:
        """At the end, as JupyterLab does: `dirty` in the same transaction."""
        with self.doc.transaction():
            self.text.insert(len(str(self.text).encode()), text)
            self.state["dirty"] = True


@pytest.fixture
async def direct(tmp_path: Path, database_url: str, anyio_backend: str) -> AsyncIterator[JupyterServer]:
    """A server in direct mode, not started."""
    server = JupyterServer(tmp_path, RTC_DATABASE_URL=database_url, RTC_LEASE_SECONDS="1")
    yield server
    server.kill()


def tracebacks(output: str) -> list[str]:
    """The errors in a server's log, but for what upstream says where a page leaves while it is told something."""
    found = [part[:1000] for part in output.split("Traceback (most recent call last):")[1:]]
    return [part for part in found if "WebSocketClosedError" not in part]


async def test_a_servers_documents_are_in_postgresql_and_survive_its_restart(
    direct: JupyterServer, log: DocumentLog
) -> None:
    (direct.root / "a.txt").write_text("seed ")
    await direct.start()
    status = direct.get("rtc/status").json()
    assert (status["mode"], status["store"]) == ("direct", "ok")
    async with await direct.open("a.txt") as tab, await direct.open("a.txt") as other:
        assert str(tab.text) == "seed "
        tab.type("typed ")
        await until(lambda: str(other.text) == "seed typed ")
        other.type("wörld 🦉 ")
        await until(lambda: (direct.root / "a.txt").read_text() == "seed typed wörld 🦉 ")
        assert await text_in(log, tab.document_id) == "seed typed wörld 🦉 "
        document_id, doc = tab.document_id, tab.doc
    await direct.end()
    before = len((await log.read(document_id)).entries)
    await direct.start()
    async with await direct.open("a.txt") as tab:
        assert str(tab.text) == "seed typed wörld 🦉 "
        # The same history, not a second one of the same content: who held it before has nothing to add.
        assert tab.doc.get_update(doc.get_state()).count(b"typed") == 0
        timeline = direct.get("api/collaboration/timeline/a.txt?format=text&type=file").json()
        assert len(timeline["timestamps"]) >= 2
        assert all(abs(time.time() - seconds) < 60 for seconds in timeline["timestamps"])
        tab.type("again")
        await until(lambda: (direct.root / "a.txt").read_text().endswith("again"))
        assert (await text_in(log, document_id)) == "seed typed wörld 🦉 again"
    assert 0 < len((await log.read(document_id)).entries) - before < 10
    assert tracebacks(direct.output.read_text()) == []


async def test_what_was_typed_just_before_a_shutdown_is_committed(
    direct: JupyterServer, log: DocumentLog
) -> None:
    (direct.root / "a.txt").write_text("")
    await direct.start(save_delay=60)
    async with await direct.open("a.txt") as tab, await direct.open("a.txt") as other:
        for number in range(50):
            tab.type(f"{number} ")
        await until(lambda: str(other.text).endswith("49 "))
    await direct.end()
    assert await text_in(log, tab.document_id) == "".join(f"{number} " for number in range(50))


async def test_an_edit_that_is_in_the_log_beats_a_file_that_was_not_saved_yet(
    direct: JupyterServer, log: DocumentLog
) -> None:
    """Rule 2: a stale file never beats the log. The server is killed between the commit and the save."""
    (direct.root / "a.txt").write_text("saved ")
    await direct.start(save_delay=60)
    async with await direct.open("a.txt") as tab:
        tab.type("committed")
        await committed(log, tab.document_id, "saved committed")
        direct.kill()
    assert (direct.root / "a.txt").read_text() == "saved "
    await direct.start()
    async with await direct.open("a.txt") as tab:
        assert str(tab.text) == "saved committed"


async def test_while_the_database_is_away_no_more_is_read_than_may_wait(tmp_path: Path) -> None:
    """A browser that goes on sending is not heard any more at the bound; afterwards everything is there."""
    postgres = EmbeddedPostgres(tmp_path / "postgres", settings={"fsync": "off"})
    postgres.start()
    migrate.upgrade(postgres.url())
    bounds = {"RTC_MAX_PENDING_BYTES": "200000", "RTC_LEASE_SECONDS": "300"}
    server = JupyterServer(tmp_path, RTC_DATABASE_URL=postgres.url(), **bounds)
    (server.root / "a.txt").write_text("")
    try:
        await server.start()
        database = Database(postgres.url())
        async with await server.open("a.txt") as tab, await server.open("a.txt") as other:
            tab.type("begin ")
            await committed(DocumentLog(database), tab.document_id, "begin ")
            postgres.stop("immediate")
            for number in range(40):
                tab.type(f"{number} " + "x" * 20_000)
                await asyncio.sleep(0.01)
            await until(lambda: "bytes wait for the database" in server.output.read_text())
            await asyncio.sleep(2)
            heard = str(other.text).count("x") // 20_000
            assert 5 < heard < 20, "what waits is bounded"
            postgres.start()
            await committed(DocumentLog(database), tab.document_id, str(tab.text))
            await until(lambda: str(other.text) == str(tab.text))
        database.close()
    finally:
        server.kill()
        postgres.stop("immediate")


async def test_a_researchers_own_pg_variables_leave_jupyter_collaboration_alone(
    tmp_path: Path, database_url: str
) -> None:
    server = JupyterServer(
        tmp_path, PGHOST="db.example.org", PGDATABASE="analytics", PGUSER="me", POSTGRES_DB="x"
    )
    (server.root / "a.txt").write_text("theirs")
    await server.start()
    try:
        assert server.get("rtc/status").json()["mode"] == "off"
        async with await server.open("a.txt") as tab:
            assert YUnicode(tab.doc).get() == "theirs"
        assert "Amprenta RTC is off" in server.output.read_text()
        await server.end()
    finally:
        server.kill()
