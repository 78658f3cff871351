"""Invites: the rules, without HTTP."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row

from jupyter_rtc_amprenta.core import queries_invites, queries_participants, queries_people, queries_repeats
from jupyter_rtc_amprenta.core.database import Database
from jupyter_rtc_amprenta.core.queries_invites import NewInvite
from jupyter_rtc_amprenta.core.queries_record import Activity, record
from jupyter_rtc_amprenta.core.queries_repeats import Repeatable
from jupyter_rtc_amprenta.core.schema import now
from jupyter_rtc_amprenta.core.settings import Settings

from . import views
from .auth import Identity
from .bodies import InviteBody
from .collaboration import entered_session, online_since, require_owner
from .errors import BadRequest, Conflict, Forbidden, NotFound
from .expiry import expires_at
from .hub import Hub
from .listing import Page
from .views import Json


class Invites:
    """How people come to take part in sessions. A person decides, never a server.

    Every method raises `Refused` where the rules say no, and DatabaseUnavailable.

    Args:
        database: PostgreSQL.
        settings: how long an invite can be accepted.
        hub: tells who exists.
        hub_url: the Hub's path as browsers see it, such as `https://hub.example.org/hub/` or `/hub/`.
    """

    def __init__(self, database: Database, settings: Settings, hub: Hub, hub_url: str) -> None:
        self._database = database
        self._settings = settings
        self._hub = hub
        self._hub_url = hub_url

    async def invite(self, identity: Identity, document_id: str, body: InviteBody, key: str = "") -> Json:
        """Invite a user; an invite that is still open for them is renewed instead.

        With a `key`, the same request made again changes nothing, and gets the same answer.
        """
        identity.require_person()
        since = online_since(self._settings)
        request = _repeatable(identity, document_id, body, key)
        if (answer := await self._database.run(_prepare, identity, document_id, body, request, since)) is not None:
            return answer
        name = await self._hub.display_name(body.username)
        if name is None:
            raise NotFound("user_not_found", f"There is no user {body.username}.")
        new = NewInvite(
            document_id=document_id,
            invited_user=body.username,
            invited_by=identity.username,
            message=body.message,
            permissions=body.permissions,
            expires_at=expires_at(self._settings, body.expires_in),
        )
        return await self._database.run(_invite, identity, body, new, name, request, since)

    async def renew(self, identity: Identity, invite_id: str, seconds: float | None) -> Json:
        """Let an open invite, one that has expired too, be accepted for longer; the session's owner may."""
        identity.require_person()
        row = await self._database.run(_renew, identity, invite_id, expires_at(self._settings, seconds))
        return views.invite(row, self._open_url(row.document_id))

    async def mine(self, identity: Identity, page: Page) -> Json:
        """Whereto the caller was invited, open invites first."""
        identity.require_person()
        rows = await self._database.run(
            queries_invites.invites_of_user, identity.username, page.limit, page.after
        )
        return self._listed(rows, page)

    async def of_session(self, identity: Identity, document_id: str, page: Page) -> Json:
        """Who was invited to a session of the caller's, open invites first."""
        identity.require_person()
        since = online_since(self._settings)
        rows = await self._database.run(_invites_of_session, identity, document_id, page, since)
        return self._listed(rows, page)

    async def accept(self, identity: Identity, invite_id: str) -> Json:
        """Take part, as the invite says."""
        identity.require_person()
        row = await self._database.run(_accept, identity, invite_id)
        return {
            "success": True,
            "document_id": row.document_id,
            "permissions": row.permissions,
            "open_url": self._open_url(row.document_id),
        }

    async def decline(self, identity: Identity, invite_id: str) -> Json:
        """Answer no."""
        identity.require_person()
        row = await self._database.run(_decline, identity, invite_id)
        return {"success": True, "document_id": row.document_id}

    async def revoke(self, identity: Identity, invite_id: str) -> None:
        """Take an invite back; the session's owner may."""
        identity.require_person()
        await self._database.run(_revoke, identity, invite_id)

    def _listed(self, rows: Any, page: Page) -> Json:
        return views.listed(
            "invites",
            rows,
            page.limit,
            lambda row: views.invite(row, self._open_url(row.document_id)),
            lambda row: (row.is_open, row.created_at, row.invite_id),
        )

    def _open_url(self, document_id: str) -> str:
        return f"{self._hub_url}user-redirect/rtc/join/{document_id}"


def _check_invite(
    connection: Connection, identity: Identity, document_id: str, body: InviteBody, since: datetime
) -> None:
    require_owner(entered_session(connection, identity, document_id, since), identity)
    if body.username == identity.username:
        raise BadRequest("self_invite", "You can't invite yourself.")
    if queries_participants.is_participant(connection, document_id, body.username):
        raise BadRequest("already_participant", f"{body.username} is a participant already.")


def _repeatable(identity: Identity, document_id: str, body: InviteBody, key: str) -> Repeatable | None:
    if not key:
        return None
    asked = json.dumps([document_id, asdict(body)], sort_keys=True)
    return Repeatable(identity.username, key, hashlib.sha256(asked.encode()).hexdigest())


def _earlier_answer(connection: Connection, request: Repeatable | None) -> Json | None:
    """What the same request was answered before."""
    earlier = queries_repeats.earlier(connection, request) if request else None
    if earlier is None or request is None:
        return None
    if earlier.request_hash != request.request_hash:
        raise Conflict("idempotency_key_reused", "This Idempotency-Key was sent with another request before.")
    return json.loads(earlier.answer)


def _prepare(
    connection: Connection,
    identity: Identity,
    document_id: str,
    body: InviteBody,
    request: Repeatable | None,
    since: datetime,
) -> Json | None:
    """The answer, if it was given before; else refuse what can be refused without asking the Hub."""
    answer = _earlier_answer(connection, request)
    if answer is None:
        _check_invite(connection, identity, document_id, body, since)
    return answer


def _invite(
    connection: Connection,
    identity: Identity,
    body: InviteBody,
    new: NewInvite,
    name: str,
    request: Repeatable | None,
    since: datetime,
) -> Json:
    if request and not queries_repeats.claim(connection, request):
        # The same request came meanwhile, and this one has waited for it.
        answer = _earlier_answer(connection, request)
        if answer is not None:
            return answer
    # Again: it may have changed while the Hub was asked.
    _check_invite(connection, identity, new.document_id, body, since)
    queries_people.remember_user(connection, new.invited_user, name)
    invite_id = queries_invites.renew_invite(connection, new)
    answer = views.invited(invite_id, new.invited_user, new.document_id, new.expires_at)
    if request:
        queries_repeats.keep_answer(connection, request, json.dumps(answer))
    record(connection, identity.actor, [Activity(new.document_id, "invited", new.invited_user)])
    return answer


def _renew(
    connection: Connection, identity: Identity, invite_id: str, expires_at: datetime
) -> Row[Any]:
    row = _owned_invite(connection, identity, invite_id, "Only the session's owner may renew an invite.")
    queries_invites.prolong_invite(connection, invite_id, expires_at)
    renewed = queries_invites.lock_invite(connection, invite_id)
    if renewed is None:
        raise _unknown(invite_id)
    record(connection, identity.actor, [Activity(row.document_id, "renewed", row.invited_user)])
    return renewed


def _invites_of_session(
    connection: Connection, identity: Identity, document_id: str, page: Page, since: datetime
) -> Any:
    require_owner(entered_session(connection, identity, document_id, since), identity)
    return queries_invites.invites_of_session(connection, document_id, page.limit, page.after)


def _accept(connection: Connection, identity: Identity, invite_id: str) -> Row[Any]:
    row = _open_invite(connection, identity, invite_id)
    queries_people.remember_user(connection, identity.username, identity.display_name)
    queries_participants.add_participant(connection, row.document_id, identity.username, row.permissions)
    return _close(connection, identity, row, "accepted")


def _decline(connection: Connection, identity: Identity, invite_id: str) -> Row[Any]:
    return _close(connection, identity, _open_invite(connection, identity, invite_id), "declined")


def _revoke(connection: Connection, identity: Identity, invite_id: str) -> Row[Any]:
    refusal = "Only the session's owner may take an invite back; decline it instead."
    row = _owned_invite(connection, identity, invite_id, refusal)
    return _close(connection, identity, row, "revoked", row.invited_user)


def _owned_invite(connection: Connection, identity: Identity, invite_id: str, refusal: str) -> Row[Any]:
    """An open invite to a session of the caller's; `refusal` is told to the invited user."""
    row = queries_invites.lock_invite(connection, invite_id)
    if row is None or identity.username not in (row.owner, row.invited_user):
        raise _unknown(invite_id)
    if identity.username != row.owner:
        raise Forbidden("owner_required", refusal)
    _require_unanswered(row)
    return row


def _open_invite(connection: Connection, identity: Identity, invite_id: str) -> Row[Any]:
    """An invite of the caller's that can be answered."""
    row = queries_invites.lock_invite(connection, invite_id)
    if row is None or row.invited_user != identity.username:
        raise _unknown(invite_id)
    _require_unanswered(row)
    if row.expires_at <= now():
        raise BadRequest("invite_expired", "The invite has expired; ask for a new one.")
    return row


def _require_unanswered(row: Row[Any]) -> None:
    if row.state != "pending":
        raise BadRequest("invite_answered", f"The invite was {row.state} already.")


def _unknown(invite_id: str) -> NotFound:
    return NotFound("invite_not_found", f"There is no invite {invite_id}.")


def _close(
    connection: Connection, identity: Identity, row: Row[Any], state: str, detail: str = ""
) -> Row[Any]:
    queries_invites.close_invite(connection, row.invite_id, state)
    closed = Activity(row.document_id, state, detail)
    record(connection, identity.actor, [closed])
    return row
