"""Versions of a document: states that are kept, with who, when and a label; shown, exported and restored."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from jupyter_ydoc import ydocs as YDOCS
from pycrdt import Doc
from sqlalchemy import Connection

from . import queries, queries_leases, queries_open, queries_versions
from .causal import load
from .content import document_type
from .merge import merge_update
from .queries_versions import Version
from .schema import now

if TYPE_CHECKING:
    from .documentlog import DocumentLog


class Versions:
    """What can be done with versions, over one log.

    Args:
        log: of PostgreSQL.
    """

    def __init__(self, log: DocumentLog) -> None:
        self._log = log
        self._run = log.database.run

    async def create(self, document_id: str, label: str | None, username: str | None) -> Version:
        """Keep the present state.

        Args:
            label: up to 200 characters; None: an automatic version, which may be removed so too.
            username: who asks for it.

        Raises:
            DocumentNotFound, DatabaseUnavailable.
        """
        return await self._run(_create, document_id, label, username)

    async def list(
        self, document_id: str, limit: int = 100, before: tuple[int, str] | None = None
    ) -> list[Version]:
        """The newest first; see `queries_versions.list_versions`."""
        return await self._run(queries_versions.list_versions, document_id, limit, before)

    async def find(self, document_id: str, version_id: str) -> Version:
        """One version.

        Raises:
            VersionNotFound, DatabaseUnavailable.
        """
        return await self._run(queries_versions.find_version, document_id, version_id)

    async def name(self, document_id: str, version_id: str, label: str | None) -> Version:
        """Change a version's label.

        Raises:
            VersionNotFound, DatabaseUnavailable.
        """
        return await self._run(queries_versions.name_version, document_id, version_id, label)

    async def content(self, document_id: str, version_id: str | None = None) -> str:
        """What the file held at a version: a notebook in nbformat's JSON, or text.

        Args:
            version_id: None: the present state.

        Raises:
            DocumentNotFound, VersionNotFound, EncryptionError, DatabaseUnavailable.
        """
        until = None if version_id is None else (await self.find(document_id, version_id)).seq
        kind = await self._run(file_type, document_id)
        content = _content(await self._document(document_id, until), kind)
        return _as_notebook(content) if kind == "notebook" else content

    async def restore(self, document_id: str, version_id: str, username: str | None) -> int:
        """Turn the present state into a version's, by an edit like any other: nothing is rewritten.

        The present state is kept as a version first.

        Returns:
            the log's position afterwards.

        Raises:
            VersionNotFound, DocumentNotFound, EncryptionError, DatabaseUnavailable.
            DocumentLeased: a server has the document open in direct mode, and would not notice.
        """
        version = await self.find(document_id, version_id)
        await self._run(queries_leases.require_free, document_id)
        kind = await self._run(file_type, document_id)
        wanted = _content(await self._document(document_id, version.seq), kind)
        present = await self.create(document_id, None, username)
        state = (await self._document(document_id, present.seq)).get_update()
        update = merge_update(state, wanted, kind)
        if update is None:
            return present.seq
        return await self._log.append(document_id, update, version.generation)

    async def _document(self, document_id: str, until: int | None) -> Doc[Any]:
        history = await self._log.read(document_id, until)
        doc: Doc[Any] = Doc()
        await load(doc, history.updates)
        return doc


def _as_notebook(content: Any) -> str:
    # Imported here: it takes seconds, and every process that appends to the log would wait for it when it starts.
    import nbformat

    return nbformat.writes(nbformat.from_dict(content)) + "\n"


def make_automatic(connection: Connection, document_ids: Sequence[str], seconds: float, keep: int) -> None:
    """Make a version of each document that was edited and has had none for so long; thin out the old ones.

    Args:
        seconds: how long a document goes without.
        keep: how many automatic versions stay.
    """
    due = now() - timedelta(seconds=seconds)
    for document_id in document_ids:
        if not queries_open.document_rights(connection, [document_id]).generations:
            continue  # it was deleted meanwhile
        if queries_versions.last_version_at(connection, document_id) < due:
            _create(connection, document_id, None, None)
            queries_versions.remove_automatic(connection, document_id, keep)


def file_type(connection: Connection, document_id: str) -> str:
    """`notebook` or `file`, as jupyter_ydoc tells documents apart."""
    kind = queries_versions.document_type(connection, document_id)
    if kind is None:
        # In direct mode a document is named as its room is: `notebook:<file id>`.
        kind = document_type(document_id.partition(":")[0], "")
    return "notebook" if kind == "notebook" else "file"


def _create(connection: Connection, document_id: str, label: str | None, username: str | None) -> Version:
    generation, seq = queries.lock_document(connection, document_id)
    return queries_versions.add_version(connection, document_id, generation, seq, label, username)


def _content(doc: Doc[Any], kind: str) -> Any:
    return YDOCS.get(kind, YDOCS["file"])(doc).get()
