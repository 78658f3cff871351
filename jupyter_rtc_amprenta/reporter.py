"""Tells the Hub service who is here: at every change, and as a heartbeat. Silence means offline."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

from .client import ServiceClient
from .core.errors import ServiceError
from .rooms import LinkedRoom

log = logging.getLogger(__name__)

# Changes come in bursts: a page that is reloaded leaves and enters.
_SETTLE_SECONDS = 0.3


class PresenceReporter:
    """Reports the server's owner, in the documents that are open here.

    A server speaks for its owner alone: of a visitor it could claim anything.

    Args:
        client: of the service.
        rooms: the open rooms, by room id.
        owner: the Hub user whose server this is.
        heartbeat_seconds: how often it is said again.
    """

    def __init__(
        self, client: ServiceClient, rooms: dict[str, LinkedRoom], owner: str, heartbeat_seconds: float
    ) -> None:
        self._client = client
        self._rooms = rooms
        self._owner = owner
        self._heartbeat_seconds = heartbeat_seconds
        self._changed = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._failing = False

    def start(self) -> None:
        """Begin to report."""
        self._task = asyncio.create_task(self._run())

    def changed(self) -> None:
        """Somebody came or went: say so soon."""
        self._changed.set()

    async def stop(self) -> None:
        """Say that nobody is here any more, and end."""
        if self._task is not None:
            self._task.cancel()
        await self._report([])

    async def _run(self) -> None:
        while True:
            try:
                await asyncio.wait_for(self._changed.wait(), self._heartbeat_seconds)
                await asyncio.sleep(_SETTLE_SECONDS)
            except TimeoutError:
                pass
            self._changed.clear()
            await self._report(self._present())

    async def _report(self, documents: list[dict[str, Any]]) -> None:
        try:
            await self._client.report(documents)
        except ServiceError as error:
            if not self._failing:
                log.warning("Presence can't be reported: %s", error)
            self._failing = True
        else:
            if self._failing:
                log.info("Presence is reported again.")
            self._failing = False

    def _present(self) -> list[dict[str, Any]]:
        present = []
        for room in self._rooms.values():
            connections = sum(self._is_owner(client) for client in room.clients)
            if room.ready and room.linked.file.document_id and connections:
                present.append({"document_id": room.linked.file.document_id, "connections": connections})
        return present

    def _is_owner(self, client: Any) -> bool:
        return getattr(client.current_user, "username", None) == self._owner
