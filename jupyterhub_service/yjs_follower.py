"""One room follows the log: what others append is applied here, and what they did not append is appended."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass

from pycrdt import Doc

from jupyter_rtc_amprenta.core.causal import is_complete, load
from jupyter_rtc_amprenta.core.documentlog import DocumentLog
from jupyter_rtc_amprenta.core.errors import DatabaseError, DocumentNotFound, ProtocolError
from jupyter_rtc_amprenta.core.queries_history import News

from .metrics import Metrics
from .yjs_room import Room

log = logging.getLogger(__name__)

# Appends of this long are read together.
_GATHER_SECONDS = 0.01
# What another replica has told must be found in the log; it is looked for this often while somebody waits.
_CONFIRM_SECONDS = 0.1
_LONGEST_WAIT_SECONDS = 2.0
# A replica that lives has its reasons to be slow: an outage of the database. After this long they don't count.
_ADOPT_SECONDS = 30.0


@dataclass
class _Heard:
    replica: str
    update: bytes
    at: float


class Follower:
    """Keeps one room up to the log's position.

    Args:
        room: the room.
        log_: the log.
        is_alive: whether another replica lives.
        metrics: what is counted.
    """

    def __init__(self, room: Room, log_: DocumentLog, is_alive: Callable[[str], bool], metrics: Metrics) -> None:
        self.task: asyncio.Task[None] | None = None
        self._room, self._log, self._is_alive, self._metrics = room, log_, is_alive, metrics
        self._own: set[int] = set()
        self._target = room.position
        # What came over the bus and was not yet seen in the log.
        self._unconfirmed: dict[bytes, _Heard] = {}
        self._read = asyncio.Event()

    def committed(self, position: int) -> None:
        """This process has appended; where nobody else has, the room is up to date without reading."""
        self._own.add(position)
        while self._room.position + 1 in self._own:
            self._room.position += 1
            self._own.discard(self._room.position)
        if self._own:
            self.notice(position)

    def notice(self, position: int) -> None:
        """The log has come to this position, or beyond."""
        self._target = max(self._target, position)
        if self._is_behind:
            self._catch_up_soon()

    def heard(self, replica: str, update: bytes) -> None:
        """Another replica has told of an update that it is about to commit.

        Raises:
            ProtocolError: it is not a Yjs update.
        """
        self._room.document.apply(update, logged=True)
        self._unconfirmed[_digest(update)] = _Heard(replica, update, time.monotonic())
        self._catch_up_soon()

    async def confirmed(self) -> None:
        """Wait until all that was heard so far is in the log."""
        waiting = set(self._unconfirmed)
        while waiting & self._unconfirmed.keys():
            self._catch_up_soon()
            self._read.clear()
            await self._read.wait()

    @property
    def _is_behind(self) -> bool:
        return self._target > self._room.position

    def _catch_up_soon(self) -> None:
        if self.task is None or self.task.done():
            self.task = asyncio.get_running_loop().create_task(self._catch_up())

    async def _catch_up(self) -> None:
        wait = _GATHER_SECONDS
        while (self._is_behind or self._unconfirmed) and not self._room.outdated:
            await asyncio.sleep(wait)
            if not self._is_behind and not self._unconfirmed:
                return
            try:
                news = await self._log.read_since(self._room.document_id, self._room.position)
            except DocumentNotFound:
                return
            except DatabaseError:
                wait = min(2 * wait, _LONGEST_WAIT_SECONDS)
                continue
            wait = _CONFIRM_SECONDS
            if news.generation != self._room.generation:
                # Its clients are told when their rights are looked at.
                return
            await self._take(news)
            self._adopt()
            self._read.set()

    async def _take(self, news: News) -> None:
        for update in news.updates:
            if self._unconfirmed.pop(_digest(update), None) is None:
                self._metrics.repairs.inc()
            try:
                await self._room.document.take(update, logged=True)
            except ProtocolError as error:
                log.error("document=%s: the log holds what can't be read: %s", self._room.document_id, error)
        if news.whole:
            await self._confirm_by_content(news)
        self._room.position = max(self._room.position, news.seq)
        self._own = {position for position in self._own if position > self._room.position}

    async def _confirm_by_content(self, news: News) -> None:
        """The updates are merged by now: what the merged document holds needs no other proof."""
        whole: Doc = Doc()
        await load(whole, news.updates)
        for digest, heard in list(self._unconfirmed.items()):
            if is_complete(whole, heard.update):
                del self._unconfirmed[digest]

    def _adopt(self) -> None:
        """Append what a replica told and will not commit: later edits, also acknowledged ones, build on it."""
        now = time.monotonic()
        for digest, heard in list(self._unconfirmed.items()):
            if self._is_alive(heard.replica) and now - heard.at < _ADOPT_SECONDS:
                continue
            if is_complete(self._room.doc, heard.update):
                name = self._room.document_id
                log.info("document=%s: an edit of the replica %s is appended here", name, heard.replica)
                self._metrics.adopted.inc()
                self._room.append(heard.update)
                del self._unconfirmed[digest]


def _digest(update: bytes) -> bytes:
    return hashlib.blake2b(update, digest_size=16).digest()
