"""The SQL on users and sessions. See also `queries_participants.py`, `queries_invites.py`, `queries_presence.py`.

The connection comes first; the caller owns the transaction. A list is one statement, never one a row, and comes in
pages (`queries_paging.py`). `online_since` is the time from which a report of presence still counts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any
from uuid import uuid4

from sqlalchemy import (
    ColumnElement,
    Connection,
    Row,
    Select,
    and_,
    delete,
    exists,
    func,
    or_,
    select,
    true,
    update,
)
from sqlalchemy.dialects.postgresql import insert as upsert

from .queries import create_document
from .queries_paging import page
from .queries_participants import add_participant
from .queries_record import Activity, Actor, record
from .schema import now, participants, presence, sessions, users, yjs_documents

_LONGEST_NAME = 200


# --- users -----------------------------------------------------------------------------------------------------


def remember_user(connection: Connection, username: str, display_name: str = "") -> None:
    """Make sure that a Hub user is known here; a display name that is given replaces the one kept."""
    display_name = display_name[:_LONGEST_NAME]
    row = {
        "user_id": str(uuid4()),
        "username": username,
        "display_name": display_name or username,
        "created_at": now(),
    }
    statement = upsert(users).values(row)
    if display_name:
        differs = users.c.display_name != display_name
        renamed = {"display_name": display_name}
        statement = statement.on_conflict_do_update(
            constraint="uq_users_username", set_=renamed, where=differs
        )
    else:
        statement = statement.on_conflict_do_nothing(constraint="uq_users_username")
    connection.execute(statement)


# --- sessions --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class NewSession:
    """A document to be registered.

    Attributes:
        document_id: its id, if it is not known yet.
        owner: the Hub user.
        volume: where the file lies, as the owner's servers name it.
        file_id: its id there.
        document_type: one of `notebook`, `python`, `markdown`, `text`, `json`.
        path: where the owner sees it; on a shared volume, the volume's name and the path there.
        title: for people.
        shared: whether `volume` is one that several users' servers have: then the file is nobody's own.
    """

    document_id: str
    owner: str
    volume: str
    file_id: str
    document_type: str
    path: str
    title: str
    shared: bool = False

    @property
    def file_owner(self) -> str | None:
        """Whose file it is."""
        return None if self.shared else self.owner


def register_session(connection: Connection, new: NewSession, address: str = "") -> tuple[str, bool]:
    """Make the document of a file known, with its owner as a participant; of several tries at once, one makes it.

    The owner must be known (`remember_user`). `address` is for the audit.

    Returns:
        (the file's document_id, whether it was made now).
    """
    if (known := session_of_file(connection, new)) is None:
        create_document(connection, new.document_id)
        times = {"created_at": now(), "last_activity": now()}
        made = connection.execute(
            upsert(sessions)
            .values(asdict(new) | times | {"file_owner": new.file_owner})
            .on_conflict_do_nothing()
            .returning(sessions.c.document_id)
        ).one_or_none()
        if made is not None:
            add_participant(connection, new.document_id, new.owner, "read-write")
            record(connection, Actor(new.owner, address), [Activity(new.document_id, "created")])
            return new.document_id, True
        delete_document(connection, new.document_id)
        known = session_of_file(connection, new)
    if known is None:
        # The other one, which made it first, was deleted since.
        return register_session(connection, new, address)
    if (known.path, known.title) != (new.path, new.title):
        connection.execute(
            update(sessions).filter_by(document_id=known.document_id).values(path=new.path, title=new.title)
        )
    return known.document_id, False


def session_of_file(connection: Connection, new: NewSession) -> Row[Any] | None:
    """The session that a file has: document_id, path, title."""
    file = {"volume": new.volume, "file_id": new.file_id, "document_type": new.document_type, "shared": new.shared}
    query = select(sessions.c["document_id", "path", "title"]).filter_by(**file)
    # On a shared volume it is whoever's that came first.
    return connection.execute(query if new.shared else query.filter_by(file_owner=new.owner)).one_or_none()


def move_file(connection: Connection, document_id: str, file_id: str, path: str) -> bool:
    """A file of a shared volume has another path there.

    Returns:
        False if another document has that path.
    """
    table = sessions.alias()
    taken = exists().where(
        table.c.shared,
        table.c.volume == sessions.c.volume,
        table.c.document_type == sessions.c.document_type,
        table.c.file_id == file_id,
        table.c.document_id != sessions.c.document_id,
    )
    moved = update(sessions).where(sessions.c.document_id == document_id, ~taken)
    return connection.execute(moved.values(file_id=file_id, path=path)).rowcount > 0


def close_session(connection: Connection, document_id: str, reason: str) -> None:
    """Its file is gone: nobody enters any more, and a new file of its name is another document. The log stays."""
    values = {"closed_at": now(), "closed_reason": reason, "file_owner": None, "shared": False}
    connection.execute(update(sessions).filter_by(document_id=document_id, closed_at=None).values(values))


def session_exists(connection: Connection, document_id: str) -> bool:
    """Whether the document is registered."""
    return connection.execute(select(exists().where(sessions.c.document_id == document_id))).scalar_one()


def hand_over(connection: Connection, document_id: str, owner: str) -> None:
    """Give a session another owner, who takes part in it; the file that it was made from stays whose it is."""
    connection.execute(update(sessions).filter_by(document_id=document_id).values(owner=owner))


def release_file(connection: Connection, document_id: str, username: str) -> None:
    """Whose file the session was made from takes part no more: registering the file again makes another document."""
    mine = update(sessions).filter_by(document_id=document_id, file_owner=username)
    connection.execute(mine.values(file_owner=None))


def lock_session(connection: Connection, document_id: str) -> None:
    """Let one transaction at a time decide who takes part: two might each take away the other's owner."""
    connection.execute(select(sessions.c.document_id).filter_by(document_id=document_id).with_for_update())


def volume_of(connection: Connection, document_id: str) -> str | None:
    """The shared volume that a document's file lies on; None: it lies on none."""
    query = select(sessions.c.volume).where(sessions.c.document_id == document_id, sessions.c.shared)
    return connection.execute(query).scalar()


def generation_of(connection: Connection, document_id: str) -> int:
    """The generation of a document, which there must be."""
    return connection.execute(select(yjs_documents.c.generation).filter_by(document_id=document_id)).scalar_one()


def delete_document(connection: Connection, document_id: str) -> None:
    """Remove a document wholly: its log, its session, and all that hangs on them."""
    connection.execute(delete(yjs_documents).filter_by(document_id=document_id))


def _last_activity() -> ColumnElement[datetime]:
    return func.greatest(sessions.c.last_activity, yjs_documents.c.updated_at)


def _is_active(online_since: datetime) -> ColumnElement[bool]:
    return exists().where(
        presence.c.document_id == sessions.c.document_id,
        presence.c.connections > 0,
        presence.c.last_seen > online_since,
    )


def owner_of(connection: Connection, document_id: str) -> str:
    """Who owns a session, which there must be."""
    return connection.execute(select(sessions.c.owner).filter_by(document_id=document_id)).scalar_one()


def _sessions(username: str | None, online_since: datetime, *, entered: bool) -> Select[Any]:
    """The sessions, with what `username` may do in each.

    Args:
        entered: only those that the user takes part in; else all, with NULL where the user is no participant.
    """
    count = select(func.count()).where(participants.c.document_id == sessions.c.document_id).scalar_subquery()
    mine = participants.alias("mine")
    return (
        select(
            sessions.c["document_id", "owner", "document_type", "path", "title", "created_at", "volume", "shared"],
            sessions.c["file_id", "file_owner", "closed_at", "closed_reason"],
            yjs_documents.c.generation,
            mine.c["permissions", "by_group"],
            _last_activity().label("last_activity"),
            count.label("participant_count"),
            _is_active(online_since).label("is_active"),
        )
        .join(yjs_documents, yjs_documents.c.document_id == sessions.c.document_id)
        .join(
            mine,
            and_(mine.c.document_id == sessions.c.document_id, mine.c.username == username),
            isouter=not entered,
        )
    )


def session_for(
    connection: Connection, document_id: str, username: str, online_since: datetime
) -> Row[Any] | None:
    """One session: document_id, owner, document_type, path, title, created_at, volume, shared, file_id, file_owner,
    closed_at, closed_reason, generation, last_activity, participant_count, is_active, and the user's `permissions` and
    `by_group`: None for one who is no participant."""
    query = _sessions(username, online_since, entered=False).where(sessions.c.document_id == document_id)
    return connection.execute(query).one_or_none()


@dataclass(frozen=True)
class Wanted:
    """Which sessions a list has, and in which order.

    Attributes:
        active: only those where somebody is online, or nobody is; None: all.
        document_type: only those of this type; None: all.
        owner: only this user's; None: all.
        search: only those that have this in their title or path; "": all.
        sort: `last_activity` or `created_at`, newest first, or `title`.
    """

    active: bool | None = None
    document_type: str | None = None
    owner: str | None = None
    search: str = ""
    sort: str = "last_activity"

    def conditions(self, online_since: datetime) -> list[ColumnElement[bool]]:
        """What the sessions must fulfil."""
        found: list[ColumnElement[bool]] = []
        if self.active is not None:
            found.append(_is_active(online_since) if self.active else ~_is_active(online_since))
        if self.document_type is not None:
            found.append(sessions.c.document_type == self.document_type)
        if self.owner is not None:
            found.append(sessions.c.owner == self.owner)
        if self.search:
            columns = (sessions.c.title, sessions.c.path)
            found.append(or_(*(column.icontains(self.search, autoescape=True) for column in columns)))
        return found


def sessions_of(
    connection: Connection,
    username: str | None,
    online_since: datetime,
    limit: int,
    after: Sequence[Any] | None,
    wanted: Wanted,
) -> Sequence[Row[Any]]:
    """The sessions that a user takes part in (None: all of them), by (`wanted.sort`, document_id); each as
    `session_for` gives it."""
    query = _sessions(username, online_since, entered=username is not None)
    query = query.where(*wanted.conditions(online_since))
    first = _last_activity() if wanted.sort == "last_activity" else sessions.c[wanted.sort]
    keys = (first, sessions.c.document_id)
    return connection.execute(page(query, keys, limit, after, ascending=wanted.sort == "title")).all()


def count_sessions(
    connection: Connection, username: str | None, online_since: datetime, wanted: Wanted
) -> tuple[int, int]:
    """How many such sessions a user takes part in (None: there are), and in how many of them somebody is online."""
    active = func.count().filter(_is_active(online_since))
    conditions = [_takes_part(username), *wanted.conditions(online_since)]
    total, online = connection.execute(select(func.count(), active).select_from(sessions).where(*conditions)).one()
    return total, online


def _takes_part(username: str | None) -> ColumnElement[bool]:
    if username is None:
        return true()
    mine = select(participants.c.document_id).where(participants.c.username == username)
    return sessions.c.document_id.in_(mine)
