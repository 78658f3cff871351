"""The local store of a user's server: the histories of its rooms, so that they open while everything else is away.

One SQLite file that lives with the user's files. A room has two histories in its log: the shared one, named as
the room is (`json:notebook:<file id>`), and the one of the per-server keys, `<room>#side` (see `splitdoc.py`).
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from sqlalchemy.engine import URL

from .core import queries, queries_local
from .core.database import Database
from .core.documentlog import DocumentLog
from .core.errors import ConfigurationError
from .core.queries import History
from .core.queries_local import LocalFile
from .core.schema import LOG_TABLES, local_metadata, metadata


def side_of(room_id: str) -> str:
    """The name of the history of a room's per-server keys."""
    return f"{room_id}#side"


class LocalStore:
    """Histories and files of one server.

    Args:
        path: of the SQLite file; it and its folder are made when missing.

    Raises:
        ConfigurationError: the file can't be made there.
        DatabaseError: it is there, and is not a store of ours.
    """

    def __init__(self, path: Path) -> None:
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
        self.log = DocumentLog(self.database)
        self.home_id = self.database.call(_prepare)

    async def open(self, room_id: str, path: str) -> LocalFile:
        """The room's file, remembered from now on if it is new here; its path is kept up to date."""

        def find_or_add(connection: Any) -> LocalFile:
            for name in (room_id, side_of(room_id)):
                queries.create_document(connection, name)
            if queries_local.find_file(connection, room_id) is None:
                return queries_local.add_file(connection, room_id, path)
            return queries_local.change_file(connection, room_id, path=path)

        return await self.database.run(find_or_add)

    async def holding(self, document_id: str) -> LocalFile | None:
        """The file that holds a document here, if there is one."""
        return await self.database.run(queries_local.find_document, document_id)

    async def change(self, room_id: str, **values: Any) -> LocalFile:
        """Write some of a file's columns; see `schema.local_files`."""
        return await self.database.run(queries_local.change_file, room_id, **values)

    async def forget(self, room_id: str) -> None:
        """A file holds its document no longer."""
        await self.database.run(queries_local.remove_file, room_id)

    async def histories(self, room_id: str) -> tuple[History, History]:
        """The room's shared history, and the one of its per-server keys."""
        return await self.log.read(room_id), await self.log.read(side_of(room_id))

    async def reset(self, room_id: str) -> int:
        """Drop a history that is not the document's; the file's base goes with it.

        Returns:
            the local generation to append with from now on.
        """

        def reset(connection: Any) -> int:
            no_base = dict.fromkeys(("saved_digest", "saved_seq", "saved_extra", "intent_digest", "intent_seq"))
            queries_local.change_file(connection, room_id, generation=0, **no_base)
            return queries.reset_document(connection, room_id)

        return await self.database.run(reset)

    async def close(self, timeout: float = 3.0) -> None:
        """Commit what waits, and close the file."""
        await self.log.stop(timeout)
        self.database.close()


def _prepare(connection: Any) -> str:
    metadata.create_all(connection, tables=list(LOG_TABLES))
    local_metadata.create_all(connection)
    return queries_local.home_id(connection)
