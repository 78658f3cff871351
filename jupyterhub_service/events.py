"""Events: what happens is told to whoever listens, by every replica, whichever of them it was done through.

One query every two seconds, for all who listen to this process, and none while nobody does.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import Connection, Row

from jupyter_rtc_amprenta.core import queries_record
from jupyter_rtc_amprenta.core.database import Database
from jupyter_rtc_amprenta.core.errors import DatabaseError

from .errors import TooMany

log = logging.getLogger(__name__)

POLL_SECONDS = 2.0
# What somebody may have missed and still be told of one by one; who missed more reads everything anew.
_MOST_MISSED = 500
_BATCH = 1000
_MOST_STREAMS = 20


class Stream:
    """What one listener is told.

    Attributes:
        username: the Hub user who listens.
        position: the id of the last event that was told, or was there when the listener came.
        missed: what happened while the listener was away; None where that is too much, or not known any more.
    """

    def __init__(self, username: str, position: int, missed: Sequence[Row[Any]] | None) -> None:
        self.username = username
        self.position = position
        self.missed = missed
        self._queue: asyncio.Queue[Row[Any] | None] = asyncio.Queue(_MOST_MISSED)

    def tell(self, event: Row[Any]) -> None:
        """Queue an event. A listener that does not read is sent away, and comes back to what it missed."""
        if event.event_id <= self.position:
            return
        self.position = event.event_id
        try:
            self._queue.put_nowait(event)
        except asyncio.QueueFull:
            self._queue.get_nowait()
            self._queue.put_nowait(None)

    async def next(self, seconds: float) -> Row[Any] | None:
        """The next event.

        Raises:
            TimeoutError: there was none for so long.

        Returns:
            None where the stream has ended.
        """
        return await asyncio.wait_for(self._queue.get(), seconds)


class EventFeed:
    """Reads events for all who listen to this process.

    Args:
        database: PostgreSQL.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._streams: set[Stream] = set()
        self._position = 0

    async def open(self, username: str, last_event_id: int | None) -> Stream:
        """Begin to tell somebody.

        Args:
            last_event_id: the last event that they know of; None where they know of none.

        Raises:
            TooMany: the user listens too often already.
            DatabaseUnavailable.
        """
        if sum(stream.username == username for stream in self._streams) >= _MOST_STREAMS:
            raise TooMany("too_many_streams", f"A user may have {_MOST_STREAMS} streams open.")
        newest, missed = await self._database.run(_missed, username, last_event_id)
        stream = Stream(username, newest, missed)
        if not self._streams:
            self._position = newest
        self._position = min(self._position, newest)
        self._streams.add(stream)
        return stream

    def close(self, stream: Stream) -> None:
        """Tell them no more."""
        self._streams.discard(stream)

    async def run(self) -> None:
        """Read, for as long as the service runs."""
        while True:
            await asyncio.sleep(POLL_SECONDS)
            if self._streams:
                await self._read()

    async def _read(self) -> None:
        try:
            events = await self._database.run(queries_record.events_after, self._position, _BATCH)
        except DatabaseError as error:
            # The database's watch says so once; whoever listens goes on waiting.
            log.debug("Events can't be read: %s", error)
            return
        for event in events:
            self._tell(event, {event.username, event.recipient, *event.audience})
        if events:
            self._position = events[-1].event_id

    def _tell(self, event: Row[Any], audience: Iterable[str | None]) -> None:
        for stream in self._streams:
            if stream.username in audience:
                stream.tell(event)


def _missed(
    connection: Connection, username: str, last_event_id: int | None
) -> tuple[int, Sequence[Row[Any]] | None]:
    oldest, newest = queries_record.event_position(connection)
    if last_event_id is None:
        return newest, []
    if not oldest - 1 <= last_event_id <= newest:
        return newest, None
    missed = queries_record.events_of_user(connection, username, last_event_id, _MOST_MISSED + 1)
    # Events that are committed between these two statements come by the feed.
    told = [event for event in missed if event.event_id <= newest]
    return newest, told if len(told) <= _MOST_MISSED else None
