"""The rooms of this process: loaded once, evicted when idle."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

from pycrdt import Doc

from jupyter_rtc_amprenta.core.causal import load
from jupyter_rtc_amprenta.core.documentlog import DocumentLog
from jupyter_rtc_amprenta.core.errors import RtcError

from .metrics import Metrics
from .yjs_connection import Connection
from .yjs_peers import Peers
from .yjs_room import Room

log = logging.getLogger(__name__)

# A room without clients stays this long: a page that is reloaded finds it still in memory.
IDLE_SECONDS = 30.0


class Rooms:
    """All rooms of this process.

    Args:
        log_: where documents are kept.
        metrics: what is counted.
        idle_seconds: how long a room without clients stays in memory.
    """

    def __init__(self, log_: DocumentLog, metrics: Metrics, idle_seconds: float = IDLE_SECONDS) -> None:
        self.rooms: dict[str, Room] = {}
        self.peers: Peers = Peers()
        self._log = log_
        self._metrics = metrics
        self._idle_seconds = idle_seconds
        self._loading: dict[str, asyncio.Task[Room]] = {}
        self._evictions: dict[str, asyncio.Task[None]] = {}

    async def open(self, document_id: str) -> Room:
        """The document's room; it is loaded once, however many ask at the same time.

        Raises:
            DocumentNotFound: the log has no such document.
            DatabaseUnavailable: nothing is known.
        """
        if (eviction := self._evictions.pop(document_id, None)) is not None:
            eviction.cancel()
        room = self.rooms.get(document_id)
        if room is not None and not room.outdated:
            return room
        if (loading := self._loading.get(document_id)) is None:
            loading = self._loading[document_id] = asyncio.create_task(self._load(document_id))
            loading.add_done_callback(lambda _: self._loading.pop(document_id, None))
        return await asyncio.shield(loading)

    def left(self, room: Room) -> None:
        """A client has left: without clients the room goes too, after a while."""
        if not room.connections and room.document_id not in self._evictions:
            self._evictions[room.document_id] = asyncio.create_task(self._evict(room))

    @property
    def active(self) -> int:
        """How many rooms have clients."""
        return sum(1 for room in self.rooms.values() if room.connections)

    @property
    def connections(self) -> list[tuple[Room, Connection]]:
        """Every client of every room."""
        return [(room, connection) for room in self.rooms.values() for connection in room.connections]

    async def _load(self, document_id: str) -> Room:
        history = await self._log.read(document_id)
        doc: Doc[Any] = Doc()
        await load(doc, history.updates)
        room = Room(document_id, history.generation, history.seq, doc, self._log, self._metrics, self.peers)
        if (old := self.rooms.get(document_id)) is not None:
            old.close()
            self.peers.closed(old)
        self.rooms[document_id] = room
        self.peers.opened(room)
        return room

    async def _evict(self, room: Room) -> None:
        await asyncio.sleep(self._idle_seconds)
        try:
            # What is not committed is in this memory alone.
            await room.committed()
        except RtcError as error:
            log.error("document=%s: closed with edits that the log refused: %s", room.document_id, error)
        self._evictions.pop(room.document_id, None)
        if not room.connections and self.rooms.get(room.document_id) is room:
            del self.rooms[room.document_id]
            room.close()
            self.peers.closed(room)
            self._log.forget(room.document_id)
