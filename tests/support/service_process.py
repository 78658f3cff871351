"""The service as a process; its Hub is away, so people come with JWTs."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from typing import Any

import requests

from jupyter_rtc_amprenta.demo.ports import any_free_port


class Service:
    """A running service."""

    def __init__(self, **environment: str) -> None:
        self.url = f"http://127.0.0.1:{any_free_port()}"
        self.yjs_port = any_free_port()
        ours = {
            "JUPYTERHUB_API_TOKEN": "0123456789abcdef",
            "JUPYTERHUB_API_URL": f"http://127.0.0.1:{any_free_port()}/hub/api",
            "JUPYTERHUB_SERVICE_URL": self.url,
            "YJS_SERVER_PORT": str(self.yjs_port),
            "YJS_SERVER_HOST": "127.0.0.1",
        }
        # A file: a pipe that nobody reads fills up, and then the service stands still.
        self._log = tempfile.TemporaryFile("w+")  # noqa: SIM115 - as long as the process
        self.process = subprocess.Popen(
            [sys.executable, "-m", "jupyterhub_service"],
            env=os.environ | ours | environment,
            stderr=self._log,
        )

    def health(self, status: int, seconds: float = 60) -> dict[str, Any]:
        """Wait until /health answers with this status."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            try:
                answer = requests.get(f"{self.url}/health", timeout=5)
            except requests.ConnectionError:
                assert self.process.poll() is None
            else:
                # It listens first, and asks the database then.
                if answer.status_code == status and "not asked yet" not in answer.text:
                    return answer.json()
            time.sleep(0.05)
        raise AssertionError(f"no {status} from /health within {seconds:g} s")

    def get(self, path: str, token: str) -> requests.Response:
        headers = {"Authorization": f"Bearer {token}"}
        return requests.get(f"{self.url}/api/v1/collaboration{path}", headers=headers, timeout=20)

    def end(self, number: int = signal.SIGTERM) -> tuple[int, str]:
        """Send a signal; gives the exit code and what was logged."""
        self.process.send_signal(number)
        return self.ended()

    def ended(self) -> tuple[int, str]:
        """Wait for its end; gives the exit code and what was logged."""
        status = self.process.wait(timeout=20)
        self._log.seek(0)
        return status, self._log.read()
