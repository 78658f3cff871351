"""The SQL on tokens that are refused before they expire. The connection comes first."""

from __future__ import annotations

from collections.abc import Collection
from datetime import UTC, datetime, timedelta

from sqlalchemy import Connection, delete, func, select
from sqlalchemy.dialects.postgresql import insert as upsert

from .schema import now, revoked_tokens, token_cutoffs
from .tokens import LONGEST_SECONDS, Stamp

# Clocks differ a little, and no token is valid for longer than this after it was made.
_KEPT = timedelta(seconds=LONGEST_SECONDS + 3600)


def revoke_token(connection: Connection, stamp: Stamp) -> None:
    """Refuse one token from now on; it must have a `token_hash`."""
    row = {"token_hash": stamp.token_hash, "expires_at": datetime.fromtimestamp(stamp.expires_at, UTC)}
    connection.execute(upsert(revoked_tokens).values(row).on_conflict_do_nothing())


def revoke_tokens_of(connection: Connection, username: str) -> None:
    """Refuse all tokens that were made for a user until now."""
    statement = upsert(token_cutoffs).values(username=username, made_until=now())
    later = func.greatest(token_cutoffs.c.made_until, statement.excluded.made_until)
    connection.execute(
        statement.on_conflict_do_update(constraint="pk_token_cutoffs", set_={"made_until": later})
    )


def revoked(connection: Connection, stamps: Collection[Stamp]) -> set[Stamp]:
    """Those of these tokens that are refused."""
    hashes = {stamp.token_hash for stamp in stamps} - {""}
    names = {stamp.username for stamp in stamps}
    alone = set(
        connection.execute(select(revoked_tokens.c.token_hash).where(revoked_tokens.c.token_hash.in_(hashes))).scalars()
    )
    cutoffs = select(token_cutoffs.c["username", "made_until"]).where(token_cutoffs.c.username.in_(names))
    until = {row.username: row.made_until.timestamp() for row in connection.execute(cutoffs)}
    return {
        stamp
        for stamp in stamps
        if stamp.token_hash in alone or stamp.made_at <= until.get(stamp.username, float("-inf"))
    }


def forget_tokens(connection: Connection, time: datetime) -> None:
    """Remove what is about tokens that have expired by themselves."""
    connection.execute(delete(revoked_tokens).where(revoked_tokens.c.expires_at < time - timedelta(hours=1)))
    connection.execute(delete(token_cutoffs).where(token_cutoffs.c.made_until < time - _KEPT))
