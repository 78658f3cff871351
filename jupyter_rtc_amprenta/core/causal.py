"""What an update needs before it can be a part of a document (rule 4). Pure.

Yjs keeps an update whose predecessor is missing aside, in silence: the document does not change, no event tells,
and `Doc.get_update()` leaves it out. So whoever acknowledges an update asks here first.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Sequence

from pycrdt import Doc, get_update

from .errors import ProtocolError
from .pieces import LARGE_BYTES, Pieces, require_shallow
from .protocol import read_uint

# While a long history is applied, others get their turn this often.
_SLICE_SECONDS = 0.005


def is_complete(doc: Doc, update: bytes) -> bool:
    """Whether a document to which an update was applied holds all of it: nothing of it waits for another update.

    Args:
        doc: a document, outside of a transaction.
        update: a Yjs update.

    Raises:
        ProtocolError: it is none.
    """
    state = doc.get_state()
    return _is_complete(update, state, clocks(state))


def incomplete(doc: Doc, updates: Iterable[bytes]) -> list[bytes]:
    """Those of which something waits; the same as `is_complete`, for many.

    Raises:
        ProtocolError: one of them is no Yjs update.
    """
    state = doc.get_state()
    known = clocks(state)
    return [update for update in updates if not _is_complete(update, state, known)]


async def load(doc: Doc, updates: Sequence[bytes]) -> None:
    """Apply a history, and hold it against the document, so that nothing of it waits in vain.

    Two writers may have appended an edit before the one that it builds on. pycrdt loses sight of an edit that
    waits when several come out of their order, so what waits is applied again until nothing changes any more.
    Others get their turn meanwhile; a thread would not help, since pycrdt holds the interpreter's lock.

    Raises:
        ProtocolError: one of them is no Yjs update.
    """
    waiting, before = await _apply_in_slices(doc, updates), None
    while waiting and len(waiting) != before:
        before = len(waiting)
        waiting = await _apply_in_slices(doc, waiting)


def apply(doc: Doc, update: bytes) -> None:
    """Apply an update.

    Raises:
        ProtocolError: it is none, or a value in it is nested so deeply that it would end the process.
    """
    require_shallow(update)
    try:
        doc.apply_update(update)
    except (ValueError, RuntimeError) as error:
        raise ProtocolError("The update can't be read.") from error


async def apply_in_pieces(doc: Doc, update: bytes, apply_piece: Callable[[bytes], None]) -> bool:
    """Apply a large update so that others get their turn meanwhile.

    Args:
        doc: what `apply_piece` applies to. It may be read and changed meanwhile.
        update: a Yjs update.
        apply_piece: called with each piece, in their order.

    Returns:
        whether the document holds all of it now.

    Raises:
        ProtocolError: it is no Yjs update. Pieces that were applied before that was found are edits like any other.
    """
    pieces, turns = Pieces(update, clocks(doc.get_state())), _Turns()
    for piece in pieces:
        if piece:
            apply_piece(piece)
        await turns.next()
    return is_complete(doc, update) if pieces.complete is None else pieces.complete


async def _apply_in_slices(doc: Doc, updates: Sequence[bytes]) -> list[bytes]:
    """Apply updates; gives those of which something waits."""
    turns, perhaps = _Turns(), []
    for update in updates:
        if len(update) < LARGE_BYTES:
            apply(doc, update)
            perhaps.append(update)
            await turns.next()
        elif not await apply_in_pieces(doc, update, lambda piece: apply(doc, piece)):
            perhaps.append(update)
    state = doc.get_state()
    known, waiting = clocks(state), []
    for update in perhaps:
        if not _is_complete(update, state, known):
            waiting.append(update)
        await turns.next()
    return waiting


class _Turns:
    """Lets others have their turn, after each slice of time."""

    def __init__(self) -> None:
        self._ends = time.monotonic() + _SLICE_SECONDS

    async def next(self) -> None:
        if time.monotonic() > self._ends:
            await asyncio.sleep(0)
            self._ends = time.monotonic() + _SLICE_SECONDS


def clocks(state_vector: bytes) -> dict[int, int]:
    """A state vector, read: by client, how many of its elements are known.

    Raises:
        ProtocolError: it is none.
    """
    count, at = read_uint(state_vector, 0)
    known = {}
    for _ in range(count):
        client, at = read_uint(state_vector, at)
        known[client], at = read_uint(state_vector, at)
    return known


def _is_complete(update: bytes, state: bytes, known: dict[int, int]) -> bool:
    try:
        rest = get_update(update, state)
    except ValueError as error:
        raise ProtocolError("The update can't be read.") from error
    missing, at = read_uint(rest, 0)
    return not missing and _deletes_what_is_known(rest, at, known)


def _deletes_what_is_known(update: bytes, at: int, known: dict[int, int]) -> bool:
    """A deletion of what has not come yet waits too: `at` is where the update's deletions begin."""
    clients, at = read_uint(update, at)
    for _ in range(clients):
        client, at = read_uint(update, at)
        ranges, at = read_uint(update, at)
        for _ in range(ranges):
            clock, at = read_uint(update, at)
            length, at = read_uint(update, at)
            if clock + length > known.get(client, 0):
                return False
    return True
