"""A user's server as it is without Amprenta RTC: the same home, jupyter-collaboration alone."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any
from urllib.parse import quote

import requests
from support.people import BrowserRoom

from jupyter_rtc_amprenta.demo.ports import any_free_port

TOKEN = "stock"
_OURS = ("RTC_", "JUPYTERHUB_", "JUPYTER_COLLABORATION_", "JPY_")


class StockServer:
    """A server on somebody's files.

    Args:
        root: its root folder.
        folder: what it is started in.
        environment: of the user's own server; what makes it a Hub's and ours is left out.
    """

    def __init__(self, root: Path, folder: Path, environment: dict[str, str]) -> None:
        self._root, self._folder = root, folder
        self._environment = {n: v for n, v in environment.items() if not n.startswith(_OURS)}
        self._process: subprocess.Popen[bytes] | None = None
        self.url = ""

    def __enter__(self) -> StockServer:
        port = any_free_port()
        self.url = f"http://127.0.0.1:{port}/"
        self._process = subprocess.Popen(
            [
                sys.executable, "-m", "jupyter_server", "--no-browser", "--allow-root",
                f"--ServerApp.port={port}", "--ServerApp.ip=127.0.0.1", f"--ServerApp.root_dir={self._root}",
                f"--IdentityProvider.token={TOKEN}",
                "--ServerApp.jpserver_extensions={'jupyter_rtc_amprenta': False, 'jupyter_server_ydoc': True}",
            ],
            cwd=self._folder,
            env=self._environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )  # fmt: skip
        deadline = time.monotonic() + 60
        while not self._answers():
            assert self._process.poll() is None, "the stock server has ended"
            assert time.monotonic() < deadline, "the stock server is not up"
            time.sleep(0.1)
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process is not None
        self._process.terminate()
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            # It can hang as it ends; what it has saved is saved.
            self._process.kill()
            self._process.wait()

    def _answers(self) -> bool:
        try:
            return requests.get(f"{self.url}api?token={TOKEN}", timeout=5).ok
        except requests.ConnectionError:
            return False

    async def open(self, path: str) -> tuple[BrowserRoom, dict[str, Any]]:
        """Open a notebook in a tab; also what the server has told of the session."""
        response = await asyncio.to_thread(
            requests.put,
            f"{self.url}api/collaboration/session/{quote(path)}?token={TOKEN}",
            data=json.dumps({"format": "json", "type": "notebook"}),
            timeout=30,
        )
        response.raise_for_status()
        session = response.json()
        url = f"ws{self.url.removeprefix('http')}api/collaboration/room/json:notebook:{session['fileId']}"
        room = BrowserRoom(f"{url}?sessionId={session['sessionId']}&token={TOKEN}", TOKEN, "notebook")
        await room.connect()
        await asyncio.wait_for(room.synced.wait(), 30)
        return room, session
