"""What linked and direct rooms have in common: jupyter-collaboration's document room, which ends alone."""

from __future__ import annotations

from typing import Any

from jupyter_server_ydoc.rooms import DocumentRoom


class SeparateRoom(DocumentRoom):
    """A document room whose failure is its own.

    Rooms run in one task group, so an error that leaves `start` ends the tasks of all rooms of the server, for good
    and unseen: browsers stay connected, and nothing is sent to them any more. One leaves it where an update is being
    broadcast as the room stops.
    """

    async def start(self, **options: Any) -> None:
        """Run the room until `stop`."""
        try:
            await super().start(**options)
        except Exception:
            # Whatever it is, it is this room's alone.
            if not self._stopped.is_set():
                self.log.exception("Room %s ended with an error", self.room_id)
