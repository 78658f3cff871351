"""The server extension: which way documents are kept here, and what is wired to what.

linked   JUPYTER_COLLABORATION_YJS_URL is set: rooms are peers of the Y.js server
direct   RTC_DATABASE_URL is set, and no Y.js URL: the rooms' store is PostgreSQL itself
off      neither: jupyter-collaboration is left alone
"""

from __future__ import annotations

import asyncio
import logging
import os
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import quote

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
from .core.volumes import parse as parse_volumes
from .directroom import DirectRoom
from .filewriting import guard_writes
from .followfiles import follow_deletion, follow_rename
from .frontend import give_colours, hide_share_button
from .handlers import HANDLERS
from .homeid import read_home_id
from .linking import Linking
from .localstore import LocalStore
from .mounts import Mounts
from .panel import Panel
from .readonly import mark_read_only
from .reporter import PresenceReporter
from .rooms import LinkedRoom
from .ystore import LinkedYStore, PostgresYStore

_STOP_SECONDS = 8.0
_CONTENTS_EVENTS = "https://events.jupyter.org/jupyter_server/contents_service/v1"
_SETTINGS = (
    "collaboration_yjs_url",
    "database_url",
    "rtc_api_url",
    "page_url",
    "local_store",
    "shared_folder",
    "shared_volumes",
    "one_server_per_home",
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
    page_url = trait("page_url")
    local_store = trait("local_store")
    shared_folder = trait("shared_folder")
    shared_volumes = trait("shared_volumes")
    one_server_per_home = trait("one_server_per_home")
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
    panel: Panel | None = None

    def initialize_settings(self) -> None:
        """Choose the mode and put ours in upstream's place, before upstream makes its handlers."""
        self._log_with_the_server()
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

    def _log_with_the_server(self) -> None:
        """Our modules' loggers are nobody's children here: what they say belongs into the server's log."""
        ours = logging.getLogger(__package__)
        if not ours.hasHandlers():
            ours.handlers = list(self.serverapp.log.handlers)
            ours.setLevel(self.serverapp.log.getEffectiveLevel())

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
        store = LocalStore(self._store_path(settings, root), settings.max_pending_bytes)
        client = ServiceClient(settings.service_url, settings.collaboration_yjs_url, token)
        rooms: dict[str, LinkedRoom] = {}
        self.reporter = PresenceReporter(client, rooms, owner, settings.heartbeat_seconds)
        self.linking = Linking(
            settings=settings,
            mounts=Mounts(
                root,
                read_home_id(root),
                parse_volumes(settings.shared_volumes),
                settings.one_server_per_home,
            ),
            store=store,
            client=client,
            contents_manager=lambda: self.serverapp.contents_manager,
            owner=owner,
            on_clients=self.reporter.changed,
            on_moves=self.reporter.moved,
            id_is_gone=lambda file_id: self._file_ids().get_path(file_id) is None,
            joining=asyncio.Lock(),
            forget_tabs=lambda: upstream.forget_tabs(collaboration),
            tabs_session=upstream.tabs_session,
            follow_move=self._follow_move,
            delete_room=lambda room: collaboration.ywebsocket_server.delete_room(room=room),
            rooms=rooms,
        )
        stock_store = partial(collaboration.ystore_class, config=self.config)
        self.panel = Panel(rooms, lambda: upstream.global_room(collaboration))
        collaboration.ystore_class = LinkedYStore.bound_to(store.log)
        self._remember_tabs_with(store, collaboration)
        give_colours(self.serverapp.identity_provider)
        mark_read_only(self.serverapp.contents_manager, store.is_read_only)
        guard_writes(self.serverapp.contents_manager)
        self.serverapp.event_logger.add_listener(schema_id=_CONTENTS_EVENTS, listener=self._follow_files)
        upstream.link_rooms(self.linking, stock_store)
        self.mode = "linked"
        self.log.info("Amprenta RTC links documents to %s", settings.collaboration_yjs_url)

    def _file_ids(self) -> Any:
        return self.serverapp.web_app.settings["file_id_manager"]

    @staticmethod
    def _store_path(settings: Settings, root: Path) -> Path:
        """The local store: beside the files, and one for each of the servers that may share a home."""
        if settings.local_store:
            return Path(settings.local_store)
        server = "" if settings.one_server_per_home else os.environ.get("JUPYTERHUB_SERVER_NAME", "")
        name = f"rtc_rooms.{quote(server, safe='')}.db" if server else "rtc_rooms.db"
        return root / ".jupyter" / name

    def _follow_move(self, path: str, new_path: str) -> None:
        self._file_ids().move(path, new_path)

    async def _follow_files(self, logger: Any, schema_id: str, data: dict[str, Any]) -> None:
        """What is known by its path follows the files; a new file of a deleted one's name is another document."""
        assert self.linking is not None
        if data["action"] == "rename":
            await follow_rename(self.linking, data["source_path"].strip("/"), data["path"].strip("/"))
        elif data["action"] == "delete":
            await follow_deletion(self.linking, data["path"].strip("/"))

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
        if self.mode != "off":
            upstream.stop_when_interrupted(serverapp)
        if self.reporter is not None and self.panel is not None:
            self.reporter.start()
            self.panel.start()
            # By now the Hub's own extension has put its hook there, which it does without looking.
            hide_share_button(serverapp.web_app.settings)

    async def stop_extension(self) -> None:
        """Flush every room within a deadline, and say goodbye."""
        if self.linking is not None:
            rooms = [asyncio.create_task(room.stop()) for room in self.linking.rooms.values()]
            if rooms:
                await asyncio.wait(rooms, timeout=_STOP_SECONDS)
            if self.reporter is not None and self.panel is not None:
                await self.panel.stop()
                await self.reporter.stop()
            await self.linking.store.close()
            upstream.unlink_rooms()
        if self.direct_log is not None and self.leases is not None:
            await self.leases.stop()
            await self.direct_log.stop()
            self.direct_log.database.close()
        if self.mode != "off":
            upstream.interrupt_as_before(self.serverapp)
