"""Putting a backup back, into an empty database or a running one: document by document, each in one transaction.

A document that is put back has another generation: tabs and servers that hold the history that was there are told
(4409), and load what was restored instead of merging it with theirs. Before a transaction ends, what it wrote is read
back, decrypted, and held against the file.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Table

from . import queries_backup
from .backup import Progress, reading
from .backuprecords import Contents, encode
from .crypto import EncryptionKeys
from .database import Database
from .errors import BackupError, DatabaseError, DocumentLeased
from .migrate import is_known, require_current
from .queries_backup import OF_DOCUMENT
from .schema import activity, sessions, users, versions, yjs_documents
from .schema_record import audit

_Rows = Iterator[tuple[Table, dict[str, Any]]]
_NAMES = {
    table: [column.name for column in table.c if any(key.column is users.c.username for key in column.foreign_keys)]
    for table in OF_DOCUMENT
} | {versions: ["created_by"]}
# Of a document's own row: they are changed on purpose.
_FENCES = ("generation", "lease_epoch", "lease_holder", "lease_expires_at")


@dataclass(frozen=True)
class Choice:
    """What is put back.

    Attributes:
        documents: these alone; empty: all, with the audit.
        replace: documents that are there already are replaced.
        only_missing: those are left as they are.
    """

    documents: Collection[str] = ()
    replace: bool = False
    only_missing: bool = False


@dataclass
class Plan:
    """What would be done.

    Attributes:
        contents: of the file.
        whole: whether what belongs to no document is put back too.
        wanted: the documents that are put back.
        present: those of the file that are there already.
        names: the users that the wanted documents refer to.
    """

    contents: Contents
    whole: bool
    wanted: set[str]
    present: set[str]
    names: set[str] = field(default_factory=set)


def plan(database: Database, path: Path, keys: EncryptionKeys, choice: Choice) -> Plan:
    """Read all of a backup, and find out what putting it back would do. Nothing is changed.

    Raises:
        BackupError: the file can't be used, lacks a document, or has documents that are there already.
        DocumentLeased: one that would be replaced is open in direct mode.
        EncryptionError: the file's key is not among these.
        DatabaseUnavailable, SchemaMismatch.
    """
    database.call(require_current)
    names: set[str] = set()
    with reading(path, keys) as reader:
        if not is_known(reader.contents.described["schema"]):
            raise BackupError("It was made by a newer version: upgrade jupyter-rtc-amprenta here.")
        for table, row in reader.rows():
            if table in OF_DOCUMENT and (not choice.documents or row["document_id"] in choice.documents):
                names.update(_names_in(table, row))
    contents = reader.contents
    if lacking := set(choice.documents) - set(contents.documents):
        raise BackupError(f"{path} has no document {', '.join(sorted(lacking))}.")
    wanted = set(choice.documents or contents.documents)
    present = database.call(queries_backup.existing, wanted)
    if present and not choice.replace and not choice.only_missing:
        raise BackupError(
            f"{len(present)} of {len(wanted)} documents are in this database already, such as {min(present)}. "
            "Nothing was changed. Restore the others alone (--only-missing), or replace what is there (--replace)."
        )
    if choice.replace:
        database.call(queries_backup.require_free, present)
    return Plan(contents, not choice.documents, wanted - present if choice.only_missing else wanted, present, names)


def restore(
    database: Database, path: Path, keys: EncryptionKeys, planned: Plan, progress: Progress
) -> list[str]:
    """Put a backup back.

    Args:
        planned: by `plan`, of this file.
        keys: the file's key must be among them; the first one encrypts the documents.

    Returns:
        what people should know, a sentence each.

    Raises:
        BackupError: the database failed on the way, or a document is open in direct mode; it says how far it came.
    """
    putting = _Putting(database, keys, planned)
    total = len(planned.wanted)
    try:
        with reading(path, keys) as reader:
            for _ in putting.all(reader.rows()):
                progress(putting.done, total)
    except (DatabaseError, DocumentLeased) as error:
        raise BackupError(
            f"{error} {putting.done} of {total} documents are restored; the others are as they were. "
            "Once that is mended, go on with --only-missing, or begin again with --replace."
        ) from error
    return putting.notes


class _Putting:
    """Puts rows back."""

    def __init__(self, database: Database, keys: EncryptionKeys, planned: Plan) -> None:
        self.done = 0
        self.notes: list[str] = []
        self._database = database
        self._keys = keys
        self._plan = planned
        self._called: dict[str, str] = {}
        self._source = f"from the backup of {planned.contents.described['created_at'][:19]}Z"

    def all(self, rows: _Rows) -> Iterator[None]:
        """Everything, a document (or one of the other tables) at a step."""
        for (document_id, table), group in groupby(rows, _belonging):
            if document_id in self._plan.wanted:
                self._database.call(self._put_document, group)
                self.done += 1
                yield
            elif document_id is None:
                self._put_general(table, (row for _, row in group))
        if self._plan.whole:
            self._database.call(queries_backup.go_beyond_events, self._plan.contents.described["event_id"])

    def _put_general(self, table: Table, rows: Iterable[dict[str, Any]]) -> None:
        if table is users:
            wanted = (row for row in rows if self._plan.whole or row["username"] in self._plan.names)
            self._called = self._database.call(queries_backup.put_users, wanted)
        elif self._plan.whole and table is audit:
            self._database.call(queries_backup.put_audit, rows)
        elif self._plan.whole:
            self._database.call(queries_backup.put_missing, table, rows)

    def _put_document(self, connection: Connection, rows: _Rows) -> None:
        _, document = next(rows)
        document_id, generation = document["document_id"], queries_backup.make_room(connection, document)
        meant = _Digest()
        meant.add(yjs_documents, document)
        for table, group in groupby(rows, lambda row: row[0]):
            changed = (self._changed(connection, table, row, generation) for _, row in group)
            queries_backup.put_rows(connection, table, meant.seen(table, changed), self._keys)
        queries_backup.tell_restored(connection, document_id, generation, document["seq"], self._source)
        written = _Digest(meant.columns)
        for table in OF_DOCUMENT:
            with closing(queries_backup.document_rows(connection, table, document_id)) as found:
                for row in found:
                    written.add(table, queries_backup.opened(table, row._mapping, self._keys))
        if written.sum != meant.sum:
            raise DatabaseError(f"The document {document_id} was not written as it is in the backup.")

    def _changed(
        self, connection: Connection, table: Table, row: dict[str, Any], generation: int
    ) -> dict[str, Any]:
        """A row as it is to be here."""
        changed = row | {name: self._called.get(row[name], row[name]) for name in _NAMES[table]}
        if "generation" in row:
            changed["generation"] = generation
        if table is activity:
            # Others have its number by now; the order stays.
            del changed["activity_id"]
        if table is sessions and queries_backup.file_is_taken(connection, changed):
            changed |= {"file_owner": None, "shared": False}
            self.notes.append(
                f"{row['document_id']}: {changed['path']} of {row['file_owner']} is another document by now. "
                "This one is no file of theirs any more; it can be joined from the page."
            )
        return changed


def _belonging(row: tuple[Table, dict[str, Any]]) -> tuple[str | None, Table]:
    """Whose a row is: a document's, or nobody's in a table."""
    table, values = row
    return (values["document_id"], yjs_documents) if table in OF_DOCUMENT else (None, table)


def _names_in(table: Table, row: dict[str, Any]) -> Iterator[str]:
    return (row[name] for name in _NAMES[table] if row[name] is not None)


class _Digest:
    """Of rows, whatever their order: another database sorts names otherwise.

    Args:
        columns: what of each table's rows counts; by default, what its first row has.
    """

    def __init__(self, columns: dict[str, list[str]] | None = None) -> None:
        self.sum = 0
        self.columns = columns or {}

    def add(self, table: Table, row: Any) -> None:
        """Another row."""
        left_out = _FENCES if table is yjs_documents else ("activity_id", "key_id")
        here = [name for name in row if name not in left_out]
        columns = self.columns.setdefault(table.name, here)
        counted = encode(table.name, {name: row[name] for name in sorted(columns)})
        self.sum += int.from_bytes(hashlib.sha256(counted).digest())

    def seen(self, table: Table, rows: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
        """The same rows, added as they pass."""
        for row in rows:
            self.add(table, row)
            yield row
