"""`/health` and `/metrics` of the Y.js server."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tornado.web import HTTPError, RequestHandler

from jupyter_rtc_amprenta.core import queries
from jupyter_rtc_amprenta.core.errors import DatabaseUnavailable, RtcError

from .metrics import CONTENT_TYPE

if TYPE_CHECKING:
    from .yjs_server import YjsServer

# What a proxy adds: this port is open to the deployment's own network, and a proxy to everybody's.
_PROXY_HEADERS = ("X-Forwarded-For", "X-Real-Ip", "Forwarded")


class HealthHandler(RequestHandler):
    """200, or 503 naming what is down."""

    def initialize(self, server: YjsServer) -> None:
        self.server = server

    async def get(self) -> None:
        answer = {"status": "ok", "database": "ok"} | self.server.health()
        try:
            await self.server.database.run(queries.ping)
            self.server.admission.require_keys()
        except RtcError as error:
            answer["database"] = str(error)
        if answer["database"] != "ok" or answer["log"] != "ok" or answer["draining"]:
            answer["status"] = "unavailable"
            self.set_status(503)
        elif answer["bus"] != "ok":
            # Replicas follow each other by the log: later, and nobody is sent away for it.
            answer["status"] = "degraded"
        self.finish(answer)


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
        except DatabaseUnavailable:
            return False
