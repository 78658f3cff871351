"""Who is in a document of this server from another one is in JupyterLab's list of online collaborators, too.

JupyterLab fills that list from a room of its own (`JupyterLab:globalAwareness`), which knows the people of this
server alone. Here those who are elsewhere are told to it, one entry a person, with the documents they share.
"""

from __future__ import annotations

import asyncio
import time
import zlib
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from pycrdt.websocket import YRoom

from .core import protocol
from .core.protocol import ClientState
from .rooms import LinkedRoom

_LOOK_SECONDS = 3.0
# Pages forget who was not told of for 30 s; and who has opened one since learns of the others so.
_REPEAT_SECONDS = 10.0


class Panel:
    """Keeps the list.

    Args:
        rooms: the open rooms, by room id.
        global_room: gives JupyterLab's room for all its pages; None while no page is open.
    """

    def __init__(self, rooms: dict[str, LinkedRoom], global_room: Callable[[], YRoom | None]) -> None:
        self._rooms = rooms
        self._global_room = global_room
        self._shown: dict[str, dict[str, Any]] = {}
        self._repeated_at = 0.0
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to look who is there."""
        self._task = asyncio.create_task(self._run())

    async def stop(self) -> None:
        """Look no more."""
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(_LOOK_SECONDS)
            self.show()

    def show(self) -> None:
        """Tell the pages who has come, gone, or is still there."""
        room = self._global_room()
        if room is None:
            self._shown = {}
            return
        people = elsewhere(self._rooms.values())
        repeats = time.monotonic() - self._repeated_at > _REPEAT_SECONDS
        told: dict[str, dict[str, Any] | None] = {
            username: state for username, state in people.items() if repeats or self._shown.get(username) != state
        }
        told |= {username: None for username in self._shown if username not in people}
        self._shown = people
        if repeats:
            self._repeated_at = time.monotonic()
        if told:
            # A clock that a restart does not set back.
            clock = int(time.time() * 10)
            states = [ClientState(_client(username), clock, state) for username, state in told.items()]
            # As the server's own: pycrdt tells those to every page.
            room.awareness.apply_awareness_update(protocol.encode_states(states), "local")


def elsewhere(rooms: Any) -> dict[str, dict[str, Any]]:
    """By username, the state in JupyterLab's list of everybody who shares a document from another server."""
    people: dict[str, dict[str, Any]] = {}
    for room in rooms:
        if not room.ready:
            continue
        for user in room.link_awareness.elsewhere():
            username, name = user.get("username"), user.get("name")
            if isinstance(username, str) and isinstance(name, str) and username != room.linking.owner:
                state = people.setdefault(username, {"user": user, "current": None, "documents": []})
                if room.linked.file.path not in state["documents"]:
                    state["documents"].append(room.linked.file.path)
    return people


def _client(username: str) -> int:
    """An awareness client for somebody: always the same."""
    return zlib.crc32(f"elsewhere {username}".encode())
