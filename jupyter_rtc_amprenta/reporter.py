"""Tells the Hub service who is here, where, and what they edited: at every change, and as a heartbeat.

Silence means offline.
"""

from __future__ import annotations

import asyncio
import logging
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from .client import ServiceClient
from .core.errors import ServiceError
from .rooms import LinkedRoom

log = logging.getLogger(__name__)

# Changes come in bursts: a page that is reloaded leaves and enters.
_SETTLE_SECONDS = 0.3
# Who types moves all the time.
_MOVES_SECONDS = 5.0


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
        self._due = self._reported_at = 0.0
        self._is_due_sooner = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._failing = False

    def start(self) -> None:
        """Begin to report."""
        self._task = asyncio.create_task(self._run())

    def changed(self) -> None:
        """Somebody came or went: say so soon."""
        self._report_by(time.monotonic() + _SETTLE_SECONDS)

    def moved(self) -> None:
        """The owner has moved in a document, or edited it: say so, not too often."""
        self._report_by(max(self._reported_at + _MOVES_SECONDS, time.monotonic() + _SETTLE_SECONDS))

    def _report_by(self, moment: float) -> None:
        if moment < self._due:
            self._due = moment
            self._is_due_sooner.set()

    async def stop(self) -> None:
        """Say that nobody is here any more, and end."""
        if self._task is not None:
            self._task.cancel()
        await self._report([])

    async def _run(self) -> None:
        while True:
            await self._wait_until_due()
            self._reported_at = time.monotonic()
            self._due = self._reported_at + self._heartbeat_seconds
            try:
                await self._report(self._present())
            except Exception:  # awareness holds whatever browsers say; a report that fails must not be the last one
                log.exception("Presence could not be gathered")

    async def _wait_until_due(self) -> None:
        while (seconds := self._due - time.monotonic()) > 0:
            self._is_due_sooner.clear()
            with suppress(TimeoutError):
                await asyncio.wait_for(self._is_due_sooner.wait(), seconds)

    async def _report(self, present: list[_Present]) -> None:
        try:
            await self._client.report([one.described() for one in present])
        except ServiceError as error:
            for one in present:
                one.room.places.give_back(one.edited)
            if not self._failing:
                log.warning("Presence can't be reported: %s", error)
            self._failing = True
        else:
            if self._failing:
                log.info("Presence is reported again.")
            self._failing = False

    def _present(self) -> list[_Present]:
        present = []
        for room in self._rooms.values():
            if not room.ready or not room.linked.file.document_id:
                continue
            connections = sum(self._is_owner(client) for client in room.clients)
            edited = room.places.take_edited()
            if connections or edited:
                present.append(_Present(room, connections, room.link_awareness.last_of(self._owner), edited))
        return present

    def _is_owner(self, client: Any) -> bool:
        return getattr(client.current_user, "username", None) == self._owner


@dataclass(frozen=True)
class _Present:
    """The owner in one room: in how many windows, what the last of them tells, and where they have edited."""

    room: LinkedRoom
    connections: int
    state: dict[str, Any] | None
    edited: set[int]

    def described(self) -> dict[str, Any]:
        """As `POST /presence` takes it."""
        places = self.room.places
        told = {
            "document_id": self.room.linked.file.document_id,
            "connections": self.connections,
            "place": places.where(self.state),
            "edited": places.words(self.edited),
        }
        return {name: value for name, value in told.items() if value is not None}
