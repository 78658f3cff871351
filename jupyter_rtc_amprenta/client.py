"""What a user's server asks of the Hub service and of the Y.js server, over HTTP."""

from __future__ import annotations

import base64
import json
import time
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import quote, urlencode

from tornado.httpclient import HTTPRequest

from .core.errors import FileChanged, FileHeld, ServiceError, ServiceUnavailable
from .core.queries_files import Shown
from .core.volumes import VolumePath
from .fetching import fetch, fetch_slowly

# A token is taken anew when it has less than this left.
_SPARE_SECONDS = 60.0


@dataclass(frozen=True)
class Registration:
    """What the service says of a document that this server registered.

    Attributes:
        file_id: by which it knows the file, where another server of this home has registered it; else "".
        own: whether the file is this user's own, rather than a copy that they have joined.
    """

    document_id: str
    generation: int
    permissions: str
    file_id: str = ""
    own: bool = True


@dataclass(frozen=True)
class Credentials:
    """What opens one document at the Y.js server.

    Attributes:
        token: a document token.
        permissions: `read-only` or `read-write`.
        generation: of the document.
        expires_at: seconds since the epoch.
    """

    token: str
    permissions: str
    generation: int
    expires_at: float


class ServiceClient:
    """Speaks for one user's server.

    Args:
        service_url: of the Hub service, such as http://hub:8000/services/rtc.
        yjs_url: of the Y.js server, ws:// or wss://.
        token: the server's own Hub token.
    """

    def __init__(self, service_url: str, yjs_url: str, token: str) -> None:
        self._api = f"{service_url}/api/v1/collaboration"
        self._token = token
        self._yjs_url = yjs_url
        self._credentials: dict[str, Credentials] = {}

    def document_url(self, document_id: str) -> str:
        """The document's WebSocket URL."""
        return f"{self._yjs_url}/doc/{quote(document_id, safe='')}"

    async def register(
        self, volume: str, room_id: str, document_type: str, path: str, title: str, digest: str = ""
    ) -> Registration:
        """Make a file of this server a document, or find the document that it is.

        Args:
            digest: of its content, where other servers may have it too: they may know it by another id.

        Raises:
            ServiceError, ServiceUnavailable.
        """
        body = {
            "volume": volume,
            "file_id": room_id,
            "document_type": document_type,
            "path": path,
            "title": title,
        }
        return _registration(await self._call("POST", "/documents", body | ({"digest": digest} if digest else {})))

    async def register_shared(
        self, place: VolumePath, room_kind: str, document_type: str, title: str, digest: str
    ) -> Registration:
        """Find the document of a file on a shared volume, or make it one; either way this user then takes part.

        Args:
            place: where the file lies.
            room_kind: `format:type` of the room: two rooms of one file are two documents.
            digest: of the file's content, which shows that this server has it.

        Raises:
            ServiceError: 403: the user is in no group that may enter; 409: nobody knows this content.
            ServiceUnavailable.
        """
        body = {
            "volume": place.volume,
            "file_id": room_kind,
            "document_type": document_type,
            "path": place.path,
            "title": title,
            "shared": True,
            "digest": digest,
        }
        return _registration(await self._call("POST", "/documents", body))

    async def moved(self, document_id: str, path: str) -> None:
        """The document's file has another path below its shared volume.

        Raises:
            ServiceError, ServiceUnavailable.
        """
        await self._call("PATCH", f"/documents/{quote(document_id, safe='')}", {"path": path})

    async def deleted(self, document_id: str) -> None:
        """The document's file was deleted: its session is over.

        Raises:
            ServiceError, ServiceUnavailable.
        """
        await self._call("PATCH", f"/documents/{quote(document_id, safe='')}", {"deleted": True})

    async def document(self, document_id: str) -> dict[str, Any]:
        """What the service knows of a document: `document_type`, `path`, `title`, `owner`, `permissions`, `generation`.

        Raises:
            ServiceError, ServiceUnavailable.
        """
        return await self._call("GET", f"/documents/{quote(document_id, safe='')}")

    async def credentials(self, document_id: str, renew: bool = False) -> Credentials:
        """A document token; the last one while it is valid, unless `renew`.

        Raises:
            ServiceError, ServiceUnavailable.
        """
        known = self._credentials.get(document_id)
        if known is None or renew or known.expires_at - time.time() < _SPARE_SECONDS:
            answer = await self._call("POST", "/token", {"document_id": document_id})
            expires_at = datetime.fromisoformat(answer["expires_at"]).timestamp()
            known = Credentials(answer["token"], answer["permissions"], answer["generation"], expires_at)
            self._credentials[document_id] = known
        return known

    async def report(self, documents: list[dict[str, Any]]) -> None:
        """Say who is present on this server, in which documents.

        Raises:
            ServiceError, ServiceUnavailable.
        """
        await self._call("POST", "/presence", {"documents": documents})

    async def state(self, document_id: str) -> bytes:
        """The document as the Y.js server has it, as one Yjs update.

        Raises:
            ServiceError, ServiceUnavailable.
        """
        return await self._document_call("GET", document_id)

    async def seed(self, document_id: str, update: bytes) -> bool:
        """Make `update` the document's first, if it has none.

        Returns:
            whether it is the first; if not, the document has a history, and `update` is not a part of it.

        Raises:
            ServiceError, ServiceUnavailable.
        """
        headers = {"If-None-Match": "*", "Content-Type": "application/octet-stream"}
        try:
            await self._document_call("PUT", document_id, headers=headers, body=update)
        except ServiceError as error:
            if error.status != 412:
                raise
            return False
        return True

    # --- a file that other servers have too ---

    async def file_contents(self, document_id: str, place: str) -> list[Shown]:
        """What the file may hold that one of its servers wrote or took in: the last content, and the one before.

        Raises:
            ServiceError, ServiceUnavailable.
        """
        answer = await self._file_call("GET", document_id, {"place": place})
        return [Shown(one["digest"], base64.b64decode(one["snapshot"]) or None) for one in answer["contents"]]

    async def claim_file(
        self, method: str, document_id: str, claim: dict[str, Any], new: Shown, **more: Any
    ) -> float:
        """Claim to save the file (`POST`), or to have found a change in it (`PUT`); see `queries_files`.

        Returns:
            for how many seconds this server is the one that saves.

        Raises:
            FileHeld, FileChanged, ServiceError, ServiceUnavailable.
        """
        snapshot = base64.b64encode(new.snapshot or b"").decode()
        body = claim | {"digest": new.digest, "snapshot": snapshot} | more
        return float((await self._file_call(method, document_id, body=body))["seconds"])

    async def wrote_file(self, document_id: str, place: str, holder: str, digest: str) -> None:
        """What was claimed is in the file.

        Raises:
            ServiceError, ServiceUnavailable.
        """
        body = {"place": place, "holder": holder, "digest": digest}
        await self._file_call("PATCH", document_id, body=body)

    async def release_file(self, document_id: str, place: str, holder: str) -> None:
        """Save the file no longer.

        Raises:
            ServiceError, ServiceUnavailable.
        """
        await self._file_call("DELETE", document_id, {"place": place, "holder": holder})

    async def _file_call(
        self,
        method: str,
        document_id: str,
        query: dict[str, str] | None = None,
        body: dict[str, Any] | None = None,
    ) -> dict[str, Any]:
        path = f"/file?{urlencode(query)}" if query else "/file"
        options = {} if body is None else {"body": json.dumps(body)}
        try:
            answer = await self._document_call(method, document_id, path, **options)
        except ServiceError as error:
            if error.status == 423:
                raise FileHeld(error.detail) from None
            if error.status == 409:
                raise FileChanged(error.detail) from None
            raise
        return json.loads(answer or b"{}")

    async def _call(self, method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        headers = {"Authorization": f"token {self._token}", "Content-Type": "application/json"}
        request = HTTPRequest(
            self._api + path, method, headers=headers, body=None if body is None else json.dumps(body)
        )
        response = await fetch(request)
        try:
            return json.loads(response.body)
        except ValueError:
            raise ServiceError(
                f"{self._api} is not the collaboration service: its answer is no JSON."
            ) from None

    async def _document_call(self, method: str, document_id: str, path: str = "", **options: Any) -> bytes:
        credentials = await self.credentials(document_id)
        headers = {"Authorization": f"Bearer {credentials.token}"} | options.pop("headers", {})
        url = "http" + self.document_url(document_id).removeprefix("ws") + path
        try:
            return await fetch_slowly(HTTPRequest(url, method, headers=headers, **options))
        except ServiceUnavailable as error:
            raise ServiceUnavailable(str(error), error.status, "yjs_unavailable") from None


def _registration(answer: dict[str, Any]) -> Registration:
    known = (answer["document_id"], answer["generation"], answer["permissions"])
    return Registration(*known, answer.get("file_id", ""), answer.get("own", True))
