"""Encryption of updates and snapshots at rest.

AES-256-GCM, with a key derived for each document (HKDF-SHA256), so that random nonces stay far from their limit.
What is encrypted is compressed first. The associated data is the row's place in the log: bytes that were moved to
another document, writer or position can't be read there.
"""

from __future__ import annotations

import base64
import binascii
import os
import re
import zlib
from collections.abc import Mapping
from functools import lru_cache

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from .errors import ConfigurationError, EncryptionError

KEY_BYTES = 32
_NONCE_BYTES = 12
_RAW, _DEFLATED = b"\x00", b"\x01"
# Below this, zlib's own header is more than it saves.
_WORTH_COMPRESSING = 100
_DERIVED_KEYS = 4096
_KEY_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")


def update_place(document_id: str, generation: int, writer: str, writer_seq: int) -> bytes:
    """The associated data of an update. No part can hold the separator: PostgreSQL's text has no NUL."""
    return "\0".join(("update", document_id, str(generation), writer, str(writer_seq))).encode()


def metadata_place(document_id: str, generation: int, writer: str, writer_seq: int) -> bytes:
    """The associated data of an update's metadata."""
    return b"metadata of " + update_place(document_id, generation, writer, writer_seq)


def snapshot_place(document_id: str, generation: int, seq: int) -> bytes:
    """The associated data of a snapshot."""
    return "\0".join(("snapshot", document_id, str(generation), str(seq))).encode()


class EncryptionKeys:
    """The keys of a deployment, of which the first encrypts and all decrypt.

    Args:
        keys: 32 bytes each, by key id; empty: what is written is plain.
    """

    def __init__(self, keys: Mapping[str, bytes]) -> None:
        self._keys = dict(keys)
        self.key_id = next(iter(self._keys), None)
        self._cipher = lru_cache(_DERIVED_KEYS)(self._derive)

    @classmethod
    def parse(cls, text: str) -> EncryptionKeys:
        """The keys of RTC_ENCRYPTION_KEYS: `id:base64,id:base64`.

        Raises:
            ConfigurationError: it can't be understood. The text, which is secret, is not in the message.
        """
        keys: dict[str, bytes] = {}
        for number, part in enumerate(filter(None, map(str.strip, text.split(","))), start=1):
            key_id, _, encoded = part.partition(":")
            try:
                key = base64.b64decode(encoded, validate=True)
            except binascii.Error:
                key = b""
            if not _KEY_ID.fullmatch(key_id) or len(key) != KEY_BYTES:
                raise ConfigurationError(
                    f"RTC_ENCRYPTION_KEYS: key {number} should look like 2026-01:<{KEY_BYTES} bytes in base64>. "
                    f"Make one with: openssl rand -base64 {KEY_BYTES}"
                )
            if key_id in keys:
                raise ConfigurationError(f"RTC_ENCRYPTION_KEYS: there are two keys {key_id}; ids must differ.")
            keys[key_id] = key
        return cls(keys)

    def __bool__(self) -> bool:
        return bool(self._keys)

    @property
    def key_ids(self) -> tuple[str, ...]:
        """The ids of all keys, the one that encrypts first."""
        return tuple(self._keys)

    def seal(self, plain: bytes, document_id: str, place: bytes) -> tuple[bytes, str | None]:
        """Encrypt with the first key.

        Returns:
            what is to be kept, and the id of the key; without keys the plain bytes, and None.
        """
        if self.key_id is None:
            return plain, None
        nonce = os.urandom(_NONCE_BYTES)
        return nonce + self._cipher(self.key_id, document_id).encrypt(nonce, _packed(plain), place), self.key_id

    def open(self, sealed: bytes, key_id: str | None, document_id: str, place: bytes) -> bytes:
        """Decrypt.

        Args:
            key_id: as `seal` gave it; None: it is plain.

        Raises:
            EncryptionError: the key is not among these, is another one of that name, or the bytes were altered.
        """
        if key_id is None:
            return sealed
        if key_id not in self._keys:
            raise EncryptionError(f"The document is encrypted with key {key_id}, which RTC_ENCRYPTION_KEYS lacks.")
        try:
            packed = self._cipher(key_id, document_id).decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], place)
        except (InvalidTag, ValueError):
            raise EncryptionError(
                f"The document can't be decrypted: key {key_id} is another one, or the data was altered."
            ) from None
        return zlib.decompress(packed[1:]) if packed[:1] == _DEFLATED else packed[1:]

    def file_cipher(self, key_id: str, salt: bytes) -> AESGCM:
        """The cipher of one file: of `salt`, random bytes that are the file's own, so that it may count its nonces.

        Raises:
            EncryptionError: the key is not among these.
        """
        if key_id not in self._keys:
            raise EncryptionError(f"It is encrypted with key {key_id}, which RTC_ENCRYPTION_KEYS lacks.")
        key = HKDF(SHA256(), KEY_BYTES, salt=salt, info=b"amprenta-rtc file").derive(self._keys[key_id])
        return AESGCM(key)

    def _derive(self, key_id: str, document_id: str) -> AESGCM:
        info = b"amprenta-rtc document " + document_id.encode()
        return AESGCM(HKDF(SHA256(), KEY_BYTES, salt=None, info=info).derive(self._keys[key_id]))


PLAIN = EncryptionKeys({})


def _packed(plain: bytes) -> bytes:
    if len(plain) >= _WORTH_COMPRESSING and len(deflated := zlib.compress(plain)) < len(plain):
        return _DEFLATED + deflated
    return _RAW + plain
