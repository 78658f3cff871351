"""Servers that have the same files: a shared volume under several homes, or a home with several servers."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from jupyter_server_fileid.manager import ArbitraryFileIdManager
from pycrdt import Doc, Text
from support.rules import server
from support.simulation import Hub, PlayedService, Server

from jupyter_rtc_amprenta.client import Registration, _registration
from jupyter_rtc_amprenta.core import settings
from jupyter_rtc_amprenta.core.documentlog import DocumentLog
from jupyter_rtc_amprenta.core.errors import ServiceError, ServiceUnavailable
from jupyter_rtc_amprenta.core.volumes import SharedVolume, VolumePath
from jupyter_rtc_amprenta.followfiles import follow_deletion, follow_rename
from jupyter_rtc_amprenta.homeid import read_home_id
from jupyter_rtc_amprenta.mounts import Mounts
from jupyterhub_service.bodies import ChangeBody, DocumentBody
from jupyterhub_service.collaboration import Collaboration
from jupyterhub_service.errors import Refused
from jupyterhub_service.volumes import VolumeDoor

LEASE_SECONDS = 2.0


class Groups:
    """The Hub, as far as it tells groups."""

    def __init__(self, members: dict[str, list[str]]) -> None:
        self.members = members

    async def groups(self, username: str) -> list[str]:
        return self.members.get(username, [])


class MountHub(Hub):
    """A Hub with a shared volume `team` for the group `team`; the service's own rules answer for its files."""

    def __init__(self, database_url: str, volume: Path) -> None:
        super().__init__(database_url)
        self.settings = {"lease_seconds": LEASE_SECONDS}
        self.volume = volume
        volume.mkdir()
        self.groups = Groups({"alice": ["team"], "bob": ["team"], "carol": []})
        door = VolumeDoor({"team": SharedVolume("team", "", ("team",))}, self.groups)  # type: ignore[arg-type]
        self.rules = Collaboration(self.database, settings.read({}), lambda: self.keyring, door)

    async def stored(self, document_id: str) -> str:
        """What the log holds."""
        doc: Doc = Doc()
        for update in (await DocumentLog(self.database).read(document_id)).updates:
            doc.apply_update(update)
        return str(doc.get("source", type=Text))


class MountService(PlayedService):
    """The service's rules for a user's server, without HTTP between."""

    _hub: MountHub

    def __init__(self, hub: MountHub, user: str, server_name: str) -> None:
        super().__init__(hub, user)
        self._identity = server(user, server_name)

    async def _asked(self, call: Any) -> Any:
        if not self._hub.is_up:
            call.close()
            raise ServiceUnavailable("The service is away.")
        try:
            return await call
        except Refused as refused:
            raise ServiceError(refused.detail, refused.status, refused.code) from None

    async def register(
        self, volume: str, room_id: str, kind: str, path: str, title: str, digest: str = ""
    ) -> Registration:
        return await self._registered(DocumentBody(volume, room_id, kind, path, title, digest=digest))

    async def register_shared(
        self, place: VolumePath, room_kind: str, document_type: str, title: str, digest: str
    ) -> Registration:
        return await self._registered(
            DocumentBody(place.volume, room_kind, document_type, place.path, title, True, digest)
        )

    async def _registered(self, body: DocumentBody) -> Registration:
        return _registration(await self._asked(self._hub.rules.register(self._identity, body)))

    async def document(self, document_id: str) -> dict[str, Any]:
        return await self._asked(self._hub.rules.document(self._identity, document_id))

    async def moved(self, document_id: str, path: str) -> None:
        await self._asked(self._hub.rules.change(self._identity, document_id, ChangeBody(path)))

    async def deleted(self, document_id: str) -> None:
        await self._asked(self._hub.rules.change(self._identity, document_id, ChangeBody(None)))


class MountServer(Server):
    """A user's server that has the volume as the folder `Team`."""

    hub: MountHub

    def __init__(self, hub: MountHub, user: str, home: Path, path: str = "Team/notes.txt", name: str = "") -> None:
        # What runs in this process is told apart from another server of the user's.
        super().__init__(hub, f"{user}/{name}" if name else user, home)
        self.owner, self.path, self.name = user, path, name
        home.mkdir(exist_ok=True)
        link = home / "Team"
        if not link.is_symlink():
            link.symlink_to(hub.volume)

    def _file_ids(self) -> ArbitraryFileIdManager:
        # Of each server its own: where containers keep them apart from the home.
        db = self.home / ".jupyter" / f"ids.{self.name}.db"
        db.parent.mkdir(exist_ok=True)
        return ArbitraryFileIdManager(root_dir=str(self.home), db_path=str(db))

    async def rename(self, new_path: str) -> None:
        """As the contents manager does it."""
        old_path, self.path = self.path, new_path
        (self.home / old_path).rename(self.home / new_path)
        self._file_ids().move(old_path, new_path)
        assert self.room is not None
        await self.hub.run_in(self.user, follow_rename(self.room.linking, old_path, new_path))

    async def delete(self) -> None:
        """As the contents manager does it."""
        self.file.unlink()
        self._file_ids().delete(self.path)
        assert self.room is not None
        await self.hub.run_in(self.user, follow_deletion(self.room.linking, self.path))

    @property
    def store_path(self) -> Path:
        name = f"rtc_rooms.{self.name}.db" if self.name else "rtc_rooms.db"
        return self.home / ".jupyter" / name

    def mounts(self) -> Mounts:
        volumes = {"team": SharedVolume("team", str(self.hub.volume), ())}
        return Mounts(self.home, read_home_id(self.home), volumes, alone=self.path.startswith("Team/"))

    def client(self) -> PlayedService:
        return MountService(self.hub, self.owner, self.name)

    @property
    def document_id(self) -> str:
        assert self.room is not None
        document_id = self.room.linked.file.document_id
        assert document_id is not None
        return document_id

    async def committed(self) -> None:
        """Wait until all that was typed here is in PostgreSQL."""
        while self.room is None or self.room.linked.link.unacknowledged or not self.room.linked.is_live:  # noqa: ASYNC110
            await asyncio.sleep(0.02)
