"""The SQL of a user's server's local store, beside the log's own (`queries.py`)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, insert, select, update

from .schema import local_files


@dataclass(frozen=True)
class LocalFile:
    """What this server knows of one of its files; see `schema.local_files`."""

    room_id: str
    path: str
    document_id: str | None
    generation: int
    permissions: str
    own: bool
    ended: str | None
    registered_as: str | None
    others: bool
    saved_digest: str | None
    saved_seq: int | None
    saved_extra: bytes | None
    intent_digest: str | None
    intent_seq: int | None

    @property
    def may_write(self) -> bool:
        """Whether this server's user may edit the document."""
        return self.permissions == "read-write"

    def wrote(self, digest: str) -> bool:
        """Whether a file with this digest holds what this server wrote or took in last."""
        # A crash after the intent: the file may hold either.
        return digest in (self.saved_digest, self.intent_digest)


def find_file(connection: Connection, room_id: str) -> LocalFile | None:
    """The file of a room, if it was opened here before."""
    row = connection.execute(select(local_files).filter_by(room_id=room_id)).one_or_none()
    return None if row is None else LocalFile(**row._mapping)


def find_document(connection: Connection, document_id: str) -> LocalFile | None:
    """The file that holds a document here, if there is one."""
    row = connection.execute(select(local_files).filter_by(document_id=document_id)).one_or_none()
    return None if row is None else LocalFile(**row._mapping)


def find_by_path(connection: Connection, path: str, room_kind: str) -> LocalFile | None:
    """The file that was last seen at a path; `room_kind` is the room's `format:type:`."""
    query = (
        select(local_files)
        .filter_by(path=path)
        .where(local_files.c.room_id.startswith(room_kind, autoescape=True))
    )
    row = connection.execute(query.limit(1)).one_or_none()
    return None if row is None else LocalFile(**row._mapping)


def read_only_files(connection: Connection) -> dict[str, str]:
    """The files, path by room, whose documents this server's user may only read."""
    columns = (local_files.c.room_id, local_files.c.path)
    rows = connection.execute(select(*columns).filter_by(permissions="read-only"))
    return {row.room_id: row.path for row in rows}


def files_at(connection: Connection, path: str) -> list[LocalFile]:
    """The file at a path, or all in the folder of that path."""
    rows = connection.execute(select(local_files)).all()
    files = [LocalFile(**row._mapping) for row in rows]
    return [file for file in files if f"{file.path}/".startswith(f"{path}/")]


def move_files(connection: Connection, path: str, new_path: str) -> None:
    """A file, or a folder with all in it, has another path now."""
    rows = connection.execute(select(local_files.c.room_id, local_files.c.path)).all()
    for row in rows:
        if row.path == path or row.path.startswith(f"{path}/"):
            change_file(connection, row.room_id, path=new_path + row.path.removeprefix(path))


def remove_files(connection: Connection, path: str) -> None:
    """A file, or a folder with all in it, was deleted."""
    below = local_files.c.path.startswith(f"{path}/", autoescape=True)
    connection.execute(local_files.delete().where((local_files.c.path == path) | below))


def kept_positions(connection: Connection, room_id: str) -> set[int]:
    """The positions from which a room's file was, or is being, saved: the base of a merge (rule 2)."""
    query = select(local_files.c.saved_seq, local_files.c.intent_seq).filter_by(room_id=room_id)
    row = connection.execute(query).one_or_none()
    return {position for position in row or () if position is not None}


def rename_room(connection: Connection, room_id: str, new_room_id: str) -> None:
    """A file has a new id, but is the same: its history goes along."""
    connection.execute(update(local_files).filter_by(room_id=room_id).values(room_id=new_room_id))


def add_file(connection: Connection, room_id: str, path: str) -> LocalFile:
    """Remember a file that is opened for the first time."""
    connection.execute(insert(local_files).values(room_id=room_id, path=path))
    file = find_file(connection, room_id)
    assert file is not None
    return file


def remove_file(connection: Connection, room_id: str) -> None:
    """Forget a file, which no longer exists or holds another document now."""
    connection.execute(local_files.delete().where(local_files.c.room_id == room_id))


def change_file(connection: Connection, room_id: str, **values: Any) -> LocalFile:
    """Write some of a file's columns.

    Returns:
        the file as it is now.
    """
    connection.execute(update(local_files).filter_by(room_id=room_id).values(values))
    file = find_file(connection, room_id)
    assert file is not None
    return file
