"""The local store of a user's server: the histories of its rooms, so that they open while everything else is away.

One SQLite file that lives with the user's files. A room has two histories in its log: the shared one, named as
the room is (`json:notebook:<file id>`), and the one of the per-server keys, `<room>#side` (see `splitdoc.py`).
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sqlalchemy import Connection
from sqlalchemy.engine import URL

from .core import queries, queries_local
from .core.compaction import Retention
from .core.database import Database
from .core.documentlog import DocumentLog
from .core.errors import ConfigurationError, DatabaseUnavailable, ServiceError
from .core.logpolicy import LogPolicy
from .core.queries import History
from .core.queries_local import LocalFile
from .core.schema import is_prepared, prepare_local_store

# What the timeline of a linked room shows; the document's own history is at the Y.js server.
_RETENTION = Retention(seconds=7 * 86400.0, updates=2000)


def side_of(room_id: str) -> str:
    """The name of the history of a room's per-server keys."""
    return f"{room_id}#side"


class LocalStore:
    """Histories and files of one server.

    Args:
        path: of the SQLite file; it and its folder are made when missing.
        max_pending_bytes: the bound on what waits for it; 0: none.

    Raises:
        ConfigurationError: the file can't be made there.
            Or another process has it.
        DatabaseError: it is there, and is not a store of ours.

    Attributes:
        is_new: nothing was kept here before.
    """

    def __init__(self, path: Path, max_pending_bytes: int = 0) -> None:
        self.path = path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            # Only the owner: it holds the content of every document that was opened here.
            os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
        except OSError as error:
            raise ConfigurationError(
                f"The local store can't be made at {path}: {error.strerror}. Set RTC_LOCAL_STORE to a file in a "
                "folder that may be written."
            ) from None
        self.database = Database(URL.create("sqlite", database=str(path)))
        policy = LogPolicy(kept_positions=queries_local.kept_positions, retention=_RETENTION)
        self.log = DocumentLog(self.database, max_pending_bytes, policy)
        try:
            self.is_new = not self.database.call(is_prepared)
            self.database.call(prepare_local_store)
            self._read_only = self.database.call(queries_local.read_only_files)
        except DatabaseUnavailable as error:
            self.database.close()
            raise ConfigurationError(
                f"The local store {path} can't be used: {_first_line(error)}. If it is locked, another server of "
                "yours has these files open: use that one, or stop it first."
            ) from None

    async def open(
        self, room_id: str, path: str, adopts: Callable[[LocalFile], bool] | None = None
    ) -> LocalFile:
        """The room's file, remembered from now on if it is new here; its path is kept up to date.

        Args:
            room_id: the room.
            path: of its file.
            adopts: whether a file that was known at this path under another id is this one. Only the folder of the
                files may have outlived a container, without the server's own records; but a new file of an old
                name is another document, with other people in it. None: it never is.
        """
        before = await self.database.run(_before, room_id, path)
        adopted = before.room_id if before is not None and adopts is not None and adopts(before) else None
        return self._noted(await self.database.run(_open, room_id, path, adopted))

    async def find(self, room_id: str) -> LocalFile | None:
        """The room's file, if it was opened here before."""
        return await self.database.run(queries_local.find_file, room_id)

    async def found(
        self, document_id: str, room_id: str, path: str, is_another: Callable[[LocalFile], bool]
    ) -> LocalFile:
        """The room's file holds this document, as the service says.

        Args:
            is_another: whether a file that is known to hold it is another one, rather than this one under the id and
                the path that it had before: then what is here of it goes along.

        Raises:
            ServiceError: another file of this server holds it.
        """
        other = await self.holding(document_id)
        adopted = None if other is None or other.room_id == room_id else other
        if adopted is not None and is_another(adopted):
            raise ServiceError(f"It is known here as {adopted.path}.", 409, "known_here")
        return await self.database.run(_found, document_id, room_id, path, adopted and adopted.room_id)

    async def holding(self, document_id: str) -> LocalFile | None:
        """The file that holds a document here, if there is one."""
        return await self.database.run(queries_local.find_document, document_id)

    async def change(self, room_id: str, **values: Any) -> LocalFile:
        """Write some of a file's columns; see `schema.local_files`."""
        return self._noted(await self.database.run(queries_local.change_file, room_id, **values))

    async def forget(self, room_id: str) -> None:
        """A file holds its document no longer."""
        self._read_only.pop(room_id, None)
        await self.database.run(queries_local.remove_file, room_id)

    async def remove_histories(self, room_id: str) -> None:
        """What is in this room from now on is another document."""
        await self.database.run(_remove_histories, room_id)

    async def files_at(self, path: str) -> list[LocalFile]:
        """The files that are known at a path, or in the folder of that path."""
        return await self.database.run(queries_local.files_at, path)

    async def moved(self, path: str, new_path: str) -> None:
        """A file or a folder was renamed."""
        await self.database.run(queries_local.move_files, path, new_path)
        self._read_only = await self.database.run(queries_local.read_only_files)

    async def deleted(self, path: str) -> None:
        """A file or a folder was deleted: what has its name after this is something else."""
        await self.database.run(queries_local.remove_files, path)
        self._read_only = await self.database.run(queries_local.read_only_files)

    def is_read_only(self, path: str) -> bool:
        """Whether a file's document may only be read by this server's user."""
        return path in self._read_only.values()

    def _noted(self, file: LocalFile) -> LocalFile:
        if file.permissions == "read-only":
            self._read_only[file.room_id] = file.path
        else:
            self._read_only.pop(file.room_id, None)
        return file

    async def histories(self, room_id: str) -> tuple[History, History]:
        """The room's shared history, and the one of its per-server keys."""
        return await self.log.read(room_id), await self.log.read(side_of(room_id))

    async def reset(self, room_id: str) -> tuple[LocalFile, int]:
        """Drop a history that is not the document's; the file's base goes with it.

        Returns:
            the file as it is now, and the local generation to append with from now on.
        """
        return await self.database.run(_reset, room_id)

    async def close(self, timeout: float = 3.0) -> None:
        """Commit what waits, and close the file."""
        await self.log.stop(timeout)
        self.database.close()


def _before(connection: Connection, room_id: str, path: str) -> LocalFile | None:
    """What is known at the path of a room that is new."""
    if queries_local.find_file(connection, room_id) is not None:
        return None
    return queries_local.find_by_path(connection, path, room_id.rpartition(":")[0] + ":")


def _open(connection: Connection, room_id: str, path: str, adopted: str | None) -> LocalFile:
    if adopted is not None:
        queries_local.rename_room(connection, adopted, room_id)
        queries.rename_document(connection, adopted, room_id)
        queries.rename_document(connection, side_of(adopted), side_of(room_id))
    if queries_local.find_file(connection, room_id) is None:
        for name in (room_id, side_of(room_id)):
            queries.create_document(connection, name)
        return queries_local.add_file(connection, room_id, path)
    return queries_local.change_file(connection, room_id, path=path)


def _found(
    connection: Connection, document_id: str, room_id: str, path: str, adopted: str | None
) -> LocalFile:
    if adopted is not None:
        queries_local.remove_file(connection, room_id)
        _remove_histories(connection, room_id)
    _open(connection, room_id, path, adopted)
    return queries_local.change_file(connection, room_id, document_id=document_id)


def _remove_histories(connection: Connection, room_id: str) -> None:
    for name in (room_id, side_of(room_id)):
        queries.remove_history(connection, name)


def _reset(connection: Connection, room_id: str) -> tuple[LocalFile, int]:
    no_base = dict.fromkeys(("saved_digest", "saved_seq", "saved_extra", "intent_digest", "intent_seq"))
    file = queries_local.change_file(connection, room_id, generation=0, **no_base)
    return file, queries.reset_document(connection, room_id)


def _first_line(error: BaseException) -> str:
    cause = getattr(error.__cause__, "orig", None) or error
    return str(cause).partition("\n")[0]
