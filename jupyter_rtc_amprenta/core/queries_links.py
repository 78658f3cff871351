"""The SQL on invitation links. The connection comes first; lists are paged as `queries_paging.py` says."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any
from uuid import uuid4

from sqlalchemy import Connection, Row, Select, insert, select, update

from .queries_paging import page
from .schema import invite_links, now, sessions


@dataclass(frozen=True)
class NewLink:
    """An offer to whoever has its token, of which only the hash is kept."""

    token_hash: str
    document_id: str
    created_by: str
    permissions: str
    max_uses: int
    expires_at: datetime


def add_link(connection: Connection, new: NewLink) -> Row[Any]:
    """Keep a new link, and give it as `links_of_session` does."""
    row = asdict(new) | {"link_id": str(uuid4()), "created_at": now()}
    connection.execute(insert(invite_links).values(row))
    return connection.execute(_links().where(invite_links.c.link_id == row["link_id"])).one()


def links_of_session(
    connection: Connection, document_id: str, limit: int, after: Sequence[Any] | None
) -> Sequence[Row[Any]]:
    """A session's links, the newest first, by (created_at, link_id); each with the session's owner, title, and type."""
    query = _links().where(invite_links.c.document_id == document_id)
    keys = (invite_links.c.created_at, invite_links.c.link_id)
    return connection.execute(page(query, keys, limit, after)).all()


def link_for(connection: Connection, token_hash: str) -> Row[Any] | None:
    """The link of a token; nobody else can use it meanwhile."""
    query = _links().where(invite_links.c.token_hash == token_hash).with_for_update(of=invite_links)
    return connection.execute(query).one_or_none()


def count_use(connection: Connection, link_id: str) -> None:
    """Somebody came by it. The caller holds its row, and has looked whether there is a use left."""
    used = update(invite_links).filter_by(link_id=link_id)
    connection.execute(used.values(uses=invite_links.c.uses + 1))


def revoke_link(connection: Connection, document_id: str, link_id: str) -> bool:
    """Let nobody come by it any more.

    Returns:
        whether the session has such a link.
    """
    of_session = update(invite_links).filter_by(document_id=document_id, link_id=link_id)
    first = of_session.where(invite_links.c.revoked_at.is_(None)).values(revoked_at=now())
    if connection.execute(first).rowcount:
        return True
    known = select(invite_links.c.link_id).filter_by(document_id=document_id, link_id=link_id)
    return connection.execute(known).one_or_none() is not None


def _links() -> Select[Any]:
    columns = sessions.c["owner", "title", "document_type"]
    joined = sessions.c.document_id == invite_links.c.document_id
    return select(invite_links, columns).join(sessions, joined)
