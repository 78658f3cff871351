"""What becomes of documents when their files are renamed or deleted on this server, whether they are open or not.

A rename keeps the document, on a shared volume for all who have it. A file that leaves its home or its volume is
another document where it is then: other people have it. A deletion ends the session, and says so to everybody.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable

from .core.errors import ServiceError
from .core.queries_local import LocalFile
from .linking import Linking

log = logging.getLogger(__name__)


async def follow_rename(linking: Linking, path: str, new_path: str) -> None:
    """A file or a folder has another path."""
    files = await linking.store.files_at(path)
    await linking.store.moved(path, new_path)
    for file in files:
        before = linking.mounts.of(file.path)
        now_at = new_path + file.path.removeprefix(path)
        after = linking.mounts.of(now_at)
        if before.name != after.name:
            await _leave(linking, file)
            if before.volume is not None:
                await _tell_deletion(linking, file)
        elif after.volume is not None and file.document_id is not None:
            await _told(file, linking.client.moved(file.document_id, after.volume.path))


async def follow_deletion(linking: Linking, path: str) -> None:
    """A file or a folder is gone."""
    files = await linking.store.files_at(path)
    for room in list(linking.rooms.values()):
        if room.ready and f"{room.linked.file.path}/".startswith(f"{path}/"):
            await room.file_deleted()
    await linking.store.deleted(path)
    for file in files:
        if file.own or linking.mounts.of(file.path).volume is not None:
            await _tell_deletion(linking, file)


async def _leave(linking: Linking, file: LocalFile) -> None:
    room = linking.rooms.get(file.room_id)
    if room is not None and room.ready:
        await room.file_moved_away()
    await linking.store.forget(file.room_id)
    await linking.store.remove_histories(file.room_id)


async def _tell_deletion(linking: Linking, file: LocalFile) -> None:
    if file.document_id is not None:
        await _told(file, linking.client.deleted(file.document_id))


async def _told(file: LocalFile, call: Awaitable[None]) -> None:
    try:
        await call
    except ServiceError as error:
        log.warning("The service does not know what became of %s: %s", file.path, error)
