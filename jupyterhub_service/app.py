"""The service: what is wired to what, and when it starts and ends. Rules are elsewhere."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import os
import signal
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import urlsplit

from jupyterhub.services.auth import HubOAuth
from tornado.httpserver import HTTPServer
from tornado.web import Application as WebApplication
from tornado.web import RequestHandler
from traitlets import Unicode, default
from traitlets.config import Application, catch_config_error

from jupyter_rtc_amprenta.core.database import Database
from jupyter_rtc_amprenta.core.errors import ConfigurationError
from jupyter_rtc_amprenta.core.settings import service_database_url
from jupyter_rtc_amprenta.core.tokens import Keyring
from jupyter_rtc_amprenta.core.traits import settings_of
from jupyter_rtc_amprenta.core.volumes import parse as parse_volumes

from . import issuers
from .admin import Admin
from .api import Rules
from .audit import Refusals
from .auth import CACHE_SECONDS, Authenticator
from .base import MAX_BODY_BYTES, Context, NotFoundHandler
from .collaboration import Collaboration
from .events import EventFeed
from .history import History
from .hub import Hub
from .invites import Invites
from .issuers import Issuers
from .jwts import Jwts
from .limits import RequestLimits
from .links import Links
from .overview import Overview
from .page_routes import page_routes
from .pages import AssetHandler
from .participants import Participants
from .people import People
from .presence import Presence
from .rendering import environment
from .retention import Retention
from .routes import API, routes
from .runtime import run, settle
from .setting_traits import FIELDS, SettingTraits
from .site import Site
from .user_watch import UserWatch
from .volumes import VolumeDoor
from .watch import DatabaseWatch
from .webhooks import Webhooks
from .yjs_hub_tokens import HubTokenCheck
from .yjs_server import YjsServer

log = logging.getLogger(__name__)
access_log = logging.getLogger("jupyterhub_service.access")

# Over the API's own limit, so that what is too large for it gets an answer that says so.
_MAX_READ_BYTES = 16 * MAX_BODY_BYTES
_LOGGERS = ("jupyterhub_service", "jupyter_rtc_amprenta", "tornado")


class RtcService(SettingTraits, Application):
    """The Hub's service for real-time collaboration."""

    name = "jupyter-rtc-service"
    description = (
        "The Hub's service for real-time collaboration. JupyterHub starts it; configure() tells it to."
    )

    service_url = Unicode(
        help="Where to listen, such as http://127.0.0.1:10101. Default: $JUPYTERHUB_SERVICE_URL"
    ).tag(config=True)
    ip = Unicode(help="The address to bind to, where it is not the host of service_url.").tag(config=True)
    service_prefix = Unicode(
        help="The path at which the Hub's proxy has the service. Default: $JUPYTERHUB_SERVICE_PREFIX"
    ).tag(config=True)

    aliases: ClassVar[dict[str, str]] = {
        "ip": "RtcService.ip",
        "log-level": "RtcService.log_level",
        "url": "RtcService.service_url",
    }

    @default("service_url")
    def _default_service_url(self) -> str:
        return os.environ.get("JUPYTERHUB_SERVICE_URL", "http://127.0.0.1:10101")

    @default("service_prefix")
    def _default_service_prefix(self) -> str:
        return os.environ.get("JUPYTERHUB_SERVICE_PREFIX", "/services/rtc/")

    @default("log_level")
    def _default_log_level(self) -> int:
        return logging.INFO

    @default("log_format")
    def _default_log_format(self) -> str:
        return "[%(levelname)1.1s %(asctime)s %(name)s] %(message)s"

    @default("logging_config")
    def _default_logging_config(self) -> dict[str, Any]:
        return {"loggers": {name: {"level": "DEBUG", "handlers": ["console"]} for name in _LOGGERS}}

    @catch_config_error
    def initialize(self, argv: list[str] | None = None) -> None:
        """Read the configuration, and wire the parts; nothing is started."""
        super().initialize(argv)
        try:
            self._wire()
        except ConfigurationError as error:
            self.log.critical("%s", error)
            self.exit(2)

    def _wire(self) -> None:
        self.settings = settings_of(self, FIELDS)
        if self.settings.signing_key:
            Keyring([self.settings.signing_key])
        if not os.environ.get("JUPYTERHUB_API_TOKEN"):
            raise ConfigurationError(
                "JUPYTERHUB_API_TOKEN is not set: the Hub starts this service, and sets it."
            )
        self.database = Database(self.settings.database_url or service_database_url())
        self.watch = DatabaseWatch(self.database, self.settings.signing_key)
        self.jwts = Jwts(
            self.database, self.watch.keyring, Issuers(issuers.parse(self.settings.jwt_issuers))
        )
        self.feed = EventFeed(self.database)
        self.refusals = Refusals(self.database)
        self.webhooks = Webhooks(self.database, self._webhook_targets(), self.settings.webhook_secret)
        self.retention = Retention(self.database, self.settings)
        self.hub_auth = HubOAuth(parent=self, cache_max_age=CACHE_SECONDS, **_oauth_client())
        self.hub = Hub(self.hub_auth.api_url, self.hub_auth.api_token)
        self.user_watch = UserWatch(self.database, self.hub)
        self.yjs_server = self._yjs_server() if self.settings.yjs_in_service else None
        self.web = self._web_application()

    def _yjs_server(self) -> YjsServer:
        hub_tokens = HubTokenCheck(self.hub_auth)
        return YjsServer(self.settings, self.database, self.watch.keyring, hub_tokens)

    def _rules(self) -> Rules:
        volumes = parse_volumes(self.settings.shared_volumes)
        overview = Overview(self.database, self.settings)
        return Rules(
            Collaboration(self.database, self.settings, self.watch.keyring, VolumeDoor(volumes, self.hub)),
            Participants(self.database, self.settings),
            Invites(self.database, self.settings, self.hub, self._hub_url()),
            Links(self.database, self.settings, self._hub_url()),
            Presence(self.database, self.settings),
            Admin(self.database, self.settings),
            self.feed,
            overview,
            History(self.database, self.settings),
            self.jwts,
            People(self.settings, self.hub, overview),
        )

    def _webhook_targets(self) -> list[str]:
        if self.settings.webhook_urls and not self.settings.webhook_secret:
            raise ConfigurationError("RTC_WEBHOOK_SECRET is not set: it signs what RTC_WEBHOOK_URLS are sent.")
        return self.settings.webhook_urls.replace(",", " ").split()

    def _hub_url(self) -> str:
        """The Hub as browsers see it, as far as that is known: its path at least."""
        known = self.settings.hub_url or os.environ.get("JUPYTERHUB_PUBLIC_HUB_URL", "")
        url = urlsplit(known or self.hub_auth.hub_host)
        return (f"{url.scheme}://{url.netloc}" if url.netloc else "") + self.hub_auth.hub_prefix

    def _site(self) -> Site:
        # Relative, unless subdomains are in use: whatever name a browser has for the Hub then leads back to it.
        hub_url = self.hub_auth.hub_host + self.hub_auth.hub_prefix
        prefix = self.service_prefix
        return Site(environment(), prefix, hub_url, f"{prefix}{API}")

    def _web_application(self) -> WebApplication:
        context = Context(
            self.hub_auth,
            Authenticator(self.hub_auth, self.jwts),
            self.watch,
            RequestLimits(self.settings.max_requests_per_minute),
            self.refusals,
        )
        yjs_health = self.yjs_server.health if self.yjs_server else None
        rules, prefix = self._rules(), self.service_prefix
        return WebApplication(
            page_routes(self._site(), context, rules) + routes(prefix, context, rules, yjs_health),
            default_handler_class=NotFoundHandler,
            default_handler_args={"context": context},
            # Derived, so that cookies outlive a restart of the service, and are the same for all its replicas.
            cookie_secret=hashlib.sha256(b"cookies:" + self.hub_auth.api_token.encode()).digest(),
            log_function=_log_request,
            cors_origins=frozenset(self.settings.cors_origins.replace(",", " ").split()),
            static_path=str(Path(__file__).with_name("static")),
            static_url_prefix=f"{prefix}static/",
            static_handler_class=AssetHandler,
        )

    def start(self) -> None:
        """Serve until SIGTERM or SIGINT."""
        run(self._serve())

    def _tasks(self) -> list[Callable[[], Coroutine[Any, Any, None]]]:
        """What goes on beside the requests, for as long as the service runs."""
        watches = (self.watch, self.feed, self.refusals, self.retention, self.webhooks, self.user_watch)
        return [watch.run for watch in watches]

    async def _serve(self) -> None:
        told = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, told.set)
        server = await self._listen()
        running = [asyncio.create_task(task()) for task in self._tasks()]
        stopping = asyncio.create_task(told.wait())
        settle()
        await asyncio.wait({*running, stopping}, return_when=asyncio.FIRST_COMPLETED)
        log.info("Stopping.")
        failed = [task for task in running if task.done()]
        for task in running:
            task.cancel()
        server.stop()
        if self.yjs_server is not None:
            await self.yjs_server.stop()
        await server.close_all_connections()
        await self.refusals.write()
        self.database.close()
        for task in failed:
            # None of them ends but by a fault: end with its trace, and be started again.
            task.result()

    async def _listen(self) -> HTTPServer:
        """Listen before anything else: the Hub gives a service half a minute for it, and ends where it does not."""
        url = urlsplit(self.service_url)
        server = HTTPServer(self.web, xheaders=True, max_body_size=_MAX_READ_BYTES)
        try:
            server.listen(url.port or 80, self.ip or url.hostname or "127.0.0.1")
            if self.yjs_server is not None:
                await self.yjs_server.start()
        except OSError as error:
            yjs = f"{self.settings.yjs_server_host}:{self.settings.yjs_server_port}"
            self.log.critical(
                "Can't listen at %s, or with the Y.js server at %s: %s", self.service_url, yjs, error
            )
            self.exit(1)
        log.info("Listening at %s, for the Hub's %s", self.service_url, self.service_prefix)
        return server


def _oauth_client() -> dict[str, str]:
    """What the Hub tells a service that it starts; one that it does not start knows it by its name."""
    if os.environ.get("JUPYTERHUB_CLIENT_ID"):
        return {}
    return {"oauth_client_id": f"service-{os.environ.get('JUPYTERHUB_SERVICE_NAME', 'rtc')}"}


def _log_request(handler: RequestHandler) -> None:
    """One line a request, without its query, which may hold a token."""
    identity = getattr(handler, "identity", None)
    request, status = handler.request, handler.get_status()
    level = logging.DEBUG if status < 400 else logging.INFO if status < 500 else logging.WARNING
    access_log.log(
        level,
        "%d %s %s (%s) %.1f ms %s",
        status,
        request.method,
        request.path,
        identity.server or identity.username if identity else "-",
        1000 * request.request_time(),
        getattr(handler, "request_id", "-"),
    )
