"""The Y.js server: `ws://host:1234/doc/{document_id}`, `/health`, `/metrics`: what listens, and owns the rest."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Collection, Sequence
from typing import Any

from sqlalchemy import Connection as DatabaseConnection
from tornado.httpserver import HTTPServer
from tornado.web import Application, RequestHandler

from jupyter_rtc_amprenta.core import queries_open, queries_tokens
from jupyter_rtc_amprenta.core.database import Database
from jupyter_rtc_amprenta.core.documentlog import DocumentLog
from jupyter_rtc_amprenta.core.errors import DatabaseError, RtcError, ServiceUnavailable, TokenError
from jupyter_rtc_amprenta.core.logpolicy import LogPolicy
from jupyter_rtc_amprenta.core.protocol import CloseCode
from jupyter_rtc_amprenta.core.queries_open import DocumentRights
from jupyter_rtc_amprenta.core.settings import Settings
from jupyter_rtc_amprenta.core.tokens import Keyring, Stamp

from .metrics import Metrics
from .yjs_admission import Admission, HubTokens
from .yjs_connection import Connection
from .yjs_endpoints import HealthHandler, LiveHandler, MetricsHandler, ReadyHandler
from .yjs_files import FileHandler
from .yjs_handlers import DocumentHandler
from .yjs_limits import ConnectionCount
from .yjs_replicas import Replicas
from .yjs_rights import loss
from .yjs_room import Room
from .yjs_rooms import Rooms

log = logging.getLogger(__name__)

# A client that has vanished without a word is noticed after two of these.
PING_SECONDS = 20
# A revoked right is felt within this time: each connection's right is read again this often.
RIGHTS_SECONDS = 4.0
# SIGTERM to the end takes less than ten seconds: flush, farewells, and the log's own end.
DRAIN_SECONDS = 7.0
_FAREWELL_SECONDS = 1.0


class YjsServer:
    """Listens, and owns the log and the rooms.

    Args:
        settings: host, port and limits.
        database: where the log is.
        keyring_provider: gives the keys of document tokens; its DatabaseError says why they are not known yet.
        hub_tokens: asks the Hub about its tokens; None: only document tokens open a document.

    Raises:
        ConfigurationError: REDIS_URL can't be used.
    """

    def __init__(
        self,
        settings: Settings,
        database: Database,
        keyring_provider: Callable[[], Keyring],
        hub_tokens: HubTokens | None = None,
    ) -> None:
        self.settings = settings
        self.database = database
        self.metrics = Metrics()
        self.log = DocumentLog(database, settings.max_pending_bytes, LogPolicy.of(settings))
        self.rooms = Rooms(self.log, self.metrics)
        self.replicas = self.rooms.peers = Replicas(
            self.rooms.rooms, self.log, database, settings.redis_url, self.metrics
        )
        self.users = ConnectionCount(settings.max_connections_per_user)
        self.admission = Admission(self, keyring_provider, hub_tokens)
        self.draining = False
        self.unsent_bytes = 0
        self._server: HTTPServer | None = None
        self._rights_task: asyncio.Task[None] | None = None
        self._watch_metrics()

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
                (r"/doc/([^/]+)/file", FileHandler, {"server": self}),
                (r"/health", HealthHandler, {"server": self}),
                (r"/ready", ReadyHandler, {"server": self}),
                (r"/live", LiveHandler),
                (r"/metrics", MetricsHandler, {"server": self}),
            ],
            websocket_ping_interval=PING_SECONDS,
            websocket_ping_timeout=PING_SECONDS,
            log_function=_log_request,
        )
        self._server = HTTPServer(application, max_body_size=limit or 2**40)
        self._server.listen(self.settings.yjs_server_port, self.settings.yjs_server_host)
        self._rights_task = asyncio.create_task(self._watch_rights())
        self.replicas.start()

    async def stop(self) -> None:
        """Drain: take no one in, commit what waits, and send everyone away to come back elsewhere."""
        self.draining = True
        if self._server is not None:
            self._server.stop()
        if self._rights_task is not None:
            self._rights_task.cancel()
        await self.log.flush(DRAIN_SECONDS)
        for room in list(self.rooms.rooms.values()):
            room.end_all(CloseCode.TRY_LATER, "The server is restarting; come back.")
        await self.replicas.stop()
        await self.log.stop(timeout=_FAREWELL_SECONDS)
        if self._server is not None:
            # The close frames are on their way; who does not answer them is not waited for.
            await asyncio.sleep(0)
            await self._server.close_all_connections()

    def health(self) -> dict[str, Any]:
        """How it is, without asking the database."""
        return {
            "log": self.log.state,
            "log_trouble": self.log.trouble,
            "bus": self.replicas.state,
            "replicas": 1 + self.replicas.others,
            "pending_bytes": self.log.pending_bytes,
            "rooms": len(self.rooms.rooms),
            "connections": len(self.rooms.connections),
            "draining": self.draining,
        }

    async def database_state(self) -> str:
        """ "ok", or why nobody new can be let in: the database does not answer, or the keys are not known yet."""
        try:
            await self.database.run(queries_open.ping)
            self.admission.require_keys()
        except RtcError as error:
            return str(error)
        return "ok"

    async def rights(
        self, document_ids: Sequence[str], stamps: Collection[Stamp]
    ) -> tuple[DocumentRights, set[Stamp]] | None:
        """Who may do what, and which tokens are revoked, now.

        Returns:
            None while the database is away: nobody loses a right for that.
        """
        try:
            return await self.database.run(_rights, document_ids, stamps)
        except DatabaseError:
            return None

    async def _watch_rights(self) -> None:
        while True:
            await asyncio.sleep(RIGHTS_SECONDS)
            # In a function of its own, whose variables don't keep a room in memory while this sleeps.
            if connections := self.rooms.connections:
                await self._look_at_rights(connections)
            del connections

    async def _look_at_rights(self, connections: list[tuple[Room, Connection]]) -> None:
        stamps = {connection.claims.stamp for _, connection in connections}
        known = await self.rights([room.document_id for room, _ in connections], stamps)
        refused = await self._refused_hub_tokens({connection.hub_token for _, connection in connections} - {""})
        for room, connection in connections:
            claims = connection.claims
            if lost := known and loss(room, claims, known[0], claims.stamp in known[1]):
                connection.end(*lost)
            elif connection.hub_token in refused:
                connection.end(CloseCode.NOT_AUTHENTICATED, "The Hub does not know the token any more.")
            elif claims.expires_at < time.time():
                # Stock clients come back, with the token that they have got meanwhile.
                connection.end(CloseCode.RIGHTS_CHANGED, "The token has expired; come back with a new one.")

    async def _refused_hub_tokens(self, tokens: set[str]) -> set[str]:
        """Those that the Hub does not know any more; while it is away, nobody loses a right."""
        refused = set()
        for token in tokens:
            try:
                if self.admission.hub_tokens is not None:
                    await self.admission.hub_tokens(token)
            except TokenError:
                refused.add(token)
            except ServiceUnavailable:
                break
        return refused

    def _watch_metrics(self) -> None:
        rooms, metrics = self.rooms, self.metrics
        metrics.time_statements(self.database)
        metrics.watch("active_sessions", "Documents that somebody is connected to.", lambda: rooms.active)
        metrics.watch("rooms", "Documents in memory.", lambda: len(rooms.rooms))
        metrics.watch("websocket_connections", "Open WebSocket connections.", lambda: len(rooms.connections))
        metrics.watch("pending_bytes", "Edits that wait for the database, in bytes.", lambda: self.log.pending_bytes)
        metrics.watch("unsent_bytes", "What clients have not read yet, in bytes.", lambda: self.unsent_bytes)
        metrics.watch("replicas", "Y.js servers that hear each other.", lambda: 1 + self.replicas.others)
        metrics.watch("log_ok", "1 while edits can be committed.", lambda: self.log.state == "ok")
        metrics.watch(
            "log_failing",
            "1 while edits can't be committed and somebody must look: a full disk, or over half a minute.",
            lambda: self.log.state == "failing",
        )


def _rights(
    connection: DatabaseConnection, document_ids: Sequence[str], stamps: Collection[Stamp]
) -> tuple[DocumentRights, set[Stamp]]:
    return queries_open.document_rights(connection, document_ids), queries_tokens.revoked(connection, stamps)


def _log_request(handler: RequestHandler) -> None:
    # The path only: a query may hold a token.
    level = logging.DEBUG if handler.get_status() < 400 else logging.INFO
    log.log(level, "%s %s %s", handler.get_status(), handler.request.method, handler.request.path)
