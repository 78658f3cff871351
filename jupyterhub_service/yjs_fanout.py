"""Edits on their way to a room's clients: what comes together leaves together, as one message."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Collection

from pycrdt import merge_updates

from jupyter_rtc_amprenta.core import protocol

from .metrics import Metrics
from .yjs_connection import Connection

# At most so often are a room's clients told of edits: at once after a pause, merged while many people type.
TELL_SECONDS = 0.01
# Telling them may take a fifth of the time: who is many is told less often, and a room never lags behind itself.
_PAUSES = 4
_LONGEST_PAUSE_SECONDS = 0.25
# To merge more takes longer than to send it as it is.
_MOST_MERGED_BYTES = 64 * 1024


class Fanout:
    """Tells one room's clients of edits.

    Args:
        connections: the room's clients, live.
        metrics: what is counted.
    """

    def __init__(self, connections: Collection[Connection], metrics: Metrics) -> None:
        self._connections, self._metrics = connections, metrics
        self._updates: list[bytes] = []
        self._origins: set[Connection | None] = set()
        self._since = self._told_at = 0.0
        self._pause = TELL_SECONDS
        self._timer: asyncio.TimerHandle | None = None

    def add(self, update: bytes, origin: Connection | None) -> None:
        """Tell everybody of an edit, soon; a client that made all that leaves together needs no copy.

        Args:
            origin: whose edit it is; None: it came from the log, or from another replica.
        """
        if self._timer is None:
            self._since = time.monotonic()
            wait = max(0.0, self._told_at + self._pause - self._since)
            self._timer = asyncio.get_running_loop().call_later(wait, self._tell)
        self._updates.append(update)
        self._origins.add(origin)

    def close(self) -> None:
        """Nothing is told any more."""
        if self._timer is not None:
            self._timer.cancel()

    def _tell(self) -> None:
        began = time.thread_time()
        updates, origins = self._updates, self._origins
        self._updates, self._origins, self._timer = [], set(), None
        if len(updates) > 1 and sum(map(len, updates)) < _MOST_MERGED_BYTES:
            updates = [merge_updates(*updates)]
        only = next(iter(origins)) if len(origins) == 1 else None
        for message in map(protocol.encode_update, updates):
            for connection in list(self._connections):
                if connection is not only:
                    connection.send(message)
        self._told_at = time.monotonic()
        # In this thread's time: a machine that is busy elsewhere must not make it slower still.
        self._pause = min(max(TELL_SECONDS, _PAUSES * (time.thread_time() - began)), _LONGEST_PAUSE_SECONDS)
        self._metrics.fanout_seconds.observe(self._told_at - self._since)
