"""Edits that wait for one before them: they are not acknowledged until that one has come (rule 4).

Yjs keeps such an edit aside, but pycrdt's forgets to look at it again when several come in another order than they
were made. So they are kept here too, and applied again whenever the document has changed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from pycrdt import Doc

from jupyter_rtc_amprenta.core.causal import is_complete

from .yjs_connection import Connection

# What may hang in the air of one document, before its clients are asked to begin anew.
MOST_BYTES = 8 * 2**20
# A small edit costs more than its bytes.
_LEAST_BYTES = 100


class Gaps:
    """The gaps of one room.

    Attributes:
        bytes_in_doc: how much hangs in the document, also of clients that have left: Yjs never forgets it.
    """

    def __init__(self) -> None:
        self.bytes_in_doc = 0
        self._waiting: list[tuple[Connection | None, bytes]] = []
        self._filled: dict[Connection, asyncio.Event] = {}

    def __bool__(self) -> bool:
        return bool(self._waiting)

    @property
    def are_too_large(self) -> bool:
        """Whether the document must be freed of what hangs in it."""
        return self.bytes_in_doc > MOST_BYTES

    def add(self, connection: Connection | None, update: bytes) -> bool:
        """An update of this client, or of the log (None), waits for another one.

        Returns:
            whether it is the client's first, so that it must be asked for what is missing.
        """
        self._waiting.append((connection, update))
        self.bytes_in_doc += max(len(update), _LEAST_BYTES)
        if connection is None or connection in self._filled:
            return False
        self._filled[connection] = asyncio.Event()
        return True

    @property
    def clients(self) -> list[Connection]:
        """The clients whose edits wait."""
        return list(self._filled)

    def look(self, doc: Doc, apply: Callable[[Connection | None, bytes], None]) -> None:
        """The document has changed: apply again what still waits, and let go whose edits are all in it now."""
        before = None
        while self._waiting and len(self._waiting) != before:
            before = len(self._waiting)
            for connection, update in self._waiting:
                apply(connection, update)
            self._waiting = [(who, update) for who, update in self._waiting if not is_complete(doc, update)]
        still = {connection for connection, _ in self._waiting}
        for connection in self._filled.keys() - still:
            self._filled.pop(connection).set()

    async def filled(self, connection: Connection) -> None:
        """Wait until nothing that this client has sent waits; also ends when the client leaves."""
        if (filled := self._filled.get(connection)) is not None:
            await filled.wait()

    def leave(self, connection: Connection) -> None:
        """A client has gone; it comes back with all it has."""
        if (filled := self._filled.pop(connection, None)) is not None:
            filled.set()
            self._waiting = [(who, update) for who, update in self._waiting if who is not connection]
