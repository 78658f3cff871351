"""`/health`, `/ready`, `/live` and `/metrics` of the Y.js server."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tornado.web import HTTPError, RequestHandler

from jupyter_rtc_amprenta.core.errors import DatabaseError

from .metrics import CONTENT_TYPE

if TYPE_CHECKING:
    from .yjs_server import YjsServer

# What a proxy adds: this port is open to the deployment's own network, and a proxy to everybody's.
_PROXY_HEADERS = ("X-Forwarded-For", "X-Real-Ip", "Forwarded")


class HealthHandler(RequestHandler):
    """How all is: 200, or 503 with what is `down`. For monitoring: some of it can be away, and people go on editing."""

    def initialize(self, server: YjsServer) -> None:
        self.server = server

    async def get(self) -> None:
        answer = {"database": await self.server.database_state()} | self.server.health()
        down = [name for name in ("database", "log", "bus") if answer[name] != "ok"]
        if answer["draining"]:
            down.append("server")
        self.set_status(503 if down else 200)
        self.finish({"status": "unavailable" if down else "ok", "down": down} | answer)


class ReadyHandler(RequestHandler):
    """Whether new clients should be sent here: 200, or 503 with the reason. For load balancers.

    Not without Redis: then all replicas would be taken away at once, and each of them serves everybody.
    """

    def initialize(self, server: YjsServer) -> None:
        self.server = server

    async def get(self) -> None:
        state = "draining" if self.server.draining else await self.server.database_state()
        self.set_status(200 if state == "ok" else 503)
        self.finish({"status": state})


class LiveHandler(RequestHandler):
    """200 for as long as the event loop turns. For whoever starts a process anew that hangs: no other process can be
    down for this one's sake, and what waits in its memory for the database is not to be killed."""

    def get(self) -> None:
        self.finish({"status": "ok"})


class MetricsHandler(RequestHandler):
    """Prometheus. Whoever comes through a proxy needs a token of a person."""

    def initialize(self, server: YjsServer) -> None:
        self.server = server

    async def get(self) -> None:
        if any(name in self.request.headers for name in _PROXY_HEADERS) and not await self._knows_token():
            raise HTTPError(403, reason="Through a proxy the metrics need a token")
        self.set_header("Content-Type", CONTENT_TYPE)
        self.finish(self.server.metrics.text())

    async def _knows_token(self) -> bool:
        scheme, _, token = self.request.headers.get("Authorization", "").partition(" ")
        try:
            return scheme.lower() == "bearer" and await self.server.admission.knows_person(token.strip())
        except DatabaseError:
            return False
