"""The extension's own endpoints: `/rtc/join/{document_id}`, `/rtc/page` and `/rtc/status`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from jupyter_server.auth.decorator import authorized
from jupyter_server.base.handlers import APIHandler, JupyterHandler
from jupyter_server.utils import url_path_join
from tornado import web

from .core.errors import RtcError, ServiceError, ServiceUnavailable
from .joining import join

if TYPE_CHECKING:
    from .app import RtcExtension


class JoinHandler(JupyterHandler):
    """Puts a shared document into this server's files, and goes there."""

    auth_resource = "contents"

    @web.authenticated
    @authorized(action="write")
    async def get(self, document_id: str) -> None:
        extension: RtcExtension = self.settings["rtc_extension"]
        if extension.linking is None:
            raise web.HTTPError(503, "This server is not linked to a collaboration service; ask who runs it.")
        try:
            path = await join(extension.linking, self.settings["file_id_manager"], document_id)
        except ServiceUnavailable as error:
            self.log.warning("join %s: %s", document_id, error)
            raise web.HTTPError(
                503, "The collaboration service does not answer. Try again in a minute."
            ) from None
        except ServiceError as error:
            self.log.warning("join %s: %s", document_id, error)
            raise web.HTTPError(error.status, _SENTENCES.get(error.status, str(error))) from None
        except (RtcError, OSError) as error:
            self.log.error("join %s: %s", document_id, error)
            raise web.HTTPError(500, f"The document can't be put among your files: {error}") from None
        self.redirect(url_path_join(self.base_url, "lab/tree", quote(path)))


_SENTENCES = {
    403: "You are not a participant of this document. Accept the invitation first, or ask its owner for one.",
    404: "There is no such document. It may have been deleted; ask who sent you the link.",
    409: "Its owner has not opened this document yet. Try again once they have.",
}


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
        if extension.linking is not None:
            answer["page"] = extension.linking.settings.page_url
            answer["store"] = extension.linking.store.log.state
            answer["documents"] = [
                room.linked.status() for room in extension.linking.rooms.values() if room.ready
            ]
        elif extension.direct_log is not None:
            answer["store"] = extension.direct_log.state
        self.finish(answer)


HANDLERS: list[tuple[str, type[JupyterHandler]]] = [
    (r"/rtc/join/([^/]+)", JoinHandler),
    (r"/rtc/page", PageHandler),
    (r"/rtc/status", StatusHandler),
]
