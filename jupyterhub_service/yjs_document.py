"""One document in memory: edits are applied to it, small ones at once, large ones in pieces, and what lacks another
edit is held until that has come."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

from pycrdt import Doc, TransactionEvent, merge_updates

from jupyter_rtc_amprenta.core import protocol
from jupyter_rtc_amprenta.core.causal import (
    apply,
    apply_in_pieces,
    clocks,
    is_complete,
    look_through_in_turns,
)
from jupyter_rtc_amprenta.core.errors import DocumentBroken, ProtocolError
from jupyter_rtc_amprenta.core.pieces import LARGE_BYTES, Pieces

from .yjs_connection import Connection
from .yjs_gaps import Gaps
from .yjs_limits import Share

log = logging.getLogger(__name__)

# What waits is looked at after a change: once for all that comes together.
_LOOK_SECONDS = 0.01

# Called with a change, who made it (None: the log, or another replica), and whether it is not in the log yet.
OnChange = Callable[[bytes, Connection | None, bool], None]


class LiveDocument:
    """A document, and what hangs in the air of it.

    Args:
        doc: the document, loaded.
        on_change: called with each change.
        ask: called with a client that has sent an edit without the one before it.
        send_away: called with clients that must begin anew.
        on_broken: called when the document can't be trusted any more.
    """

    def __init__(
        self,
        doc: Doc,
        on_change: OnChange,
        ask: Callable[[Connection], None],
        send_away: Callable[[Connection], None],
        on_broken: Callable[[], None],
    ) -> None:
        self.doc = doc
        self.size = len(doc.get_update())
        self._on_change, self._ask, self._send_away = on_change, ask, send_away
        self._on_broken = on_broken
        self._gaps = Gaps()
        self._looking, self._measuring = Share(), Share()
        self._timer: asyncio.TimerHandle | None = None
        self._anew: asyncio.Task[None] | None = None
        self._large = asyncio.Lock()
        self._changes: list[bytes] = []
        self._step_2: bytes | None = None
        self._subscription = doc.observe(self._changed)

    async def at_rest(self) -> None:
        """Wait until no large update is only half applied: nobody may see or build on a half."""
        if self._large.locked():
            async with self._large:
                pass

    @property
    def waits(self) -> bool:
        """Whether something waits for an edit before it."""
        return bool(self._gaps)

    async def filled(self, connection: Connection) -> None:
        """Wait until nothing that this client has sent waits; also ends when the client leaves."""
        await self._gaps.filled(connection)

    def leave(self, connection: Connection) -> None:
        """A client has gone."""
        self._gaps.leave(connection)

    def close(self) -> None:
        """Leave memory: a document that is observed would stay in it for ever."""
        self.doc.unobserve(self._subscription)
        if self._timer is not None:
            self._timer.cancel()
        if self._anew is not None:
            self._anew.cancel()

    # --- reading ---

    def step_2(self) -> bytes:
        """The whole document, as the answer to a client that has nothing of it; kept until it changes: after a restart
        everybody asks for it."""
        if self._step_2 is None:
            self._step_2 = protocol.encode_step_2(self.doc.get_update())
        return self._step_2

    def step_2_since(self, state_vector: bytes) -> bytes:
        """What a client with this state vector lacks, as the answer to it.

        Raises:
            ProtocolError: it is no state vector.
        """
        if state_vector in (b"", b"\x00"):
            return self.step_2()
        try:
            return protocol.encode_step_2(self.doc.get_update(state_vector))
        except ValueError as error:
            raise ProtocolError("The state vector can't be read.") from error

    async def has_room_for(self, update: bytes, most: int) -> bool:
        """Whether the document stays within `most` bytes with this update."""
        if self.size + len(update) > most:
            # The size counts updates; what was deleted since is not in the state.
            await asyncio.sleep(self._measuring.wait)
            await self.at_rest()
            with self._measuring:
                self.size = len(self.step_2())
        return self.size + len(update) <= most

    # --- writing ---

    async def take(self, update: bytes, origin: Connection | None = None, *, logged: bool = False) -> None:
        """Apply an update of any size.

        Args:
            origin: whose it is; None: the log's.
            logged: whether it is in the log, or another replica is about to append it.

        Raises:
            ProtocolError: it is not a Yjs update.
        """
        if origin is not None and len(update) < LARGE_BYTES:
            # A large one is looked through before its first piece.
            await look_through_in_turns(update)
        await self.at_rest()
        if len(update) < LARGE_BYTES:
            self.apply(update, origin, logged=logged)
        else:
            async with self._large:
                await self._apply_large(update, origin, logged)

    def apply(self, update: bytes, origin: Connection | None = None, *, logged: bool = False) -> None:
        """Apply a small update, at once; see `take`."""
        changes = self._apply(update)
        self._tell(changes, update, origin, logged)
        # Mostly the change is the update, byte for byte: then nothing of it waits.
        if changes != [update] and not is_complete(self.doc, update):
            self._hold(origin, update)

    async def _apply_large(self, update: bytes, origin: Connection | None, logged: bool) -> None:
        changes: list[bytes] = []
        complete = False
        try:
            complete = await apply_in_pieces(
                self.doc,
                update,
                lambda piece: changes.extend(self._apply(piece)),
                from_outside=origin is not None,
            )
        finally:
            # As one edit, as it was made, unless most of it was known already.
            if complete and not self._gaps.bytes_in_doc and 2 * sum(map(len, changes)) > len(update):
                changes = [update]
            elif len(changes) > 1:
                changes = [merge_updates(*changes)]
            self._tell(changes, update, origin, logged)
        if not complete:
            self._hold(origin, update)

    def _apply(self, update: bytes) -> list[bytes]:
        """Apply, and give what has changed."""
        before = clocks(self.doc.get_state()) if self._gaps.bytes_in_doc else None
        self._changes = []
        try:
            apply(self.doc, update)
        except DocumentBroken:
            self._on_broken()
            raise
        if before is None or all(is_complete(self.doc, change) for change in self._changes):
            return self._changes
        # While something waits, pycrdt may tell of it together with what has changed.
        return [piece for change in self._changes for piece in Pieces(change, before) if self._holds(piece)]

    def _holds(self, piece: bytes) -> bool:
        return piece not in (b"", protocol.EMPTY_UPDATE) and is_complete(self.doc, piece)

    def _changed(self, event: TransactionEvent) -> None:
        # Within the transaction: nothing here touches a document.
        if event.update != protocol.EMPTY_UPDATE:
            self._changes.append(event.update)

    def _tell(self, changes: list[bytes], update: bytes, origin: Connection | None, logged: bool) -> None:
        for change in changes:
            self._step_2 = None
            self.size += len(change)
            # What comes from the log may complete what a client has sent before: then the change is more than it.
            is_new = not logged or (change != update and self._gaps.bytes_in_doc > 0)
            self._on_change(change, origin, is_new)
        if changes and self._gaps and self._timer is None:
            wait = max(_LOOK_SECONDS, self._looking.wait)
            self._timer = asyncio.get_running_loop().call_later(wait, self._look_at_gaps)

    # --- what waits ---

    def _hold(self, origin: Connection | None, update: bytes) -> None:
        """Something before this update is missing: its client is asked for all that this document lacks."""
        if self._gaps.add(origin, update) and origin is not None:
            self._ask(origin)
        if self._gaps.are_too_large and (self._anew is None or self._anew.done()):
            self._anew = asyncio.get_running_loop().create_task(self._begin_anew())

    def _look_at_gaps(self) -> None:
        """Apply again what waits. Whoever lets a lot wait makes it rare, and not everything slow."""
        self._timer = None
        with self._looking:
            self._gaps.look(self.doc, self._apply_again)

    def _apply_again(self, origin: Connection | None, update: bytes) -> None:
        self._tell(self._apply(update), update, origin, origin is None)

    async def _begin_anew(self) -> None:
        """Forget what hangs in the air: it was never acknowledged, and its clients come back with all they have."""
        log.warning("Too much waits for edits that did not come; it is let go.")
        async with self._large:
            whole: Doc[Any] = Doc()
            await apply_in_pieces(whole, self.doc.get_update(), whole.apply_update)
            # What has come meanwhile, from other replicas.
            whole.apply_update(self.doc.get_update(whole.get_state()))
            self.doc.unobserve(self._subscription)
            self.doc, self._subscription = whole, whole.observe(self._changed)
            waiting, self._gaps = self._gaps, Gaps()
            for connection in waiting.clients:
                self._send_away(connection)
                waiting.leave(connection)
