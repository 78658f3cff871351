"""The Y.js server: `ws://host:1234/doc/{document_id}`, and `/health`: what listens, and owns the log and the rooms."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import Any

from tornado.httpserver import HTTPServer
from tornado.web import Application, RequestHandler

from jupyter_rtc_amprenta.core import queries
from jupyter_rtc_amprenta.core.database import Database
from jupyter_rtc_amprenta.core.documentlog import DocumentLog
from jupyter_rtc_amprenta.core.errors import DatabaseError, DatabaseUnavailable, RtcError, TokenError
from jupyter_rtc_amprenta.core.logpolicy import LogPolicy
from jupyter_rtc_amprenta.core.protocol import CloseCode
from jupyter_rtc_amprenta.core.queries import DocumentRights
from jupyter_rtc_amprenta.core.settings import Settings
from jupyter_rtc_amprenta.core.tokens import DocumentClaims, Keyring

from .yjs_handlers import DocumentHandler
from .yjs_limits import ConnectionCount
from .yjs_rights import loss
from .yjs_rooms import Rooms

log = logging.getLogger(__name__)

# A client that has vanished without a word is noticed after two of these.
PING_SECONDS = 20
# A revoked right is felt within this time: each connection's right is read again this often.
RIGHTS_SECONDS = 4.0
DRAIN_SECONDS = 8.0


class YjsServer:
    """Listens, and owns the log and the rooms.

    Args:
        settings: host, port and limits.
        database: where the log is.
        keyring_provider: the keys of document tokens, or None while they are not known (the database is away).
    """

    def __init__(
        self, settings: Settings, database: Database, keyring_provider: Callable[[], Keyring | None]
    ) -> None:
        self.settings = settings
        self.database = database
        self.keyring_provider = keyring_provider
        self.log = DocumentLog(database, settings.max_pending_bytes, LogPolicy.of(settings))
        self.rooms = Rooms(self.log)
        self.users = ConnectionCount(settings.max_connections_per_user)
        self.draining = False
        self._server: HTTPServer | None = None
        self._rights_task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Listen at once, whether the database answers or not.

        Raises:
            OSError: the port is taken.
        """
        if not self.log.policy.keys:
            log.warning(
                "Documents are not encrypted in PostgreSQL: RTC_ENCRYPTION_KEYS is not set. "
                "A key is made with: echo \"$(date +%Y-%m):$(openssl rand -base64 32)\""
            )
        limit = self.settings.max_message_bytes
        application = Application(
            [
                (r"/doc/([^/]+)", DocumentHandler, {"server": self}),
                (r"/health", HealthHandler, {"server": self}),
            ],
            websocket_ping_interval=PING_SECONDS,
            websocket_ping_timeout=PING_SECONDS,
            # A little over ours, so that what is just too large is told with our close code.
            websocket_max_message_size=2 * limit if limit else 2**40,
            log_function=_log_request,
        )
        self._server = HTTPServer(application, max_body_size=limit or 2**40)
        self._server.listen(self.settings.yjs_server_port, self.settings.yjs_server_host)
        self._rights_task = asyncio.create_task(self._watch_rights())

    async def stop(self) -> None:
        """Drain: take no one in, commit what waits, and send everyone away to come back elsewhere."""
        self.draining = True
        if self._server is not None:
            self._server.stop()
        if self._rights_task is not None:
            self._rights_task.cancel()
        await self.log.flush(DRAIN_SECONDS)
        for room in list(self.rooms.rooms.values()):
            room.close(CloseCode.TRY_LATER, "The server is restarting; come back.")
        await self.log.stop(timeout=1.0)

    def health(self) -> dict[str, Any]:
        """How it is, without asking the database."""
        return {
            "log": self.log.state,
            "pending_bytes": self.log.pending_bytes,
            "rooms": len(self.rooms.rooms),
            "connections": len(self.rooms.connections),
            "draining": self.draining,
        }

    def claims(self, token: str) -> DocumentClaims:
        """Who holds this token, and for what.

        Raises:
            TokenError: it is missing or not valid here.
            DatabaseUnavailable: the keys are not known yet.
        """
        if not token:
            raise TokenError("A document token is needed: 'Authorization: Bearer …' or '?token='.")
        if (keyring := self.keyring_provider()) is None:
            raise DatabaseUnavailable("The database does not answer, so no token can be checked.")
        return keyring.document_claims(token)

    async def rights(self, document_ids: Sequence[str]) -> DocumentRights | None:
        """Who may do what, now; None while the database is away: nobody loses a right for that."""
        try:
            return await self.database.run(queries.document_rights, document_ids)
        except DatabaseError:
            return None

    async def _watch_rights(self) -> None:
        while True:
            await asyncio.sleep(RIGHTS_SECONDS)
            connections = self.rooms.connections
            if not connections:
                continue
            rights = await self.rights([room.document_id for room, _ in connections])
            for room, connection in connections:
                if lost := rights and loss(room, connection.claims, rights):
                    connection.end(*lost)


def _log_request(handler: RequestHandler) -> None:
    # The path only: a query may hold a token.
    level = logging.DEBUG if handler.get_status() < 400 else logging.INFO
    log.log(level, "%s %s %s", handler.get_status(), handler.request.method, handler.request.path)


class HealthHandler(RequestHandler):
    """200, or 503 naming what is down."""

    def initialize(self, server: YjsServer) -> None:
        self.server = server

    async def get(self) -> None:
        answer = {"status": "ok", "database": "ok"} | self.server.health()
        try:
            await self.server.database.run(queries.ping)
        except RtcError as error:
            answer["database"] = str(error)
        if answer["database"] != "ok" or answer["log"] != "ok" or answer["draining"]:
            answer["status"] = "unavailable"
            self.set_status(503)
        self.finish(answer)
