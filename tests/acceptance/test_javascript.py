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
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

import platformdirs
import psycopg2
import pytest
import requests
from jupyter_ydoc import YNotebook
from pycrdt import Doc
from support.people import BrowserRoom, Person, in_postgresql, sources
from support.running_demo import RunningDemo
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
            line = await asyncio.wait_for(self._process.stdout.readline(), 15)
        assert line, f"the client ended with {self._process.returncode}"
        answer = json.loads(line)
        assert "error" not in answer, answer["error"]
        return answer["is"]

    async def until(self, command: str, wanted: Callable[[Any], Any], timeout: float = 15, **arguments: Any) -> Any:
        """Ask again and again, until the answer is as wanted."""
        answer = None
        try:
            async with asyncio.timeout(timeout):
                while not wanted(answer := await self(command, **arguments)):
                    await asyncio.sleep(0.02)
        except TimeoutError:
            raise AssertionError(f"not within {timeout} s; {command} is {answer!r}") from None
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


class Notebook:
    """A notebook that alice and bob have open, each on their own server, as JupyterLab opens it."""

    def __init__(self, demo: RunningDemo) -> None:
        self.demo = demo
        self.alice, self.bob = Person(demo, "alice"), Person(demo, "bob")
        self.path = f"{uuid4().hex}.ipynb"
        self.document_id = self.bobs_path = ""
        self.alices_room: BrowserRoom
        self.bobs_room: BrowserRoom

    async def open(self) -> None:
        shutil.copyfile(NOTEBOOK, self.alice.home / self.path)
        self.alices_room = await self.alice.open(self.path)
        documents = (await asyncio.to_thread(self.alice.status))["documents"]
        (self.document_id,) = [one["document_id"] for one in documents if one["path"] == self.path]
        self.bobs_path = await asyncio.to_thread(self._let_bob_in)
        self.bobs_room = await self.bob.open(self.bobs_path)

    async def close(self) -> None:
        await self.alices_room.close()
        await self.bobs_room.close()

    def _let_bob_in(self) -> str:
        invite = self.alice.call("POST", f"/sessions/{self.document_id}/invite", json={"username": "bob"}).json()
        assert self.bob.call("POST", f"/invites/{invite['invite_id']}/accept").status_code == 200
        return self.bob.join(self.document_id)

    async def everywhere(self, cell: int, source: str) -> None:
        """Wait until the cell has this source for alice and bob, and in both files."""
        for room in (self.alices_room, self.bobs_room):
            await until(lambda room=room: room.source(cell) == source, f"{source!r} in a room")
        for person, path in ((self.alice, self.path), (self.bob, self.bobs_path)):
            await until(lambda on=person, at=path: sources(on.file(at))[cell] == source, f"{person.name}'s file")

    def stored(self) -> dict[str, Any]:
        """The notebook, from PostgreSQL alone."""
        connection = psycopg2.connect(self.demo.ready["database_url"])
        try:
            cursor = connection.cursor()
            cursor.execute(
                "SELECT payload FROM yjs_updates WHERE document_id = %s ORDER BY seq", (self.document_id,)
            )
            return in_postgresql([bytes(row[0]) for row in cursor.fetchall()])
        finally:
            connection.close()


@asynccontextmanager
async def _opened(demo: RunningDemo) -> AsyncIterator[Notebook]:
    notebook = Notebook(demo)
    await notebook.open()
    try:
        yield notebook
    finally:
        await notebook.close()


@pytest.fixture
async def notebook(demo: RunningDemo, anyio_backend: str) -> AsyncIterator[Notebook]:
    async with _opened(demo) as opened:
        yield opened
