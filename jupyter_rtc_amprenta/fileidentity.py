"""Which document a file is: what this server knows, and what the service says of the place where the file lies.

A file in somebody's home is known by its home and its id there, a file on a shared volume by its path on the
volume, which all servers see alike.
"""

from __future__ import annotations

import logging

from .core.content import document_type, title
from .core.errors import ServiceError, ServiceUnavailable
from .core.queries_local import LocalFile
from .core.volumes import VolumePath
from .filerecord import FileContent, FileRecord
from .linking import Linking
from .mounts import Place

log = logging.getLogger(__name__)


class FileIdentity:
    """Which document one file is.

    Args:
        room_id: `format:type:file id`.
        linking: what all linked rooms of the server share.
        record: what is known of the file.

    Attributes:
        place: where the file lies.
    """

    place: Place

    def __init__(self, room_id: str, linking: Linking, record: FileRecord) -> None:
        self._room_id = room_id
        self._linking = linking
        self._mounts, self._store, self._client = linking.mounts, linking.store, linking.client
        self._record = record

    # --- opening ---

    async def find(self, on_disk: FileContent) -> LocalFile:
        """What the local store has of the file; a new row where it has nothing.

        Args:
            on_disk: what the file holds.

        Raises:
            ServiceUnavailable: it is on a shared volume, nothing of it is known here, and the service does not answer.
            ServiceError: it is on a shared volume, and this user may not enter it there.
        """
        self.place = self._mounts.of(on_disk.path)
        if self.place.volume is not None:
            await self._find_on_volume(self.place.volume, on_disk)

        def is_the_same(before: LocalFile) -> bool:
            """What was known at this path under another id is this file: the id is gone, the content is ours."""
            return self._linking.id_is_gone(before.room_id.split(":", 2)[2]) and before.wrote(on_disk.digest)

        return await self._store.open(self._room_id, on_disk.path, is_the_same)

    async def _find_on_volume(self, volume: VolumePath, on_disk: FileContent) -> None:
        """A file that others have too is nobody's own: which document it is, the service says, and nobody else."""
        known = await self._store.find(self._room_id)
        try:
            if known is not None and known.document_id is not None:
                await self._tell_missed_move(known.document_id, volume)
            document_id = await self._register_on(volume, on_disk)
        except ServiceUnavailable as error:
            if known is None or not known.generation:
                raise ServiceUnavailable(str(error), error.status, "volume_offline") from None
            return
        if known is not None and known.document_id not in (None, document_id):
            # Another file has this one's name now.
            await self._store.forget(self._room_id)
            await self._store.remove_histories(self._room_id)
        await self._store.found(document_id, self._room_id, on_disk.path, self._is_another)

    def _is_another(self, other: LocalFile) -> bool:
        """Whether a file that holds this document here is one that is open, or is reached, by another name."""
        if other.room_id in self._linking.rooms:
            return True
        return self._mounts.exists(other.path) and self._mounts.of(other.path).volume == self.place.volume

    async def _tell_missed_move(self, document_id: str, volume: VolumePath) -> None:
        """The file was moved while the service was away; but what was copied, and is there still, was not moved."""
        try:
            described = await self._client.document(document_id)
            before = VolumePath(described.get("volume", ""), described.get("volume_path", ""))
            if before.volume != volume.volume or before.path == volume.path:
                return
            path = self._mounts.path_of(before)
            if path is None or not self._mounts.exists(path):
                await self._client.moved(document_id, volume.path)
        except ServiceUnavailable:
            raise
        except ServiceError as error:
            log.warning("document=%s: the service does not take %s: %s", document_id, volume.shown, error)

    # --- the service ---

    async def _register_on(self, volume: VolumePath, on_disk: FileContent) -> str:
        room_kind = self._room_id.rpartition(":")[0]
        kind, named = _described(on_disk)
        return (
            await self._client.register_shared(volume, room_kind, kind, named, on_disk.digest)
        ).document_id

    async def register(self, on_disk: FileContent) -> None:
        """Ask the service for the document of a file in this home; it becomes one where it is none yet.

        Raises:
            ServiceUnavailable, ServiceError.
        """
        known = self._record.file
        kind, named = _described(on_disk)
        name = known.registered_as or self._room_id
        shows = on_disk.digest if self.place.agreed else ""
        registered = await self._client.register(
            self._mounts.home_id, name, kind, on_disk.path, named, shows
        )
        await self._record.change(
            document_id=registered.document_id,
            registered_as=registered.file_id or name,
            own=registered.own and known.own,
        )

    # --- moves ---

    def move_to(self, path: str) -> Place:
        """The file has another path now.

        Returns:
            where it was.
        """
        before, self.place = self.place, self._mounts.of(path)
        return before

    async def tell_move(self, before: Place, on_disk: FileContent) -> None:
        """Tell the service where the file is now.

        Raises:
            ServiceUnavailable, ServiceError.
        """
        document_id = self._record.file.document_id
        if document_id is None:
            return
        if before.volume is not None and self.place.volume is not None:
            await self._client.moved(document_id, self.place.volume.path)
        elif before.volume is None and self._record.file.own:
            await self.register(on_disk)


def _described(on_disk: FileContent) -> tuple[str, str]:
    """The kind of document, and its title."""
    kind = document_type(on_disk.type, on_disk.path)
    return kind, title(on_disk.content, kind, on_disk.path)
