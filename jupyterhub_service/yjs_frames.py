"""A message as the bytes of one WebSocket frame (RFC 6455), made once for however many clients it goes to."""

from __future__ import annotations

import struct

# Final frame, binary; a server's frames bear no mask.
_BINARY = 0x82
_LARGE_BYTES = 64 * 1024


def frame_of(message: bytes) -> bytes:
    """One unfragmented binary frame."""
    size = len(message)
    if size < 126:
        return struct.pack("!BB", _BINARY, size) + message
    if size < 2**16:
        return struct.pack("!BBH", _BINARY, 126, size) + message
    return struct.pack("!BBQ", _BINARY, 127, size) + message


class Framer:
    """Remembers the last frame of a room, and its last large one: it sends the same message to one client after the
    other, and its whole state to whoever comes."""

    def __init__(self) -> None:
        nothing = b"", frame_of(b"")
        self._small, self._large = nothing, nothing

    def frame(self, message: bytes) -> bytes:
        """The message's frame."""
        known = self._small if len(message) < _LARGE_BYTES else self._large
        if message is known[0]:
            return known[1]
        made = message, frame_of(message)
        if len(message) < _LARGE_BYTES:
            self._small = made
        else:
            self._large = made
        return made[1]

    def forget_large(self) -> None:
        """The large message will not be sent again."""
        self._large = b"", b""
