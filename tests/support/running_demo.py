"""`jupyter-rtc demo` as a test runs it: started as a command, watched through its ready file."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import requests

from jupyter_rtc_amprenta.demo.ports import any_free_port
from jupyter_rtc_amprenta.demo.postgres import EmbeddedPostgres
from jupyter_rtc_amprenta.demo.processes import marked


class HubUsers:
    """A Hub with users, whose tokens are known.

    Attributes:
        ready: `hub_url`, and `users` by name, each with `token` and `server_url`.
    """

    ready: dict[str, Any]

    def request(self, method: str, url: str, user: str, **options: Any) -> requests.Response:
        """A request with a user's token; `url` is absolute, or a path of the Hub's API."""
        if not url.startswith("http"):
            url = f"{self.ready['hub_url']}/hub/api/{url}"
        headers = {"Authorization": f"Bearer {self.ready['users'][user]['token']}"}
        return requests.request(method, url, headers=headers, timeout=60, **options)

    def start_server(self, user: str, seconds: float = 120) -> str:
        """Starts the user's own server, waits until it is ready, and returns its URL."""
        response = self.request("POST", f"users/{user}/server", user)
        assert response.status_code in (201, 202), response.text
        deadline = time.monotonic() + seconds
        while not self.request("GET", f"users/{user}", user).json()["servers"].get("", {}).get("ready"):
            assert time.monotonic() < deadline, f"{user}'s server is not ready after {seconds:g} s"
            time.sleep(0.1)
        return self.ready["users"][user]["server_url"]


class RunningDemo(HubUsers):
    """The demo of one directory, which is started and stopped several times.

    Args:
        directory: where it keeps everything.
        users: their names, as the command takes them.
        port: the Hub's; 0: a free one.
        pages: whether servers have pages for browsers: JupyterLab, Notebook. Without, they start in half the time.
        environment: more variables for the command.

    Attributes:
        ready: what the ready file of the last start holds.
        output: what all starts have printed.
        postgres: its database server.
    """

    def __init__(
        self,
        directory: Path,
        *,
        users: str = "alice,bob",
        port: int = 0,
        pages: bool = False,
        **environment: str,
    ) -> None:
        self.directory = directory.resolve()
        if not pages:
            for user in users.split(","):
                self._leave_pages_out(user)
        self._leave_well_known_port()
        self.ready_file = self.directory.with_name(f"{self.directory.name}-ready.json")
        self.output_file = self.directory.with_name(f"{self.directory.name}-output.txt")
        self.postgres = EmbeddedPostgres(self.directory / "postgres")
        self.ready: dict[str, Any] = {}
        self.process: subprocess.Popen[bytes] | None = None
        self._arguments = [f"--users={users}", f"--port={port}"]
        self._environment = environment

    def _leave_well_known_port(self) -> None:
        """1234 is taken by whoever finds it free: also by another test's demo, while this one's server is killed."""
        kept = self.directory / "demo.json"
        if not kept.exists():
            kept.parent.mkdir(parents=True, exist_ok=True)
            kept.write_text(json.dumps({"ports": {"yjs": any_free_port()}}))

    def _leave_pages_out(self, user: str) -> None:
        pages = ("jupyterlab", "jupyter_lsp", "notebook", "notebook_shim")
        self.configure(user, ServerApp={"jpserver_extensions": dict.fromkeys(pages, False)})

    def configure(self, user: str, **traits: dict[str, Any]) -> None:
        """Set traits of the user's own server, from its next start on."""
        config = self.directory / "homes" / user / ".jupyter" / "jupyter_server_config.json"
        config.parent.mkdir(parents=True, exist_ok=True)
        known = json.loads(config.read_text()) if config.exists() else {}
        config.write_text(json.dumps(known | traits))

    @property
    def output(self) -> str:
        return self.output_file.read_text() if self.output_file.exists() else ""

    def launch(self) -> subprocess.Popen[bytes]:
        """Starts the command and does not wait."""
        self.ready_file.unlink(missing_ok=True)  # a killed demo's
        command = [
            sys.executable, "-m", "jupyter_rtc_amprenta.cli", "demo", "--no-browser",
            f"--dir={self.directory}", f"--ready-file={self.ready_file}", *self._arguments,
        ]  # fmt: skip
        with open(self.output_file, "ab") as output:
            self.process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env={**os.environ, **self._environment},
            )
        return self.process

    def start(self, seconds: float = 150) -> dict[str, Any]:
        """Starts the demo, waits until it is ready, and returns what its ready file holds."""
        process = self.launch()
        deadline = time.monotonic() + seconds
        while not self.ready_file.exists():
            assert process.poll() is None, f"the demo ended with {process.poll()}:\n{self.output}"
            assert time.monotonic() < deadline, f"the demo is not ready after {seconds:g} s:\n{self.output}"
            time.sleep(0.05)
        self.ready = json.loads(self.ready_file.read_text())
        return self.ready

    def stop(self, number: int = signal.SIGINT, seconds: float = 90) -> int:
        """Sends a signal to the command, waits for its end, and returns its exit code."""
        assert self.process is not None
        self.process.send_signal(number)
        return self.process.wait(seconds)

    def processes(self) -> list[psutil.Process]:
        """What runs, but the command itself and PostgreSQL."""
        return marked(self.directory)

    def kill(self) -> None:
        """`kill -9` for all of it but PostgreSQL, the launcher first, so that nothing is stopped kindly."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()
        while left := self.processes():
            for process in left:
                process.kill()
            psutil.wait_procs(left, timeout=5)

    def end(self) -> None:
        """Leaves nothing running, whatever state it is in."""
        if self.process is not None and self.process.poll() is None:
            self.stop(signal.SIGTERM)
        for process in self.processes():
            process.kill()
        self.postgres.stop("immediate")
