"""Asking over HTTP and by WebSocket, as the checks do: without following, without a proxy of this machine's."""

from __future__ import annotations

import asyncio
import json
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from typing import Any

from tornado.httpclient import HTTPClientError, HTTPRequest
from tornado.websocket import websocket_connect

SECONDS = 5.0


@dataclass(frozen=True)
class Answer:
    """What was answered.

    Attributes:
        status: of HTTP; 0: nobody answered.
        text: the body, or why there is none.
    """

    status: int
    text: str
    headers: dict[str, str] = field(default_factory=dict)

    @property
    def json(self) -> dict[str, Any]:
        """The body as an object; {} where it is none."""
        try:
            body = json.loads(self.text)
        except ValueError:
            return {}
        return body if isinstance(body, dict) else {}

    @property
    def date(self) -> float | None:
        """When it was sent, by the other side's clock, in seconds since the epoch."""
        try:
            return parsedate_to_datetime(self.headers["date"]).timestamp()
        except (KeyError, ValueError, TypeError):
            return None


class _Unfollowed(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: Any) -> None:
        return None


# An empty ProxyHandler: the machine's HTTP proxy, if it has one, does not know the deployment's names.
_opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), _Unfollowed())


def ask(url: str, token: str = "", body: Any = None) -> Answer:
    """GET, or POST where there is a body."""
    headers = {"Content-Type": "application/json"} | ({"Authorization": f"token {token}"} if token else {})
    try:
        data = None if body is None else json.dumps(body).encode()
        with _opener.open(urllib.request.Request(url, data, headers), timeout=SECONDS) as response:
            return _answer(response.status, response)
    except urllib.error.HTTPError as error:
        with error:
            return _answer(error.code, error)
    except (OSError, ValueError) as error:
        return Answer(0, str(getattr(error, "reason", error)))


def _answer(status: int, response: Any) -> Answer:
    headers = {name.lower(): value for name, value in response.headers.items()}
    return Answer(status, response.read(2**20).decode(errors="replace"), headers)


@dataclass(frozen=True)
class Upgrade:
    """What became of a WebSocket.

    Attributes:
        opened: whether it was opened.
        code: the code that it was closed with, or the HTTP status of the refusal; 0: neither.
        reason: in the other side's words.
    """

    opened: bool
    code: int
    reason: str


def upgrade(url: str, token: str = "", first: bytes = b"") -> Upgrade:
    """Open a WebSocket, say something, and wait for the answer or the end.

    Args:
        first: what is said; b"": nothing, and an open socket is enough.
    """
    return asyncio.run(_upgrade(url, token, first))


async def _upgrade(url: str, token: str, first: bytes) -> Upgrade:
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    request = HTTPRequest(url, headers=headers, connect_timeout=SECONDS, request_timeout=SECONDS)
    try:
        socket = await websocket_connect(request)
    except HTTPClientError as error:
        return Upgrade(False, error.code, str(error.message))
    except (OSError, ValueError) as error:
        return Upgrade(False, 0, str(error))
    try:
        if first:
            await socket.write_message(first, binary=True)
            await asyncio.wait_for(socket.read_message(), SECONDS)
    except TimeoutError:
        return Upgrade(True, 0, "no answer")
    finally:
        socket.close()
    return Upgrade(True, socket.close_code or 0, socket.close_reason or "")
