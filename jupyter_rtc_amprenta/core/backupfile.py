"""The file of a backup: a stream of bytes, compressed, encrypted where there is a key, and checked piece by piece.

    header   one line of JSON: format, version, when, how many documents, the key's id and the file's salt
    frame*   4 bytes: its length, with the highest bit set in the last one; then that many bytes

With a key each frame is sealed by AES-256-GCM; without one it ends with a digest. Either is taken over the header, the
frame's number, whether it is the last, and its bytes: what was altered, moved, cut off or added to is noticed.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import zlib
from collections.abc import Iterator
from typing import Any, BinaryIO

from cryptography.exceptions import InvalidTag

from .crypto import EncryptionKeys
from .errors import BackupError

FORMAT = "jupyter-rtc backup"
VERSION = 1
_FRAME_BYTES = 2**18
_LAST = 2**31
_LONGEST_HEADER = 2**16
# A frame is a little longer than what is compressed into it at most.
_LONGEST_FRAME = 2**24
_DIGEST_BYTES = 16
_SALT_BYTES = 16


class FrameSeal:
    """Seals and opens a file's frames, in their order.

    Args:
        header: the file's first line, which they are bound to.
        keys: what the header's key must be among.

    Raises:
        EncryptionError: it is not.
    """

    def __init__(self, header: bytes, keys: EncryptionKeys) -> None:
        described = json.loads(header)
        key_id = described["key_id"]
        self._cipher = key_id and keys.file_cipher(key_id, base64.b64decode(described["salt"]))
        self._header = hashlib.sha256(header).digest()
        self._number = 0

    def seal(self, plain: bytes, last: bool) -> bytes:
        """The next frame's bytes."""
        nonce, place = self._next(last)
        if self._cipher:
            return self._cipher.encrypt(nonce, plain, place)
        return plain + hashlib.sha256(place + plain).digest()[:_DIGEST_BYTES]

    def open(self, sealed: bytes, last: bool) -> bytes:
        """What the next frame holds.

        Raises:
            BackupError: it is not what was written.
        """
        nonce, place = self._next(last)
        plain, digest = sealed[:-_DIGEST_BYTES], sealed[-_DIGEST_BYTES:]
        if self._cipher:
            try:
                return self._cipher.decrypt(nonce, sealed, place)
            except (InvalidTag, ValueError):
                plain = None
        if plain is None or hashlib.sha256(place + plain).digest()[:_DIGEST_BYTES] != digest:
            other = ", or its key is another one of that name" if self._cipher else ""
            raise BackupError(f"The backup is damaged{other}.")
        return plain

    def _next(self, last: bool) -> tuple[bytes, bytes]:
        nonce = self._number.to_bytes(12, "big")
        self._number += 1
        return nonce, self._header + nonce + bytes([last])


class BackupWriter:
    """Writes a backup's bytes.

    Args:
        file: an empty one.
        described: goes to the header as it is; it is not secret.
        keys: the first of them encrypts; without one the file is plain.
    """

    def __init__(self, file: BinaryIO, described: dict[str, Any], keys: EncryptionKeys) -> None:
        salt = base64.b64encode(os.urandom(_SALT_BYTES)).decode()
        about = {"format": FORMAT, "version": VERSION, "key_id": keys.key_id, "salt": salt}
        header = json.dumps(about | described).encode() + b"\n"
        self._file = file
        self._seal = FrameSeal(header, keys)
        self._compressor = zlib.compressobj()
        self._ready = bytearray()
        file.write(header)

    def write(self, data: bytes) -> None:
        """Add to it."""
        self._ready += self._compressor.compress(data)
        while len(self._ready) > _FRAME_BYTES:
            frame = bytes(self._ready[:_FRAME_BYTES])
            del self._ready[:_FRAME_BYTES]
            self._frame(frame, last=False)

    def finish(self) -> None:
        """No more comes."""
        self._ready += self._compressor.flush()
        self._frame(bytes(self._ready), last=True)

    def _frame(self, plain: bytes, last: bool) -> None:
        sealed = self._seal.seal(plain, last)
        self._file.write((len(sealed) | (_LAST if last else 0)).to_bytes(4, "big") + sealed)


class BackupReader:
    """Reads a backup's bytes, and takes none that were altered.

    Args:
        file: as `BackupWriter` wrote it.
        keys: its own must be among them.

    Attributes:
        described: the header.

    Raises:
        BackupError: it is no backup, or of a newer format.
        EncryptionError: its key is not there.
    """

    def __init__(self, file: BinaryIO, keys: EncryptionKeys) -> None:
        header = file.readline(_LONGEST_HEADER)
        self.described = _understood(header)
        self._file = file
        self._seal = FrameSeal(header, keys)
        self._plain = bytearray()
        self._parts = self._decompressed()

    def read(self, size: int) -> bytes:
        """The next `size` bytes; fewer at the end.

        Raises:
            BackupError: the file is damaged or cut off.
        """
        while len(self._plain) < size and (part := next(self._parts, None)) is not None:
            self._plain += part
        found = bytes(self._plain[:size])
        del self._plain[:size]
        return found

    def _decompressed(self) -> Iterator[bytes]:
        decompressor = zlib.decompressobj()
        for frame in self._frames():
            while frame:
                try:
                    yield decompressor.decompress(frame, _FRAME_BYTES)
                except zlib.error:
                    raise BackupError("The backup is damaged.") from None
                frame = decompressor.unconsumed_tail
        if not decompressor.eof:
            raise BackupError("The backup is damaged.")

    def _frames(self) -> Iterator[bytes]:
        last = False
        while not last:
            head = int.from_bytes(self._exactly(4), "big")
            last, size = head >= _LAST, head % _LAST
            if size > _LONGEST_FRAME:
                raise BackupError("The backup is damaged.")
            yield self._seal.open(self._exactly(size), last)
        if self._file.read(1):
            raise BackupError("The backup is damaged: something was added to it.")

    def _exactly(self, size: int) -> bytes:
        data = self._file.read(size)
        if len(data) < size:
            raise BackupError("The backup is cut off: its end is missing.")
        return data


def _understood(header: bytes) -> dict[str, Any]:
    try:
        described = json.loads(header)
        known = described["format"] == FORMAT and isinstance(described["version"], int)
        base64.b64decode(described["salt"], validate=True)
        known = known and isinstance(described["key_id"], str | None)
    except (ValueError, KeyError, TypeError):
        known = False
    if not known:
        raise BackupError("It is no backup that 'jupyter-rtc backup' has made.")
    if described["version"] > VERSION:
        raise BackupError("The backup was made by a newer version: upgrade jupyter-rtc-amprenta here.")
    return described
