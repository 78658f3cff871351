"""Who asks: the Hub's OAuth cookie, a Hub token or a JWT of ours becomes one `Identity`."""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass, replace
from typing import Any, Literal

from jupyterhub.services.auth import HubOAuth
from tornado.web import HTTPError, RequestHandler

from jupyter_rtc_amprenta.core.errors import TokenError
from jupyter_rtc_amprenta.core.queries_record import Actor

from .configuration import PERSON_SCOPE
from .errors import Forbidden, NotAuthenticated, Unavailable
from .hub import known_name
from .jwts import Jwts

# How long a Hub token that was revoked still works here, in seconds; asking the Hub costs some milliseconds.
CACHE_SECONDS = 5

_HUB_SECONDS = 10.0
_WHO = "Authentication is required: a Hub token, a JWT, or this service's cookie with its XSRF token."
_AUTHORIZATION = re.compile(r"(?:token|bearer)\s+(\S+)\s*", re.IGNORECASE)
_SERVER_SCOPE = "access:servers!server="


@dataclass(frozen=True)
class Identity:
    """Who asks.

    Attributes:
        username: the Hub user.
        kind: `person`, or `server`: a user's server, which may register, link and report for its owner.
        admin: whether the Hub says that this user is an admin.
        server: which server it is, such as `alice/`; "" for a person.
        display_name: what the Hub calls this user for people; "" where it does not tell.
        by_hub: whether the Hub vouched for it just now, rather than a JWT of ours.
        address: from where, as an IP address.
    """

    username: str
    kind: Literal["person", "server"]
    admin: bool
    server: str
    display_name: str
    by_hub: bool
    address: str = ""

    @property
    def actor(self) -> Actor:
        """Who does what is recorded."""
        return Actor(self.username, self.address)

    @property
    def is_person(self) -> bool:
        """Whether this is a person, who may decide."""
        return self.kind == "person"

    def require_person(self) -> None:
        """Refuse what only a person decides.

        Raises:
            Forbidden: a server asks.
        """
        if not self.is_person:
            raise Forbidden("person_required", "A server's token may not do this: use a person's.")


class Authenticator:
    """Finds out who asks, without blocking the loop.

    Args:
        hub_auth: the Hub's own client, with the service's name and token.
        jwts: knows our own tokens, and those of other issuers.
    """

    def __init__(self, hub_auth: HubOAuth, jwts: Jwts) -> None:
        self._hub_auth = hub_auth
        self._jwts = jwts

    async def identify(self, handler: RequestHandler) -> Identity:
        """Who makes this request, and from where. A token that is not valid is refused, even where a cookie would be.

        Raises:
            NotAuthenticated: nobody, or nobody known.
            Forbidden: somebody who may not use this service.
            Unavailable: the Hub does not answer, or the keys of a JWT's issuer can't be had.
            DatabaseUnavailable: a JWT can't be checked.
        """
        address = handler.request.remote_ip or ""
        return replace(await self._identify(handler), address=address)

    async def _identify(self, handler: RequestHandler) -> Identity:
        token = _token(handler)
        if token.count(".") == 2:
            # A JWT. It is no business of the Hub's.
            return await self._jwt_identity(token)
        try:
            async with asyncio.timeout(_HUB_SECONDS):
                model = await (self._token_model(handler, token) if token else self._cookie_model(handler))
        except (HTTPError, TimeoutError) as error:
            # With an HTTPError the Hub's client says that the Hub is away, or refuses to tell.
            raise Unavailable("hub_unavailable", "The Hub does not answer.") from error
        if model is None:
            raise NotAuthenticated("not_authenticated", _WHO)
        return identity_of(model, self._hub_auth.check_scopes(self._hub_auth.access_scopes, model))

    async def _jwt_identity(self, token: str) -> Identity:
        try:
            username = await self._jwts.username(token)
        except TokenError as error:
            raise NotAuthenticated("invalid_token", str(error)) from None
        return Identity(username, "person", False, "", "", by_hub=False)

    async def _token_model(self, handler: RequestHandler, token: str) -> dict[str, Any] | None:
        session_id = self._hub_auth.get_session_id(handler)
        return await self._hub_auth.user_for_token(token, session_id=session_id, sync=False)

    async def _cookie_model(self, handler: RequestHandler) -> dict[str, Any] | None:
        # This also holds a request that may change something against its XSRF token.
        return await self._hub_auth.get_user(handler, sync=False)


def identity_of(model: dict[str, Any], has_access: Any) -> Identity:
    """The identity that the Hub's answer about a token stands for.

    Args:
        model: the Hub's answer, with the token's scopes.
        has_access: whether they reach this service.

    Raises:
        Forbidden: the token does not reach this service, or acts for nobody here.
    """
    name, scopes = model["name"], model["scopes"]
    if not has_access:
        raise Forbidden("no_access", f"The token of {name} lacks the scope that reaches this service.")
    if model.get("kind", "user") != "user":
        raise Forbidden("user_required", f"{name} is a service of the Hub, and no user.")
    is_person = PERSON_SCOPE in scopes
    own = [
        scope.removeprefix(_SERVER_SCOPE) for scope in scopes if scope.startswith(f"{_SERVER_SCOPE}{name}/")
    ]
    if not is_person and len(own) != 1:
        raise Forbidden(
            "no_role", f"The token acts neither for a person (scope {PERSON_SCOPE}) nor for one server."
        )
    return Identity(
        username=name,
        kind="person" if is_person else "server",
        admin=bool(model.get("admin")),
        server="" if is_person else own[0],
        display_name=known_name(model),
        by_hub=True,
    )


def _token(handler: RequestHandler) -> str:
    header = _AUTHORIZATION.fullmatch(handler.request.headers.get("Authorization", ""))
    return header.group(1) if header else handler.get_query_argument("token", "")
