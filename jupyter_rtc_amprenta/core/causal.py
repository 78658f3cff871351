"""What an update needs before it can be a part of a document (rule 4). Pure.

Yjs keeps an update whose predecessor is missing aside, in silence: the document does not change, no event tells,
and `Doc.get_update()` leaves it out. So whoever acknowledges an update asks here first.
"""

from __future__ import annotations

from pycrdt import Doc, get_update

from .errors import ProtocolError
from .protocol import read_uint


def is_complete(doc: Doc, update: bytes) -> bool:
    """Whether a document to which an update was applied holds all of it: nothing of it waits for another update.

    Args:
        doc: a document, outside of a transaction.
        update: a Yjs update.

    Raises:
        ProtocolError: it is none.
    """
    state = doc.get_state()
    try:
        rest = get_update(update, state)
    except ValueError as error:
        raise ProtocolError("The update can't be read.") from error
    missing, at = read_uint(rest, 0)
    return not missing and _deletes_what_is_known(rest, at, clocks(state))


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
