"""Stock JavaScript clients at the Y.js server: y-websocket from npm, of three majors.

They see what Python clients hide: an update whose predecessors are missing waits in a Yjs document for ever, with
all that comes after it. Hence `pending`, which every test here ends with.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

import platformdirs
import pytest
import requests
from support.people import BrowserRoom, sources
from support.running_demo import RunningDemo
from support.shared_notebook import Shared
from support.yjs_client import until

from jupyter_rtc_amprenta.demo.notebook.build import NOTEBOOK
from jupyter_rtc_amprenta.demo.ports import any_free_port
from jupyter_rtc_amprenta.demo.proxy import find_node

pytestmark = [pytest.mark.anyio, pytest.mark.acceptance, pytest.mark.timeout(300)]

HERE = Path(__file__).with_name("js")
NEWEST, *OLDER = ("y-websocket-3", "y-websocket-2", "y-websocket-1")
CODE_CELL = 2
OTHER_CODE_CELL = 4
MARKDOWN_CELL = 3
PLOT_CELL = 14


# --- the client ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The client, beside the packages that it imports; they are fetched once for each user."""
    folder = tmp_path_factory.mktemp("js")
    shutil.copy(HERE / "client.mjs", folder)
    (folder / "node_modules").symlink_to(_packages() / "node_modules")
    return folder / "client.mjs"


def _packages() -> Path:
    manifest = (HERE / "package.json").read_bytes()
    cache = Path(platformdirs.user_cache_dir("jupyter-rtc"))
    target = cache / f"test-javascript-{hashlib.sha256(manifest).hexdigest()[:12]}"
    if not target.exists():
        cache.mkdir(parents=True, exist_ok=True)
        # Beside its place first: an interrupted download leaves nothing that looks complete.
        with tempfile.TemporaryDirectory(dir=cache, prefix=".fetch-") as folder:
            new = Path(folder) / "packages"
            new.mkdir()
            (new / "package.json").write_bytes(manifest)
            _npm_install(new)
            with suppress(OSError):  # another run was faster
                new.rename(target)
    return target


def _npm_install(folder: Path) -> None:
    node = find_node()
    options = ["--no-audit", "--no-fund", "--no-package-lock", "--omit=optional", "--no-update-notifier"]
    # npm's own scripts look for `node` on the PATH.
    path = os.pathsep.join([str(Path(node.node[0]).parent), os.environ.get("PATH", "")])
    done = subprocess.run(
        [*node.npm, "install", *options], cwd=folder, env={**os.environ, "PATH": path},
        check=False, capture_output=True, text=True, timeout=180,
    )  # fmt: skip
    assert done.returncode == 0, f"npm could not fetch the JavaScript clients: {done.stderr[-2000:]}"


class JavaScriptClient:
    """A y-websocket client in a Node process of its own: `await client("read", path=["cells"])`."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self._turn = asyncio.Lock()

    async def __call__(self, command: str, **arguments: Any) -> Any:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        async with self._turn:
            self._process.stdin.write(json.dumps({"do": command, **arguments}).encode() + b"\n")
            line = await asyncio.wait_for(self._process.stdout.readline(), 45)
        assert line, f"the client ended with {self._process.returncode}"
        answer = json.loads(line)
        assert "error" not in answer, answer["error"]
        return answer["is"]

    async def until(
        self, command: str, wanted: Callable[[Any], Any], timeout: float = 45, **arguments: Any
    ) -> Any:
        """Ask again and again, until the answer is as wanted."""
        deadline = time.monotonic() + timeout
        while not wanted(answer := await self(command, **arguments)):
            assert time.monotonic() < deadline, f"not within {timeout} s; {command} is {answer!r}"
            await asyncio.sleep(0.02)
        return answer

    async def cells(self) -> list[str]:
        """The sources of the notebook's cells."""
        return [cell["source"] for cell in await self("read", path=["cells"])]

    async def end(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        await asyncio.wait_for(self._process.wait(), 10)


class JavaScript:
    """Starts clients for one test, and ends them."""

    def __init__(self, demo: RunningDemo, program: Path) -> None:
        self._demo = demo
        self._program = program
        self._clients: list[JavaScriptClient] = []

    async def start(self, package: str = NEWEST) -> JavaScriptClient:
        """A client that is not connected yet."""
        process = await asyncio.create_subprocess_exec(
            *find_node().node, str(self._program), package,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, limit=2**24,
        )  # fmt: skip
        client = JavaScriptClient(process)
        self._clients.append(client)
        return client

    async def open(
        self, document_id: str, token: str, package: str = NEWEST, url: str | None = None
    ) -> JavaScriptClient:
        """A client that has synced."""
        client = await self.start(package)
        url = url or self._demo.ready["yjs_url"]
        await client("connect", url=f"{url}/doc", room=document_id, token=token)
        await client.until("synced", bool)
        return client

    async def end(self) -> None:
        for client in self._clients:
            await client.end()


@pytest.fixture
async def javascript(demo: RunningDemo, program: Path, anyio_backend: str) -> AsyncIterator[JavaScript]:
    clients = JavaScript(demo, program)
    yield clients
    await clients.end()


def document_token(demo: RunningDemo, user: str, document_id: str, permissions: str = "read-write") -> str:
    """What an operator gets from the command line."""
    command = [
        sys.executable, "-m", "jupyter_rtc_amprenta.cli", "token", f"--user={user}", f"--document={document_id}",
        f"--permissions={permissions}", f"--database-url={demo.ready['database_url']}",
    ]  # fmt: skip
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


# --- a notebook that alice and bob edit -----------------------------------------------------------------------


class Notebook(Shared):
    """A notebook of a test's own, which alice and bob have open as JupyterLab opens it, each on their server."""

    path: str
    at_alice: BrowserRoom
    at_bob: BrowserRoom

    async def open(self) -> tuple[BrowserRoom, BrowserRoom]:
        self.path = f"{uuid4().hex}.ipynb"
        shutil.copyfile(NOTEBOOK, self.alice.home / self.path)
        self.at_alice = await self.alice.open(self.path)
        documents = (await asyncio.to_thread(self.alice.status))["documents"]
        (self.document_id,) = [one["document_id"] for one in documents if one["path"] == self.path]
        await asyncio.to_thread(self._invite)
        self.at_bob = await self.bob.open(self.bobs_path)
        return self.at_alice, self.at_bob

    async def close(self) -> None:
        await self.at_alice.close()
        await self.at_bob.close()

    def token(self, user: str, permissions: str = "read-write") -> str:
        return document_token(self.demo, user, self.document_id, permissions)

    async def holds_everywhere(self, expected: list[str]) -> None:
        """Wait until these are the sources at alice, at bob, in both files and in PostgreSQL."""
        for room in (self.at_alice, self.at_bob):
            await until(lambda room=room: sources(room.contents()) == expected, "a room")
        for person, path in ((self.alice, self.path), (self.bob, self.bobs_path)):
            await until(lambda on=person, at=path: sources(on.file(at)) == expected, f"{person.name}'s file")
        await until(lambda: sources(self.stored()) == expected, "PostgreSQL")


@pytest.fixture
async def notebook(demo: RunningDemo, anyio_backend: str) -> AsyncIterator[Notebook]:
    notebook = Notebook(demo)
    await notebook.open()
    yield notebook
    await notebook.close()


async def type_at_the_end(room: BrowserRoom, cell: int, text: str) -> None:
    for character in text:
        # pycrdt counts UTF-8 bytes.
        room.type_into(cell, character, at=len(room.source(cell).encode()))
        await asyncio.sleep(0.002)


# --- the tests --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("package", [NEWEST, *OLDER])
async def test_a_stock_client_edits_along(notebook: Notebook, javascript: JavaScript, package: str) -> None:
    carol = await javascript.open(notebook.document_id, notebook.token("carol"), package)
    file = notebook.alice.file(notebook.path)
    assert await carol.cells() == sources(file)
    plot = await carol("read", path=["cells", PLOT_CELL, "outputs", 0, "data"])
    assert plot["image/png"] == file["cells"][PLOT_CELL]["outputs"][0]["data"]["image/png"]

    # Three at once, two of them in one cell.
    await asyncio.gather(
        carol("type", path=["cells", CODE_CELL, "source"], index=0, text="# carol types\n"),
        type_at_the_end(notebook.at_alice, CODE_CELL, "\n# alice types"),
        type_at_the_end(notebook.at_bob, MARKDOWN_CELL, " bob types"),
    )
    # JavaScript counts UTF-16 units, of which the first two characters have two each.
    await carol("insert", path=["cells", MARKDOWN_CELL, "source"], index=0, text="🧪🧬µ\n")
    await carol("insert", path=["cells", MARKDOWN_CELL, "source"], index=4, text="β")
    await carol("remove", path=["cells", MARKDOWN_CELL, "source"], index=0, length=2)

    expected = sources(file)
    expected[CODE_CELL] = f"# carol types\n{expected[CODE_CELL]}\n# alice types"
    expected[MARKDOWN_CELL] = f"🧬βµ\n{expected[MARKDOWN_CELL]} bob types"
    await notebook.holds_everywhere(expected)
    await carol.until("read", lambda cells: [cell["source"] for cell in cells] == expected, path=["cells"])
    assert await carol("pending") == 0


@pytest.mark.parametrize("package", [NEWEST, *OLDER])
async def test_an_echo_comes_back_once_all_before_it_is_in_postgresql(
    notebook: Notebook, javascript: JavaScript, package: str
) -> None:
    carol = await javascript.open(notebook.document_id, notebook.token("carol"), package)
    expected = sources(notebook.alice.file(notebook.path))
    for number in (1, 2):
        text = f"# saved {number}\n"
        await carol("insert", path=["cells", CODE_CELL, "source"], index=0, text=text)
        await carol("ask", number=number)
        await carol.until("echoes", lambda echoes, n=number: n in echoes)
        expected[CODE_CELL] = text + expected[CODE_CELL]
        # No waiting here: it is there when the answer is.
        assert sources(notebook.stored()) == expected
    await notebook.holds_everywhere(expected)
    assert await carol("echoes") == [1, 2]
    assert await carol("pending") == 0


async def test_what_a_server_keeps_to_itself_stays_there_and_no_edit_hangs_on_it(
    notebook: Notebook, javascript: JavaScript
) -> None:
    carol = await javascript.open(notebook.document_id, notebook.token("carol"))
    # Edits after a save come after what the server wrote of the file: its hash, and that nothing is unsaved.
    for number in range(3):
        notebook.at_alice.type_into(CODE_CELL, f"# edit {number}\n")
        await carol.until(
            "read", lambda text, n=number: f"edit {n}" in text, path=["cells", CODE_CELL, "source"]
        )
        await until(lambda: notebook.at_alice.state["dirty"] is False, "saved")
        assert await carol("pending") == 0
    assert {"path", "hash"} <= set(notebook.at_alice.state)
    assert {"path", "hash"}.isdisjoint(await carol("read", path=["state"]))


async def test_cells_come_and_go_for_all(notebook: Notebook, javascript: JavaScript) -> None:
    carol = await javascript.open(notebook.document_id, notebook.token("carol"))
    expected = await carol.cells()
    await carol("remove", path=["cells"], index=1, length=1)
    new = notebook.at_bob.document.create_ycell({"cell_type": "code", "source": "1 + 1", "id": "bobs-cell"})
    with notebook.at_bob.doc.transaction():
        notebook.at_bob.document.ycells.append(new)
        notebook.at_bob.state["dirty"] = True
    expected = [expected[0], *expected[2:], "1 + 1"]
    await notebook.holds_everywhere(expected)
    await carol.until("read", lambda cells: [cell["source"] for cell in cells] == expected, path=["cells"])
    assert await carol("pending") == 0


@pytest.mark.parametrize("package", [NEWEST, *OLDER])
async def test_who_is_here_is_seen_both_ways(
    notebook: Notebook, javascript: JavaScript, package: str
) -> None:
    notebook.at_alice.present("alice")
    carol = await javascript.open(notebook.document_id, notebook.token("carol"), package)
    # alice was there first, bob comes later: both ways of being told.
    await carol.until("others", lambda states: "alice" in names(states))
    notebook.at_bob.present("bob", cursors=[{"anchor": 7}])
    states = await carol.until("others", lambda states: "bob" in names(states))
    assert [{"anchor": 7}] in [state.get("cursors") for state in states]

    await carol("present", state={"user": {"name": "carol"}})
    for room in (notebook.at_alice, notebook.at_bob):
        await until(lambda room=room: "carol" in room.names(), "carol is seen")
    await notebook.at_bob.close()
    await carol.until("others", lambda states: "bob" not in names(states))
    await carol.end()
    await until(lambda: "carol" not in notebook.at_alice.names(), "carol is gone")


def names(states: list[dict[str, Any]]) -> set[str]:
    return {state["user"]["name"] for state in states if "user" in state}


async def test_a_client_that_is_alone_hears_itself(demo: RunningDemo, javascript: JavaScript) -> None:
    """Every 15 s a client says that it is here. A stock server says it back; a client that hears nothing for 30 s
    takes its connection for broken, and its cursor blinks: so would who works alone."""
    document_id = f"text_{uuid4().hex}"
    carol = await javascript.open(document_id, document_token(demo, "carol", document_id))
    await asyncio.sleep(0.5)  # its first presence is through
    last = await carol("lastMessage")
    await carol("present", state={"user": {"name": "carol"}})
    await carol.until("lastMessage", lambda now: now > last, timeout=3)


async def test_a_readers_edits_change_nothing(notebook: Notebook, javascript: JavaScript) -> None:
    reader = await javascript.open(notebook.document_id, notebook.token("carol", "read-only"))
    await reader("present", state={"user": {"name": "carol"}})
    await until(lambda: "carol" in notebook.at_alice.names(), "a reader is seen")
    await reader("insert", path=["cells", CODE_CELL, "source"], index=0, text="# from a reader\n")
    await reader("remove", path=["cells"], index=5, length=3)

    expected = sources(notebook.alice.file(notebook.path))
    notebook.at_alice.type_into(OTHER_CODE_CELL, "# alice, later\n")
    expected[OTHER_CODE_CELL] = f"# alice, later\n{expected[OTHER_CODE_CELL]}"
    # What comes after has arrived, so what was before would have, too.
    await notebook.holds_everywhere(expected)
    await reader.until("read", lambda source: "later" in source, path=["cells", OTHER_CODE_CELL, "source"])
    assert await reader("seen") == ["connected", "synced"], "the reader stays connected"
    assert await reader("pending") == 0


async def test_a_wrong_token_stops_the_client_for_good(notebook: Notebook, javascript: JavaScript) -> None:
    url, others = f"{notebook.demo.ready['yjs_url']}/doc", f"text_{uuid4().hex}"
    for token, code in (
        ("no-token", 4401),
        # A Hub token says who she is; she is no participant.
        (notebook.demo.ready["users"]["carol"]["token"], 4403),
        (document_token(notebook.demo, "carol", others), 4403),
    ):
        client = await javascript.start()
        await client("connect", url=url, room=notebook.document_id, token=token)
        # At once: 5 s are what tornado waits for a client's own close, before it breaks the connection.
        await client.until("seen", lambda seen, code=code: f"closed {code}" in seen, timeout=3)
        await asyncio.sleep(0.5)  # it would be back after 0.2 s
        assert await client("seen") == ["connected", f"closed {code}", "disconnected"]
        assert not await client("wantsToConnect")
        assert await client("read", path=["cells"]) == []


# --- a server that goes and comes -------------------------------------------------------------------------------


class OwnServer:
    """`jupyter-rtc yjs-server` on the demo's database: a Y.js server of a test's own, on a port that stays."""

    def __init__(self, database_url: str) -> None:
        self.port = any_free_port()
        self.url = f"ws://127.0.0.1:{self.port}"
        self._database_url = database_url
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self._process = subprocess.Popen(
            [
                sys.executable, "-m", "jupyter_rtc_amprenta.cli", "yjs-server", "--host=127.0.0.1",
                f"--port={self.port}", f"--database-url={self._database_url}",
            ],
            stdin=subprocess.DEVNULL,
        )  # fmt: skip

    async def ready(self) -> None:
        await until(self._is_healthy, "the server is healthy", timeout=30)

    def kill(self) -> None:
        """As `kill -9` does; nothing when it does not run."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def _is_healthy(self) -> bool:
        try:
            return requests.get(f"http://127.0.0.1:{self.port}/health", timeout=5).status_code == 200
        except requests.ConnectionError:
            return False


@pytest.fixture
def own_server(demo: RunningDemo) -> Iterator[OwnServer]:
    server = OwnServer(demo.ready["database_url"])
    server.start()
    yield server
    server.kill()


async def test_clients_of_all_ages_catch_up_after_the_server_was_killed(
    demo: RunningDemo, javascript: JavaScript, own_server: OwnServer
) -> None:
    document_id = f"text_{uuid4().hex}"
    token = document_token(demo, "carol", document_id)
    await own_server.ready()
    clients = {
        package: await javascript.open(document_id, token, package, own_server.url)
        for package in (NEWEST, *OLDER)
    }
    source: dict[str, Any] = {"path": ["source"]}
    typing = [client("type", **source, index=0, text=f"({package})") for package, client in clients.items()]
    await asyncio.gather(*typing)
    own_server.kill()
    for package, client in clients.items():
        await client.until("synced", lambda synced: not synced)
        await client("append", **source, text=f"[{package}, without a server]")
    own_server.start()

    for client in clients.values():
        await client.until("synced", bool, timeout=30)
    everything = await all_alike(clients)
    for package in clients:
        assert everything.count(f"[{package}, without a server]") == 1
        assert sorted(everything.partition("[")[0]) == sorted("".join(f"({name})" for name in clients))
    await clients[NEWEST]("append", **source, text=" and on")
    assert await all_alike(clients) == f"{everything} and on"
    for client in clients.values():
        assert await client("pending") == 0
    # Another server, the Hub's, finds it all in PostgreSQL.
    late = await javascript.open(document_id, token)
    assert await late("read", **source) == f"{everything} and on"
    assert await late("pending") == 0


async def all_alike(clients: dict[str, JavaScriptClient]) -> str:
    """Wait until all have the same text, and give it."""
    deadline = time.monotonic() + 45
    while len(texts := {await client("read", path=["source"]) for client in clients.values()}) > 1:
        assert time.monotonic() < deadline, f"they differ: {texts}"
        await asyncio.sleep(0.05)
    return texts.pop()
