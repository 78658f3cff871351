"""A message as the bytes of one WebSocket frame (RFC 6455), made once for however many clients it goes to."""

from __future__ import annotations

import struct

# Final frame, binary; a server's frames bear no mask.
_BINARY = 0x82


def frame_of(message: bytes) -> bytes:
    """One unfragmented binary frame."""
    size = len(message)
    if size < 126:
        return struct.pack("!BB", _BINARY, size) + message
    if size < 2**16:
        return struct.pack("!BBH", _BINARY, 126, size) + message
    return struct.pack("!BBQ", _BINARY, 127, size) + message


class Framer:
    """Remembers the last frame: a room sends the same message object to one client after the other."""

    def __init__(self) -> None:
        self._message = b""
        self._frame = frame_of(b"")

    def frame(self, message: bytes) -> bytes:
        """The message's frame."""
        if message is not self._message:
            self._message, self._frame = message, frame_of(message)
        return self._frame
