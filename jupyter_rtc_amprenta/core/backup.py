"""A backup: all documents, versions, people and what they may do, in one file, made of one picture of the database.

It is made while everything runs: what was acknowledged before it begins is in it, and of each document exactly what
the log had at that moment. In the file nothing is encrypted with a document's own key, since rows are bound to a
generation, and putting a history back gives it another one. The file is encrypted as a whole, with the first key.
"""

from __future__ import annotations

import os
import tempfile
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from contextlib import ExitStack, closing, contextmanager
from itertools import chain
from pathlib import Path
from typing import Any, BinaryIO

from sqlalchemy import Connection, Row, Table

from . import queries_backup
from .backupfile import BackupReader, BackupWriter
from .backuprecords import END, Completeness, Contents, RecordReader, encode
from .crypto import EncryptionKeys
from .database import Database
from .errors import BackupError, EncryptionError
from .migrate import require_current
from .queries_backup import GENERAL, OF_DOCUMENT
from .schema import now, yjs_documents

# Called with (documents that are done, how many there are).
Progress = Callable[[int, int], None]


def make(
    database: Database, path: Path, keys: EncryptionKeys, without: Collection[str], progress: Progress
) -> Contents:
    """Write a backup, and read it back. The file is there when all of it is right, and not before.

    Args:
        path: of the file, which there must not be; it is made for its owner's eyes alone.
        keys: what documents are encrypted with; the first one encrypts the file.
        without: documents that are left out.

    Raises:
        BackupError: the file can't be written, or a document is not whole; it is named.
        EncryptionError: a document can't be decrypted; it is named.
        DatabaseUnavailable, SchemaMismatch.
    """
    if path.exists():
        raise BackupError(f"There is a file {path} already: give another name.")
    try:
        descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        partial = Path(name)
        try:
            with open(descriptor, "wb") as file:
                database.call(_dump, file, keys, without, progress)
                file.flush()
                os.fsync(file.fileno())
            contents = verify(partial, keys)
            partial.rename(path)
        finally:
            partial.unlink(missing_ok=True)
    except OSError as error:
        raise BackupError(f"{path} can't be written: {error.strerror}.") from None
    return contents


def verify(path: Path, keys: EncryptionKeys, progress: Progress = lambda done, total: None) -> Contents:
    """Read all of a backup.

    Raises:
        BackupError: it is damaged, cut off, from a newer version, or no backup.
        EncryptionError: its key is not among these.
    """
    with reading(path, keys) as reader:
        for table, _ in reader.rows():
            if table is yjs_documents:
                progress(len(reader.contents.documents), reader.contents.described["documents"])
    return reader.contents


@contextmanager
def reading(path: Path, keys: EncryptionKeys) -> Iterator[RecordReader]:
    """Open a backup.

    Raises:
        BackupError: it can't be read; also while its rows are read.
        EncryptionError: its key is not among these.
    """
    try:
        with open(path, "rb") as file:
            yield RecordReader(BackupReader(file, keys))
    except OSError as error:
        raise BackupError(f"{path} can't be read: {error.strerror}.") from None
    except (BackupError, EncryptionError) as error:
        raise type(error)(f"{path}: {error}") from None


def _dump(
    connection: Connection, file: BinaryIO, keys: EncryptionKeys, without: Collection[str], progress: Progress
) -> None:
    queries_backup.begin_reading(connection)
    counts = queries_backup.counts(connection)
    described = {"created_at": now().isoformat(), "schema": require_current(connection)} | counts
    out = _Records(BackupWriter(file, described, keys))
    for table in GENERAL:
        for row in queries_backup.general_rows(connection, table):
            out.write(table, row._mapping)
    # Cursors at the server: whatever happens, they are closed before the transaction ends.
    with closing(_documents(connection)) as documents:
        for number, rows in enumerate(documents, start=1):
            _dump_document(rows, keys, without, out)
            progress(number, counts["documents"])
    out.finish()


def _documents(connection: Connection) -> Iterator[Iterator[tuple[Table, Row[Any]]]]:
    """Each document's rows. All tables are read beside each other, in the documents' order."""
    with ExitStack() as cursors:
        documents, *hanging = (
            cursors.enter_context(closing(queries_backup.document_rows(connection, table))) for table in OF_DOCUMENT
        )
        ahead = [_Ahead(table, rows) for table, rows in zip(OF_DOCUMENT[1:], hanging, strict=True)]
        for document in documents:
            of_others = (others.of(document.document_id) for others in ahead)
            yield chain([(yjs_documents, document)], chain.from_iterable(of_others))


class _Ahead:
    """The rows of a table that hang on documents, read up to the next document's."""

    def __init__(self, table: Table, rows: Iterator[Row[Any]]) -> None:
        self._table = table
        self._rows = rows
        self._next = next(rows, None)

    def of(self, document_id: str) -> Iterator[tuple[Table, Row[Any]]]:
        """The rows of one document, which must be the next."""
        while self._next is not None and self._next.document_id == document_id:
            yield self._table, self._next
            self._next = next(self._rows, None)


def _dump_document(
    rows: Iterator[tuple[Table, Row[Any]]], keys: EncryptionKeys, without: Collection[str], out: _Records
) -> None:
    generation: int | None = None
    for table, row in rows:
        if table is yjs_documents:
            generation = row.generation
        elif getattr(row, "generation", generation) != generation:
            # A version of a history that was reset: there is nothing that it could show.
            continue
        if row.document_id in without:
            continue
        try:
            plain = queries_backup.opened(table, row._mapping, keys)
        except EncryptionError as error:
            name = row.document_id
            raise EncryptionError(f"{name}: {error} Give its key, or leave it out: --without {name}") from None
        out.write(table, plain)


class _Records:
    """Writes rows, counts them, and holds each document against its own row."""

    def __init__(self, writer: BackupWriter) -> None:
        self._writer = writer
        self._rows: Counter[str] = Counter()
        self._completeness = Completeness(" Put it back from an older backup, or leave it out: --without")

    def write(self, table: Table, row: Any) -> None:
        self._completeness.see(table.name, row)
        self._writer.write(encode(table.name, row))
        self._rows[table.name] += 1

    def finish(self) -> None:
        self._completeness.end_document()
        self._writer.write(encode(END, self._rows))
        self._writer.finish()
