"""Invitation links: whoever of the Hub's users has one may take part, as often and as long as it says.

The token is told once, to the owner who makes the link, and only its hash is kept. Looking at a link changes nothing;
to accept it is a request of its own.
"""

from __future__ import annotations

import hashlib
import secrets
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row

from jupyter_rtc_amprenta.core import queries_links, queries_participants, queries_people, queries_record
from jupyter_rtc_amprenta.core.database import Database
from jupyter_rtc_amprenta.core.queries_links import NewLink
from jupyter_rtc_amprenta.core.queries_record import Activity, record
from jupyter_rtc_amprenta.core.schema import now
from jupyter_rtc_amprenta.core.settings import Settings

from . import views
from .auth import Identity
from .bodies import LinkBody
from .collaboration import entered_session, online_since, require_owner
from .errors import BadRequest, Forbidden, NotFound
from .expiry import expires_at
from .listing import Page
from .views import Json

_TOKEN_BYTES = 24


class Links:
    """What can be done with links. A person decides, never a server.

    Every method raises `Refused` where the rules say no, and DatabaseUnavailable.

    Args:
        database: PostgreSQL.
        settings: how long a link is valid.
        hub_url: the Hub's path as browsers see it, such as `https://hub.example.org/hub/` or `/hub/`.
    """

    def __init__(self, database: Database, settings: Settings, hub_url: str) -> None:
        self._database = database
        self._settings = settings
        self._hub_url = hub_url

    async def make(self, identity: Identity, document_id: str, body: LinkBody) -> Json:
        """Make a link; its owner may. The answer alone has its token."""
        identity.require_person()
        token = secrets.token_urlsafe(_TOKEN_BYTES)
        new = NewLink(
            token_hash=_hash(token),
            document_id=document_id,
            created_by=identity.username,
            permissions=body.permissions,
            max_uses=body.max_uses,
            expires_at=expires_at(self._settings, body.expires_in),
        )
        row = await self._run(_make, identity, document_id, new)
        return views.link(row) | {"token": token}

    async def listed(self, identity: Identity, document_id: str, page: Page) -> Json:
        """A session's links, the newest first; its owner may."""
        identity.require_person()
        rows = await self._run(_links, identity, document_id, page)
        return views.listed(
            "links", rows, page.limit, views.link, lambda row: (row.created_at, row.link_id)
        )

    async def revoke(self, identity: Identity, document_id: str, link_id: str) -> None:
        """Let nobody come by it any more; who has come stays."""
        identity.require_person()
        await self._run(_revoke, identity, document_id, link_id)

    async def look(self, identity: Identity, token: str) -> Json:
        """What a link opens, before it is accepted."""
        identity.require_person()
        return views.offer(await self._database.run(_usable, token, identity.username))

    async def accept(self, identity: Identity, token: str) -> Json:
        """Take part. Whoever does already stays as they are, and uses nothing up."""
        identity.require_person()
        document_id, permissions = await self._run(_accept, identity, token)
        return {
            "success": True,
            "document_id": document_id,
            "permissions": permissions,
            "open_url": f"{self._hub_url}user-redirect/rtc/join/{document_id}",
        }

    async def _run(self, rule: Any, *arguments: Any) -> Any:
        return await self._database.run(rule, *arguments, online_since(self._settings))


def _hash(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


def _make(
    connection: Connection, identity: Identity, document_id: str, new: NewLink, since: datetime
) -> Row[Any]:
    require_owner(entered_session(connection, identity, document_id, since), identity)
    row = queries_links.add_link(connection, new)
    record(connection, identity.actor, [Activity(document_id, "linked")])
    return row


def _links(
    connection: Connection, identity: Identity, document_id: str, page: Page, since: datetime
) -> Any:
    require_owner(entered_session(connection, identity, document_id, since), identity)
    return queries_links.links_of_session(connection, document_id, page.limit, page.after)


def _revoke(
    connection: Connection, identity: Identity, document_id: str, link_id: str, since: datetime
) -> None:
    require_owner(entered_session(connection, identity, document_id, since), identity)
    if not queries_links.revoke_link(connection, document_id, link_id):
        raise NotFound("link_not_found", f"The session has no link {link_id}.")
    record(connection, identity.actor, [Activity(document_id, "unlinked")])


def _usable(connection: Connection, token: str, username: str) -> Row[Any]:
    """The link of a token, if somebody may still come by it, or has come already."""
    row = queries_links.link_for(connection, _hash(token))
    if row is None:
        raise NotFound("link_not_found", "There is no such link.")
    if queries_participants.is_participant(connection, row.document_id, username):
        return row
    if queries_record.was_removed_since(connection, row.document_id, username, row.created_at):
        raise Forbidden("removed_by_owner", "You were removed from this session; ask its owner to invite you.")
    if row.revoked_at is not None:
        raise BadRequest("link_revoked", "The link was withdrawn; ask for a new one.")
    if row.expires_at <= now():
        raise BadRequest("link_expired", "The link has expired; ask for a new one.")
    if row.uses >= row.max_uses:
        raise BadRequest("link_used_up", "The link was used as often as it may be; ask for a new one.")
    return row


def _accept(
    connection: Connection, identity: Identity, token: str, since: datetime
) -> tuple[str, str]:
    row = _usable(connection, token, identity.username)
    if not queries_participants.is_participant(connection, row.document_id, identity.username):
        queries_people.remember_user(connection, identity.username, identity.display_name)
        queries_participants.add_participant(
            connection, row.document_id, identity.username, row.permissions
        )
        queries_links.count_use(connection, row.link_id)
        record(connection, identity.actor, [Activity(row.document_id, "entered")])
    entered = entered_session(connection, identity, row.document_id, since)
    return row.document_id, entered.permissions
