"""The demo's directory: what survives from one start to the next, and who may use it."""

from __future__ import annotations

import fcntl
import json
import os
import secrets
from pathlib import Path
from typing import Any

from .errors import DemoError

# Without the letters and digits that are easily taken for each other.
PASSWORD_LETTERS = "abcdefghjkmnpqrstuvwxyz23456789"
# The shared volume's name, and its folder's among every user's files.
TEAM = "Team"


class DemoDirectory:
    """Everything that one demo keeps, readable by its owner alone.

    Attributes:
        postgres, hub, homes, logs: the parts' own folders.
        team: the shared volume, which every user's files have as `Team`.
        kept: small values, such as the password, the ports and the users' tokens. `save` writes them.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path).expanduser().resolve()
        self.postgres = self.path / "postgres"
        self.hub = self.path / "hub"
        self.homes = self.path / "homes"
        self.logs = self.path / "logs"
        self.team = self.path / "shared" / TEAM
        self.kept: dict[str, Any] = {}
        self._file = self.path / "demo.json"
        self._lock: int | None = None

    @property
    def is_open(self) -> bool:
        """Whether this process has taken the directory."""
        return self._lock is not None

    def open(self) -> None:
        """Makes the folders, takes the directory for this process, and reads what was kept.

        Raises:
            DemoError: another demo runs here, or the directory can't be written.
        """
        try:
            for folder in (self.path, self.hub, self.homes, self.logs, self.team):
                folder.mkdir(parents=True, exist_ok=True)
            self.path.chmod(0o700)
            self._take()
            self.kept = json.loads(self._file.read_text()) if self._file.exists() else {}
        except OSError as error:
            raise DemoError(f"The demo's directory can't be used: {error}") from None
        except ValueError as error:
            raise DemoError(f"{self._file} is damaged ({error}). Remove it to have it made anew.") from None

    def close(self) -> None:
        """Leaves the directory to the next process."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def save(self) -> None:
        """Writes `kept`."""
        write_private(self._file, self.kept)

    def secret(self, name: str) -> str:
        """A random secret, made at the first request and kept."""
        return self.kept.setdefault(name, secrets.token_hex(32))

    def password(self) -> str:
        """The password with which everybody logs in, made for people to type, and kept."""
        groups = ("".join(secrets.choice(PASSWORD_LETTERS) for _ in range(4)) for _ in range(3))
        return self.kept.setdefault("password", "-".join(groups))

    def home(self, user: str) -> Path:
        """The user's home directory."""
        return self.homes / user

    def root(self, user: str) -> Path:
        """The folder that the user's server serves."""
        return self.home(user) / "work"

    def _take(self) -> None:
        # The system drops this lock with the process, however it ends: there is no stale one.
        lock = os.open(self.path / ".lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            owner = os.read(lock, 20).decode()
            os.close(lock)
            raise DemoError(f"A demo runs in {self.path} already (process {owner}).") from None
        os.ftruncate(lock, 0)
        os.write(lock, str(os.getpid()).encode())
        self._lock = lock


def write_private(path: Path, value: Any) -> None:
    """Writes JSON in one step (a reader sees the old file or the new one), readable by its owner alone."""
    new = path.with_name(f".{path.name}.new")
    new.unlink(missing_ok=True)
    with open(os.open(new, os.O_CREAT | os.O_WRONLY | os.O_EXCL, 0o600), "w") as file:
        json.dump(value, file, indent=2)
        file.write("\n")
    new.replace(path)
