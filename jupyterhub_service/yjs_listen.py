"""What PostgreSQL tells with NOTIFY: each append to the log, and what replicas say to each other without Redis."""

from __future__ import annotations

import asyncio
import base64
import binascii
import logging
import random
from collections.abc import Callable

import psycopg2
from sqlalchemy import Connection, create_engine, exc, pool

from jupyter_rtc_amprenta.core import queries, queries_open
from jupyter_rtc_amprenta.core.database import Database
from jupyter_rtc_amprenta.core.errors import ProtocolError

from .yjs_bus import REPLICAS_CHANNEL, Message, decode

log = logging.getLogger(__name__)

_FIRST_RETRY_SECONDS = 0.1
_LONGEST_RETRY_SECONDS = 5.0


class Listener:
    """One connection that listens; it is made anew whenever it breaks.

    Args:
        database: where.
        appended: called with (document_id, generation, seq), for each append of any process.
        heard: called with what other replicas say.
        connected: called whenever the connection is there (again): something may have been missed.
    """

    def __init__(
        self,
        database: Database,
        appended: Callable[[str, int, int], None],
        heard: Callable[[Message], None],
        connected: Callable[[], None],
    ) -> None:
        self.state = "PostgreSQL was not asked yet."
        self._appended, self._heard, self._connected = appended, heard, connected
        # Not of the pool: this connection is in no transaction, and its socket is read by the event loop.
        self._engine = create_engine(
            database.url, poolclass=pool.NullPool, isolation_level="AUTOCOMMIT", connect_args={"connect_timeout": 5}
        )

    async def run(self) -> None:
        """Listen for as long as this runs."""
        delay = _FIRST_RETRY_SECONDS
        while True:
            try:
                connection = await asyncio.to_thread(self._connect)
            except exc.DBAPIError:
                self.state = "PostgreSQL does not answer."
                # Jitter: all replicas lose it at the same moment.
                await asyncio.sleep(delay * random.uniform(0.5, 1.0))
                delay = min(2 * delay, _LONGEST_RETRY_SECONDS)
                continue
            self.state, delay = "ok", _FIRST_RETRY_SECONDS
            try:
                self._connected()
                await self._listen(connection.connection.dbapi_connection)  # type: ignore[arg-type]
            finally:
                connection.invalidate()
                connection.close()
            self.state = "PostgreSQL does not answer."

    def _connect(self) -> Connection:
        connection = self._engine.connect()
        queries_open.listener(connection, (queries.CHANNEL, REPLICAS_CHANNEL))
        return connection

    async def _listen(self, raw: psycopg2.extensions.connection) -> None:
        """Until the connection breaks."""
        broke: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        descriptor = raw.fileno()
        asyncio.get_running_loop().add_reader(descriptor, self._read, raw, broke)
        try:
            await broke
        finally:
            asyncio.get_running_loop().remove_reader(descriptor)

    def _read(self, raw: psycopg2.extensions.connection, broke: asyncio.Future[None]) -> None:
        try:
            raw.poll()
        except psycopg2.Error:
            if not broke.done():
                broke.set_result(None)
            return
        while raw.notifies:
            notice = raw.notifies.pop(0)
            try:
                if notice.channel == queries.CHANNEL:
                    document_id, generation, seq = notice.payload.split()
                    self._appended(document_id, int(generation), int(seq))
                else:
                    self._heard(decode(base64.b64decode(notice.payload, validate=True)))
            except (ValueError, binascii.Error, ProtocolError) as error:
                log.warning("A notice on %s is left out: %s", notice.channel, error)
