"""Which keys sign and verify: the configured one, else those in the database."""

from __future__ import annotations

from sqlalchemy import Connection

from . import queries_keys
from .tokens import Keyring, key_id, new_private_key


def load_keyring(connection: Connection, signing_key: str) -> Keyring:
    """The keys of this deployment; the first one, if there is none, is made here and kept in the database.

    Args:
        signing_key: `RTC_SIGNING_KEY`, or "".

    Raises:
        ConfigurationError: the key is not an Ed25519 private key in PEM.
    """
    if signing_key:
        return Keyring([signing_key])
    keys = queries_keys.private_keys(connection)
    if not keys:
        new = new_private_key()
        keys = queries_keys.add_first_key(connection, key_id(new), new)
    return Keyring(keys)
