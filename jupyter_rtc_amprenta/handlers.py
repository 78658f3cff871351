"""The extension's own endpoints: `/rtc/join/{document_id}`, `/rtc/page` and `/rtc/status`."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from jupyter_server.auth.decorator import authorized
from jupyter_server.base.handlers import APIHandler, JupyterHandler
from jupyter_server.utils import url_path_join
from tornado import web
from tornado.web import HTTPError

from . import joinpages
from .core.errors import RtcError
from .frontend import document_url
from .joining import CopyLeft, join
from .joinpages import Link, Page
from .linking import Linking

if TYPE_CHECKING:
    from .app import RtcExtension


class JoinHandler(JupyterHandler):
    """Puts a shared document into this server's files, and goes there; else a page says what to do."""

    auth_resource = "contents"

    @web.authenticated
    @authorized(action="write")
    async def get(self, document_id: str) -> None:
        extension: RtcExtension = self.settings["rtc_extension"]
        if extension.linking is None:
            self._show(joinpages.NOT_LINKED, document_id)
        elif self.current_user.username != extension.linking.owner:
            self._show(joinpages.OTHERS_SERVER, document_id)
        else:
            await self._join(extension.linking, document_id)

    async def _join(self, linking: Linking, document_id: str) -> None:
        try:
            path = await join(linking, self.settings["file_id_manager"], document_id)
        except CopyLeft as left:
            page = {"removed": joinpages.REMOVED, "deleted": joinpages.DELETED_COPY}[left.ended]
            self._show(page, document_id, left.path)
        except (RtcError, HTTPError, OSError) as error:
            self.log.warning("join %s: %s", document_id, error)
            page = joinpages.explain(error)
            self._show(replace(page, detail="" if page.explains_all else _detail(error)), document_id)
        else:
            self.redirect(document_url(self.serverapp, path))

    def _show(self, page: Page, document_id: str, path: str = "") -> None:
        document = quote(document_id, safe="")
        links = [Link(_BUTTONS[offer], self._target(offer, document, path)) for offer in page.offers]
        self.set_status(page.status)
        self.set_header("Content-Type", "text/html; charset=utf-8")
        self.set_header("Content-Security-Policy", joinpages.CONTENT_SECURITY_POLICY)
        self.set_header("Cache-Control", "no-store")
        self.finish(replace(page, links=links).html())

    def _target(self, offer: str, document: str, path: str) -> str:
        if offer == "again":
            return url_path_join(self.base_url, "rtc/join", document)
        if offer == "own":
            return f"{self._hub_base}hub/user-redirect/rtc/join/{document}"
        if offer == "copy":
            return document_url(self.serverapp, path)
        linking = self.settings["rtc_extension"].linking
        service = (linking.settings.page_url if linking else "") or f"{self._hub_base}services/rtc/"
        return service if offer == "documents" else f"{service}sessions/{document}"

    @property
    def _hub_base(self) -> str:
        """The path, or with subdomains the URL, under which the Hub has everything."""
        return os.environ.get("JUPYTERHUB_HOST", "") + os.environ.get("JUPYTERHUB_BASE_URL", "/")


_BUTTONS = {
    "again": "Try again",
    "invitation": "See the invitation",
    "session": "The document's page",
    "documents": "My shared documents",
    "own": "Open it on my server",
    "copy": "Open my copy",
}


def _detail(error: Exception) -> str:
    """What is said to who is asked for help; the log has more."""
    if isinstance(error, HTTPError):
        return f"{error.status_code}: {error.log_message or error.reason or ''}"
    return str(error)


class PageHandler(JupyterHandler):
    """Goes to the collaboration service's page of a file that is open here (`?path=`), else to its list."""

    auth_resource = "contents"

    @web.authenticated
    @authorized
    async def get(self) -> None:
        extension: RtcExtension = self.settings["rtc_extension"]
        page = extension.linking.settings.page_url if extension.linking else ""
        if extension.linking is None or not page:
            raise web.HTTPError(404, "This server knows no collaboration page: RTC_PAGE_URL is not set.")
        path = self.get_query_argument("path", "").strip("/")
        files = (room.linked.file for room in extension.linking.rooms.values() if room.ready)
        found = next((file.document_id for file in files if file.path == path and file.document_id), None)
        self.redirect(url_path_join(page, "sessions", quote(found, safe="")) if found else page)


class StatusHandler(APIHandler):
    """How this server's documents are: linked or not, committed or not."""

    auth_resource = "contents"

    @web.authenticated
    @authorized
    async def get(self) -> None:
        extension: RtcExtension = self.settings["rtc_extension"]
        answer: dict[str, Any] = {"mode": extension.mode, "page": "", "documents": []}
        if (log := extension.log_of_rooms) is not None:
            answer |= {"store": log.state, "store_trouble": log.trouble}
        if extension.linking is not None:
            answer["page"] = extension.linking.settings.page_url
            answer["documents"] = [
                room.linked.status() for room in extension.linking.rooms.values() if room.ready
            ]
        self.finish(answer)


HANDLERS: list[tuple[str, type[JupyterHandler]]] = [
    (r"/rtc/join/([^/]+)", JoinHandler),
    (r"/rtc/page", PageHandler),
    (r"/rtc/status", StatusHandler),
]
