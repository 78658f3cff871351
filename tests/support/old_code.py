"""The code of before the newest migration, out of this repository's own history."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from jupyter_rtc_amprenta.core import migrate

_ROOT = Path(__file__).parents[2]
_VERSIONS = "jupyter_rtc_amprenta/core/migrations/versions"


class OldCode:
    """The last version of both packages whose newest revision is the one before ours.

    Args:
        folder: an empty one, which it is unpacked into.

    Attributes:
        revision: the newest that it knows.
    """

    def __init__(self, folder: Path) -> None:
        self.revision = migrate._revisions()[1]
        archive = _git("archive", self._commit(), "jupyter_rtc_amprenta", "jupyterhub_service")
        subprocess.run(["tar", "-x", "-C", str(folder)], input=archive, check=True)
        # What is installed here for development lies behind it on the path; the working folder is not on it.
        self.environment = {"PYTHONPATH": str(folder), "PYTHONSAFEPATH": "1"}

    def run(self, *commands: str, **environment: str) -> list[str]:
        """Run its `jupyter-rtc` with one command after the other, in one process; gives the lines that it prints."""
        program = "import sys; from jupyter_rtc_amprenta.cli import main; [main(one.split()) for one in sys.argv[1:]]"
        given = os.environ | self.environment | environment
        done = subprocess.run([sys.executable, "-c", program, *commands], env=given, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout.splitlines()

    def _commit(self) -> str:
        try:
            commits = _git("rev-list", "--first-parent", "-n", "300", "HEAD").decode().split()
        except (OSError, subprocess.CalledProcessError):
            commits = []
        newest, before = migrate._revisions()[:2]
        for commit in commits:
            known = _git("grep", "-h", "^revision = ", commit, "--", _VERSIONS).decode()
            if f'"{newest}"' not in known and f'"{before}"' in known:
                return commit
        pytest.skip(f"LOUD: this clone's history has no code of revision {before}: no upgrade was tested")


def _git(*arguments: str) -> bytes:
    return subprocess.run(["git", "-C", str(_ROOT), *arguments], check=True, capture_output=True).stdout
