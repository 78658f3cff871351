"""What a reader types is taken back in the page that typed it, at once: it went no further than this server.

JupyterLab marks a document that may only be read, and lets people type all the same. What they type exists in
their page alone. A delete set of just these elements makes it vanish there: it names nothing that anybody else
has. What they delete can't be undone so: the original would have to come back as something else, which no later
edit would find. Then the page is asked to reload.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from jupyter_ydoc.ybasedoc import YBaseDoc
from pycrdt import Doc

from .core.causal import clocks
from .core.protocol import EMPTY_UPDATE, encode_deletions

# Of a cell: pages write these without being asked to.
_UNSEEN = ("execution_state", "metadata")


class Retraction:
    """Follows one reader's page.

    Args:
        room: the document as the room has it.
        new_document: makes an empty document of the room's class.
    """

    def __init__(self, room: Doc, new_document: Callable[[], YBaseDoc]) -> None:
        self._room = room
        self._document = new_document()
        self._document.observe(self._observed)
        self._has_deleted = False
        # The room's own news may delete: that is no doing of the reader's.
        self._following = False

    def take_back(self, update: bytes) -> bytes | None:
        """What must be sent to a page that has made an update.

        Args:
            update: the reader's, which the room was not given.

        Returns:
            an update that makes the page show the room's document again; empty where it does already. None: there
            is none, the page must reload.

        Raises:
            ValueError: it is no Yjs update.
        """
        page = self._document.ydoc
        self._follow()
        before = clocks(page.get_state())
        self._has_deleted = False
        page.apply_update(update)
        if self._has_deleted:
            return None
        made = {
            client: (before.get(client, 0), clock)
            for client, clock in clocks(page.get_state()).items()
            if clock > before.get(client, 0)
        }
        if not made:
            return EMPTY_UPDATE
        taken_back = encode_deletions(made)
        page.apply_update(taken_back)
        return taken_back

    def _follow(self) -> None:
        page = self._document.ydoc
        self._following = True
        try:
            page.apply_update(self._room.get_update(page.get_state()))
        finally:
            self._following = False

    def _observed(self, target: str, event: Any) -> None:
        # What a page notes by itself (that it is not saved, which kernel it has) may go: nobody sees it.
        if not self._following and target not in ("state", "meta"):
            events = event if isinstance(event, list) else [event]
            self._has_deleted |= any(_deletes(one) for one in events)


def _deletes(event: Any) -> bool:
    """Whether an event takes away something that people see, and that was there before it."""
    if any("delete" in step for step in getattr(event, "delta", None) or []):
        return True
    if "metadata" in event.path:
        return False
    changes = getattr(event, "keys", None) or {}
    return any(key not in _UNSEEN and change["action"] != "add" for key, change in changes.items())
