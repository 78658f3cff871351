"""The SQL on requests that are made twice with one key: the second gets the first one's answer. Connection first."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, Row, delete, select, update
from sqlalchemy.dialects.postgresql import insert as upsert

from .schema import now
from .schema_record import idempotency_keys


@dataclass(frozen=True)
class Repeatable:
    """A request that its client can repeat without harm.

    Attributes:
        username: who makes it; everybody has keys of their own.
        key: what the client calls it.
        request_hash: SHA-256 of what is asked.
    """

    username: str
    key: str
    request_hash: str


def earlier(connection: Connection, request: Repeatable) -> Row[tuple[str, str]] | None:
    """The request_hash and the answer (JSON) of the request with this key, if there was one."""
    columns = idempotency_keys.c["request_hash", "answer"]
    query = select(columns).filter_by(username=request.username, key=request.key)
    return connection.execute(query).one_or_none()


def claim(connection: Connection, request: Repeatable) -> bool:
    """Take the key, so that nobody else carries the request out; waits for one who is about it.

    Returns:
        False where there was such a request already.
    """
    row = {
        "username": request.username,
        "key": request.key,
        "request_hash": request.request_hash,
        "answer": "",
        "created_at": now(),
    }
    made = connection.execute(upsert(idempotency_keys).values(row).on_conflict_do_nothing())
    return made.rowcount == 1


def keep_answer(connection: Connection, request: Repeatable, answer: str) -> None:
    """Keep the answer (JSON) of a request whose key was claimed in this transaction."""
    one = update(idempotency_keys).filter_by(username=request.username, key=request.key)
    connection.execute(one.values(answer=answer))


def forget_keys(connection: Connection, before: datetime) -> int:
    """Forget the keys from before a time, and say how many they were."""
    return connection.execute(delete(idempotency_keys).where(idempotency_keys.c.created_at < before)).rowcount
