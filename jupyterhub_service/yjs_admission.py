"""Who is let in, as whom: a token and a document become a room, claims and a name; or a close code with a reason."""

from __future__ import annotations

import math
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import Connection as DatabaseConnection

from jupyter_rtc_amprenta.core import queries_open, queries_tokens
from jupyter_rtc_amprenta.core.errors import (
    DatabaseError,
    DocumentNotFound,
    ServiceUnavailable,
    TokenError,
)
from jupyter_rtc_amprenta.core.presence import Speaker
from jupyter_rtc_amprenta.core.protocol import CloseCode
from jupyter_rtc_amprenta.core.queries_open import DocumentRights
from jupyter_rtc_amprenta.core.tokens import DocumentClaims, Keyring, Stamp

from .yjs_rights import loss
from .yjs_room import Room, close_reason

if TYPE_CHECKING:
    from .yjs_server import YjsServer


class Refused(Exception):
    """A client is not let in."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason


@dataclass(frozen=True)
class HubUser:
    """Whom a Hub token stands for; `via` is the server that holds it, or ""."""

    username: str
    via: str = ""


# Asks the Hub about a token: TokenError, where it is not valid there; ServiceUnavailable, where the Hub is away.
HubTokens = Callable[[str], Awaitable[HubUser]]


@dataclass(frozen=True)
class Admitted:
    """A client that may enter."""

    room: Room
    claims: DocumentClaims
    speaker: Speaker
    hub_token: str = ""


class Admission:
    """The door of a Y.js server.

    Args:
        server: its rooms, its database, whether it drains.
        keyring_provider: gives the keys of document tokens; its DatabaseError says why they are not known yet.
        hub_tokens: asks the Hub about tokens that are not ours; None: only document tokens open the door.
    """

    def __init__(
        self,
        server: YjsServer,
        keyring_provider: Callable[[], Keyring],
        hub_tokens: HubTokens | None = None,
    ) -> None:
        self.hub_tokens = hub_tokens
        self._server = server
        self._keyring = keyring_provider

    async def admit(self, document_id: str, token: str, generation: str) -> Admitted:
        """Check the token and open the room. Whoever is admitted must tell `rooms.left` in the end.

        Args:
            generation: the one that the client asks for (`?generation=`), or "".

        Raises:
            Refused: with the close code and the reason.
        """
        if self._server.draining:
            raise Refused(CloseCode.TRY_LATER, "The server is restarting; come back.")
        try:
            if token and token.count(".") != 2 and self.hub_tokens is not None:
                admitted = await self._by_hub_token(self.hub_tokens, document_id, token)
            else:
                admitted = await self._by_document_token(document_id, token)
        except TokenError as error:
            raise Refused(CloseCode.NOT_AUTHENTICATED, str(error)) from None
        except (DatabaseError, DocumentNotFound, ServiceUnavailable) as error:
            raise Refused(*close_reason(error)) from None
        current = admitted.room.generation
        if not str(current) == (generation or str(current)) == str(admitted.claims.generation):
            self._server.rooms.left(admitted.room)
            raise Refused(CloseCode.WRONG_GENERATION, f"The document's generation is {current}.")
        return admitted

    def claims(self, token: str) -> DocumentClaims:
        """Read a document token.

        Raises:
            TokenError: it is missing or not valid here.
            DatabaseError: the keys are not known yet: the database is away, or its schema does not fit.
        """
        if not token:
            raise TokenError("A document token is needed: 'Authorization: Bearer …' or '?token='.")
        return self._keyring().document_claims(token)

    async def knows_person(self, token: str) -> bool:
        """Whether this is a token of ours that stands for a person at the REST API.

        Raises:
            DatabaseError: the keys are not known yet, or whether it was revoked is not.
        """
        try:
            stamp = self._keyring().api_stamp(token)
        except TokenError:
            return False
        return not await self._server.database.run(queries_tokens.revoked, [stamp])

    def require_keys(self) -> None:
        """Nobody can be let in before the keys are known.

        Raises:
            DatabaseError: they are not known yet, and why.
        """
        self._keyring()

    async def _by_document_token(self, document_id: str, token: str) -> Admitted:
        claims = self.claims(token)
        if claims.document_id != document_id:
            raise Refused(CloseCode.NO_RIGHT, "The token is for another document.")
        room = await self._server.rooms.open(document_id)
        try:
            rights, name, is_revoked = await self._server.database.run(_look_up, document_id, claims.stamp)
        except DatabaseError:
            # Rooms that are in memory go on without the database: nobody loses a right for that.
            return Admitted(room, claims, Speaker(claims.username, claims.username, claims.via))
        if lost := loss(room, claims, rights, is_revoked):
            self._server.rooms.left(room)
            raise Refused(*lost)
        return Admitted(room, claims, Speaker(claims.username, name, claims.via))

    async def _by_hub_token(self, hub_tokens: HubTokens, document_id: str, token: str) -> Admitted:
        user = await hub_tokens(token)
        # The Hub has vouched for it just now; whoever is disconnected later is found by this time.
        stamp = Stamp(user.username, made_at=time.time())
        rights, name, _ = await self._server.database.run(_look_up, document_id, stamp)
        if document_id not in rights.generations:
            raise DocumentNotFound(f"There is no document {document_id}.")
        if (reason := rights.closed.get(document_id)) is not None:
            raise Refused(CloseCode.NO_DOCUMENT, f"The session is over: {reason}")
        if (permissions := rights.permissions.get((document_id, user.username))) is None:
            raise Refused(CloseCode.NO_RIGHT, "You are not a participant of this document.")
        room = await self._server.rooms.open(document_id)
        claims = DocumentClaims(
            user.username, document_id, permissions, rights.generations[document_id], user.via, math.inf, stamp
        )
        return Admitted(room, claims, Speaker(user.username, name, user.via), token)


def _look_up(
    connection: DatabaseConnection, document_id: str, stamp: Stamp
) -> tuple[DocumentRights, str, bool]:
    """Everybody's rights, what the token's user is called, and whether the token was revoked."""
    rights = queries_open.document_rights(connection, [document_id])
    name = queries_open.display_name(connection, stamp.username)
    return rights, name, bool(queries_tokens.revoked(connection, [stamp]))
