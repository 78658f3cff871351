"""What an update needs before it can be a part of a document (rule 4). Pure.

Yjs keeps an update whose predecessor is missing aside, in silence: the document does not change, no event tells,
and `Doc.get_update()` leaves it out. So whoever acknowledges an update asks here first.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Sequence

from pycrdt import Doc, get_update

from .errors import ProtocolError
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
    await _apply_in_slices(doc, updates)
    waiting, before = incomplete(doc, updates), None
    while waiting and len(waiting) != before:
        before = len(waiting)
        await _apply_in_slices(doc, waiting)
        waiting = incomplete(doc, waiting)


async def _apply_in_slices(doc: Doc, updates: Sequence[bytes]) -> None:
    turn_ends = time.monotonic() + _SLICE_SECONDS
    for update in updates:
        try:
            doc.apply_update(update)
        except (ValueError, RuntimeError) as error:
            raise ProtocolError("The update can't be read.") from error
        if time.monotonic() > turn_ends:
            await asyncio.sleep(0)
            turn_ends = time.monotonic() + _SLICE_SECONDS


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
