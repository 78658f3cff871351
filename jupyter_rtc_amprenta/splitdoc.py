"""The two documents of a linked room, and the side document between them (rule 10).

    room    what the browsers sync with: everything
    shared  what the link and the local store see: everything but this server's `path` and `hash`
    side    those two keys, in a document of its own, whose updates are applied to the room and never to shared

jupyter-collaboration keeps `path`, `dirty` and `hash` in the document's map `state`. Were they shared, every
server would name and hash the file of another. Leaving out updates by client id instead would leave gaps in a
client's clock, and all its later edits would wait for ever; hence a document of their own, with a client of its
own. A key that browsers write must never be in it: their edits would hang on an item that shared lacks.

pycrdt must not be entered again from an observer, so observers queue, and what is queued is applied after.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from pycrdt import Doc, Map, TransactionEvent

from .core.protocol import EMPTY_UPDATE

PER_SERVER_KEYS = ("path", "hash")


class SplitDocument:
    """Keeps `room` and `shared` equal but for the per-server keys.

    Args:
        room: the room's document, new and empty.
        on_shared_update: called with each update of `shared`, in order, and whether it came from the link. It
            is called from an observer: it may queue, and must touch no document.
        on_side_update: called with each update of the per-server keys, likewise; it is applied to the room when
            `apply_side` is called, after it was kept.
    """

    def __init__(
        self,
        room: Doc,
        on_shared_update: Callable[[bytes, bool], None],
        on_side_update: Callable[[bytes], None],
    ) -> None:
        self.room = room
        self.shared: Doc = Doc()
        self._side: Doc = Doc()
        self._side_state = self._side.get("state", type=Map)
        self._room_state = room.get("state", type=Map)
        self._on_shared_update = on_shared_update
        self._on_side_update = on_side_update
        self._from_room: deque[bytes] = deque()
        self._for_room: deque[bytes] = deque()
        self._side_for_room: deque[bytes] = deque()
        self._loading = self._remote = self._into_room = False
        self._subscriptions = [
            (room, room.observe(self._room_changed)),
            (self.shared, self.shared.observe(self._shared_changed)),
            (self._side, self._side.observe(self._side_changed)),
        ]

    @property
    def filling(self) -> bool:
        """Whether what changes in the room now comes from elsewhere: from the link, the store or the file."""
        return self._into_room

    def load(self, shared: Sequence[bytes], side: Sequence[bytes]) -> None:
        """Take the histories from the local store: they are in it, so no one is told."""
        self._loading = True
        try:
            self._apply_all(self._side, side)
            self._apply_all(self.shared, shared)
        finally:
            self._loading = False
        self._side_for_room.append(self._side.get_update())
        self._fill_room()

    def apply_local(self, update: bytes) -> None:
        """Apply an edit that this server makes: a seed, or what changed in the file."""
        self.flush()
        self.shared.apply_update(update)
        self._fill_room()

    def apply_remote(self, update: bytes) -> None:
        """Apply what came from the link.

        Raises:
            ValueError: it is not a Yjs update.
        """
        self.flush()
        self._remote = True
        try:
            self.shared.apply_update(update)
        finally:
            self._remote = False
        self._fill_room()

    def keep(self, key: str, value: Any) -> None:
        """Write one of the per-server keys. It is in the room once `apply_side` was called with its update."""
        # What sets a whole notebook (YNotebook.set) takes the key out of the room's map.
        if self._side_state.get(key) != value or key not in self._room_state:
            self._side_state[key] = value

    def apply_side(self, update: bytes) -> None:
        """Show the room an update of the per-server keys, which is in the local store by now."""
        self._side_for_room.append(update)
        self._fill_room()

    def flush(self) -> None:
        """Bring the room's own changes over to `shared`, now."""
        while self._from_room:
            update = self._from_room.popleft()
            self.shared.apply_update(update)
            # The room has it; more than it comes out only where it was what an earlier one had waited for.
            if self._for_room and self._for_room[-1] == update:
                self._for_room.pop()
        self._fill_room()

    def close(self) -> None:
        """Flush, and stop watching."""
        self.flush()
        for document, subscription in self._subscriptions:
            document.unobserve(subscription)
        self._subscriptions = []

    def _room_changed(self, event: TransactionEvent) -> None:
        update = event.update
        if self._into_room or update == EMPTY_UPDATE:
            return
        if not self._from_room:
            asyncio.get_running_loop().call_soon(self.flush)
        self._from_room.append(update)

    def _shared_changed(self, event: TransactionEvent) -> None:
        update = event.update
        if update == EMPTY_UPDATE:
            return
        self._for_room.append(update)
        if not self._loading:
            self._on_shared_update(update, self._remote)

    def _side_changed(self, event: TransactionEvent) -> None:
        if not self._loading and event.update != EMPTY_UPDATE:
            self._on_side_update(event.update)

    def _fill_room(self) -> None:
        self._into_room = True
        try:
            while self._for_room:
                self.room.apply_update(self._for_room.popleft())
            # Inside somebody's open transaction the side's update would come out as part of theirs, and go on
            # to `shared`: it waits until they are done.
            while self._side_for_room and self.room._txn is None:
                self.room.apply_update(self._side_for_room.popleft())
        finally:
            self._into_room = False
        if self._side_for_room:
            asyncio.get_running_loop().call_later(0.05, self._fill_room)

    @staticmethod
    def _apply_all(document: Doc, updates: Sequence[bytes]) -> None:
        for update in updates:
            document.apply_update(update)
