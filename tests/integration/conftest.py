"""A Y.js server over a real PostgreSQL, in the test's own loop."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from uuid import uuid4

import pytest
from support.documents import add_document
from support.rules import Rtc
from support.service_process import Service
from support.yjs_client import YjsClient

from jupyter_rtc_amprenta.core import settings
from jupyter_rtc_amprenta.core.database import Database
from jupyter_rtc_amprenta.core.keyring import load_keyring
from jupyter_rtc_amprenta.core.tokens import Keyring, new_private_key
from jupyter_rtc_amprenta.demo.ports import any_free_port
from jupyterhub_service.yjs_server import YjsServer


@dataclass
class RunningYjs:
    """A Y.js server, and what a test needs to reach it."""

    server: YjsServer
    keyring: Keyring
    database: Database
    port: int

    @property
    def url(self) -> str:
        return f"127.0.0.1:{self.port}"

    async def document(self, owner: str = "alice", **others: str) -> str:
        """A new document; `others` are participants and what they may do."""
        document_id = f"text_{uuid4().hex}"
        await self.database.run(add_document, document_id, {owner: "read-write"} | others)
        return document_id

    def token(self, document_id: str, user: str = "alice", permissions: str = "read-write", **more) -> str:
        return self.keyring.document_token(
            user,
            document_id,
            permissions,
            more.get("generation", 1),
            more.get("seconds", 60),
            more.get("via", ""),
        )

    def client(
        self, document_id: str, user: str = "alice", permissions: str = "read-write", **more
    ) -> YjsClient:
        token = self.token(document_id, user, permissions)
        return YjsClient(
            f"ws://{self.url}/doc/{document_id}", {"Authorization": f"Bearer {token}"}, doc=more.get("doc")
        )


@pytest.fixture
async def make_yjs(database: Database, database_url: str) -> AsyncIterator[Callable]:
    """Starts Y.js servers over one database; `settings` override the defaults."""
    running: list[RunningYjs] = []
    keyring = Keyring([new_private_key()])

    async def make(**overrides) -> RunningYjs:
        port = any_free_port()
        chosen = settings.read({}, yjs_server_host="127.0.0.1", yjs_server_port=port, **overrides)
        own = Database(database_url)
        server = YjsServer(chosen, own, lambda: keyring)
        await server.start()
        running.append(RunningYjs(server, keyring, own, port))
        return running[-1]

    yield make
    for yjs in running:
        await yjs.server.stop()
        yjs.database.close()


@pytest.fixture
async def yjs(make_yjs: Callable) -> RunningYjs:
    """One Y.js server."""
    return await make_yjs()


@pytest.fixture
async def rtc(database: Database) -> Rtc:
    """The service's rules."""
    return Rtc.over(database, await database.run(load_keyring, ""))


@pytest.fixture
def start() -> Iterator[Callable[..., Service]]:
    """Starts services, and ends what is left of them."""
    started: list[Service] = []

    def start(**environment: str) -> Service:
        started.append(Service(**environment))
        return started[-1]

    yield start
    for service in started:
        if service.process.poll() is None:
            service.process.kill()
            service.process.wait()
