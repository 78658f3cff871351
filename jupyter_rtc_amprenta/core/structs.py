"""Reads the structs of a Yjs update (version 1), as far as one must to know where each ends and what it needs. Pure.

Source: yjs' `Item.write`, its `Content…` classes, and lib0's `writeAny`.
"""

from __future__ import annotations

from .errors import ProtocolError
from .protocol import read_uint

_GC, _DELETED, _JSON, _BINARY, _STRING, _EMBED, _FORMAT, _TYPE, _ANY, _DOC, _SKIP = range(11)
_HAS_LEFT, _HAS_RIGHT, _HAS_KEY = 0x80, 0x40, 0x20
# XML elements and hooks have a name; what comes after XML text is of newer libraries.
_NAMED_TYPES, _LAST_TYPE = (3, 5), 6
# lib0's values: by their number, how many bytes follow.
_SIZES = {127: 0, 126: 0, 124: 4, 123: 8, 122: 8, 121: 0, 120: 0}
_INTEGER, _TEXT, _OBJECT, _ARRAY, _BYTES = 125, 119, 118, 117, 116
# Values are read so many at a time.
_VALUES = 2000
# pycrdt reads a value within a value by recursion: one that is nested a hundred thousand times ends the process.
DEEPEST_VALUE = 200
# Clocks are 32 bits in yrs, which pycrdt is made of, and wrap around.
HIGHEST_CLOCK = 2**32 - 1


class NotKnown(Exception):
    """Something that only newer libraries write, or very old ones."""


class StructReader:
    """A place in one client's structs.

    Args:
        update: a Yjs update.
        client: whose structs these are.
        clock: of the first one.
        at: where it begins.
        left: how many there are.

    Attributes:
        client, clock, at, left: of the struct that is next, and how many there are from it on.
        needs: once it is read: what it builds on, by client and clock.
    """

    __slots__ = ("_data", "_end", "_length", "_values", "at", "client", "clock", "left", "needs")

    def __init__(self, update: bytes, client: int, clock: int, at: int, left: int) -> None:
        self.client, self.clock, self.at, self.left = client, clock, at, left
        self.needs: list[tuple[int, int]] = []
        self._data = update
        self._end, self._length = at, 0
        # The values that are still to be read, by level: how many, and whether each has a key.
        self._values: list[list[int]] = []

    def read(self) -> bool:
        """Read the next struct. False: it is so large that it is not read yet; go on by calling this again.

        Raises:
            ProtocolError: it is damaged.
            NotKnown: it is of a newer library.
        """
        if not self._values:
            self._begin()
        self._read_values()
        if self._values:
            return False
        if self._end > len(self._data):
            raise ProtocolError("The update is cut short.")
        return True

    def advance(self) -> None:
        """Go on to the struct after the one that was read."""
        self.at = self._end
        self.clock += self._length
        self.left -= 1

    def _begin(self) -> None:
        data, at = self._data, self.at
        if at >= len(data):
            raise ProtocolError("The update is cut short.")
        info = data[at]
        # Four bits, as yrs reads it, which knows no use of the fifth.
        kind = info & 15
        self.needs = [(self.client, self.clock - 1)] if self.clock else []
        if kind in (_GC, _SKIP):
            if info != kind:
                raise ProtocolError("A struct of the update is damaged.")
            self._length, self._end = read_uint(data, at + 1)
        else:
            self._end = self._read_origins(info, at + 1)
            self._length = self._read_content(kind)
        if self._length < 1:
            raise ProtocolError("A struct of the update is empty.")
        if self.clock + self._length > HIGHEST_CLOCK:
            raise ProtocolError("A clock of the update is out of range.")
        if kind == _SKIP:
            # A gap: what comes after it builds on what was left out.
            self.needs = [(self.client, self.clock + self._length - 1)]

    def _read_origins(self, info: int, at: int) -> int:
        data = self._data
        for flag in (_HAS_LEFT, _HAS_RIGHT):
            if info & flag:
                at = self._need(at)
        if info & (_HAS_LEFT | _HAS_RIGHT):
            return at
        by_name, at = read_uint(data, at)
        at = _after(data, at) if by_name else self._need(at)
        return _after(data, at) if info & _HAS_KEY else at

    def _need(self, at: int) -> int:
        client, at = read_uint(self._data, at)
        clock, at = read_uint(self._data, at)
        self.needs.append((client, clock))
        return at

    def _read_content(self, kind: int) -> int:
        """Read what the struct holds; gives its length, in clocks."""
        data, at = self._data, self._end
        if kind == _DELETED:
            length, self._end = read_uint(data, at)
            return length
        if kind == _STRING:
            self._end = _after(data, at)
            size, begin = read_uint(data, at)
            return _utf16_length(data[begin : begin + size])
        if kind == _JSON:
            # Nobody has written it for years, and yrs, which pycrdt is made of, reads one text more than there are: to
            # it the rest is another update than to us, and a count in there may ask for more memory than there is.
            raise NotKnown
        if kind == _ANY:
            length, self._end = read_uint(data, at)
            self._values = [[length, 0]]
            return length
        self._end = self._read_single(kind, at)
        return 1

    def _read_single(self, kind: int, at: int) -> int:
        data = self._data
        if kind in (_BINARY, _EMBED):
            return _after(data, at)
        if kind == _FORMAT:
            return _after(data, _after(data, at))
        if kind == _TYPE:
            type_, at = read_uint(data, at)
            if type_ > _LAST_TYPE:
                raise NotKnown
            return _after(data, at) if type_ in _NAMED_TYPES else at
        if kind == _DOC:
            self._values = [[1, 0]]
            return _after(data, at)
        raise NotKnown

    def _read_values(self) -> None:
        levels = self._values
        for _ in range(_VALUES):
            while levels and not levels[-1][0]:
                levels.pop()
            if not levels:
                return
            levels[-1][0] -= 1
            if levels[-1][1]:
                self._end = _after(self._data, self._end)
            self._read_value()

    def _read_value(self) -> None:
        data, at = self._data, self._end + 1
        if at > len(data):
            raise ProtocolError("The update is cut short.")
        kind = data[at - 1]
        if kind in _SIZES:
            self._end = at + _SIZES[kind]
        elif kind == _INTEGER:
            while at < len(data) and data[at] & 128:
                at += 1
            self._end = at + 1
        elif kind in (_TEXT, _BYTES):
            self._end = _after(data, at)
        elif kind in (_OBJECT, _ARRAY):
            count, self._end = read_uint(data, at)
            self._values.append([count, kind == _OBJECT])
            if len(self._values) > DEEPEST_VALUE:
                raise ProtocolError("A value of the update is nested too deeply.")
        else:
            raise NotKnown


def could_be_deep(update: bytes) -> bool:
    """Whether a value of the update could be nested too deeply: a quick look, for the many that could not."""
    return update.count(bytes((_OBJECT,))) + update.count(bytes((_ARRAY,))) >= DEEPEST_VALUE


def _after(data: bytes, at: int) -> int:
    """The end of what has its size before it."""
    size, at = read_uint(data, at)
    if at + size > len(data):
        raise ProtocolError("The update is cut short.")
    return at + size


def _utf16_length(text: bytes) -> int:
    if text.isascii():
        return len(text)
    try:
        length = len(text.decode())
    except UnicodeDecodeError:
        raise ProtocolError("A text of the update is not UTF-8.") from None
    # What is beyond the basic plane has four bytes, and counts twice.
    return length + sum(text.count(bytes((first,))) for first in range(0xF0, 0xF5))
