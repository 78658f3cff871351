"""A large update in pieces, each of them complete once those before it are applied. Pure.

pycrdt holds the interpreter's lock while it applies an update: in a thread, too, an update that takes a second keeps
everybody waiting for a second. In pieces, others get their turn in between.

An update (version 1) has, by client, structs that follow each other by their clocks, and then what is deleted:

    clients, then each: structs, client, clock, structs…    clients, then each: client, ranges, (clock, length)…

A struct builds on the one before it, and may build on those of any client: its first neighbours, its parent.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Generator, Iterator, Mapping
from dataclasses import dataclass

from .errors import ProtocolError
from .protocol import read_uint, write_uint
from .structs import NotKnown, StructReader, could_be_deep

# An update that is smaller is applied at once.
LARGE_BYTES = 64 * 1024
# What one piece may have, so that it takes some milliseconds.
PIECE_BYTES = 64 * 1024
PIECE_STRUCTS = 1000
PIECE_RANGES = 2000
# What one update from outside may name. An open tab is a client, and so is a change that a script makes in the file:
# there are some thousands of them, sent with a first step 2. Each takes a hundred times as much memory as it has bytes.
MOST_CLIENTS = 2**17


@dataclass
class _Section:
    """Structs of one client that follow each other in the update."""

    client: int
    clock: int
    count: int
    begin: int
    end: int


class Pieces:
    """The pieces of one update.

    Args:
        update: a Yjs update.
        known: the clocks of the document that it is for (`causal.clocks`).
        from_outside: it was not looked at before: what is not known, or names too many clients, is refused.

    Attributes:
        complete: once all were given: whether the document that they were applied to has all of it now; None: that
            can't be told from here.
    """

    def __init__(self, update: bytes, known: Mapping[int, int], *, from_outside: bool = False) -> None:
        self.complete: bool | None = None
        self._from_outside = from_outside
        self._update = update
        self._reached = dict(known)
        self._readers: dict[int, StructReader] = {}
        self._ends: dict[int, int] = {}
        self._piece: dict[int, _Section] = {}
        self._size = 0

    def __iter__(self) -> Iterator[bytes]:
        """Give the pieces; b"" is none, but a place for others to have their turn.

        Raises:
            ProtocolError: it is no Yjs update; that is told before the first piece.
        """
        try:
            deletions = yield from self.survey()
        except NotKnown:
            if self._from_outside:
                raise ProtocolError("The update holds what this version does not know.") from None
            # In one piece, which takes the time that it takes.
            yield self._update
            return
        yield from self._in_causal_order()
        whole = True
        rest = [self._rest(reader) for reader in self._readers.values() if reader.left]
        if rest:
            whole = False
            yield _structs(self._update, rest) + b"\x00"
        for client, ranges in _in_pieces(self._update, deletions):
            whole = whole and all(clock + length <= self._reached.get(client, 0) for clock, length in ranges)
            yield _deletions(client, ranges) if ranges else b""
        self.complete = whole

    def survey(self) -> Iterator[bytes]:
        """Read all of it once, so that nothing is applied of what is damaged; where the deletions begin."""
        clients, at = read_uint(self._update, 0)
        if self._from_outside and clients > MOST_CLIENTS:
            raise ProtocolError(f"An update of more than {MOST_CLIENTS} clients is not taken.")
        for _ in range(clients):
            count, at = read_uint(self._update, at)
            client, at = read_uint(self._update, at)
            clock, at = read_uint(self._update, at)
            if client in self._readers or not count:
                raise ProtocolError("A client of the update is named twice, or has no structs.")
            self._readers[client] = StructReader(self._update, client, clock, at, count)
            scout = StructReader(self._update, client, clock, at, count)
            while scout.left:
                while not scout.read():
                    yield b""
                scout.advance()
                if scout.left % PIECE_STRUCTS == 0:
                    yield b""
            self._ends[client] = at = scout.at
        for _ in _in_pieces(self._update, at):
            yield b""
        return at

    def _in_causal_order(self) -> Iterator[bytes]:
        """Take structs for as long as what they build on is there; who lacks something waits for its client."""
        waiting: dict[int, list[tuple[int, int]]] = {}
        ready = deque(self._readers)
        while ready:
            reader = self._readers[ready.popleft()]
            while reader.left:
                while not reader.read():
                    yield b""
                if (lack := self._lack(reader)) is not None:
                    client, clock = lack
                    heapq.heappush(waiting.setdefault(client, []), (clock, reader.client))
                    break
                self._take(reader)
                who_waits = waiting.get(reader.client)
                while who_waits and who_waits[0][0] < self._reached[reader.client]:
                    ready.append(heapq.heappop(who_waits)[1])
                if self._is_full:
                    yield self._cut()
        if self._piece:
            yield self._cut()

    def _lack(self, reader: StructReader) -> tuple[int, int] | None:
        """What the next struct builds on and is not there yet: its client and clock."""
        for client, clock in reader.needs:
            if clock >= self._reached.get(client, 0):
                return client, clock
        return None

    def _take(self, reader: StructReader) -> None:
        """Put the next struct into the piece."""
        section = self._piece.get(reader.client)
        if section is None:
            section = _Section(reader.client, reader.clock, 0, reader.at, reader.at)
            self._piece[reader.client] = section
        reader.advance()
        section.count += 1
        section.end = reader.at
        self._size += 1
        self._reached[reader.client] = max(self._reached.get(reader.client, 0), reader.clock)

    @property
    def _is_full(self) -> bool:
        # The bytes of one section; of several, the number of structs bounds them as well.
        if self._size >= PIECE_STRUCTS:
            return True
        return any(section.end - section.begin >= PIECE_BYTES for section in self._piece.values())

    def _cut(self) -> bytes:
        piece = _structs(self._update, list(self._piece.values())) + b"\x00"
        self._piece, self._size = {}, 0
        return piece

    def _rest(self, reader: StructReader) -> _Section:
        return _Section(reader.client, reader.clock, reader.left, reader.at, self._ends[reader.client])


def require_sound(update: bytes) -> None:
    """Refuse what is damaged, before pycrdt sees it: some of it would break the document, or end the process.

    Raises:
        ProtocolError: it is no Yjs update, or one that no client makes, or is of a library that pycrdt can't read.
    """
    deque(look_through(update), maxlen=0)


def look_through(update: bytes) -> Generator[None, None, None]:
    """`require_sound` in steps, between which others may have their turn."""
    try:
        for _ in Pieces(update, {}, from_outside=True).survey():
            yield
    except NotKnown:
        raise ProtocolError("The update holds what this version does not know.") from None


def require_shallow(update: bytes) -> None:
    """Refuse what would overflow the stack of whoever applies it: that ends the process.

    A quick look, for what was found sound when it came in.

    Raises:
        ProtocolError: a value is nested too deeply, or the update is damaged.
    """
    if could_be_deep(update):
        require_sound(update)


def _structs(update: bytes, sections: list[_Section]) -> bytes:
    parts = [write_uint(len(sections))]
    for one in sections:
        parts += [write_uint(one.count), write_uint(one.client), write_uint(one.clock), update[one.begin : one.end]]
    return b"".join(parts)


def _deletions(client: int, ranges: list[tuple[int, int]]) -> bytes:
    numbers = (number for one in ranges for number in one)
    return b"\x00\x01" + write_uint(client) + write_uint(len(ranges)) + b"".join(map(write_uint, numbers))


def _in_pieces(update: bytes, at: int) -> Iterator[tuple[int, list[tuple[int, int]]]]:
    """What is deleted, from there on: by client some ranges at a time, or, for others to have their turn, none."""
    clients, at = read_uint(update, at)
    for number in range(clients):
        client, at = read_uint(update, at)
        left, at = read_uint(update, at)
        if number % PIECE_RANGES == PIECE_RANGES - 1:
            yield client, []
        while left:
            ranges = []
            for _ in range(min(left, PIECE_RANGES)):
                clock, at = read_uint(update, at)
                length, at = read_uint(update, at)
                ranges.append((clock, length))
            left -= len(ranges)
            yield client, ranges
