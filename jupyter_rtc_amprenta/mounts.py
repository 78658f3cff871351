"""Where a server's files lie, and which of them other servers have too."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

from .core.volumes import SharedVolume, VolumePath, find_under, place_of


@dataclass(frozen=True)
class Place:
    """Where a file lies.

    Attributes:
        name: as the Y.js server knows it: `home:<id>` or `volume:<name>`.
        volume: where on a shared volume; None: in this user's home.
        agreed: whether other servers may have the file too, so that they agree on who saves it.
    """

    name: str
    volume: VolumePath | None
    agreed: bool


class Mounts:
    """Knows the places of one server.

    Args:
        root: the folder that the server serves.
        home_id: of that folder; see `homeid.py`.
        volumes: the shared volumes that this server has, by name.
        alone: whether no other server of this user has the home.

    Attributes:
        holder: the name of this process, by which it claims files.
    """

    def __init__(self, root: Path, home_id: str, volumes: Mapping[str, SharedVolume], alone: bool) -> None:
        self.home_id = home_id
        self.holder = uuid4().hex
        self._root = root
        self._volumes = volumes
        self._alone = alone

    def of(self, path: str) -> Place:
        """The place of a file, by its path under the root."""
        volume = place_of(self._root / path, self._volumes.values()) if self._volumes else None
        if volume is not None:
            return Place(f"volume:{volume.volume}", volume, True)
        return Place(f"home:{self.home_id}", None, not self._alone)

    def path_of(self, place: VolumePath) -> str | None:
        """The path under the root by which a file of a shared volume is reached here; None: the volume is not here."""
        return find_under(self._root, place, self._volumes)

    def exists(self, path: str) -> bool:
        """Whether there is a file, by its path under the root."""
        return (self._root / path).exists()
