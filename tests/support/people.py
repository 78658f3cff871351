"""A person at work: the own server, the service's REST API, and rooms as a browser joins them."""

from __future__ import annotations

import asyncio
import json
import time
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote

import requests
from jupyter_ydoc import YNotebook, YUnicode
from pycrdt import Doc
from support.running_demo import RunningDemo
from support.yjs_client import YjsClient


class BrowserRoom(YjsClient):
    """A room of a user's own server, joined as JupyterLab joins it."""

    def __init__(self, url: str, token: str, kind: str, doc: Doc | None = None) -> None:
        self.document: Any
        super().__init__(url, {"Authorization": f"Bearer {token}"}, doc)
        self.document = YNotebook(self.doc) if kind == "notebook" else YUnicode(self.doc)

    def source(self, cell: int) -> str:
        return str(self.document.ycells[cell]["source"])

    def type_into(self, cell: int, text: str, at: int = 0) -> None:
        """Type as JupyterLab does: `dirty` is set in the same transaction."""
        with self.doc.transaction():
            self.document.ycells[cell]["source"].insert(at, text)
            self.state["dirty"] = True

    def edits(self) -> list[bytes]:
        """The updates that came from the server."""
        return [message for message in self.messages if message[:2] == b"\x00\x02"]

    def contents(self) -> Any:
        return self.document.get()


class Person:
    """One user of a running demo."""

    def __init__(self, demo: RunningDemo, name: str) -> None:
        self.demo = demo
        self.name = name

    @property
    def token(self) -> str:
        return self.demo.ready["users"][self.name]["token"]

    @property
    def home(self) -> Path:
        return Path(self.demo.ready["users"][self.name]["home"])

    @property
    def server_url(self) -> str:
        return self.demo.ready["users"][self.name]["server_url"]

    def start_server(self) -> None:
        self.demo.start_server(self.name)

    def stop_server(self) -> None:
        """Stop it through the Hub, and wait until it is gone."""
        self.demo.request("DELETE", f"users/{self.name}/server", self.name)
        while self.demo.request("GET", f"users/{self.name}", self.name).json()["servers"]:
            time.sleep(0.1)

    def call(self, method: str, path: str, **options: Any) -> requests.Response:
        """A request to the service's REST API."""
        url = f"{self.demo.ready['service_url']}/api/v1/collaboration{path}"
        return self.demo.request(method, url, self.name, **options)

    def at_server(self, method: str, path: str, **options: Any) -> requests.Response:
        """A request to the own server."""
        return self.demo.request(method, self.server_url + path, self.name, **options)

    def status(self) -> dict[str, Any]:
        return self.at_server("GET", "rtc/status").json()

    def join(self, document_id: str) -> str:
        """Follow the link of an accepted invite; gives the path of the file."""
        response = self.at_server("GET", f"rtc/join/{document_id}", allow_redirects=False)
        assert response.status_code == 302, f"{response.status_code} {response.text}"
        return requests.utils.unquote(response.headers["Location"]).partition("lab/tree/")[2]

    async def open(self, path: str, tab: BrowserRoom | None = None) -> BrowserRoom:
        """Open a file as JupyterLab does, or come back with a tab that has stayed open; the caller closes."""
        if tab is not None:
            await tab.close()
        kind = "notebook" if path.endswith(".ipynb") else "file"
        form = "json" if kind == "notebook" else "text"
        session = await asyncio.to_thread(
            self.at_server,
            "PUT",
            f"api/collaboration/session/{quote(path)}",
            data=json.dumps({"format": form, "type": kind}),
        )
        session.raise_for_status()
        described = session.json()
        websocket = "ws" + self.server_url.removeprefix("http")
        room_id = f"{form}:{kind}:{described['fileId']}"
        url = f"{websocket}api/collaboration/room/{room_id}?sessionId={described['sessionId']}"
        room = BrowserRoom(url, self.token, kind, tab and tab.doc)
        await room.connect()
        await asyncio.wait_for(room.synced.wait(), 30)
        return room

    def file(self, path: str) -> Any:
        """What is on disk: a notebook's JSON, or text. Jupyter writes in place, so a read may meet half a file."""
        for _ in range(50):
            text = (self.home / path).read_text()
            if not path.endswith(".ipynb"):
                return text
            with suppress(json.JSONDecodeError):
                return json.loads(text)
            time.sleep(0.05)
        raise AssertionError(f"{path} is no notebook: {text[:200]!r}")


def sources(notebook: dict[str, Any]) -> list[str]:
    """The sources of a notebook's cells."""
    return ["".join(cell["source"]) for cell in notebook["cells"]]


def in_postgresql(updates: list[bytes]) -> dict[str, Any]:
    """The notebook that a log holds."""
    doc: Doc = Doc()
    for update in updates:
        doc.apply_update(update)
    return YNotebook(doc).get()
