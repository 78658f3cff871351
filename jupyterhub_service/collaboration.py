"""Documents and sessions: the rules, without HTTP."""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Row

from jupyter_rtc_amprenta.core import queries_participants, queries_people, queries_record
from jupyter_rtc_amprenta.core.database import Database
from jupyter_rtc_amprenta.core.queries_people import NewSession, Wanted
from jupyter_rtc_amprenta.core.queries_record import record_end
from jupyter_rtc_amprenta.core.schema import now
from jupyter_rtc_amprenta.core.settings import Settings
from jupyter_rtc_amprenta.core.tokens import Keyring
from jupyter_rtc_amprenta.core.volumes import file_key

from . import views, volumes
from .auth import Identity
from .bodies import ChangeBody, DocumentBody
from .errors import Forbidden, NotFound
from .listing import Page
from .views import Json
from .volumes import VolumeDoor

_RECENT_ACTIVITIES = 20
MOST_PARTICIPANTS = 1000
# After this many reports that did not come, a server is taken for dead, and its owner for offline.
_MISSED_REPORTS = 3
_PREFIX_LENGTH = 40
ALL = Wanted()


def online_since(settings: Settings) -> datetime:
    """The time from which a report of presence still counts."""
    return now() - timedelta(seconds=_MISSED_REPORTS * settings.heartbeat_seconds)


def new_document_id(document_type: str, title: str) -> str:
    """An id that can't be guessed (128 random bits), with a prefix that people can read."""
    words = re.sub(r"[^a-z0-9]+", "_", f"{document_type} {title}".lower()).strip("_")
    return f"{words[:_PREFIX_LENGTH].rstrip('_')}_{secrets.token_hex(16)}"


def entered_session(
    connection: Connection, identity: Identity, document_id: str, since: datetime
) -> Row[Any]:
    """The session, for one who takes part in it (`queries_people.session_for`).

    Raises:
        NotFound: there is no such document.
        Forbidden: there is one, but not for this user.
    """
    row = queries_people.session_for(connection, document_id, identity.username, since)
    if row is None:
        raise NotFound("session_not_found", f"There is no session {document_id}.")
    if row.permissions is None:
        raise Forbidden("not_a_participant", "You are not a participant of this session.")
    return row


def require_owner(row: Row[Any], identity: Identity) -> None:
    """Refuse what only a session's owner decides.

    Raises:
        Forbidden: somebody else asks.
    """
    if row.owner != identity.username:
        raise Forbidden("owner_required", "Only the session's owner may do this.")


class Collaboration:
    """What can be done with documents and sessions.

    Every method raises `Refused` where the rules say no, and DatabaseUnavailable.

    Args:
        database: PostgreSQL.
        settings: times, and the Y.js server's URL.
        keyring: gives the keys that tokens are signed with; may raise DatabaseUnavailable.
        door: of the shared volumes.
    """

    def __init__(
        self, database: Database, settings: Settings, keyring: Callable[[], Keyring], door: VolumeDoor
    ) -> None:
        self._database = database
        self._settings = settings
        self._keyring = keyring
        self._door = door

    # --- documents ---------------------------------------------------------------------------------------------

    async def register(self, identity: Identity, body: DocumentBody) -> Json:
        """Give a file of the caller's its document: a new one, or the one that it has."""
        if body.shared:
            await self._door.require(identity, body.volume)
        document_id, created, row = await self._database.run(_register, identity, body, self._since())
        own = {} if row.file_owner in (None, identity.username) else {"own": False}
        return {
            "document_id": document_id,
            "generation": row.generation,
            "permissions": row.permissions,
            "created": created,
            "connection_url": self._connection_url(document_id),
        } | ({} if body.shared or row.file_id == body.file_id else {"file_id": row.file_id} | own)

    async def documents(self, identity: Identity, page: Page) -> Json:
        """The documents that the caller takes part in, the last used first."""
        identity.require_person()
        rows = await self._database.run(
            queries_people.sessions_of, identity.username, self._since(), page.limit, page.after, ALL
        )
        return views.listed(
            "documents", rows, page.limit, self._document, lambda row: (row.last_activity, row.document_id)
        )

    async def document(self, identity: Identity, document_id: str) -> Json:
        """One document, as a participant's server needs it."""
        return self._document(await self._entered(identity, document_id))

    async def change(self, identity: Identity, document_id: str, body: ChangeBody) -> Json:
        """Follow a document's file, which was moved on its shared volume, or deleted: then the session is over."""
        return self._document(await self._database.run(_change, identity, document_id, body, self._since()))

    async def delete(self, identity: Identity, document_id: str) -> None:
        """Remove a document wholly; its owner may."""
        identity.require_person()
        await self._database.run(_delete, identity, document_id, self._since())

    # --- sessions ----------------------------------------------------------------------------------------------

    async def sessions(self, identity: Identity, page: Page, wanted: Wanted = ALL) -> Json:
        """The sessions that the caller takes part in; the counts are of those that are wanted."""
        identity.require_person()
        rows, (total, active) = await self._database.run(
            listed_sessions, identity.username, self._since(), page, wanted
        )
        answer = views.listed(
            "sessions",
            rows,
            page.limit,
            lambda row: views.session_summary(row, identity.username),
            lambda row: (getattr(row, wanted.sort), row.document_id),
        )
        return answer | {"total_count": total, "active_count": active}

    async def session(self, identity: Identity, document_id: str) -> Json:
        """A session with its participants and what happened in it last."""
        identity.require_person()
        row, people, happened = await self._database.run(_session, identity, document_id, self._since())
        return {
            "session": views.session_details(row, people),
            "user_permissions": row.permissions,
            "connection_url": self._connection_url(document_id),
            "recent_activity": [views.sentence(one) for one in happened],
        }

    async def activity(self, identity: Identity, document_id: str, page: Page) -> Json:
        """What happened in a session, the last first."""
        identity.require_person()
        rows = await self._database.run(_activity, identity, document_id, page, self._since())
        return views.listed("activity", rows, page.limit, views.activity, lambda row: (row.activity_id,))

    # --- tokens ------------------------------------------------------------------------------------------------

    async def document_token(self, identity: Identity, document_id: str) -> Json:
        """A token that opens one document at the Y.js server, for a participant or the server of one."""
        row = await self._entered(identity, document_id)
        if row.closed_at is not None:
            raise NotFound("session_over", f"The session is over: {row.closed_reason}")
        if row.by_group and not await self._door.lets_in(identity.username, row.volume):
            await self._database.run(volumes.remove_who_left_the_group, identity, document_id)
            raise Forbidden("not_in_group", f"You are in no group that may enter {row.volume} any more.")
        seconds = self._settings.token_seconds
        token = self._keyring().document_token(
            identity.username, document_id, row.permissions, row.generation, seconds, via=identity.server
        )
        return _token(token, seconds) | {
            "permissions": row.permissions,
            "generation": row.generation,
            "connection_url": self._connection_url(document_id),
        }

    def api_token(self, identity: Identity) -> Json:
        """A token that stands for the caller at this API.

        Raises:
            Forbidden: a server asks, or somebody with such a token, who could renew it for ever.
        """
        identity.require_person()
        if not identity.by_hub:
            raise Forbidden("hub_token_required", "A token is not made from another: use a Hub token.")
        seconds = self._settings.token_seconds
        return _token(self._keyring().api_token(identity.username, seconds), seconds)

    # --- what they share ---------------------------------------------------------------------------------------

    async def _entered(self, identity: Identity, document_id: str) -> Row[Any]:
        return await self._database.run(entered_session, identity, document_id, self._since())

    def _document(self, row: Any) -> Json:
        return views.document(row, self._connection_url(row.document_id))

    def _since(self) -> datetime:
        return online_since(self._settings)

    def _connection_url(self, document_id: str) -> str:
        return f"{self._settings.yjs_server_url}/doc/{document_id}"


def _token(token: str, seconds: float) -> Json:
    expires_at = views.instant(now() + timedelta(seconds=seconds))
    return {"token": token, "token_type": "Bearer", "expires_at": expires_at}


def listed_sessions(
    connection: Connection, username: str | None, since: datetime, page: Page, wanted: Wanted
) -> tuple[Any, tuple[int, int]]:
    """A page of the sessions that are wanted, and how many of them there are, and are active; None: everybody's."""
    rows = queries_people.sessions_of(connection, username, since, page.limit, page.after, wanted)
    return rows, queries_people.count_sessions(connection, username, since, wanted)


def _register(
    connection: Connection, identity: Identity, body: DocumentBody, since: datetime
) -> tuple[str, bool, Row[Any]]:
    queries_people.remember_user(connection, identity.username, identity.display_name)
    new = NewSession(
        document_id=new_document_id(body.document_type, body.title),
        owner=identity.username,
        volume=body.volume,
        file_id=file_key(body.file_id, body.path) if body.shared else body.file_id,
        document_type=body.document_type,
        path=f"{body.volume}/{body.path}" if body.shared else body.path,
        title=body.title,
        shared=body.shared,
    )
    if body.shared:
        document_id, created = volumes.register_shared(connection, identity, new, body.digest)
    elif known := volumes.known_in_home(connection, new, body.digest):
        document_id, created = known, False
    else:
        document_id, created = queries_people.register_session(connection, new, identity.address)
    return document_id, created, entered_session(connection, identity, document_id, since)


def _change(
    connection: Connection, identity: Identity, document_id: str, body: ChangeBody, since: datetime
) -> Row[Any]:
    row = entered_session(connection, identity, document_id, since)
    if body.path is None:
        volumes.close(connection, identity, row)
    else:
        volumes.move_file(connection, row, body.path)
    return entered_session(connection, identity, document_id, since)


def _delete(connection: Connection, identity: Identity, document_id: str, since: datetime) -> None:
    require_owner(entered_session(connection, identity, document_id, since), identity)
    told = queries_participants.names_of(connection, document_id)
    queries_people.delete_document(connection, document_id)
    record_end(connection, identity.actor, document_id, told)


def _activity(
    connection: Connection, identity: Identity, document_id: str, page: Page, since: datetime
) -> Any:
    entered_session(connection, identity, document_id, since)
    return queries_record.activities_of(connection, document_id, page.limit, page.after)


def _session(
    connection: Connection, identity: Identity, document_id: str, since: datetime
) -> tuple[Row[Any], Any, Any]:
    row = entered_session(connection, identity, document_id, since)
    people = queries_participants.participants_of(connection, document_id, since, MOST_PARTICIPANTS)
    happened = queries_record.activities_of(connection, document_id, _RECENT_ACTIVITIES)
    return row, people, happened[:_RECENT_ACTIVITIES][::-1]
