"""Y.js servers beside each other, behind any load balancer: each room here and there is kept the same.

The log is the truth: whatever a replica missed, it reads from there. It is told of each append by PostgreSQL's NOTIFY,
and looks by itself every few seconds. Over Redis updates come before they are committed; what the one who sent
them does not commit, because it died, is appended by whoever holds it (rule 4).
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterator
from contextlib import suppress
from uuid import uuid4

from jupyter_rtc_amprenta.core import protocol, queries_open
from jupyter_rtc_amprenta.core.database import Database
from jupyter_rtc_amprenta.core.documentlog import DocumentLog
from jupyter_rtc_amprenta.core.errors import DatabaseError, ProtocolError
from jupyter_rtc_amprenta.core.pieces import LARGE_BYTES

from .metrics import Metrics
from .yjs_bus import Bus, Kind, Message, PostgresBus, RedisBus
from .yjs_follower import Follower
from .yjs_listen import Listener
from .yjs_peers import Peers
from .yjs_room import Room

log = logging.getLogger(__name__)

ALIVE_SECONDS = 2.0
# Who has no document open, and knows of nobody, says so more seldom: each word may be a statement to PostgreSQL.
_ALONE_SECONDS = 30.0
# A replica that was not heard for so long has died, or is cut off: nobody is there for us.
DEAD_SECONDS = 7.0
# Every room is held against the log this often, whatever was heard.
LOOK_SECONDS = 4.0


class Replicas(Peers):
    """This process among its replicas.

    Args:
        rooms: this process's rooms, live.
        log_: where documents are kept.
        database: the log's.
        redis_url: of the bus; "": PostgreSQL alone.
        metrics: what is counted.

    Raises:
        ConfigurationError: Redis can't be used as it is configured.
    """

    def __init__(
        self, rooms: dict[str, Room], log_: DocumentLog, database: Database, redis_url: str, metrics: Metrics
    ) -> None:
        self.name = uuid4().hex[:16]
        self.bus: Bus = RedisBus(redis_url) if redis_url else PostgresBus(database)
        self._rooms, self._log, self._database, self._metrics = rooms, log_, database, metrics
        self._followers: dict[Room, Follower] = {}
        # By replica: when it was heard last.
        self._alive: dict[str, float] = {}
        self._listener = Listener(database, self._appended, self._heard, self._look_soon)
        self._look = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def state(self) -> str:
        """ "ok", or why replicas hear each other late at present."""
        return self.bus.state if self.bus.state != "ok" else self._listener.state

    @property
    def others(self) -> int:
        """How many other replicas are heard."""
        return len(self._alive)

    def start(self) -> None:
        """Begin to tell and to hear."""
        work = (self._listener.run(), self.bus.run(self._heard), self._keep_alive(), self._keep_looking())
        self._tasks = [asyncio.create_task(task) for task in work]

    async def stop(self) -> None:
        """Say good-bye, and end."""
        if self._tasks:
            self.bus.publish(Message(Kind.GONE, self.name))
            # A moment, in which it may leave; who does not hear it finds out.
            await asyncio.sleep(0.1)
        for task in [*self._tasks, *(follower.task for follower in self._followers.values())]:
            if task is not None:
                task.cancel()

    # --- what rooms tell (Peers) ---

    def opened(self, room: Room) -> None:
        self._followers[room] = Follower(room, self._log, self._is_alive, self._metrics)
        self._publish(Kind.ASK, room)
        # Something may have been appended between reading the log and now.
        self._look_soon()

    def closed(self, room: Room) -> None:
        if (follower := self._followers.pop(room, None)) is not None and follower.task is not None:
            follower.task.cancel()

    def tell_update(self, room: Room, update: bytes) -> None:
        # A large one is read from the log, where it is applied without keeping others waiting.
        if self.bus.carries_updates and len(update) < LARGE_BYTES:
            self._publish(Kind.UPDATE, room, update)

    def tell_awareness(self, room: Room, parts: list[bytes]) -> None:
        for packed in _packed(parts, self.bus.largest):
            self._publish(Kind.AWARENESS, room, protocol.join_states(packed))

    def committed(self, room: Room, position: int) -> None:
        if (follower := self._followers.get(room)) is not None:
            follower.committed(position)

    async def confirmed(self, room: Room) -> None:
        if (follower := self._followers.get(room)) is not None:
            await follower.confirmed()

    def _publish(self, kind: Kind, room: Room, payload: bytes = b"") -> None:
        self.bus.publish(Message(kind, self.name, room.document_id, room.generation, payload))

    # --- what is heard ---

    def _appended(self, document_id: str, generation: int, seq: int) -> None:
        room = self._rooms.get(document_id)
        if room is not None and room in self._followers:
            self._followers[room].notice(seq)

    def _heard(self, message: Message) -> None:
        if message.replica == self.name:
            return
        if message.kind is Kind.GONE:
            self._lost(message.replica)
            return
        if message.replica not in self._alive:
            # New, or back: it does not know who is here.
            self._alive[message.replica] = time.monotonic()
            self.bus.publish(Message(Kind.ALIVE, self.name))
            for room in self._rooms.values():
                self.tell_awareness(room, room.presences.local())
                self._publish(Kind.ASK, room)
        self._alive[message.replica] = time.monotonic()
        room = self._rooms.get(message.document_id)
        if room is None or room not in self._followers or message.generation != room.generation:
            return
        with suppress(ProtocolError):
            self._heard_of(room, message)

    def _heard_of(self, room: Room, message: Message) -> None:
        if message.kind is Kind.UPDATE:
            self._followers[room].heard(message.replica, message.payload)
        elif message.kind is Kind.AWARENESS:
            room.presences.receive_remote(message.replica, message.payload)
        elif message.kind is Kind.ASK:
            self.tell_awareness(room, room.presences.local())

    def _is_alive(self, replica: str) -> bool:
        return replica in self._alive

    def _lost(self, replica: str) -> None:
        """Who was there can't be seen any more."""
        self._alive.pop(replica, None)
        for room in self._rooms.values():
            room.presences.leave(replica)

    # --- what is done again and again ---

    async def _keep_alive(self) -> None:
        told = -_ALONE_SECONDS
        while True:
            now = time.monotonic()
            if self._followers or self._alive or now - told >= _ALONE_SECONDS:
                self.bus.publish(Message(Kind.ALIVE, self.name))
                told = now
            await asyncio.sleep(ALIVE_SECONDS)
            now = time.monotonic()
            for replica in [name for name, at in self._alive.items() if now - at > DEAD_SECONDS]:
                log.warning("The replica %s is not heard any more.", replica)
                self._lost(replica)

    async def _keep_looking(self) -> None:
        """Hold every room against the log."""
        while True:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._look.wait(), LOOK_SECONDS)
            self._look.clear()
            # In a function of its own, whose variables don't keep a room in memory while this sleeps.
            if self._followers:
                with suppress(DatabaseError):
                    await self._look_at_all()

    async def _look_at_all(self) -> None:
        found = await self._database.run(queries_open.positions, [room.document_id for room in self._followers])
        for room, follower in list(self._followers.items()):
            generation, position = found.get(room.document_id, (0, 0))
            if generation == room.generation:
                follower.notice(position)

    def _look_soon(self) -> None:
        self._look.set()


def _packed(parts: list[bytes], largest: int) -> Iterator[list[bytes]]:
    """In groups that fit into a message each; a part that fits into none stays here."""
    group: list[bytes] = []
    size = 0
    for part in parts:
        if len(part) > largest:
            log.debug("An awareness state of %d bytes is not carried to other replicas.", len(part))
            continue
        if size + len(part) > largest:
            yield group
            group, size = [], 0
        group.append(part)
        size += len(part)
    if group:
        yield group


