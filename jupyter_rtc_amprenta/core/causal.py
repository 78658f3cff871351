"""What an update needs before it can be a part of a document (rule 4). Pure.

Yjs keeps an update whose predecessor is missing aside, in silence: the document does not change, no event tells,
and `Doc.get_update()` leaves it out. So whoever acknowledges an update asks here first.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from typing import Any, TypeVar

from pycrdt import Doc, get_update, merge_updates

from .errors import DocumentBroken, ProtocolError
from .pieces import LARGE_BYTES, Pieces, look_through, require_shallow
from .protocol import read_uint

# While a long history is applied, others get their turn this often.
_SLICE_SECONDS = 0.005
# Merging costs more with each update that is merged; so many, or so many bytes, are best.
_MERGED_TOGETHER = 16
_MERGED_BYTES = 2**14
_CHECKED_TOGETHER = 500
# An update of no elements and no deletions.
_NOTHING = b"\0\0"

_T = TypeVar("_T")


def is_complete(doc: Doc[Any], update: bytes) -> bool:
    """Whether a document to which an update was applied holds all of it: nothing of it waits for another update.

    Args:
        doc: a document, outside of a transaction.
        update: a Yjs update.

    Raises:
        ProtocolError: it is none.
    """
    state = doc.get_state()
    return _is_complete(update, state, clocks(state))


def incomplete(doc: Doc[Any], updates: Iterable[bytes]) -> list[bytes]:
    """Those of which something waits; the same as `is_complete`, for many.

    Raises:
        ProtocolError: one of them is no Yjs update.
    """
    state = doc.get_state()
    known = clocks(state)
    return [update for update in updates if not _is_complete(update, state, known)]


async def load(doc: Doc[Any], updates: Sequence[bytes]) -> list[bytes]:
    """Apply a history, and hold it against the document, so that nothing of it waits in vain.

    Two writers may have appended an edit before the one that it builds on. pycrdt loses sight of an edit that
    waits when several come out of their order, so what waits is applied again until nothing changes any more.
    Others get their turn meanwhile; a thread would not help, since pycrdt holds the interpreter's lock.

    Returns:
        the updates of which something waits for an update that is not there.

    Raises:
        ProtocolError: one of them is no Yjs update.
    """
    waiting: list[bytes] = []
    await _in_turns(_steps(doc, updates, waiting))
    return waiting


def load_at_once(doc: Doc[Any], updates: Sequence[bytes]) -> list[bytes]:
    """The same as `load`, in a thread where nobody else waits for a turn."""
    waiting: list[bytes] = []
    for _ in _steps(doc, updates, waiting):
        pass
    return waiting


def apply(doc: Doc[Any], update: bytes) -> None:
    """Apply an update; what comes from outside was looked at before (`pieces.require_sound`).

    Raises:
        ProtocolError: it is none, or a value in it is nested so deeply that it would end the process.
        DocumentBroken: pycrdt has failed on it; nothing can be said of the document any more.
    """
    require_shallow(update)
    try:
        doc.apply_update(update)
    except (ValueError, RuntimeError) as error:
        raise ProtocolError("The update can't be read.") from error
    except BaseException as error:
        # A panic of the Rust code is none of Python's exceptions; its class is not exported.
        if type(error).__name__ != "PanicException":
            raise
        raise DocumentBroken("The update can't be applied.") from error


async def look_through_in_turns(update: bytes) -> None:
    """`pieces.require_sound`, so that others get their turn meanwhile.

    Raises:
        ProtocolError: see there.
    """
    await _in_turns(look_through(update))


async def apply_in_pieces(
    doc: Doc[Any], update: bytes, apply_piece: Callable[[bytes], None], *, from_outside: bool = False
) -> bool:
    """Apply a large update so that others get their turn meanwhile.

    Args:
        doc: what `apply_piece` applies to. It may be read and changed meanwhile.
        update: a Yjs update.
        apply_piece: called with each piece, in their order.
        from_outside: see `Pieces`.

    Returns:
        whether the document holds all of it now.

    Raises:
        ProtocolError: it is no Yjs update. Pieces that were applied before that was found are edits like any other.
    """
    return await _in_turns(_piece_by_piece(doc, update, apply_piece, from_outside))


def _steps(doc: Doc[Any], updates: Sequence[bytes], waiting: list[bytes]) -> Generator[None, None, None]:
    """Apply a history in small steps; `waiting` is filled with what waits in the end."""
    perhaps: list[bytes] = []
    for some in _chunks(updates):
        if len(some[0]) < LARGE_BYTES:
            _apply_merged(doc, some)
            perhaps += some
            yield
        elif not (yield from _piece_by_piece(doc, some[0], lambda piece: apply(doc, piece))):
            perhaps += some
    for number in range(0, len(perhaps), _CHECKED_TOGETHER):
        waiting += incomplete(doc, perhaps[number : number + _CHECKED_TOGETHER])
        yield
    before = len(perhaps) + 1
    while waiting and len(waiting) < before:
        before = len(waiting)
        for update in waiting:
            apply(doc, update)
            yield
        waiting[:] = incomplete(doc, waiting)


def _chunks(updates: Sequence[bytes]) -> Iterator[Sequence[bytes]]:
    """Keystrokes by the dozen: merged first they are applied several times faster. What is large goes alone."""
    begin = size = 0
    for number, update in enumerate(updates):
        if number > begin and (number - begin == _MERGED_TOGETHER or size + len(update) > _MERGED_BYTES):
            yield updates[begin:number]
            begin, size = number, 0
        size += len(update)
    if begin < len(updates):
        yield updates[begin:]


def _apply_merged(doc: Doc[Any], updates: Sequence[bytes]) -> None:
    try:
        merged = merge_updates(*updates) if len(updates) > 1 else updates[0]
    except ValueError as error:
        raise ProtocolError("The update can't be read.") from error
    apply(doc, merged)


def _piece_by_piece(
    doc: Doc[Any], update: bytes, apply_piece: Callable[[bytes], None], from_outside: bool = False
) -> Generator[None, None, bool]:
    """See `apply_in_pieces`."""
    pieces = Pieces(update, clocks(doc.get_state()), from_outside=from_outside)
    for piece in pieces:
        if piece:
            apply_piece(piece)
        yield
    return is_complete(doc, update) if pieces.complete is None else pieces.complete


async def _in_turns(steps: Generator[None, None, _T]) -> _T:
    """Take the steps; others have their turn after each slice of time."""
    turn_ends = time.monotonic() + _SLICE_SECONDS
    while True:
        try:
            next(steps)
        except StopIteration as done:
            return done.value
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
    if rest == _NOTHING:
        return True
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
