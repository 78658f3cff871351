"""What the Hub's admins may do: see all sessions, end or delete one, take somebody out, follow a renamed user.

The rules, without HTTP. They give no way into a document: an admin who wants to read one is invited like anybody.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row

from jupyter_rtc_amprenta.core import (
    queries_admin,
    queries_audit,
    queries_gone,
    queries_participants,
    queries_people,
    queries_tokens,
)
from jupyter_rtc_amprenta.core.database import Database
from jupyter_rtc_amprenta.core.queries_audit import AuditFilter
from jupyter_rtc_amprenta.core.queries_people import Wanted
from jupyter_rtc_amprenta.core.queries_record import Activity, record, record_audit, record_end
from jupyter_rtc_amprenta.core.settings import Settings

from . import views
from .auth import Identity
from .collaboration import MOST_PARTICIPANTS, listed_sessions, online_since
from .errors import BadRequest, Conflict, Forbidden, NotFound
from .listing import Page
from .views import Json


class Admin:
    """What can be done with everybody's sessions.

    Every method raises `Refused` for whoever is no admin, and DatabaseUnavailable.

    Args:
        database: PostgreSQL.
        settings: from when on somebody counts as offline.
    """

    def __init__(self, database: Database, settings: Settings) -> None:
        self._database = database
        self._settings = settings

    async def sessions(self, identity: Identity, page: Page, wanted: Wanted) -> Json:
        """All sessions; the counts are of those that are wanted."""
        require_admin(identity)
        since = online_since(self._settings)
        rows, (total, active) = await self._database.run(listed_sessions, None, since, page, wanted)
        answer = views.listed(
            "sessions",
            rows,
            page.limit,
            lambda row: views.session_summary(row, identity.username) | {"owner": row.owner},
            lambda row: (getattr(row, wanted.sort), row.document_id),
        )
        return answer | {"total_count": total, "active_count": active}

    async def session(self, identity: Identity, document_id: str) -> Json:
        """One session from outside: whose it is, and who takes part."""
        require_admin(identity)
        row, people = await self._database.run(_session, identity, document_id, online_since(self._settings))
        return (
            views.session_summary(row, identity.username)
            | {"owner": row.owner, "created_at": views.instant(row.created_at)}
            | {"participants": [views.participant(one, row.owner) for one in people]}
        )

    async def counts(self, identity: Identity) -> Json:
        """How much there is."""
        require_admin(identity)
        return await self._database.run(queries_admin.counts, online_since(self._settings))

    async def users(self, identity: Identity, page: Page, name: str, gone: bool | None) -> Json:
        """Everybody who has been here or was invited, by name; `gone`: whom the Hub does not know any more."""
        require_admin(identity)
        since = online_since(self._settings)
        rows, total = await self._database.run(
            queries_admin.all_users, since, page.limit, page.after, name, gone
        )
        answer = views.listed("users", rows, page.limit, views.known_user, lambda row: (row.username,))
        return answer | {"total_count": total}

    async def user(self, identity: Identity, username: str) -> Json:
        """One of them."""
        require_admin(identity)
        since = online_since(self._settings)
        row = await self._database.run(queries_admin.known_user, since, username)
        if row is None:
            raise _unknown(username)
        return views.known_user(row)

    async def audit(self, identity: Identity, page: Page, wanted: AuditFilter) -> Json:
        """Who did what, from where, the last first."""
        require_admin(identity)
        rows = await self._database.run(queries_audit.audit_entries, wanted, page.limit, page.after)
        return views.listed("audit", rows, page.limit, views.audit_entry, lambda row: (row.audit_id,))

    async def end(self, identity: Identity, document_id: str, confirm: str) -> Json:
        """Leave a session to its owner alone: nobody else takes part, and all invites and links are withdrawn."""
        _confirmed(identity, document_id, confirm)
        removed = await self._database.run(_end, identity, document_id)
        return {"success": True, "removed": removed}

    async def delete(self, identity: Identity, document_id: str, confirm: str) -> None:
        """Remove a document wholly."""
        _confirmed(identity, document_id, confirm)
        await self._database.run(_delete, identity, document_id)

    async def disconnect(self, identity: Identity, username: str, confirm: str) -> Json:
        """End all that somebody has open, and keep them from coming back by themselves.

        All tokens that were made for them until now are refused, which ends their connections within seconds; they
        take part in nobody else's session any more, and open invites to them are taken back. Their own documents
        stay theirs: with a new token they open them again. Whoever is to stay away is locked out at the Hub first.
        """
        _confirmed(identity, username, confirm)
        return {"success": True, "document_ids": await self._database.run(_disconnect, identity, username)}

    async def rename(self, identity: Identity, username: str, new: str) -> Json:
        """Follow a user that the Hub calls otherwise now: sessions, rights and invites stay theirs."""
        require_admin(identity)
        await self._database.run(_rename, identity, username, new)
        return {"success": True, "username": new}

    async def erase(self, identity: Identity, username: str, confirm: str, successor: str) -> Json:
        """Remove a user. Their sessions go to a successor, who takes part in them; the others are deleted."""
        _confirmed(identity, username, confirm)
        handed, deleted = await self._database.run(_erase, identity, username, successor)
        return {"success": True, "handed_over": handed, "deleted": deleted}


def require_admin(identity: Identity) -> None:
    """Refuse whoever is no admin of the Hub, as a person, just now.

    Raises:
        Forbidden.
    """
    identity.require_person()
    if not identity.admin:
        raise Forbidden("admin_required", "Only the Hub's admins may do this, with a token of the Hub.")


def _confirmed(identity: Identity, what: str, confirm: str) -> None:
    require_admin(identity)
    if confirm != what:
        raise BadRequest("not_confirmed", f"This can't be undone: send confirm={what} with it.")


def _require_session(connection: Connection, document_id: str) -> None:
    queries_people.lock_session(connection, document_id)
    if not queries_people.session_exists(connection, document_id):
        raise NotFound("session_not_found", f"There is no session {document_id}.")


def _require_user(connection: Connection, username: str) -> None:
    if not queries_admin.user_is_known(connection, username):
        raise _unknown(username)


def _unknown(username: str) -> NotFound:
    return NotFound("user_not_found", f"{username} has never been here.")


def _session(
    connection: Connection, identity: Identity, document_id: str, since: datetime
) -> tuple[Row[Any], Sequence[Row[Any]]]:
    row = queries_people.session_for(connection, document_id, identity.username, since)
    if row is None:
        raise NotFound("session_not_found", f"There is no session {document_id}.")
    return row, queries_participants.participants_of(connection, document_id, since, MOST_PARTICIPANTS)


def _end(connection: Connection, identity: Identity, document_id: str) -> list[str]:
    _require_session(connection, document_id)
    owner = queries_people.owner_of(connection, document_id)
    others = [name for name in queries_participants.names_of(connection, document_id) if name != owner]
    for name in others:
        queries_participants.remove_participant(connection, document_id, name)
        queries_people.release_file(connection, document_id, name)
    queries_admin.close_offers(connection, document_id)
    queries_people.remember_user(connection, identity.username, identity.display_name)
    ended = [Activity(document_id, "removed", name) for name in others] + [Activity(document_id, "ended")]
    record(connection, identity.actor, ended)
    return others


def _delete(connection: Connection, identity: Identity, document_id: str) -> None:
    _require_session(connection, document_id)
    told = queries_participants.names_of(connection, document_id)
    queries_people.delete_document(connection, document_id)
    record_end(connection, identity.actor, document_id, told)


def _disconnect(connection: Connection, identity: Identity, username: str) -> list[str]:
    _require_user(connection, username)
    ids = list(queries_admin.sessions_of_others(connection, username))
    for document_id in ids:
        queries_people.lock_session(connection, document_id)
        queries_participants.remove_participant(connection, document_id, username)
        queries_people.release_file(connection, document_id, username)
    queries_tokens.revoke_tokens_of(connection, username)
    invited = queries_gone.withdraw_invites_to(connection, username)
    queries_people.remember_user(connection, identity.username, identity.display_name)
    record_audit(connection, identity.actor, [Activity("", "disconnected", username)])
    removed = [Activity(document_id, "removed", username) for document_id in ids]
    revoked = [Activity(document_id, "revoked", username) for document_id in invited]
    record(connection, identity.actor, removed + revoked)
    return ids


def _rename(connection: Connection, identity: Identity, username: str, new: str) -> None:
    _require_user(connection, username)
    if queries_admin.user_is_known(connection, new):
        raise Conflict("user_exists", f"{new} is known here already: erase one of the two first.")
    queries_admin.rename_user(connection, username, new)
    record_audit(connection, identity.actor, [Activity("", "renamed", f"{username} → {new}")])


def _erase(
    connection: Connection, identity: Identity, username: str, successor: str
) -> tuple[list[str], list[str]]:
    _require_user(connection, username)
    handed, deleted = [], []
    ends: list[tuple[str, Any]] = []
    for document_id in queries_admin.sessions_owned(connection, username):
        queries_people.lock_session(connection, document_id)
        people = queries_participants.names_of(connection, document_id)
        if successor and successor != username and successor in people:
            queries_participants.change_permissions(connection, document_id, successor, "read-write")
            queries_people.hand_over(connection, document_id, successor)
            handed.append(document_id)
        else:
            queries_people.delete_document(connection, document_id)
            deleted.append(document_id)
            ends.append((document_id, people))
    queries_admin.delete_user(connection, username)
    queries_people.remember_user(connection, identity.username, identity.display_name)
    record_audit(connection, identity.actor, [Activity("", "erased", username)])
    record(connection, identity.actor, [Activity(one, "handed_over", successor) for one in handed])
    for document_id, people in ends:
        record_end(connection, identity.actor, document_id, people)
    return handed, deleted
