"""The SQL of versions. The connection comes first; the caller owns the transaction."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import uuid4

from sqlalchemy import Connection, delete, func, insert, select, update

from .errors import VersionNotFound
from .schema import now, sessions, versions, yjs_documents


@dataclass(frozen=True)
class Version:
    """A state of a document that is kept.

    Attributes:
        version_id: its id.
        seq: the position whose state it is.
        label: what a person called it; None: it was made automatically.
        created_by: who made it; None: nobody in particular.
    """

    version_id: str
    document_id: str
    generation: int
    seq: int
    label: str | None
    created_by: str | None
    created_at: datetime


def kept_positions(connection: Connection, document_id: str) -> set[int]:
    """The positions of a document's versions, which compaction keeps readable."""
    return set(connection.execute(_of_document(versions.c.seq, document_id=document_id)).scalars())


def add_version(
    connection: Connection, document_id: str, generation: int, seq: int, label: str | None, created_by: str | None
) -> Version:
    """Make a version of a position; the caller has locked the document."""
    version = Version(str(uuid4()), document_id, generation, seq, label, created_by, now())
    connection.execute(insert(versions).values(vars(version)))
    return version


def list_versions(
    connection: Connection, document_id: str, limit: int, before: tuple[int, str] | None = None
) -> list[Version]:
    """The versions of a document's present history, the newest first.

    Args:
        limit: at most so many.
        before: (seq, version_id) of the last one of the page before; None: begin with the newest.
    """
    query = _of_document(versions, document_id=document_id)
    if before is not None:
        seq, version_id = before
        same = (versions.c.seq == seq) & (versions.c.version_id < version_id)
        query = query.where((versions.c.seq < seq) | same)
    query = query.order_by(versions.c.seq.desc(), versions.c.version_id.desc()).limit(limit)
    return [Version(**row._mapping) for row in connection.execute(query)]


def find_version(connection: Connection, document_id: str, version_id: str) -> Version:
    """One version.

    Raises:
        VersionNotFound: the document's present history has none of that id.
    """
    query = _of_document(versions, document_id=document_id).where(versions.c.version_id == version_id)
    row = connection.execute(query).one_or_none()
    if row is None:
        raise VersionNotFound(f"The document {document_id} has no version {version_id}.")
    return Version(**row._mapping)


def name_version(connection: Connection, document_id: str, version_id: str, label: str | None) -> Version:
    """Change a version's label; None: it counts as an automatic one from now on.

    Raises:
        VersionNotFound: see `find_version`.
    """
    find_version(connection, document_id, version_id)
    connection.execute(update(versions).filter_by(version_id=version_id).values(label=label))
    return find_version(connection, document_id, version_id)


def count_named(connection: Connection, document_id: str) -> int:
    """How many of a document's versions have a name, and stay."""
    query = _of_document(func.count(), document_id=document_id).where(versions.c.label.is_not(None))
    return connection.execute(query).scalar_one()


def rename_maker(connection: Connection, username: str, new: str | None) -> None:
    """Whoever made versions is called otherwise now; None: is not told any more."""
    connection.execute(update(versions).filter_by(created_by=username).values(created_by=new))


def last_version_at(connection: Connection, document_id: str) -> datetime:
    """When the newest version was made; where there is none, when the document was."""
    query = _of_document(func.max(versions.c.created_at), document_id=document_id)
    made = select(yjs_documents.c.created_at).filter_by(document_id=document_id)
    return connection.execute(query).scalar() or connection.execute(made).scalar_one()


def remove_automatic(connection: Connection, document_id: str, keep: int) -> None:
    """Remove the automatic versions of a document but the newest `keep`, and all of a history that was reset."""
    mine = versions.c.document_id == document_id
    newest = (
        _of_document(versions.c.version_id, document_id=document_id)
        .where(versions.c.label.is_(None))
        .order_by(versions.c.seq.desc())
        .limit(keep)
    )
    automatic = versions.c.label.is_(None) & versions.c.version_id.not_in(newest)
    connection.execute(delete(versions).where(mine, automatic))


def document_type(connection: Connection, document_id: str) -> str | None:
    """What kind of document it is, where it is registered: `notebook`, `python`, …"""
    return connection.execute(select(sessions.c.document_type).filter_by(document_id=document_id)).scalar()


def _of_document(*columns: Any, document_id: str) -> Any:
    """Of the document's present history: a reset begins another, whose positions are others."""
    present = select(yjs_documents.c.generation).filter_by(document_id=document_id).scalar_subquery()
    return select(*columns).where(versions.c.document_id == document_id, versions.c.generation == present)
