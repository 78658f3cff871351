"""Edits that wait for one before them: they are not acknowledged until that one has come (rule 4)."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from pycrdt import Doc

from jupyter_rtc_amprenta.core.causal import is_complete

from .yjs_connection import Connection

# What may hang in the air of one document, before its clients are asked to begin anew.
MOST_BYTES = 32 * 2**20


@dataclass
class _Gap:
    """What one client has sent that can't be applied yet."""

    updates: list[bytes] = field(default_factory=list)
    filled: asyncio.Event = field(default_factory=asyncio.Event)


class Gaps:
    """The gaps of one room.

    Attributes:
        bytes_in_doc: how much hangs in the document, also of clients that have left: Yjs never forgets it.
    """

    def __init__(self) -> None:
        self.bytes_in_doc = 0
        self._gaps: dict[Connection, _Gap] = {}

    def add(self, connection: Connection, update: bytes) -> bool:
        """An update of this client waits for another one.

        Returns:
            whether it is the client's first, so that it must be asked for what is missing.
        """
        first = connection not in self._gaps
        self._gaps.setdefault(connection, _Gap()).updates.append(update)
        self.bytes_in_doc += len(update)
        return first

    @property
    def clients(self) -> list[Connection]:
        """The clients whose edits wait."""
        return list(self._gaps)

    def look(self, doc: Doc) -> None:
        """The document has changed: whose edits are all in it now waits no more."""
        for connection, gap in list(self._gaps.items()):
            gap.updates = [update for update in gap.updates if not is_complete(doc, update)]
            if not gap.updates:
                self.leave(connection)
    async def filled(self, connection: Connection) -> None:
        """Wait until nothing that this client has sent waits; also ends when the client leaves."""
        if (gap := self._gaps.get(connection)) is not None:
            await gap.filled.wait()

    def leave(self, connection: Connection) -> None:
        """Nothing of this client waits any more, or it has gone."""
        if (gap := self._gaps.pop(connection, None)) is not None:
            gap.filled.set()
