"""Participants: who takes part in a session, and who decides it. The rules, without HTTP.

What changes here is felt at open connections within seconds: the Y.js server reads the rights again and again.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row

from jupyter_rtc_amprenta.core import queries_participants, queries_people
from jupyter_rtc_amprenta.core.database import Database
from jupyter_rtc_amprenta.core.queries_record import Activity, record
from jupyter_rtc_amprenta.core.settings import Settings

from . import views
from .auth import Identity
from .collaboration import entered_session, online_since, require_owner
from .errors import BadRequest, NotFound
from .listing import Page
from .views import Json

_MADE = {"read-only": "made_reader", "read-write": "made_writer"}


class Participants:
    """What can be done with those who take part. A person decides, never a server.

    Every method raises `Refused` where the rules say no, and DatabaseUnavailable.

    Args:
        database: PostgreSQL.
        settings: from when on somebody counts as offline.
    """

    def __init__(self, database: Database, settings: Settings) -> None:
        self._database = database
        self._settings = settings

    async def listed(self, identity: Identity, document_id: str, page: Page) -> Json:
        """A session's participants, those who joined first before the others."""
        identity.require_person()
        row, people = await self._run(_participants, identity, document_id, page)
        return views.listed(
            "participants",
            people,
            page.limit,
            lambda one: views.participant(one, row.owner),
            lambda one: (one.joined_at, one.username),
        )

    async def change(self, identity: Identity, document_id: str, username: str, permissions: str) -> Json:
        """Change what somebody may do; the session's owner may."""
        identity.require_person()
        row, one = await self._run(_change, identity, document_id, username, permissions)
        return views.participant(one, row.owner)

    async def remove(self, identity: Identity, document_id: str, username: str) -> None:
        """Take somebody out: the owner may, and everybody oneself; but the owner hands the session over first."""
        identity.require_person()
        await self._run(_remove, identity, document_id, username)

    async def hand_over(self, identity: Identity, document_id: str, username: str) -> None:
        """Make a participant the session's owner; the owner until now may."""
        identity.require_person()
        await self._run(_hand_over, identity, document_id, username)

    async def _run(self, rule: Any, *arguments: Any) -> Any:
        return await self._database.run(rule, *arguments, online_since(self._settings))


def _participants(
    connection: Connection, identity: Identity, document_id: str, page: Page, since: datetime
) -> tuple[Row[Any], Any]:
    row = entered_session(connection, identity, document_id, since)
    return row, queries_participants.participants_of(connection, document_id, since, page.limit, page.after)


def _change(
    connection: Connection,
    identity: Identity,
    document_id: str,
    username: str,
    permissions: str,
    since: datetime,
) -> tuple[Row[Any], Row[Any]]:
    row = _owned(connection, identity, document_id, since)
    before = _known(connection, document_id, username, since)
    if username == row.owner:
        raise BadRequest("owner_permissions", "The owner's right is read-write; hand the session over first.")
    if before.permissions != permissions:
        queries_participants.change_permissions(connection, document_id, username, permissions)
        record(connection, identity.actor, [Activity(document_id, _MADE[permissions], username)])
    return row, _known(connection, document_id, username, since)


def _remove(
    connection: Connection, identity: Identity, document_id: str, username: str, since: datetime
) -> None:
    if username == identity.username:
        queries_people.lock_session(connection, document_id)
        row = entered_session(connection, identity, document_id, since)
    else:
        row = _owned(connection, identity, document_id, since)
        _known(connection, document_id, username, since)
    if username == row.owner:
        raise BadRequest("owner_leaves", "The owner can't leave: hand the session over first, or delete it.")
    queries_participants.remove_participant(connection, document_id, username)
    queries_people.release_file(connection, document_id, username)
    gone = (
        Activity(document_id, "resigned")
        if username == identity.username
        else Activity(document_id, "removed", username)
    )
    record(connection, identity.actor, [gone])


def _hand_over(
    connection: Connection, identity: Identity, document_id: str, username: str, since: datetime
) -> None:
    row = _owned(connection, identity, document_id, since)
    if queries_participants.participant(connection, document_id, username, since) is None:
        raise BadRequest("owner_no_participant", f"{username} is no participant; invite them first.")
    if username == row.owner:
        return
    queries_participants.change_permissions(connection, document_id, username, "read-write")
    queries_people.hand_over(connection, document_id, username)
    record(connection, identity.actor, [Activity(document_id, "handed_over", username)])


def _owned(connection: Connection, identity: Identity, document_id: str, since: datetime) -> Row[Any]:
    """The session, for its owner, who stays it until the transaction ends."""
    queries_people.lock_session(connection, document_id)
    row = entered_session(connection, identity, document_id, since)
    require_owner(row, identity)
    return row


def _known(connection: Connection, document_id: str, username: str, since: datetime) -> Row[Any]:
    one = queries_participants.participant(connection, document_id, username, since)
    if one is None:
        raise NotFound("participant_not_found", f"{username} is no participant of this session.")
    return one
