"""How fast an edit reaches everybody: the Y.js server beside `@y/websocket-server` from npm, the same clients on both.

    python bench/relay.py                     # 50 people who type ten times a second, with cursors, for 20 s each
    python bench/relay.py --clients 10 --rate 5 --runs 5

The clients are the same for both, and cheap: each makes Yjs edits that hold the time, and finds the times of others in
the bytes that it receives. Ours commits each edit to a real PostgreSQL meanwhile; the peer keeps nothing. Printed are
the median of the runs and ours over theirs. It needs `npm`, and the extras `service` and `demo`.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from pycrdt import Doc, Text
from tornado.websocket import WebSocketClientConnection, websocket_connect

from jupyter_rtc_amprenta.core import migrate, protocol
from jupyter_rtc_amprenta.core.protocol import ClientState
from jupyter_rtc_amprenta.core.settings import read
from jupyter_rtc_amprenta.core.tokens import new_private_key
from jupyter_rtc_amprenta.demo.ports import any_free_port
from jupyter_rtc_amprenta.demo.postgres import EmbeddedPostgres
from jupyterhub_service.standalone import issue_token

PEER = ("@y/websocket-server@0.1.1", "yjs@13")
_TIME = re.compile(rb"t(\d{12,20});")


@dataclass
class Run:
    """What one run measured: delays in milliseconds, in the order in which the edits arrived."""

    delays: list[float] = field(default_factory=list)
    sent: int = 0

    def percentile(self, percent: int) -> float:
        return statistics.quantiles(self.delays, n=100)[percent - 1]

    @property
    def growth(self) -> float:
        """The last third's median over the first one's: over 1 where a queue grows."""
        third = len(self.delays) // 3
        return statistics.median(self.delays[-third:]) / statistics.median(self.delays[:third])


class Typist:
    """One client: types, moves its cursor, and notes when others' edits arrive."""

    def __init__(self, socket: WebSocketClientConnection, run: Run) -> None:
        self._socket, self._run = socket, run
        self._doc: Doc = Doc()
        self._doc.observe(lambda event: self._send(protocol.encode_update(event.update)))
        self._clock = 0

    async def listen(self) -> None:
        while isinstance(message := await self._socket.read_message(), bytes):
            now = time.monotonic_ns()
            self._run.delays.extend((now - int(sent)) / 1e6 for sent in _TIME.findall(message))

    async def type(self, ends: float, rate: float, start: float) -> None:
        await asyncio.sleep(start)
        text = self._doc.get("source", type=Text)
        while time.monotonic() < ends:
            began = time.monotonic()
            # After what it has typed itself. At the start, an edit of somebody who has not seen the others' (these
            # cheap clients apply none) is compared with all of theirs, by both servers; people see each other's.
            text += f"t{time.monotonic_ns()};"
            self._run.sent += 1
            self._clock += 1
            state = ClientState(self._doc.client_id, self._clock, {"user": {"name": "x"}, "cursor": self._clock})
            self._send(protocol.encode_awareness(protocol.encode_states([state])))
            await asyncio.sleep(max(0.0, began + 1 / rate - time.monotonic()))

    def _send(self, message: bytes) -> None:
        self._socket.write_message(message, binary=True)


async def measure(url: str, clients: int, rate: float, seconds: float) -> Run:
    """Let so many clients type at one server."""
    run = Run()
    sockets = [await websocket_connect(url) for _ in range(clients)]
    for socket in sockets:
        socket.protocol.set_nodelay(True)
    typists = [Typist(socket, run) for socket in sockets]
    listening = [asyncio.create_task(typist.listen()) for typist in typists]
    ends = time.monotonic() + seconds
    await asyncio.gather(*(t.type(ends, rate, number / clients / rate) for number, t in enumerate(typists)))
    # What is on its way counts too: a server that lags is not spared the end.
    await asyncio.sleep(2)
    for socket in sockets:
        socket.close()
    await asyncio.gather(*listening)
    return run


@contextmanager
def ours(folder: Path) -> Iterator[Callable[[int], str]]:
    """Our server over a PostgreSQL of its own; gives the URL of a run's document."""
    postgres = EmbeddedPostgres(folder / "postgres")
    postgres.start()
    migrate.upgrade(postgres.url())
    port, key = any_free_port(), new_private_key()
    environment = os.environ | {"RTC_SIGNING_KEY": key, "RTC_DATABASE_URL": postgres.url()}
    command = [sys.executable, "-m", "jupyter_rtc_amprenta.cli", "yjs-server", "--host", "127.0.0.1"]
    process = subprocess.Popen([*command, "--port", str(port)], env=environment, stderr=subprocess.DEVNULL)

    def url(run: int) -> str:
        name = f"text_{run}"
        token = issue_token(read({"RTC_SIGNING_KEY": key}), postgres.url(), "alice", name, "read-write", 3600)
        return f"ws://127.0.0.1:{port}/doc/{name}?token={token}"

    try:
        wait_for(port)
        yield url
    finally:
        process.terminate()
        process.wait()
        postgres.stop("immediate")


@contextmanager
def theirs(folder: Path) -> Iterator[Callable[[int], str]]:
    """The peer, from npm."""
    subprocess.run(["npm", "install", "--silent", "--no-fund", "--no-audit", *PEER], cwd=folder, check=True)
    port = any_free_port()
    environment = os.environ | {"HOST": "127.0.0.1", "PORT": str(port)}
    program = folder / "node_modules" / ".bin" / "y-websocket"
    process = subprocess.Popen([str(program)], cwd=folder, env=environment, stdout=subprocess.DEVNULL)
    try:
        wait_for(port)
        yield lambda run: f"ws://127.0.0.1:{port}/text_{run}"
    finally:
        process.terminate()
        process.wait()


def wait_for(port: int) -> None:
    """Wait until somebody listens."""
    import socket

    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            # It listens before it is ready.
            time.sleep(2)
            return
        except OSError:
            time.sleep(0.1)
    raise SystemExit(f"Nothing listens on port {port}.")


def main() -> None:
    """Run both, one after the other, and print the medians."""
    parser = argparse.ArgumentParser(description="An edit's way to everybody, beside @y/websocket-server.")
    parser.add_argument("--clients", type=int, default=50)
    parser.add_argument("--rate", type=float, default=10, help="edits and cursors of one client a second")
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--runs", type=int, default=3)
    options = parser.parse_args()
    if shutil.which("npm") is None:
        raise SystemExit("npm is needed, for the peer.")
    runs: dict[str, list[Run]] = {"ours": [], "theirs": []}
    with tempfile.TemporaryDirectory() as folder, ours(Path(folder)) as our_url, theirs(Path(folder)) as their_url:
        for number in range(options.runs):
            for name, url in (("ours", our_url), ("theirs", their_url)):
                measured = measure(url(number), options.clients, options.rate, options.seconds)
                runs[name].append(asyncio.run(measured))
    print(f"{options.clients} clients, {options.rate:g} edits and cursors a second each; median of {options.runs} runs")
    print(f"{'':24}{'ours':>10}{'theirs':>10}{'ratio':>8}")
    figures: dict[str, Callable[[Run], float]] = {
        "delay p50, ms": lambda run: run.percentile(50),
        "delay p95, ms": lambda run: run.percentile(95),
        "delay p99, ms": lambda run: run.percentile(99),
        "growth of the delay": lambda run: run.growth,
        "edits sent a second": lambda run: run.sent / options.seconds,
    }
    for title, figure in figures.items():
        our, their = (statistics.median(figure(run) for run in runs[name]) for name in ("ours", "theirs"))
        print(f"{title:24}{our:10.1f}{their:10.1f}{our / their:8.2f}")


if __name__ == "__main__":
    main()
