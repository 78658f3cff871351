"""What a user's server asks over HTTP, of a server that is slow, silent, or refuses."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from tornado.httpserver import HTTPServer
from tornado.testing import bind_unused_port
from tornado.web import Application, RequestHandler

from jupyter_rtc_amprenta import fetching
from jupyter_rtc_amprenta.client import Credentials, ServiceClient
from jupyter_rtc_amprenta.core.errors import ServiceError, ServiceUnavailable

pytestmark = [pytest.mark.anyio, pytest.mark.integration]


class Document(RequestHandler):
    """A Y.js server's document, which comes in pieces."""

    put_body = b""

    async def get(self, document_id: str) -> None:
        if document_id == "refused":
            self.set_status(413)
            self.finish({"detail": "It is too large.", "code": "too_large"})
            return
        for piece in range(8):
            self.write(b"%d" % piece)
            await self.flush()
            if document_id == "silent" and piece == 2:
                await asyncio.sleep(60)
            await asyncio.sleep(0.1)

    def put(self, document_id: str) -> None:
        type(self).put_body = self.request.body
        self.set_status(412 if document_id == "taken" else 201)


class KnownClient(ServiceClient):
    """The service is not asked for a token."""

    async def credentials(self, document_id: str, renew: bool = False) -> Credentials:
        return Credentials("token", "read-write", 1, 2e9)


@pytest.fixture
async def client() -> AsyncIterator[ServiceClient]:
    server = HTTPServer(Application([(r"/doc/(.+)", Document)]))
    socket, port = bind_unused_port()
    server.add_socket(socket)
    yield KnownClient("http://127.0.0.1:9", f"ws://127.0.0.1:{port}", "")
    server.stop()
    await server.close_all_connections()


async def test_a_document_may_take_longer_than_any_one_wait(
    client: ServiceClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetching, "_SILENCE_SECONDS", 0.5)
    monkeypatch.setattr(fetching, "_TIMEOUT_SECONDS", 0.5)
    assert await client.state("slow") == b"01234567"


async def test_a_document_that_stops_coming_is_given_up(
    client: ServiceClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetching, "_SILENCE_SECONDS", 0.5)
    with pytest.raises(ServiceUnavailable, match="nothing came") as caught:
        await client.state("silent")
    assert caught.value.code == "yjs_unavailable"


async def test_a_refusal_says_why(client: ServiceClient) -> None:
    with pytest.raises(ServiceError, match="It is too large") as caught:
        await client.state("refused")
    assert (caught.value.status, caught.value.code) == (413, "too_large")


async def test_a_seed_is_sent_whole_and_may_come_second(client: ServiceClient) -> None:
    assert await client.seed("free", b"x" * 3_000_000)
    assert Document.put_body == b"x" * 3_000_000
    assert not await client.seed("taken", b"x")


async def test_nobody_there() -> None:
    with pytest.raises(ServiceUnavailable) as caught:
        await KnownClient("http://127.0.0.1:9", "ws://127.0.0.1:9", "").state("any")
    assert caught.value.code == "yjs_unavailable"
