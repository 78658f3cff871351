"""The other replicas, as a room sees them."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .yjs_room import Room


class Peers:
    """The other replicas, as rooms see them; here: there are none."""

    def opened(self, room: Room) -> None:
        """A room was loaded."""

    def closed(self, room: Room) -> None:
        """A room has left memory."""

    def tell_update(self, room: Room, update: bytes) -> None:
        """A client here has made an update; it is not committed yet."""

    def tell_awareness(self, room: Room, parts: list[bytes]) -> None:
        """Clients here have changed their states (`protocol.encode_state`)."""

    def committed(self, room: Room, position: int) -> None:
        """An update of this process has this position in the log."""

    async def confirmed(self, room: Room) -> None:
        """Wait until all that came from other replicas so far is in the log."""
