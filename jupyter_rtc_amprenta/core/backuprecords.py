"""What a backup's bytes say: rows, one after the other, each with the name of its table.

    row      4 bytes: the length of its JSON; the JSON: [table, values, [[column, length of its bytes], …]]; the bytes
    order    what belongs to no document, users first; then each document, with all that belongs to it
    end      a row of no table, with how many rows of each there are
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import Table

from .backupfile import BackupReader
from .errors import BackupError
from .queries_backup import GENERAL, OF_DOCUMENT
from .schema import UtcDateTime

END = "end"
_TABLES: Mapping[str, Table] = {table.name: table for table in (*OF_DOCUMENT, *GENERAL)}
_BYTES = (bytes, memoryview)


def encode(table: str, row: Mapping[str, Any]) -> bytes:
    """A row as bytes."""
    values = {name: _plain(value) for name, value in row.items() if not isinstance(value, _BYTES)}
    parts = {name: bytes(value) for name, value in row.items() if isinstance(value, _BYTES)}
    head = json.dumps([table, values, [[name, len(part)] for name, part in parts.items()]]).encode()
    return b"".join((len(head).to_bytes(4, "big"), head, *parts.values()))


def _plain(value: Any) -> Any:
    return value.isoformat() if isinstance(value, datetime) else value


@dataclass
class Contents:
    """What a backup holds, found by reading all of it.

    Attributes:
        described: the file's header.
        documents: their ids, in the file's order.
        rows: how many rows of each table.
    """

    described: dict[str, Any]
    documents: list[str] = field(default_factory=list)
    rows: Counter[str] = field(default_factory=Counter)


class Completeness:
    """Holds the rows of documents against what their own row says: nothing of a history may be missing.

    Args:
        advice: follows what is wrong.
    """

    def __init__(self, advice: str = "") -> None:
        self._advice = advice
        self._document: Mapping[str, Any] | None = None
        self._reached = 0

    def see(self, table: str, row: Mapping[str, Any]) -> None:
        """The next row.

        Raises:
            BackupError: the document before it is not whole.
        """
        if table not in ("yjs_snapshots", "yjs_updates"):
            self.end_document()
        if table == "yjs_documents":
            self._document, self._reached = row, 0
        elif table == "yjs_snapshots" or (table == "yjs_updates" and row["seq"] == self._reached + 1):
            # The newest snapshot comes last; updates that it stands for are history alone.
            self._reached = row["seq"]

    def end_document(self) -> None:
        """No more of its log comes.

        Raises:
            BackupError: it is not whole.
        """
        document, self._document = self._document, None
        if document is not None and document["seq"] != self._reached:
            name = document["document_id"]
            raise BackupError(f"The log of the document {name} is not whole: updates are missing.{self._advice}")


class RecordReader:
    """Reads rows.

    Args:
        reader: the file's bytes.
    """

    def __init__(self, reader: BackupReader) -> None:
        self.contents = Contents(reader.described)
        self._reader = reader

    def rows(self) -> Iterator[tuple[Table, dict[str, Any]]]:
        """Each row, and its table. At the end, all is known to be there.

        Raises:
            BackupError: the file is damaged, or from a newer version.
        """
        completeness, contents = Completeness(), self.contents
        while (row := self._next()) is not None:
            name, values = row
            completeness.see(name, values)
            if name == "yjs_documents":
                contents.documents.append(values["document_id"])
            contents.rows[name] += 1
            table = _TABLES[name]
            # A column that an older schema had and this one has not is nothing that this code knows.
            yield table, {column: value for column, value in values.items() if column in table.c}
        completeness.end_document()

    def _next(self) -> tuple[str, dict[str, Any]] | None:
        """The next row; None at the end."""
        try:
            name, values, parts = json.loads(self._exactly(int.from_bytes(self._exactly(4), "big")))
            for column, size in parts:
                values[column] = self._exactly(size)
            if name != END:
                return name, {column: _typed(_TABLES[name], column, value) for column, value in values.items()}
        except (ValueError, KeyError, TypeError):
            raise BackupError("The backup is damaged.") from None
        if values != self.contents.rows or self._reader.read(1):
            raise BackupError("The backup is damaged: it does not hold what it says.")
        return None

    def _exactly(self, size: int) -> bytes:
        data = self._reader.read(size)
        if len(data) < size:
            raise BackupError("The backup is cut off: its end is missing.")
        return data


def _typed(table: Table, name: str, value: Any) -> Any:
    is_time = value is not None and name in table.c and isinstance(table.c[name].type, UtcDateTime)
    return datetime.fromisoformat(value) if is_time else value
