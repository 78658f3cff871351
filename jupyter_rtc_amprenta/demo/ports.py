"""Free TCP ports on the loopback interface."""

from __future__ import annotations

import socket
import time
from collections.abc import Collection, Mapping

YJS_PORT = 1234  # what the Y.js server listens on by default
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
    """A port that is free, and none of those to avoid."""
    while True:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        if port not in avoid:
            return port


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
