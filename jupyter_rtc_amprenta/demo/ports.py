"""Free TCP ports on the loopback interface."""

from __future__ import annotations

import fcntl
import random
import socket
import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import platformdirs

YJS_PORT = 1234  # what the Y.js server listens on by default
RANGE = range(20000, 30000)
ROLES = ("hub", "proxy_api", "service", "yjs")
PATIENCE = 1.0  # seconds for a port of our own: a process that is just being killed holds it a moment longer


def is_free(port: int, patience: float = 0.0) -> bool:
    """Whether a server could listen on this port now, or within `patience` seconds."""
    deadline = time.monotonic() + patience
    while not _can_bind(port):
        if time.monotonic() >= deadline:
            return False
        time.sleep(0.02)
    return True


def any_free_port(avoid: Collection[int] = ()) -> int:
    """A port that is free, and none of those to avoid.

    Taken from below the range that systems give to outgoing connections and to whoever asks for any port:
    it is still free when its server starts, and at the next start of the demo.
    """
    while True:
        port = random.choice(RANGE)
        if port not in avoid and _can_bind(port):
            return port


@contextmanager
def one_start_at_a_time() -> Iterator[None]:
    """Held from choosing ports until servers listen there, so that two demos don't choose the same ones."""
    path = Path(platformdirs.user_cache_dir("jupyter-rtc")) / "ports.lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def choose_ports(kept: Mapping[str, int], public: int) -> dict[str, int]:
    """A port for each role: the one it had at the last start if that is free, else another.

    Only the Y.js server's port is known outside (1234, if it is free at the first start); the
    others are kept because it costs nothing.
    """
    chosen: dict[str, int] = {}
    for role in ROLES:
        taken = {public, *chosen.values()}
        if role in kept and kept[role] not in taken and is_free(kept[role], PATIENCE):
            chosen[role] = kept[role]
        elif role == "yjs" and YJS_PORT not in taken and is_free(YJS_PORT):
            chosen[role] = YJS_PORT
        else:
            chosen[role] = any_free_port(avoid=taken)
    return chosen


def _can_bind(port: int) -> bool:
    with socket.socket() as probe:
        # As servers do: a port in TIME_WAIT, left by the last run, is free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
