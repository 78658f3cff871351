"""How the demo's Hub starts a user's server: as a process of its own, in a home of its own."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any, BinaryIO

from jupyterhub.spawner import SimpleLocalProcessSpawner
from traitlets import Unicode


class DemoSpawner(SimpleLocalProcessSpawner):
    """A local process that logs to a file of its own."""

    log_dir = Unicode(help="The folder for the servers' logs.").tag(config=True)

    def load_state(self, state: dict[str, Any]) -> None:
        """Forgets the process of an earlier Hub: the launcher has ended it, and its number may be a stranger's now."""
        super().load_state({name: value for name, value in state.items() if name != "pid"})

    async def start(self) -> tuple[str, int]:
        """Starts the server; its output goes to the user's log."""
        with self._open_log() as log:
            self.popen_kwargs = {"stdin": subprocess.DEVNULL, "stdout": log, "stderr": log}
            return await super().start()

    def _open_log(self) -> BinaryIO:
        path = Path(self.log_dir) / f"server-{self.user.name}.log"
        return open(os.open(path, os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o600), "ab")
