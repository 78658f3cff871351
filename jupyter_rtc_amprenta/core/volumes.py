"""Volumes that several users' servers have mounted: how they are configured, and where a file lies in one.

A file on such a volume is known by the volume's name and its path there, which are the same on every server. The
user's server needs to know where a volume is mounted, the service which of the Hub's groups may enter it.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_. -]{0,99}")
_FORM = 'must be JSON such as {"team": {"path": "/srv/shared/team", "groups": ["team"]}}'


@dataclass(frozen=True)
class SharedVolume:
    """One volume.

    Attributes:
        name: the same on all servers and at the service.
        path: where users' servers have it, absolute; "" where only its groups are known.
        groups: the Hub's groups whose members may enter it.
    """

    name: str
    path: str
    groups: tuple[str, ...]


@dataclass(frozen=True)
class VolumePath:
    """Where a file lies on a volume: the volume's name, and the path below it."""

    volume: str
    path: str

    @property
    def shown(self) -> str:
        """As people are told it."""
        return f"{self.volume}/{self.path}"


def parse(text: str) -> dict[str, SharedVolume]:
    """The volumes of RTC_SHARED_VOLUMES, by name.

    Raises:
        ValueError: it can't be understood; says what it should be.
    """
    try:
        configured = json.loads(text) if text.strip() else {}
    except ValueError:
        raise ValueError(_FORM) from None
    if not isinstance(configured, dict):
        raise ValueError(_FORM)
    return {name: _volume(name, described) for name, described in configured.items()}


def _volume(name: str, described: Any) -> SharedVolume:
    if not _NAME.fullmatch(name):
        raise ValueError(f"{name!r} is no name for a volume: letters, digits, '_', '.', '-' and spaces are")
    if not isinstance(described, dict) or not described.keys() <= {"path", "groups"}:
        raise ValueError(f"volume {name} may have a path and groups; the whole {_FORM}")
    path, groups = described.get("path", ""), described.get("groups", [])
    if not isinstance(path, str) or (path and not path.startswith("/")):
        raise ValueError(f"the path of volume {name} must be absolute, as users' servers see it")
    if not isinstance(groups, list) or not all(isinstance(group, str) and group for group in groups):
        raise ValueError(f'the groups of volume {name} must be a list of names of the Hub\'s groups, such as ["team"]')
    return SharedVolume(name, path, tuple(groups))


def checked(text: str) -> str:
    """The text, which `parse` understands.

    Raises:
        ValueError: see `parse`.
    """
    parse(text)
    return text.strip()


def for_servers(text: str) -> str:
    """What users' servers are told: where the volumes are. Who may enter them is the service's business."""
    return json.dumps({volume.name: {"path": volume.path} for volume in parse(text).values()})


def place_of(file: Path, volumes: Iterable[SharedVolume]) -> VolumePath | None:
    """Where a file lies, if it lies on one of these volumes, by whatever links it is reached.

    Of volumes within one another the inner one counts.
    """
    real = os.path.realpath(file)
    within = [
        (root, volume)
        for volume in volumes
        if volume.path and os.path.commonpath([real, root := os.path.realpath(volume.path)]) == root != real
    ]
    if not within:
        return None
    root, volume = max(within, key=lambda one: len(one[0]))
    return VolumePath(volume.name, Path(os.path.relpath(real, root)).as_posix())


def find_under(root: Path, place: VolumePath, volumes: Mapping[str, SharedVolume]) -> str | None:
    """The path under a server's root by which a file of a volume is reached: the volume itself, or a link to it.

    Args:
        root: the server's root folder. Links are looked for directly in it.
        place: where the file lies.
        volumes: by name.
    """
    if (volume := volumes.get(place.volume)) is None or not volume.path:
        return None
    mount = os.path.realpath(volume.path)
    real_root = os.path.realpath(root)
    if os.path.commonpath([mount, real_root]) == real_root:
        return str(PurePosixPath(Path(os.path.relpath(mount, real_root)).as_posix(), place.path))
    for entry in sorted(os.listdir(root)):
        if os.path.realpath(root / entry) == mount:
            return str(PurePosixPath(entry, place.path))
    return None


def file_key(room_kind: str, path: str) -> str:
    """What the service calls a file of a volume: paths may be longer than its names.

    Args:
        room_kind: `format:type` of the room: two rooms of one file are two documents.
        path: below the volume.
    """
    return f"{room_kind}:{hashlib.sha256(path.encode(errors='surrogateescape')).hexdigest()}"
