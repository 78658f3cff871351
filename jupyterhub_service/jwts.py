"""JWTs at the API: whom one stands for, and which are refused before they expire. The rules, without HTTP."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from sqlalchemy import Connection

from jupyter_rtc_amprenta.core import queries_tokens
from jupyter_rtc_amprenta.core.database import Database
from jupyter_rtc_amprenta.core.errors import TokenError
from jupyter_rtc_amprenta.core.queries_record import Activity, Actor, record_audit
from jupyter_rtc_amprenta.core.tokens import Keyring, Stamp

from .errors import BadRequest, Forbidden
from .issuers import Issuers

if TYPE_CHECKING:
    from .auth import Identity


class Jwts:
    """Knows our own tokens, and those of other issuers.

    Args:
        database: PostgreSQL, which remembers what was revoked.
        keyring: gives the keys of our own; may raise DatabaseUnavailable.
        issuers: who else makes JWTs that are taken here.
    """

    def __init__(self, database: Database, keyring: Callable[[], Keyring], issuers: Issuers) -> None:
        self._database = database
        self._keyring = keyring
        self._issuers = issuers

    async def username(self, token: str) -> str:
        """The Hub user that a token stands for at the API.

        Raises:
            TokenError: it is not valid here, or was revoked.
            Unavailable: the keys of its issuer can't be had.
            DatabaseUnavailable.
        """
        stamp = await self._stamp(token, Keyring.api_stamp)
        if await self._database.run(queries_tokens.revoked, [stamp]):
            raise TokenError("The token was revoked.")
        return stamp.username

    async def revoke(self, identity: Identity, token: str | None) -> None:
        """Refuse a token of the caller's from now on, or all that were made for them until now.

        Connections that a document token has opened end within seconds.

        Args:
            token: of either kind, or of another issuer; None: all of them.

        Raises:
            BadRequest: it is not valid here anyway, or has no `jti` by which to tell it from others.
            Forbidden: it is somebody else's; a server asks; or somebody with a token of ours asks for all of them, who
                could so keep its owner away for as long as it is valid.
            Unavailable, DatabaseUnavailable.
        """
        identity.require_person()
        actor = identity.actor
        if token is None:
            if not identity.by_hub:
                raise Forbidden("hub_token_required", "To refuse all tokens takes a token of the Hub.")
            await self._database.run(_revoke_all, actor)
            return
        try:
            stamp = await self._stamp(token, Keyring.any_stamp)
        except TokenError as error:
            raise BadRequest("invalid_token", str(error)) from None
        if stamp.username != actor.username:
            raise Forbidden("not_your_token", "The token is somebody else's.")
        if not stamp.token_hash:
            raise BadRequest("token_without_jti", "The token has no jti: its issuer has to revoke it.")
        await self._database.run(_revoke, actor, stamp)

    async def _stamp(self, token: str, of_ours: Callable[[Keyring, str], Stamp]) -> Stamp:
        issuer = self._issuers.of(token)
        return of_ours(self._keyring(), token) if issuer is None else await self._issuers.stamp(issuer, token)


def _revoke(connection: Connection, actor: Actor, stamp: Stamp) -> None:
    queries_tokens.revoke_token(connection, stamp)
    record_audit(connection, actor, [Activity("", "token_revoked")])


def _revoke_all(connection: Connection, actor: Actor) -> None:
    queries_tokens.revoke_tokens_of(connection, actor.username)
    record_audit(connection, actor, [Activity("", "tokens_revoked")])
