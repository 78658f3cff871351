"""y-websocket frames: decode, encode, and what a reader may send. Pure: no sockets, no documents.

A frame is a variable-length unsigned integer (the type) and the type's body:

    0 sync       0 step 1 <state vector> | 1 step 2 <update> | 2 update <update>
    1 awareness  <awareness update>
    3 query awareness
    102 echo     anything; sent back unchanged once all received before it is committed

Source: y-protocols' PROTOCOL.md and y-websocket 3; 102 is y-sweet's `sync status` message.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

from .errors import ProtocolError


class MessageType(IntEnum):
    """The first integer of a frame."""

    SYNC = 0
    AWARENESS = 1
    QUERY_AWARENESS = 3
    ECHO = 102


class SyncType(IntEnum):
    """The second integer of a sync frame."""

    STEP_1 = 0
    STEP_2 = 1
    UPDATE = 2


class CloseCode(IntEnum):
    """Stock clients stop for good at 4400 to 4499, and come back after the others."""

    BAD_MESSAGE = 4400
    NOT_AUTHENTICATED = 4401
    NO_RIGHT = 4403
    NO_DOCUMENT = 4404
    WRONG_GENERATION = 4409
    TOO_LARGE = 4413
    TRY_LATER = 4503
    RIGHTS_CHANGED = 4510
    TOO_FAST = 4529


# An update without structs and without deletions.
EMPTY_UPDATE = b"\x00\x00"

# Of a document that holds nothing.
EMPTY_STATE_VECTOR = b"\x00"

# Numbers and such, to match a question with its answer.
_LONGEST_ECHO = 1024

# Deeper ones are read or not by how deep the reader's own stack happens to be.
_DEEPEST_STATE = 100


@dataclass(frozen=True)
class Frame:
    """One decoded message.

    Attributes:
        type: a MessageType, or another number: a type that this version does not know.
        sync: for SYNC, which one.
        body: for sync the state vector or the update, for awareness the awareness update, else all that follows.
    """

    type: int
    sync: SyncType | None
    body: bytes

    @property
    def edits(self) -> bool:
        """Whether it asks for a change of the document. An empty step 2 is what every client answers with."""
        return self.sync in (SyncType.STEP_2, SyncType.UPDATE) and self.body != EMPTY_UPDATE


def decode(message: bytes | str) -> Frame:
    """Decode one WebSocket message.

    Raises:
        ProtocolError: it is text, or not of the protocol's form. An unknown type is no error.
    """
    if isinstance(message, str):
        raise ProtocolError("A text message; y-websocket's messages are binary.")
    kind, at = read_uint(message, 0)
    if kind == MessageType.SYNC:
        step, at = read_uint(message, at)
        if step not in SyncType.__members__.values():
            raise ProtocolError(f"Sync messages are 0, 1 or 2, not {step}.")
        return Frame(kind, SyncType(step), _read_last(message, at))
    if kind == MessageType.AWARENESS:
        return Frame(kind, None, _read_last(message, at))
    if kind == MessageType.ECHO and len(message) - at > _LONGEST_ECHO:
        raise ProtocolError(f"An echo may have {_LONGEST_ECHO} bytes.")
    return Frame(kind, None, message[at:])


def encode_step_1(state_vector: bytes) -> bytes:
    """Ask for all that a document with this state vector lacks."""
    return bytes((MessageType.SYNC, SyncType.STEP_1)) + _sized(state_vector)


def encode_step_2(update: bytes) -> bytes:
    """Answer a step 1."""
    return bytes((MessageType.SYNC, SyncType.STEP_2)) + _sized(update)


def encode_update(update: bytes) -> bytes:
    """Tell of an edit."""
    return bytes((MessageType.SYNC, SyncType.UPDATE)) + _sized(update)


def encode_awareness(update: bytes) -> bytes:
    """Tell of clients' states (`encode_states`)."""
    return bytes((MessageType.AWARENESS,)) + _sized(update)


def encode_echo(body: bytes) -> bytes:
    """Ask whether all sent before this is committed, or answer that it is."""
    return bytes((MessageType.ECHO,)) + body


def encode_deletions(ranges: Mapping[int, tuple[int, int]]) -> bytes:
    """A Yjs update that deletes elements, and holds no others.

    Args:
        ranges: by client, the first of its elements to go and the first to stay.
    """
    parts = [write_uint(0), write_uint(len(ranges))]
    for client, (start, end) in ranges.items():
        parts += [write_uint(client), write_uint(1), write_uint(start), write_uint(end - start)]
    return b"".join(parts)


@dataclass(frozen=True)
class ClientState:
    """One client's awareness: `state` is None when it has left."""

    client_id: int
    clock: int
    state: dict[str, Any] | None


def decode_states(update: bytes) -> list[ClientState]:
    """Read an awareness update.

    Raises:
        ProtocolError: it is none.
    """
    count, at = read_uint(update, 0)
    states = []
    for _ in range(count):
        client_id, at = read_uint(update, at)
        clock, at = read_uint(update, at)
        text, at = _read_sized(update, at)
        states.append(ClientState(client_id, clock, _read_state(text)))
    return states


def encode_states(states: Iterable[ClientState]) -> bytes:
    """Write an awareness update."""
    return join_states([encode_state(state) for state in states])


def encode_state(state: ClientState) -> bytes:
    """Write one client's part of an awareness update."""
    # ASCII: half of an emoji, which a browser that cuts a name makes, has no UTF-8 but has an escape.
    text = json.dumps(state.state, separators=(",", ":")).encode()
    return write_uint(state.client_id) + write_uint(state.clock) + _sized(text)


def join_states(parts: Sequence[bytes]) -> bytes:
    """An awareness update of parts that `encode_state` wrote: each is written once, for however many messages."""
    return write_uint(len(parts)) + b"".join(parts)


def read_uint(data: bytes, at: int) -> tuple[int, int]:
    """Read lib0's variable-length unsigned integer.

    Returns:
        (the number, the position after it).

    Raises:
        ProtocolError: the data ends within it, or it is over 53 bits, which JavaScript could not have meant.
    """
    number = shift = 0
    while at < len(data):
        byte = data[at]
        number |= (byte & 127) << shift
        at += 1
        if byte < 128:
            if number >= 2**53:
                break
            return number, at
        shift += 7
        if shift > 56:
            break
    raise ProtocolError("The message is cut short, or holds a number that is out of range.")


def write_uint(number: int) -> bytes:
    """Write lib0's variable-length unsigned integer."""
    out = bytearray()
    while number > 127:
        out.append(128 | number & 127)
        number >>= 7
    out.append(number)
    return bytes(out)


def _read_state(text: bytes) -> dict[str, Any] | None:
    """What is let through here is written again for everybody: JavaScript must be able to read it."""
    try:
        state = json.loads(text.decode(), parse_constant=_no_json, parse_float=_finite)
    except (ValueError, RecursionError):
        raise ProtocolError("An awareness state is not JSON.") from None
    if state is not None and not isinstance(state, dict):
        raise ProtocolError("An awareness state is an object or null.")
    if _depth(state) > _DEEPEST_STATE:
        raise ProtocolError("An awareness state is nested too deeply.")
    return state


def _no_json(constant: str) -> Any:
    raise ValueError(f"{constant} is not JSON")


def _finite(text: str) -> float:
    if not math.isfinite(number := float(text)):
        raise ValueError(f"{text} is out of range")
    return number


def _depth(value: Any) -> int:
    level, depth = [value], 0
    while level := [item for item in level if isinstance(item, dict | list)]:
        level = [inner for item in level for inner in (item.values() if isinstance(item, dict) else item)]
        depth += 1
    return depth


def _read_sized(data: bytes, at: int) -> tuple[bytes, int]:
    size, at = read_uint(data, at)
    if at + size > len(data):
        raise ProtocolError("The message is cut short.")
    return data[at : at + size], at + size


def _read_last(data: bytes, at: int) -> bytes:
    body, at = _read_sized(data, at)
    if at != len(data):
        raise ProtocolError("The message goes on after its end.")
    return body


def _sized(data: bytes) -> bytes:
    return write_uint(len(data)) + data
