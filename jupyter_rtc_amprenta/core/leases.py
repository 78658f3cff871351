"""Leases of documents in direct mode: one server at a time writes a document, and whoever comes late is refused."""

from __future__ import annotations

import asyncio
import logging
import os
import re
import socket
from typing import TYPE_CHECKING
from uuid import uuid4
from weakref import WeakSet

from . import queries_leases
from .errors import DatabaseError, LeaseLost

if TYPE_CHECKING:
    from .documentlog import DocumentLog

log = logging.getLogger(__name__)


_HOLDER = re.compile(r".* on (?P<host>\S+) \(process (?P<process>\d+), \w+\)")


def new_holder(user: str) -> str:
    """Names this run of a user's server, for people to read and for `has_died`."""
    return f"{user[:60]}'s server on {socket.gethostname()[:60]} (process {os.getpid()}, {uuid4().hex})"


def has_died(holder: str) -> bool:
    """Whether a holder is known to be gone: its process ran on this machine, and is there no more."""
    found = _HOLDER.fullmatch(holder)
    if found is None or found["host"] != socket.gethostname()[:60]:
        return False
    process = int(found["process"])
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    # A container that was started again has the same name, and this process may have the same number.
    return process == os.getpid()


class LeaseKeeper:
    """The leases of one server. Each append is checked against them in its own transaction (rule 9).

    Args:
        log_: of PostgreSQL.
        holder: this run of the server, for people to read, and different from every other run's.
        seconds: how long a lease outlives a server that has died.
    """

    def __init__(self, log_: DocumentLog, holder: str, seconds: float) -> None:
        self._log = log_
        self._holder = holder
        self._seconds = seconds
        # Nobody tells a store that its room is closed; but then nobody has the store any more.
        self._users: dict[str, WeakSet[object]] = {}
        self._task: asyncio.Task[None] | None = None

    async def hold(self, document_id: str, user: object) -> None:
        """Take a document's lease, and hold it as long as `user` is there.

        Raises:
            DocumentLeased: another server holds it.
            DatabaseUnavailable: nothing is known.
        """
        run = self._log.database.run
        epoch = await run(queries_leases.acquire, document_id, self._holder, self._seconds, has_died)
        self._log.lease_epochs[document_id] = epoch
        self._users.setdefault(document_id, WeakSet()).add(user)
        if self._task is None or self._task.done() or self._task.get_loop() is not asyncio.get_running_loop():
            self._task = asyncio.create_task(self._keep())

    async def renew(self) -> None:
        """Renew what is in use, and give back the rest."""
        for document_id, users in list(self._users.items()):
            try:
                if users:
                    epoch = self._log.lease_epochs[document_id]
                    await self._log.database.run(queries_leases.renew, document_id, epoch, self._seconds)
                else:
                    await self.release(document_id)
            except LeaseLost as error:
                # Its epoch stays, so that what is still appended is refused.
                log.error("document=%s: %s Edits that were not committed are lost here.", document_id, error)
                del self._users[document_id]
            except DatabaseError as error:
                # Whoever asks first once the database answers has the lease: most likely this server.
                log.warning("document=%s: the lease can't be renewed: %s", document_id, error)

    async def release(self, document_id: str) -> None:
        """Commit what waits, and give the lease back.

        Raises:
            DatabaseUnavailable: it lapses by itself.
        """
        await self._log.flush(self._seconds)
        epoch = self._log.lease_epochs[document_id]
        await self._log.database.run(queries_leases.release, document_id, epoch)
        self._users.pop(document_id, None)

    async def stop(self) -> None:
        """Give everything back: another server need not wait."""
        if self._task is not None:
            self._task.cancel()
        for document_id in list(self._users):
            try:
                await self.release(document_id)
            except DatabaseError as error:
                log.warning("document=%s: the lease lapses by itself: %s", document_id, error)

    async def _keep(self) -> None:
        while self._users:
            await asyncio.sleep(self._seconds / 3)
            await self.renew()
