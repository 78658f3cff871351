"""Starting the demo's Hub, waiting until all of it answers, and stopping it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

from .client import request
from .directory import DemoDirectory, write_private
from .errors import DemoError
from .logs import tail
from .processes import MARK

SETTINGS = "JUPYTER_RTC_DEMO_SETTINGS"  # the environment variable that names the file with them
CONFIG_FILE = Path(__file__).with_name("jupyterhub_config.py")
START_SECONDS = 120.0
STOP_SECONDS = 45.0  # users' servers get 30 s of them, from the Hub, to save and end


@dataclass(frozen=True)
class HubSettings:
    """What `jupyterhub_config.py` is given.

    Attributes:
        folder: where the Hub keeps its own state.
        port: the public port, the proxy's.
        ports: the others, see `ports.ROLES`.
        home_template, root_template: each user's home and served folder, with `{username}`.
        team: the volume that all users share.
    """

    folder: str
    log_dir: str
    home_template: str
    root_template: str
    team: str
    port: int
    ports: dict[str, int]
    users: list[str]
    password: str
    database_url: str
    proxy_command: list[str]
    proxy_token: str
    launcher_token: str


class Hub:
    """A JupyterHub, with its proxy and the managed service `rtc`, as one child process."""

    def __init__(self, directory: DemoDirectory, settings: HubSettings) -> None:
        self.settings = settings
        self.url = f"http://127.0.0.1:{settings.port}"
        self.service_url = f"{self.url}/services/rtc"
        self.yjs_health_url = f"http://127.0.0.1:{settings.ports['yjs']}/health"
        self.log_file = directory.logs / "hub.log"
        self._directory = directory
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Starts the Hub and waits until it, the service and the Y.js server answer.

        Raises:
            DemoError: one of them did not, with the end of the log.
        """
        self._forget_last_proxy()
        settings_file = self._directory.hub / "settings.json"
        write_private(settings_file, asdict(self.settings))
        # The launcher's own Python first: a notebook's terminal then finds the same `jupyter`.
        path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
        environment = {
            **os.environ,
            "PATH": path,
            MARK: str(self._directory.path),
            SETTINGS: str(settings_file),
        }
        with open(os.open(self.log_file, os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o600), "ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "jupyterhub", f"--config={CONFIG_FILE}"],
                cwd=self._directory.hub, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                start_new_session=True,  # Ctrl-C in the terminal is for the launcher, which stops all in order
            )  # fmt: skip
        self._wait_until_ready()

    def wait(self) -> None:
        """Waits until the Hub ends."""
        if self._process is not None:
            self._process.wait()

    def ended(self) -> bool:
        """Whether the Hub has ended by itself."""
        return self._process is not None and self._process.poll() is not None

    def stop(self) -> None:
        """Stops the users' servers, then the Hub with its service and its proxy, and waits for it.

        The Hub by itself would stop the service first: the servers' last edits and goodbyes could not reach it.
        """
        if self._process is None or self.ended():
            return
        tokens = {user: self._directory.kept.get("tokens", {}).get(user) for user in self.settings.users}
        with ThreadPoolExecutor(4) as threads:
            for user, token in tokens.items():
                threads.submit(request, "DELETE", f"{self.url}/hub/api/users/{user}/server", token=token)
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def token(self, user: str) -> str:
        """A Hub API token with all that this user may do: the kept one if it is still valid, else a new one.

        Raises:
            DemoError: the Hub refuses.
        """
        tokens = self._directory.kept.setdefault("tokens", {})
        if user in tokens:
            status, body = request("GET", f"{self.url}/hub/api/user", token=tokens[user])
            if status == 200 and json.loads(body)["name"] == user:
                return tokens[user]
        status, body = request(
            "POST", f"{self.url}/hub/api/users/{user}/tokens",
            token=self.settings.launcher_token, body={"note": "jupyter-rtc demo"},
        )  # fmt: skip
        if status != 201:
            raise DemoError(f"The Hub gives no token for {user}: {status} {body}")
        tokens[user] = json.loads(body)["token"]
        return tokens[user]

    def _forget_last_proxy(self) -> None:
        """Removes a pid file left by a crash: the Hub would end whatever process has that number by now."""
        (self._directory.hub / "proxy.pid").unlink(missing_ok=True)

    def _wait_until_ready(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        parts = {
            # First past the proxy, which answers 404 until the Hub has given it its routes.
            "JupyterHub": f"http://127.0.0.1:{self.settings.ports['hub']}/hub/api",
            "The Hub's proxy": f"{self.url}/hub/api",
            "The collaboration service": f"{self.service_url}/health",
            "The Y.js server": self.yjs_health_url,
        }
        for name, url in parts.items():
            self._wait_for(name, url, deadline)

    def _wait_for(self, name: str, url: str, deadline: float) -> None:
        answer = (0, "")
        while time.monotonic() < deadline:
            if self.ended():
                raise DemoError(f"JupyterHub stopped. {self._log_end()}")
            answer = request("GET", url)
            if answer[0] == 200:
                return
            time.sleep(0.1)
        status, body = answer
        raise DemoError(
            f"{name} does not answer at {url}: {status or ''} {body.strip()[:300]}. {self._log_end()}"
        )

    def _log_end(self) -> str:
        return f"Its log, {self.log_file}, ends with:\n{tail(self.log_file)}"
