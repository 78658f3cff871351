"""Read by the deployment's `jupyterhub_config.py` in the tests: DockerSpawner, but what it starts is a process.

What DockerSpawner asks Docker for is what is started: its variables and its command. The image's own part (its ENV and
CMD, where its files lie here) comes from `processes.json` beside this file.
"""

# ruff: noqa: ASYNC220, ASYNC222, ASYNC230, F821 - it is short, and `c` is there where this is read

import json
import os
import signal
import socket
import subprocess
from pathlib import Path

import docker
from dockerspawner import DockerSpawner
from traitlets import Integer

TOLD = json.loads((Path(__file__).parent / "jupyterhub_config.d" / "processes.json").read_text())


def _free_port():
    with socket.create_server(("127.0.0.1", 0)) as listening:
        return listening.getsockname()[1]


class ProcessSpawner(DockerSpawner):
    """Starts what the container would start, in a folder that stands for the user's volume."""

    pid = Integer(0)

    @property
    def client(self):
        """Docker's own client, which checks what it is asked for; nothing is connected."""
        return docker.APIClient(base_url="unix:///nowhere", version="1.44")

    async def docker(self, method, **asked):
        """What Docker would be asked for."""
        assert method == "create_container"
        return asked

    async def start(self):
        self.ip, self.port = "127.0.0.1", _free_port()
        self.cmd = TOLD["command"]
        asked = await self.create_object()
        home = Path(TOLD["volumes"]) / next(iter(self.volume_binds))
        (home / "work").mkdir(parents=True, exist_ok=True)
        home.with_suffix(".json").write_text(json.dumps(asked))
        environment = TOLD["environment"] | asked["environment"] | {"HOME": str(home)}
        environment = {name: value.replace("/home/jovyan", str(home)) for name, value in environment.items()}
        root = ["--allow-root"] if os.geteuid() == 0 else []
        with open(home.with_suffix(".log"), "ab") as log:
            process = subprocess.Popen(
                [*asked["command"], *root],
                env=environment,
                cwd=home,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self.pid = process.pid
        return self.ip, self.port

    async def poll(self):
        if not self.pid:
            return 0
        try:
            ended, _ = os.waitpid(self.pid, os.WNOHANG)
        except ChildProcessError:
            return 0
        return 0 if ended else None

    async def stop(self, now=False):
        if self.pid:
            os.killpg(self.pid, signal.SIGTERM)
            os.waitpid(self.pid, 0)
            self.pid = 0


c.JupyterHub.spawner_class = ProcessSpawner
c.JupyterHub.hub_bind_url = c.JupyterHub.hub_connect_url = TOLD["hub_url"]
c.Spawner.start_timeout = c.Spawner.http_timeout = 120
