"""Joining: a document that was shared with this server's user becomes one of their files."""

from __future__ import annotations

from contextlib import suppress
from pathlib import PurePosixPath
from typing import Any

from jupyter_server.utils import ensure_async
from jupyter_ydoc import ydocs as YDOCS
from pycrdt import Doc
from tornado.web import HTTPError

from .core.content import digest, without_trust
from .core.errors import DatabaseError, DocumentTooLarge, ServiceError, ServiceUnavailable
from .core.protocol import EMPTY_UPDATE
from .core.volumes import VolumePath
from .linking import Linking
from .localstore import LocalStore

_SUFFIXES = {"notebook": ".ipynb", "python": ".py", "markdown": ".md", "json": ".json", "text": ".txt"}


class CopyLeft(Exception):
    """The document is not this user's to join any more, and a copy of it is among their files.

    Attributes:
        path: of the copy.
        ended: `removed` or `deleted`.
    """

    def __init__(self, path: str, ended: str) -> None:
        super().__init__(path, ended)
        self.path, self.ended = path, ended


async def join(linking: Linking, file_ids: Any, document_id: str) -> str:
    """Make sure that the document is among the files.

    Args:
        linking: of this server.
        file_ids: jupyter_server_fileid's manager.
        document_id: the document.

    Returns:
        the path of its file. When this returns the file is there.

    Raises:
        ServiceError: 403, 404, or 409 when nobody has opened the document yet.
        ServiceUnavailable: the service or the Y.js server does not answer (code `yjs_unavailable`).
        DocumentTooLarge: it is over this server's limit.
        CopyLeft: it is shared no longer.
        HTTPError, OSError, DatabaseError: the file can't be written, or not be noted down; nothing is left of it.
    """
    async with linking.joining:
        return await _join(linking, file_ids, document_id)


async def _join(linking: Linking, file_ids: Any, document_id: str) -> str:
    manager = linking.contents_manager()
    if (path := await _path_here(linking, manager, file_ids, document_id)) is not None:
        return path
    described = await linking.client.document(document_id)
    if (path := _on_volume(linking, described)) is not None:
        return path
    state = await linking.client.state(document_id)
    most = linking.settings.max_document_bytes
    if most and len(state) > most:
        raise DocumentTooLarge(f"The document has {len(state)} bytes; {most} are allowed (RTC_MAX_DOCUMENT_BYTES).")
    if state == EMPTY_UPDATE and described["document_type"] == "notebook":
        raise ServiceError("The document is empty.", 409, "not_opened")
    file_type = "notebook" if described["document_type"] == "notebook" else "file"
    model = _model(state, file_type)
    path = await _free_path(manager, linking.settings.shared_folder, described)
    try:
        await ensure_async(manager.save(model, path))
        room_id = f"{model['format']}:{file_type}:{file_ids.index(path)}"
        await _remember(linking.store, room_id, path, described, state, digest(model["content"], file_type))
    except (HTTPError, OSError, DatabaseError):
        # Half a file, or one that nobody knows: the next try would put a second one beside it.
        await _remove(manager, path)
        raise
    return path


async def _remove(manager: Any, path: str) -> None:
    with suppress(HTTPError, OSError):
        if await ensure_async(manager.file_exists(path)):
            await ensure_async(manager.delete(path))


async def _path_here(linking: Linking, manager: Any, file_ids: Any, document_id: str) -> str | None:
    """Where the document's file is, if it is here.

    Raises:
        CopyLeft: it was shared once, and is not again.
    """
    known = await linking.store.holding(document_id)
    if known is None:
        return None
    path = file_ids.get_path(known.room_id.split(":", 2)[2])
    if path is None or not await ensure_async(manager.file_exists(path)):
        moved = _on_volume(linking, await linking.client.document(document_id))
        if moved is None:
            await linking.store.forget(known.room_id)
        return moved
    if known.ended:
        try:
            await linking.client.document(document_id)
        except ServiceUnavailable:
            raise
        except ServiceError:
            raise CopyLeft(path, known.ended) from None
    return path


def _on_volume(linking: Linking, described: dict[str, Any]) -> str | None:
    """Where this server has the file itself, which lies on a shared volume: no copy is made of it."""
    if "volume" not in described:
        return None
    path = linking.mounts.path_of(VolumePath(described["volume"], described["volume_path"]))
    return path if path is not None and linking.mounts.exists(path) else None


def _model(state: bytes, file_type: str) -> dict[str, Any]:
    document: Doc = Doc()
    document.apply_update(state)
    content = without_trust(YDOCS.get(file_type, YDOCS["file"])(document).get(), file_type)
    return {"type": file_type, "format": "json" if file_type == "notebook" else "text", "content": content}


async def _free_path(manager: Any, folder: str, described: dict[str, Any]) -> str:
    """A name in the folder of shared documents that no other file has."""
    if not await ensure_async(manager.dir_exists(folder)):
        await ensure_async(manager.save({"type": "directory"}, folder))
    # Jupyter takes no hidden file, and the name is what somebody else's server says.
    name = PurePosixPath(described["path"]).name.lstrip(".") or "document" + _SUFFIXES[described["document_type"]]
    return f"{folder}/{await ensure_async(manager.increment_filename(name, path=folder))}"


async def _remember(
    store: LocalStore, room_id: str, path: str, described: dict[str, Any], state: bytes, content_digest: str
) -> None:
    file = await store.open(room_id, path)
    if file.generation or file.document_id:
        # The file id was another document's, whose file is gone.
        await store.reset(room_id)
    generation = (await store.log.read(room_id)).generation
    position = await store.log.append(room_id, state, generation)
    await store.change(
        room_id,
        document_id=described["document_id"],
        generation=described["generation"],
        permissions=described["permissions"],
        own=False,
        saved_digest=content_digest,
        saved_seq=position,
    )
