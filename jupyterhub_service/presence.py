"""Presence: what users' servers report of who is connected."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

from sqlalchemy import Connection

from jupyter_rtc_amprenta.core import queries_people, queries_presence
from jupyter_rtc_amprenta.core.database import Database
from jupyter_rtc_amprenta.core.queries_presence import Present
from jupyter_rtc_amprenta.core.queries_record import Activity, record
from jupyter_rtc_amprenta.core.settings import Settings

from .auth import Identity
from .collaboration import online_since
from .errors import Forbidden
from .views import Json


class Presence:
    """Takes the servers' reports.

    Args:
        database: PostgreSQL.
        settings: how often a report is due.
    """

    def __init__(self, database: Database, settings: Settings) -> None:
        self._database = database
        self._settings = settings

    async def report(self, identity: Identity, documents: Sequence[Present]) -> Json:
        """Take a report: all that a server has open for its owner now.

        Returns:
            the ids that were `accepted`, and those that were `refused`: unknown, or not the owner's to enter.

        Raises:
            Forbidden: a person asks.
            DatabaseUnavailable.
        """
        if identity.is_person:
            raise Forbidden("server_required", "Presence is reported by a user's server, with its own token.")
        accepted = await self._database.run(_report, identity, documents, online_since(self._settings))
        named = [present.document_id for present in documents]
        return {
            "accepted": [document_id for document_id in named if document_id in accepted],
            "refused": [document_id for document_id in named if document_id not in accepted],
        }


def _report(
    connection: Connection, identity: Identity, documents: Sequence[Present], since: datetime
) -> set[str]:
    """The ids of those documents that the owner may enter."""
    username = identity.username
    queries_people.remember_user(connection, username, identity.display_name)
    queries_presence.lock_user(connection, username)
    named = [present.document_id for present in documents]
    entered = queries_presence.documents_entered(connection, username, named)
    before = queries_presence.online_documents(connection, username, since)
    mine = [present for present in documents if present.document_id in entered]
    places = queries_presence.places_of(connection, username, identity.server)
    queries_presence.replace_presence(connection, username, identity.server, mine)
    after = queries_presence.online_documents(connection, username, since)
    joined = [Activity(document_id, "joined") for document_id in sorted(after - before)]
    left = [Activity(document_id, "left") for document_id in sorted(before - after)]
    record(connection, identity.actor, joined + left, _edits(mine, entered), _moves(mine, places))
    return set(entered)


def _edits(documents: Sequence[Present], permissions: Mapping[str, str]) -> list[Activity]:
    """Where the owner edited; a reader's server may say so, but nothing came of it."""
    return [
        Activity(present.document_id, "edited", present.edited)
        for present in documents
        if present.edited and permissions[present.document_id] == "read-write"
    ]


def _moves(documents: Sequence[Present], places: Mapping[str, str | None]) -> list[Activity]:
    """Where the owner is now, and was not at the last report."""
    return [
        Activity(present.document_id, "moved", present.place or "")
        for present in documents
        if present.connections and places.get(present.document_id) != present.place
    ]
