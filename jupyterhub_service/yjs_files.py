"""`/doc/{document_id}/file`: what the servers that have one file of a document agree on: who saves it, what it holds.

    GET     what the file may hold that one of them wrote or took in
    POST    "I am about to write this": become, or stay, the one that saves
    PUT     "this was changed outside": take it into the log, once
    PATCH   "it is written"
    DELETE  save it no longer

423: another server saves it; 409: the file holds something else than the request says.
"""

from __future__ import annotations

import base64
import json
import re
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection
from tornado.web import HTTPError, RequestHandler, stream_request_body

from jupyter_rtc_amprenta.core import queries_files, queries_open, queries_people
from jupyter_rtc_amprenta.core.errors import (
    DatabaseError,
    DocumentNotFound,
    DocumentTooLarge,
    FileChanged,
    FileHeld,
    GenerationChanged,
    ProtocolError,
    RtcError,
    TokenError,
)
from jupyter_rtc_amprenta.core.queries_files import Claim, Shown
from jupyter_rtc_amprenta.core.tokens import DocumentClaims

from .volumes import place_of
from .yjs_room import Room

if TYPE_CHECKING:
    from .yjs_server import YjsServer

_HOLDER = re.compile("[0-9a-f]{32}")
_DIGEST = re.compile("[0-9a-f]{64}")
_PLACE = re.compile(r"(volume|home):[A-Za-z0-9_. -]{1,100}")
_LONGEST_PATH = 4096
_LARGEST_SNAPSHOT = 2**20
_STATUS: dict[type[RtcError], int] = {
    TokenError: 401,
    DocumentNotFound: 404,
    FileChanged: 409,
    GenerationChanged: 409,
    DocumentTooLarge: 413,
    FileHeld: 423,
    ProtocolError: 400,
}


@stream_request_body
class FileHandler(RequestHandler):
    """One server and one file of a document, with the document's token."""

    claims: DocumentClaims

    def initialize(self, server: YjsServer) -> None:
        self.server = server
        self._received = bytearray()

    def prepare(self) -> None:
        """Before the body is read: strangers' bodies are not kept in memory."""
        token = self.request.headers.get("Authorization", "").partition(" ")[2].strip()
        self.claims = self.server.admission.claims(token)
        if self.claims.document_id != self.path_args[0]:
            raise HTTPError(403, reason="The token is for another document")

    def data_received(self, chunk: bytes) -> None:
        self._received += chunk

    async def get(self, document_id: str) -> None:
        claims = self.claims
        known = await self.server.database.run(_known, claims, self._place(self.get_query_argument("place")))
        self.finish({"contents": [_told(shown) for shown in known]})

    async def post(self, document_id: str) -> None:
        claims, body = self.claims, self._body()
        claim = self._claim(claims, body)
        accounted_for = body.get("accounted_for") is True
        await self.server.database.run(_save, claims, claim, _shown(body), accounted_for)
        self.finish({"seconds": claim.lease_seconds})

    async def put(self, document_id: str) -> None:
        claims, body = self.claims, self._body()
        if claims.permissions != "read-write":
            raise HTTPError(403, reason="Only who may write can take a change in")
        claim, update = self._claim(claims, body), _bytes(body, "update", 2**40)
        room = await self.server.rooms.open(document_id)
        try:
            position = await self._take(room, claims, claim, body, update)
        finally:
            self.server.rooms.left(room)
        self.finish({"seconds": claim.lease_seconds, "position": position})

    async def _take(
        self, room: Room, claims: DocumentClaims, claim: Claim, body: dict[str, Any], update: bytes
    ) -> int:
        # It hangs on what was saved before, which must be in the log by then.
        await room.committed()
        await room.require_whole(update)
        policy = self.server.log.policy
        limits = (policy.keys, policy.max_document_bytes)
        what = (_text(body, "base", _DIGEST), _shown(body), update)
        position = await self.server.database.run(_take_in, claims, claim, *what, *limits)
        await room.document.take(update, logged=True)
        return position

    async def patch(self, document_id: str) -> None:
        claims, body = self.claims, self._body()
        place, holder = _own(self._place(body.get("place")), claims), _text(body, "holder", _HOLDER)
        digest = _text(body, "digest", _DIGEST)
        await self.server.database.run(queries_files.note_written, document_id, place, holder, digest)
        self.set_status(204)

    async def delete(self, document_id: str) -> None:
        claims = self.claims
        place = _own(self._place(self.get_query_argument("place")), claims)
        await self.server.database.run(queries_files.release, document_id, place, self.get_query_argument("holder"))
        self.set_status(204)

    def _claim(self, claims: DocumentClaims, body: dict[str, Any]) -> Claim:
        return Claim(
            claims.document_id,
            _own(self._place(body.get("place")), claims),
            claims.generation,
            _text(body, "holder", _HOLDER),
            claims.via or claims.username,
            self.server.settings.lease_seconds,
            _text(body, "found", _DIGEST),
            str(body.get("path", ""))[:_LONGEST_PATH],
        )

    def _place(self, place: Any) -> str:
        if not isinstance(place, str) or not _PLACE.fullmatch(place):
            raise HTTPError(400, reason="place must be volume:<name> or home:<id>")
        return place

    def _body(self) -> dict[str, Any]:
        try:
            body = json.loads(self._received)
        except ValueError:
            body = None
        if not isinstance(body, dict):
            raise HTTPError(400, reason="The body must be a JSON object")
        return body

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        error = kwargs.get("exc_info", (None, None, None))[1]
        answer: dict[str, Any] = {"detail": self._reason}
        if isinstance(error, RtcError):
            self.set_status(_STATUS.get(type(error), 503 if isinstance(error, DatabaseError) else 500))
            answer["detail"] = str(error)
        self.finish(answer)

    def log_exception(self, *error: Any) -> None:
        # What is refused is the caller's; a fault of ours has its trace.
        if not isinstance(error[1], RtcError | HTTPError):
            super().log_exception(*error)


def _known(connection: Connection, claims: DocumentClaims, place: str) -> list[Shown]:
    _require(connection, claims, place)
    return queries_files.known_contents(connection, claims.document_id, _own(place, claims), claims.generation)


def _save(connection: Connection, claims: DocumentClaims, claim: Claim, new: Shown, accounted_for: bool) -> None:
    _require(connection, claims, claim.place)
    queries_files.claim_save(connection, claim, new, accounted_for=accounted_for)


def _take_in(
    connection: Connection, claims: DocumentClaims, claim: Claim, *what: Any
) -> int:
    _require(connection, claims, claim.place)
    return queries_files.claim_change(connection, claim, *what)


def _require(connection: Connection, claims: DocumentClaims, place: str) -> None:
    """The token's rights hold, and the file is one of this document that its user may save."""
    rights = queries_open.document_rights(connection, [claims.document_id])
    permissions = rights.permissions.get((claims.document_id, claims.username))
    generation = rights.generations.get(claims.document_id)
    if generation is None or claims.document_id in rights.closed:
        raise DocumentNotFound("There is no such document any more.")
    if generation != claims.generation:
        raise GenerationChanged(f"The document's generation is {generation}.")
    is_shared = place.startswith("volume:")
    if permissions is None or (is_shared and "read-only" in (permissions, claims.permissions)):
        raise HTTPError(403, reason="Only who may write in the document saves its file")
    volume = queries_people.volume_of(connection, claims.document_id)
    if is_shared and (volume is None or place_of(volume) != place):
        raise HTTPError(409, reason="The document's file is not on that volume")


def _own(place: str, claims: DocumentClaims) -> str:
    """A home is its user's: nobody else has a say in what its files hold."""
    return place if place.startswith("volume:") else f"home:{claims.username}:{place.partition(':')[2]}"


def _shown(body: dict[str, Any]) -> Shown:
    return Shown(_text(body, "digest", _DIGEST), _bytes(body, "snapshot", _LARGEST_SNAPSHOT) or None)


def _told(shown: Shown) -> dict[str, str]:
    return {"digest": shown.digest, "snapshot": base64.b64encode(shown.snapshot or b"").decode()}


def _text(body: dict[str, Any], name: str, form: re.Pattern[str]) -> str:
    value = body.get(name)
    if not isinstance(value, str) or not form.fullmatch(value):
        raise HTTPError(400, reason=f"{name} is missing or malformed")
    return value


def _bytes(body: dict[str, Any], name: str, most: int) -> bytes:
    try:
        value = base64.b64decode(body.get(name, ""), validate=True)
    except (ValueError, TypeError):
        raise HTTPError(400, reason=f"{name} must be base64") from None
    # A snapshot that is too large is not kept: then no base is known, and nothing is overwritten.
    return value if len(value) <= most else b""
