"""Real `jupyter-rtc yjs-server` processes over one database, and a real Redis."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import requests
from pycrdt import Doc, Text
from support.documents import add_document
from support.yjs_client import YjsClient

from jupyter_rtc_amprenta.core import queries
from jupyter_rtc_amprenta.core.database import Database
from jupyter_rtc_amprenta.core.tokens import Keyring
from jupyter_rtc_amprenta.demo.ports import any_free_port


class YjsProcess:
    """One `jupyter-rtc yjs-server`."""

    def __init__(self, log_file: Path, **environment: str) -> None:
        self.port = any_free_port()
        self.log_file = log_file
        self._environment = os.environ | environment
        self.start()

    def start(self) -> None:
        command = [sys.executable, "-m", "jupyter_rtc_amprenta.cli", "yjs-server", "--host", "127.0.0.1"]
        with open(self.log_file, "ab") as log:
            self.process = subprocess.Popen(
                [*command, "--port", str(self.port)], env=self._environment, stdout=log, stderr=log
            )

    @property
    def log(self) -> str:
        return self.log_file.read_text()

    def health(self) -> tuple[int, dict[str, Any]]:
        """Its status and answer; (0, {}) while it does not listen."""
        try:
            answer = requests.get(f"http://127.0.0.1:{self.port}/health", timeout=10)
        except requests.ConnectionError:
            return 0, {}
        return answer.status_code, answer.json()

    def answers(self, path: str) -> int:
        """The HTTP status of a path."""
        return requests.get(f"http://127.0.0.1:{self.port}{path}", timeout=10).status_code

    async def becomes(self, expected: int, /, seconds: float = 120, **parts: Any) -> dict[str, Any]:
        """Wait until `/health` has this HTTP status, and these parts."""
        deadline = time.monotonic() + seconds
        while True:
            code, answer = await asyncio.to_thread(self.health)
            if code == expected and parts.items() <= answer.items():
                return answer
            assert time.monotonic() < deadline, f"{code} {answer}, not {expected} {parts}\n{self.log[-3000:]}"
            await asyncio.sleep(0.05)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def terminate(self) -> float:
        """SIGTERM; gives how many seconds it took to end."""
        began = time.monotonic()
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(timeout=20) == 0, self.log[-3000:]
        return time.monotonic() - began


class Deployment:
    """Replicas over one database, and clients of them."""

    def __init__(self, folder: Path, database_url: str, signing_key: str, redis_url: str = "") -> None:
        self.keyring = Keyring([signing_key])
        self.replicas: list[YjsProcess] = []
        self.database = Database(database_url)
        self._folder = folder
        self._environment = {"RTC_DATABASE_URL": database_url, "RTC_SIGNING_KEY": signing_key}
        if redis_url:
            self._environment["REDIS_URL"] = redis_url

    def start(self, count: int = 1, **environment: str) -> list[YjsProcess]:
        for _ in range(count):
            log_file = self._folder / f"yjs-{len(self.replicas)}.log"
            self.replicas.append(YjsProcess(log_file, **self._environment | environment))
        return self.replicas[-count:]

    def document(self, document_id: str, people: dict[str, str]) -> None:
        """Register a document with its participants."""
        self.database.call(add_document, document_id, people)

    def client(self, replica: YjsProcess, document_id: str, user: str = "alice", **more: Any) -> YjsClient:
        permissions = more.get("permissions", "read-write")
        token = self.keyring.document_token(user, document_id, permissions, 1, more.get("seconds", 3600))
        url = f"ws://127.0.0.1:{replica.port}/doc/{document_id}?token={token}"
        return YjsClient(url, doc=more.get("doc"))

    def stored(self, document_id: str) -> str:
        """The document's text, from PostgreSQL alone."""
        doc: Doc = Doc()
        for update in self.database.call(queries.read_history, document_id).updates:
            doc.apply_update(update)
        return str(doc.get("source", type=Text))

    def stop(self) -> None:
        for replica in self.replicas:
            if replica.process.poll() is None:
                replica.kill()
        self.database.close()


class Redis:
    """A redis-server of the tests' own, without persistence."""

    def __init__(self) -> None:
        self.port = any_free_port()
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self._process: subprocess.Popen[bytes] | None = None

    @staticmethod
    def is_there() -> bool:
        return shutil.which("redis-server") is not None

    def start(self) -> None:
        options = ("--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no")
        self._process = subprocess.Popen(["redis-server", *options], stdout=subprocess.DEVNULL)

    def stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None
