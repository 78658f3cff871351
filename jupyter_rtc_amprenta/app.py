"""The server extension: which way documents are kept here, and what is wired to what.

linked   JUPYTER_COLLABORATION_YJS_URL is set: rooms are peers of the Y.js server
direct   RTC_DATABASE_URL is set, and no Y.js URL: the rooms' store is PostgreSQL itself
off      neither: jupyter-collaboration is left alone
"""

from __future__ import annotations

import asyncio
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

from jupyter_server.extension.application import ExtensionApp
from jupyter_server_ydoc.app import YDocExtension

from . import upstream
from .client import ServiceClient
from .core.database import Database
from .core.documentlog import DocumentLog
from .core.errors import ConfigurationError, DatabaseError
from .core.leases import LeaseKeeper, new_holder
from .core.logpolicy import LogPolicy
from .core.settings import Settings
from .core.traits import settings_of, trait
from .directroom import DirectRoom
from .handlers import HANDLERS
from .homeid import read_home_id
from .localstore import LocalStore
from .readonly import mark_read_only
from .reporter import PresenceReporter
from .rooms import LinkedRoom, Linking
from .ystore import LinkedYStore, PostgresYStore

_STOP_SECONDS = 8.0
_CONTENTS_EVENTS = "https://events.jupyter.org/jupyter_server/contents_service/v1"
_SETTINGS = (
    "collaboration_yjs_url",
    "database_url",
    "rtc_api_url",
    "local_store",
    "shared_folder",
    "heartbeat_seconds",
    "open_timeout",
    "max_pending_bytes",
    "max_document_bytes",
    "encryption_keys",
    "history_seconds",
    "history_updates",
    "version_seconds",
    "automatic_versions",
    "lease_seconds",
    "spool_folder",
)


class RtcExtension(ExtensionApp):
    """Amprenta RTC's server extension."""

    name = "jupyter_rtc_amprenta"
    load_other_extensions = True

    collaboration_yjs_url = trait("collaboration_yjs_url")
    database_url = trait("database_url")
    rtc_api_url = trait("rtc_api_url")
    local_store = trait("local_store")
    shared_folder = trait("shared_folder")
    heartbeat_seconds = trait("heartbeat_seconds")
    open_timeout = trait("open_timeout")
    max_pending_bytes = trait("max_pending_bytes")
    max_document_bytes = trait("max_document_bytes")
    encryption_keys = trait("encryption_keys")
    history_seconds = trait("history_seconds")
    history_updates = trait("history_updates")
    version_seconds = trait("version_seconds")
    automatic_versions = trait("automatic_versions")
    lease_seconds = trait("lease_seconds")
    spool_folder = trait("spool_folder")

    mode = "off"
    linking: Linking | None = None
    direct_log: DocumentLog | None = None
    leases: LeaseKeeper | None = None
    reporter: PresenceReporter | None = None

    def initialize_settings(self) -> None:
        """Choose the mode and put ours in upstream's place, before upstream makes its handlers."""
        try:
            settings = settings_of(self, _SETTINGS)
            if settings.collaboration_yjs_url:
                self._link(settings, upstream.find_extension(self.serverapp))
            elif settings.database_url:
                self._connect(settings, upstream.find_extension(self.serverapp))
            else:
                self.log.info(
                    "Amprenta RTC is off: neither JUPYTER_COLLABORATION_YJS_URL nor RTC_DATABASE_URL is set. "
                    "jupyter-collaboration keeps its documents as it would without it."
                )
        except (ConfigurationError, DatabaseError) as error:
            self.log.error("Amprenta RTC is off: %s", error)
        self.settings["rtc_extension"] = self

    def initialize_handlers(self) -> None:
        """Our own HTTP endpoints."""
        self.handlers.extend(HANDLERS)

    @property
    def log_of_rooms(self) -> DocumentLog | None:
        """Where this server's rooms keep their edits first; None: not with us."""
        return self.direct_log if self.linking is None else self.linking.store.log

    def _link(self, settings: Settings, collaboration: YDocExtension) -> None:
        token, owner = os.environ.get("JUPYTERHUB_API_TOKEN", ""), os.environ.get("JUPYTERHUB_USER", "")
        if not settings.service_url or not token:
            raise ConfigurationError(
                "The linked mode needs a server that a JupyterHub has started, and RTC_API_URL: the Hub service's URL, "
                "such as http://hub:8000/services/rtc. jupyterhub_service.configure(c) sets it."
            )
        root = Path(self.serverapp.root_dir)
        store = LocalStore(Path(settings.local_store or root / ".jupyter" / "rtc_rooms.db"), settings.max_pending_bytes)
        client = ServiceClient(settings.service_url, settings.collaboration_yjs_url, token)
        rooms: dict[str, LinkedRoom] = {}
        self.reporter = PresenceReporter(client, rooms, owner, settings.heartbeat_seconds)
        self.linking = Linking(
            settings=settings,
            home_id=read_home_id(root),
            store=store,
            client=client,
            contents_manager=lambda: self.serverapp.contents_manager,
            on_clients=self.reporter.changed,
            id_is_gone=lambda file_id: self._file_ids().get_path(file_id) is None,
            joining=asyncio.Lock(),
            forget_tabs=lambda: upstream.forget_tabs(collaboration),
            tabs_session=upstream.tabs_session,
            delete_room=lambda room: collaboration.ywebsocket_server.delete_room(room=room),
            rooms=rooms,
        )
        collaboration.ystore_class = LinkedYStore.bound_to(store.log)
        self._remember_tabs_with(store, collaboration)
        mark_read_only(self.serverapp.contents_manager, store.is_read_only)
        self.serverapp.event_logger.add_listener(schema_id=_CONTENTS_EVENTS, listener=self._follow_files)
        upstream.link_rooms(self.linking)
        self.mode = "linked"
        self.log.info("Amprenta RTC links documents to %s", settings.collaboration_yjs_url)

    def _file_ids(self) -> Any:
        return self.serverapp.web_app.settings["file_id_manager"]

    async def _follow_files(self, logger: Any, schema_id: str, data: dict[str, Any]) -> None:
        """What is known by its path follows the files; a new file of a deleted one's name is another document."""
        assert self.linking is not None
        if data["action"] == "rename":
            await self.linking.store.moved(data["source_path"].strip("/"), data["path"].strip("/"))
        elif data["action"] == "delete":
            path = data["path"].strip("/")
            for room in list(self.linking.rooms.values()):
                if room.ready and f"{room.linked.file.path}/".startswith(f"{path}/"):
                    await room.file_deleted()
            await self.linking.store.deleted(path)

    def _remember_tabs_with(self, store: LocalStore, collaboration: YDocExtension) -> None:
        """Which tabs may come back silently is kept with the histories that they hold, and goes with them.

        A tab of another history (of jupyter-collaboration's own store, or of a store that was lost) would bring
        all its content a second time: it is asked to reload.
        """
        collaboration.session_store_path = str(store.path.with_suffix(".tabs.json"))
        if store.is_new:
            upstream.forget_tabs(collaboration)

    def _connect(self, settings: Settings, collaboration: YDocExtension) -> None:
        policy = LogPolicy.of(settings)
        if policy.spool is None:
            policy = replace(policy, spool=Path(self.serverapp.root_dir) / ".jupyter" / "rtc_spool")
        self.direct_log = DocumentLog(Database(settings.database_url), settings.max_pending_bytes, policy)
        self.leases = LeaseKeeper(
            self.direct_log,
            new_holder(os.environ.get("JUPYTERHUB_USER") or os.environ.get("USER") or "a user"),
            settings.lease_seconds,
        )
        collaboration.ystore_class = PostgresYStore.bound_to(self.direct_log, self.leases)
        upstream.use_rooms(DirectRoom)
        self.mode = "direct"
        self.log.info("Amprenta RTC keeps documents in PostgreSQL")

    async def _start_jupyter_server_extension(self, serverapp: Any) -> None:
        if self.reporter is not None:
            self.reporter.start()

    async def stop_extension(self) -> None:
        """Flush every room within a deadline, and say goodbye."""
        if self.linking is not None:
            rooms = [asyncio.create_task(room.stop()) for room in self.linking.rooms.values()]
            if rooms:
                await asyncio.wait(rooms, timeout=_STOP_SECONDS)
            if self.reporter is not None:
                await self.reporter.stop()
            await self.linking.store.close()
            upstream.unlink_rooms()
        if self.direct_log is not None and self.leases is not None:
            await self.leases.stop()
            await self.direct_log.stop()
            self.direct_log.database.close()
