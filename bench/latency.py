"""How long an edit is on its way to a colleague's screen: through two servers and the Y.js server, beside stock.

    python bench/latency.py                   # two people, and ten, who type five times a second, for 20 s each
    python bench/latency.py --people 10 --rate 5 --seconds 60 --runs 5

alice's and bob's servers are those of a real Hub (`jupyter-rtc demo`), linked by its Y.js server over a real
PostgreSQL; the peer is one Jupyter server with jupyter-collaboration as it comes. The same clients join the rooms
of both as JupyterLab does, at the servers' own ports, and half of them type at each server. Measured is, on the same
machine and in turns, when the others' edits are *seen at the other server*; with stock, by the other browsers.
It needs the extras `service`, `demo` and `test`.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import re
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

import requests
from pycrdt import Doc, Text
from tornado.httpclient import HTTPRequest
from tornado.websocket import WebSocketClientConnection, websocket_connect

from jupyter_rtc_amprenta.core import protocol

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from support.people import Person
from support.running_demo import RunningDemo
from support.shared_notebook import server_of
from support.stock_server import TOKEN, StockServer

_MARK = re.compile(rb"t(\d)_(\d{12,20});")


@dataclass
class Run:
    """What one run measured, in milliseconds."""

    delays: list[float] = field(default_factory=list)
    sent: int = 0

    def percentile(self, percent: int) -> float:
        return statistics.quantiles(self.delays, n=100)[percent - 1]


@dataclass(frozen=True)
class Place:
    """A Jupyter server, as a browser knows it."""

    url: str
    token: str

    def room(self, path: str) -> HTTPRequest:
        """The request that joins a text file's room."""
        headers = {"Authorization": f"token {self.token}"}
        session = requests.put(
            f"{self.url}api/collaboration/session/{quote(path)}",
            data=json.dumps({"format": "text", "type": "file"}),
            headers=headers,
            timeout=60,
        )
        session.raise_for_status()
        found = session.json()
        room = f"text:file:{found['fileId']}?sessionId={found['sessionId']}"
        return HTTPRequest(f"ws{self.url.removeprefix('http')}api/collaboration/room/{room}", headers=headers)


class Typist:
    """One browser: types, and notes when the edits of those at other places arrive.

    Args:
        socket: to the room.
        place: the number of where this one is; edits from there are not counted. None: all are.
        run: where the delays go.
    """

    def __init__(self, socket: WebSocketClientConnection, number: int, counts: set[int], run: Run) -> None:
        self._socket, self._number, self._counts, self._run = socket, number, counts, run
        self._doc: Doc = Doc()
        self._doc.observe(
            lambda event: socket.write_message(protocol.encode_update(event.update), binary=True)
        )

    async def listen(self) -> None:
        while isinstance(message := await self._socket.read_message(), bytes):
            now = time.monotonic_ns()
            frame = protocol.decode(message)
            if frame.sync is protocol.SyncType.UPDATE:
                marks = ((int(place), int(sent)) for place, sent in _MARK.findall(message))
                self._run.delays.extend((now - sent) / 1e6 for place, sent in marks if place in self._counts)

    async def type(self, ends: float, rate: float, start: float) -> None:
        await asyncio.sleep(start)
        text = self._doc.get("source", type=Text)
        while time.monotonic() < ends:
            began = time.monotonic()
            text.insert(0, f"t{self._number}_{time.monotonic_ns()};")
            self._run.sent += 1
            await asyncio.sleep(max(0.0, began + 1 / rate - time.monotonic()))


async def measure(rooms: list[HTTPRequest], people: int, rate: float, seconds: float) -> Run:
    """Let so many people type, in turns at the rooms of one document: of one server, or of two."""
    run = Run()
    typists = []
    for number in range(people):
        socket = await websocket_connect(rooms[number % len(rooms)])
        socket.protocol.set_nodelay(True)
        # In one room everybody counts but oneself (whose edits do not come back); in two, who is at the other one.
        place = number % len(rooms)
        counts = {0, 1} - {place} if len(rooms) > 1 else {0}
        typists.append((Typist(socket, place, counts, run), socket))
    listening = [asyncio.create_task(typist.listen()) for typist, _ in typists]
    await asyncio.sleep(1)
    ends = time.monotonic() + seconds
    await asyncio.gather(*(t.type(ends, rate, n / people / rate) for n, (t, _) in enumerate(typists)))
    # What is on its way counts too.
    await asyncio.sleep(2)
    for _, socket in typists:
        socket.close()
    await asyncio.gather(*listening)
    return run


@contextmanager
def linked(folder: Path) -> Iterator[Callable[[int], list[HTTPRequest]]]:
    """alice's and bob's servers; gives the two rooms of a run's document."""
    demo = RunningDemo(folder / "demo")
    try:
        demo.start()
        alice, bob = Person(demo, "alice"), Person(demo, "bob")
        for person in (alice, bob):
            person.start_server()

        def rooms(run: int) -> list[HTTPRequest]:
            path = f"bench{run}.txt"
            (alice.home / path).write_text("\n")
            at_alice = _own_port(demo, alice).room(path)
            document_id = asyncio.run(_opened(alice, at_alice, path))
            invite = alice.call("POST", f"/sessions/{document_id}/invite", json={"username": "bob"}).json()
            bob.call("POST", f"/invites/{invite['invite_id']}/accept").raise_for_status()
            return [at_alice, _own_port(demo, bob).room(bob.join(document_id))]

        yield rooms
    finally:
        demo.end()


async def _opened(person: Person, room: HTTPRequest, path: str) -> str:
    """Open a file once, and wait until it is linked; gives its document's id."""
    socket = await websocket_connect(room)
    try:
        for _ in range(300):
            documents = (await asyncio.to_thread(person.status))["documents"]
            live = [d["document_id"] for d in documents if d["path"] == path and d["link"] == "live"]
            if live:
                return live[0]
            await asyncio.sleep(0.1)
        raise SystemExit(f"{path} is not linked after 30 s.")
    finally:
        socket.close()


def _own_port(demo: RunningDemo, person: Person) -> Place:
    """A user's server, past the Hub's proxy: the peer has none either."""
    environment = server_of(demo, person.name).environ()
    return Place(environment["JUPYTERHUB_SERVICE_URL"].rstrip("/") + "/", person.token)


@contextmanager
def stock(folder: Path) -> Iterator[Callable[[int], list[HTTPRequest]]]:
    """One Jupyter server with jupyter-collaboration as it comes; gives the one room of a run's document."""
    root = folder / "stock"
    root.mkdir()
    # Nothing is read from whoever runs this: stock is stock.
    own = {"JUPYTER_CONFIG_DIR": str(folder / "config"), "JUPYTER_DATA_DIR": str(folder / "data")}
    with StockServer(root, folder, dict(os.environ) | own) as server:

        def rooms(run: int) -> list[HTTPRequest]:
            (root / f"bench{run}.txt").write_text("\n")
            return [Place(server.url, TOKEN).room(f"bench{run}.txt")]

        yield rooms


def compare(
    rooms: dict[str, Callable[[int], list[HTTPRequest]]], people: int, options: argparse.Namespace
) -> None:
    """Run all in turns, and print the medians."""
    runs: dict[str, list[Run]] = {name: [] for name in rooms}
    for number in range(options.runs):
        for name, of_run in rooms.items():
            there = of_run(1000 * people + number)
            runs[name].append(asyncio.run(measure(there, people, options.rate, options.seconds)))
    names = list(rooms)
    print(f"\n{people} people, {options.rate:g} edits a second each, {options.seconds:g} s; median of {options.runs}")
    print(f"{'':20}{names[0]:>10}{names[1]:>10}{'ratio':>8}")
    for percent in (50, 95, 99):
        our, their = (statistics.median(run.percentile(percent) for run in runs[name]) for name in names)
        print(f"{f'seen p{percent}, ms':20}{our:10.1f}{their:10.1f}{our / their:8.2f}")
    seen = [sum(len(run.delays) for run in runs[name]) for name in names]
    print(f"{'edits seen':20}{seen[0]:10}{seen[1]:10}", flush=True)


def main() -> None:
    """Run both, in turns."""
    parser = argparse.ArgumentParser(
        description="From an edit to a colleague's screen, beside one stock server."
    )
    parser.add_argument("--people", type=int, nargs="+", default=[2, 10])
    parser.add_argument("--rate", type=float, default=5, help="edits of one person a second")
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--runs", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with linked(folder) as ours, stock(folder) as theirs:
            for people in options.people:
                compare({"linked": ours, "stock": theirs}, people, options)


if __name__ == "__main__":
    main()
