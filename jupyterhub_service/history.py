"""Versions of a document: listed, shown, made, named and restored. The rules, without HTTP.

Whoever takes part may see them, as they may see the document; whoever may write makes, names and restores them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import datetime
from typing import Any, TypeVar

from sqlalchemy import Connection, Row

from jupyter_rtc_amprenta.core import queries, queries_versions
from jupyter_rtc_amprenta.core.database import Database
from jupyter_rtc_amprenta.core.documentlog import DocumentLog
from jupyter_rtc_amprenta.core.errors import RtcError
from jupyter_rtc_amprenta.core.logpolicy import LogPolicy
from jupyter_rtc_amprenta.core.queries_record import Activity, record
from jupyter_rtc_amprenta.core.queries_versions import Version
from jupyter_rtc_amprenta.core.settings import Settings
from jupyter_rtc_amprenta.core.versions import Versions

from . import views
from .auth import Identity
from .collaboration import entered_session, online_since, require_owner
from .errors import Conflict, Forbidden
from .listing import Page
from .views import Json

# Each one keeps a state of the document in the log.
MOST_NAMED = 200
# How many large documents are put together at a time; whoever comes meanwhile waits.
_AT_ONCE = 2
T = TypeVar("T")


class History:
    """What can be done with versions. A person decides, never a server.

    Every method raises `Refused` where the rules say no, DocumentNotFound, VersionNotFound and DatabaseUnavailable.

    Args:
        database: PostgreSQL.
        settings: the keys that documents are encrypted with.

    Raises:
        ConfigurationError: the keys can't be understood.
    """

    def __init__(self, database: Database, settings: Settings) -> None:
        self._database = database
        self._settings = settings
        self._policy = replace(LogPolicy.of(settings), spool=None)
        self._turns = asyncio.Semaphore(_AT_ONCE)

    async def listed(self, identity: Identity, document_id: str, page: Page) -> Json:
        """A document's versions, the newest first."""
        identity.require_person()
        rows = await self._run(_versions, identity, document_id, page)
        return views.listed(
            "versions", rows, page.limit, views.version, lambda row: (row.seq, row.version_id)
        )

    async def make(self, identity: Identity, document_id: str, label: str) -> Json:
        """Keep the present state, under a name."""
        identity.require_person()
        return views.version(await self._run(_make, identity, document_id, label))

    async def name(self, identity: Identity, document_id: str, version_id: str, label: str | None) -> Json:
        """Call a version otherwise; None: it has no name any more, and goes when automatic ones do (owner)."""
        identity.require_person()
        return views.version(await self._run(_name, identity, document_id, version_id, label))

    async def show(self, identity: Identity, document_id: str, version_id: str) -> Json:
        """A version with its content: a notebook in nbformat's JSON, or text."""
        identity.require_person()
        row, version = await self._run(_found, identity, document_id, version_id)
        content = await self._apart(lambda versions: versions.content(document_id, version_id))
        file_name = row.path.rpartition("/")[2]
        return views.version(version) | {
            "document_type": row.document_type,
            "file_name": file_name,
            "content": content,
        }

    async def restore(self, identity: Identity, document_id: str, version_id: str) -> Json:
        """Turn the document into what it was, by an edit like any other; what it is now becomes a version too."""
        identity.require_person()
        row, version = await self._run(_found, identity, document_id, version_id)
        _require_writer(row)
        await self._apart(lambda versions: versions.restore(document_id, version_id, identity.username))
        await self._database.run(
            record, identity.actor, [Activity(document_id, "restored", views.version_name(version))]
        )
        return {"success": True, "document_id": document_id, "version_id": version_id}

    async def _apart(self, work: Callable[[Versions], Awaitable[T]]) -> T:
        """Do what may take seconds with a large document in a thread, whose loop keeps nobody waiting."""
        async with self._turns:
            return await asyncio.to_thread(asyncio.run, self._with_log(work))

    async def _with_log(self, work: Callable[[Versions], Awaitable[T]]) -> T:
        log = DocumentLog(self._database, policy=self._policy)
        try:
            return await work(Versions(log))
        except RtcError:
            raise
        except Exception as error:
            # What a document holds is whatever its writers have put there. Where it is no notebook, or nothing yet,
            # jupyter_ydoc and nbformat raise whatever they come across.
            raise Conflict("version_unreadable", "The version can't be read as a file of its type.") from error
        finally:
            await log.stop()

    async def _run(self, rule: Any, *arguments: Any) -> Any:
        return await self._database.run(rule, *arguments, online_since(self._settings))


def _versions(
    connection: Connection, identity: Identity, document_id: str, page: Page, since: datetime
) -> list[Version]:
    entered_session(connection, identity, document_id, since)
    before = None if page.after is None else (page.after[0], page.after[1])
    return queries_versions.list_versions(connection, document_id, page.limit + 1, before)


def _found(
    connection: Connection, identity: Identity, document_id: str, version_id: str, since: datetime
) -> tuple[Row[Any], Version]:
    row = entered_session(connection, identity, document_id, since)
    return row, queries_versions.find_version(connection, document_id, version_id)


def _make(
    connection: Connection, identity: Identity, document_id: str, label: str, since: datetime
) -> Version:
    _require_writer(entered_session(connection, identity, document_id, since))
    generation, seq = queries.lock_document(connection, document_id)
    _require_room(connection, document_id)
    version = queries_versions.add_version(connection, document_id, generation, seq, label, identity.username)
    record(connection, identity.actor, [Activity(document_id, "versioned", views.version_name(version))])
    return version


def _name(
    connection: Connection,
    identity: Identity,
    document_id: str,
    version_id: str,
    label: str | None,
    since: datetime,
) -> Version:
    row, version = _found(connection, identity, document_id, version_id, since)
    _require_writer(row)
    if label is None and version.label is not None:
        # It may be removed from then on.
        require_owner(row, identity)
    elif label is not None and version.label is None:
        queries.lock_document(connection, document_id)
        _require_room(connection, document_id)
    named = queries_versions.name_version(connection, document_id, version_id, label)
    record(connection, identity.actor, [Activity(document_id, "named", views.version_name(named))])
    return named


def _require_writer(row: Row[Any]) -> None:
    if row.permissions != "read-write":
        raise Forbidden("writer_required", "You may read this document; this takes the right to edit it.")


def _require_room(connection: Connection, document_id: str) -> None:
    if queries_versions.count_named(connection, document_id) >= MOST_NAMED:
        raise Conflict(
            "too_many_versions", f"A document may have {MOST_NAMED} named versions: take a name away first."
        )
