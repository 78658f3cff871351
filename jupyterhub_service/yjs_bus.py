"""What Y.js servers beside each other tell each other, and over what.

The log is the truth, and PostgreSQL tells of each append (`queries.CHANNEL`). A bus makes more of it: Redis carries
updates before they are committed, and awareness; without Redis, PostgreSQL's NOTIFY carries awareness. What a bus
loses is repaired from the log, so a bus promises nothing.
"""

from __future__ import annotations

import asyncio
import base64
import logging
import random
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import IntEnum
from typing import Protocol

from jupyter_rtc_amprenta.core import queries
from jupyter_rtc_amprenta.core.database import Database
from jupyter_rtc_amprenta.core.errors import ConfigurationError, DatabaseError, ProtocolError
from jupyter_rtc_amprenta.core.protocol import read_uint, write_uint

log = logging.getLogger(__name__)

# In Redis and in PostgreSQL.
REPLICAS_CHANNEL = "rtc_replicas"
_FIRST_RETRY_SECONDS = 0.2
_LONGEST_RETRY_SECONDS = 5.0
# What may wait for a bus that is slow or away; what is dropped is repaired from the log.
_MOST_WAITING = 10_000


class Kind(IntEnum):
    """What a message between replicas is."""

    UPDATE = 1
    AWARENESS = 2
    # "Who is in this document?": asked by a replica that has just loaded it.
    ASK = 3
    ALIVE = 4
    GONE = 5


@dataclass(frozen=True)
class Message:
    """What one replica tells the others; `document_id` is "" where it concerns all documents."""

    kind: Kind
    replica: str
    document_id: str = ""
    generation: int = 0
    payload: bytes = b""

    def encode(self) -> bytes:
        """As bytes: kind, replica, document and generation, and then the payload."""
        names = [name.encode() for name in (self.replica, self.document_id)]
        head = b"".join(write_uint(len(name)) + name for name in names)
        return write_uint(self.kind) + head + write_uint(self.generation) + self.payload


def decode(data: bytes) -> Message:
    """Read what `Message.encode` wrote.

    Raises:
        ProtocolError: it is of another version, or of somebody else.
    """
    kind, at = read_uint(data, 0)
    names = []
    for _ in range(2):
        size, at = read_uint(data, at)
        names.append(data[at : at + size])
        at += size
    generation, at = read_uint(data, at)
    try:
        return Message(Kind(kind), names[0].decode(), names[1].decode(), generation, data[at:])
    except ValueError as error:
        raise ProtocolError("No message of a replica of this version.") from error


class Bus(Protocol):
    """Carries messages between replicas.

    Attributes:
        carries_updates: whether updates go over it.
        largest: the largest message, in bytes.
        state: "ok", or why nothing is carried at present.
    """

    carries_updates: bool
    largest: int
    state: str

    def publish(self, message: Message) -> None:
        """Queue a message to all other replicas; none is lost on purpose, and none is promised."""

    async def run(self, heard: Callable[[Message], None]) -> None:
        """Carry messages for as long as this runs; heals by itself."""


class _Queue:
    """Messages on their way out, bounded: the oldest go first."""

    def __init__(self) -> None:
        self._waiting: deque[bytes] = deque(maxlen=_MOST_WAITING)
        self._wake = asyncio.Event()

    def put(self, message: Message) -> None:
        self._waiting.append(message.encode())
        self._wake.set()

    async def take(self, most: int) -> list[bytes]:
        await self._wake.wait()
        taken = [self._waiting.popleft() for _ in range(min(most, len(self._waiting)))]
        if not self._waiting:
            self._wake.clear()
        return taken


class PostgresBus:
    """Awareness over PostgreSQL's NOTIFY; updates are read from the log when it tells of them.

    A NOTIFY has less than 8000 bytes: an awareness state that is larger stays at its own replica.

    Args:
        database: whose pool tells; what is heard comes from `yjs_listen.py`.
    """

    carries_updates = False
    # In base64, and with room for the message's head.
    largest = 5_600

    def __init__(self, database: Database) -> None:
        self.state = "ok"
        self._database = database
        self._queue = _Queue()

    def publish(self, message: Message) -> None:
        self._queue.put(message)

    async def run(self, heard: Callable[[Message], None]) -> None:
        while True:
            taken = [base64.b64encode(data).decode() for data in await self._queue.take(50)]
            try:
                await self._database.run(queries.notify, REPLICAS_CHANNEL, taken)
                self.state = "ok"
            except DatabaseError as error:
                self.state = str(error)


class RedisBus:
    """Updates and awareness over Redis' publish/subscribe, in one channel.

    Args:
        url: such as `redis://:password@host:6379/0`.

    Raises:
        ConfigurationError: the package is not installed, or the URL can't be understood.
    """

    carries_updates = True
    largest = 2**26

    def __init__(self, url: str) -> None:
        try:
            from redis.asyncio import Redis
        except ImportError:
            raise ConfigurationError(
                "REDIS_URL is set, and the package redis is missing: pip install 'jupyter-rtc-amprenta[redis]'"
            ) from None
        try:
            self._redis = Redis.from_url(url, socket_timeout=None, socket_connect_timeout=5, health_check_interval=5)
        except ValueError as error:
            raise ConfigurationError(f"REDIS_URL should look like redis://host:6379/0: {error}") from None
        self.state = "Redis was not asked yet."
        self._queue = _Queue()

    def publish(self, message: Message) -> None:
        self._queue.put(message)

    async def run(self, heard: Callable[[Message], None]) -> None:
        await asyncio.gather(self._kept_up(lambda: self._listen(heard)), self._kept_up(self._tell))

    async def _kept_up(self, work: Callable[[], Awaitable[None]]) -> None:
        from redis.exceptions import RedisError

        delay = _FIRST_RETRY_SECONDS
        while True:
            try:
                await work()
                delay = _FIRST_RETRY_SECONDS
            except (RedisError, OSError) as error:
                if self.state == "ok":
                    log.warning("Redis does not answer; replicas follow the log alone: %s", error)
                self.state = "Redis does not answer."
            # Jitter: all replicas lose it at the same moment.
            await asyncio.sleep(delay * random.uniform(0.5, 1.0))
            delay = min(2 * delay, _LONGEST_RETRY_SECONDS)

    async def _listen(self, heard: Callable[[Message], None]) -> None:
        async with self._redis.pubsub(ignore_subscribe_messages=True) as pubsub:
            await pubsub.subscribe(REPLICAS_CHANNEL)
            if self.state != "ok":
                log.info("Redis answers.")
            self.state = "ok"
            async for item in pubsub.listen():
                try:
                    heard(decode(item["data"]))
                except ProtocolError as error:
                    log.warning("A message over Redis is left out: %s", error)

    async def _tell(self) -> None:
        while True:
            async with self._redis.pipeline(transaction=False) as pipeline:
                for data in await self._queue.take(200):
                    pipeline.publish(REPLICAS_CHANNEL, data)
                await pipeline.execute()
