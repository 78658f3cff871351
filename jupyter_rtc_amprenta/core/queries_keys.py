"""The SQL on signing keys. The connection comes first."""

from __future__ import annotations

from sqlalchemy import Connection, insert, select, text

from .schema import now, signing_keys


def private_keys(connection: Connection) -> list[str]:
    """The signing keys, in PEM, the newest first."""
    order = (signing_keys.c.created_at.desc(), signing_keys.c.key_id)
    return list(connection.execute(select(signing_keys.c.private_key).order_by(*order)).scalars())


def add_first_key(connection: Connection, key_id: str, private_key: str) -> list[str]:
    """Keep a signing key where there is none yet; of several processes that try, one does.

    Returns:
        the keys that there are now, the newest first.
    """
    connection.execute(text("LOCK TABLE signing_keys IN SHARE ROW EXCLUSIVE MODE"))
    if not (known := private_keys(connection)):
        row = {"key_id": key_id, "private_key": private_key, "created_at": now()}
        connection.execute(insert(signing_keys).values(row))
        known = [private_key]
    return known
