"""JWTs of other issuers, such as the platform's own back end: whom the operator trusts, for what, with which keys.

The entry is chosen by the token's `iss`, which proves nothing; keys, algorithms and audience come from that entry
alone.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import jwt
from tornado.httpclient import AsyncHTTPClient, HTTPClientError

from jupyter_rtc_amprenta.core.errors import ConfigurationError, TokenError
from jupyter_rtc_amprenta.core.tokens import ISSUER, Stamp

from .errors import Unavailable

_SECRET_ALGORITHMS = frozenset({"HS256", "HS384", "HS512"})
_KEY_ALGORITHMS = frozenset({"EdDSA", "ES256", "ES384", "ES512", "PS256", "PS384", "PS512", "RS256", "RS384", "RS512"})
_LEEWAY_SECONDS = 10
# A token that is valid for longer than this from now was not meant to be shown around.
_LONGEST_SECONDS = 86400.0
_LONGEST_NAME = 200
_SHORTEST_SECRET = 32
_KEYS_SECONDS = 300.0
# An unknown `kid` may be a new key; but whoever makes one up must not make us ask for each.
_AGAIN_SECONDS = 10.0
_TIMEOUT_SECONDS = 5.0


@dataclass(frozen=True)
class Issuer:
    """Somebody whose tokens are trusted.

    Attributes:
        issuer: the claim `iss`.
        audience: what `aud` must have.
        algorithms: of signatures; of one kind, as the key is.
        jwks_url: where its public keys are; "" where there is a secret.
        secret: what both sides know; "" where there are public keys.
        username_claim: which claim names the Hub user.
    """

    issuer: str
    audience: str
    algorithms: tuple[str, ...]
    jwks_url: str = ""
    secret: str = ""
    username_claim: str = "sub"


def parse(text: str) -> list[Issuer]:
    """The issuers in `RTC_JWT_ISSUERS`, a JSON list of objects with the attributes of `Issuer`.

    Raises:
        ConfigurationError: it is not that, or an entry could be fooled.
    """
    try:
        issuers = [Issuer(**entry | {"algorithms": tuple(entry["algorithms"])}) for entry in json.loads(text or "[]")]
    except (ValueError, TypeError, KeyError, AttributeError):
        raise ConfigurationError(
            "RTC_JWT_ISSUERS must be a JSON list of objects with issuer, audience, algorithms (a list), either "
            "jwks_url or secret, and, where it is not sub, username_claim."
        ) from None
    for issuer in issuers:
        _check(issuer)
    if len({issuer.issuer for issuer in issuers}) < len(issuers):
        raise ConfigurationError("RTC_JWT_ISSUERS has an issuer twice.")
    return issuers


def _check(issuer: Issuer) -> None:
    texts = (issuer.issuer, issuer.audience, issuer.jwks_url, issuer.secret, issuer.username_claim)
    if not all(isinstance(text, str) for text in texts) or not (issuer.issuer and issuer.audience):
        raise ConfigurationError("RTC_JWT_ISSUERS: issuer and audience must be texts, and not empty.")
    if issuer.issuer == ISSUER:
        raise ConfigurationError(f"RTC_JWT_ISSUERS: {ISSUER} is this service's own name.")
    if bool(issuer.jwks_url) == bool(issuer.secret):
        raise ConfigurationError(f"RTC_JWT_ISSUERS: {issuer.issuer} needs either jwks_url or secret.")
    if issuer.secret and len(issuer.secret) < _SHORTEST_SECRET:
        raise ConfigurationError(f"RTC_JWT_ISSUERS: the secret of {issuer.issuer} needs {_SHORTEST_SECRET} characters.")
    # Of one kind: else a public key could be taken for a secret, which everybody knows.
    allowed = _SECRET_ALGORITHMS if issuer.secret else _KEY_ALGORITHMS
    if not issuer.algorithms or not set(issuer.algorithms) <= allowed:
        raise ConfigurationError(
            f"RTC_JWT_ISSUERS: the algorithms of {issuer.issuer} must be among {', '.join(sorted(allowed))}."
        )


class Issuers:
    """Verifies tokens of other issuers, without blocking the loop.

    Args:
        issuers: whom the operator trusts.
        clock: seconds, monotonic.
    """

    def __init__(self, issuers: list[Issuer], clock: Callable[[], float] = time.monotonic) -> None:
        self._issuers = {issuer.issuer: issuer for issuer in issuers}
        self._clock = clock
        self._keys: dict[str, tuple[float, Mapping[str, Any]]] = {}
        self._lock = asyncio.Lock()

    def of(self, token: str) -> Issuer | None:
        """Who says to have made a token; None for nobody that is trusted."""
        try:
            claims = jwt.decode(token, options={"verify_signature": False})
        except (jwt.InvalidTokenError, ValueError, RecursionError):
            return None
        name = claims.get("iss")
        return self._issuers.get(name) if isinstance(name, str) else None

    async def stamp(self, issuer: Issuer, token: str) -> Stamp:
        """The Hub user that a token stands for, and which token it is.

        Raises:
            TokenError: it is not valid here.
            Unavailable: the issuer's keys can't be had.
        """
        key = issuer.secret or await self._key(issuer, token)
        try:
            claims = jwt.decode(
                token,
                key,
                algorithms=list(issuer.algorithms),
                audience=issuer.audience,
                issuer=issuer.issuer,
                leeway=_LEEWAY_SECONDS,
                options={"require": ["iss", "aud", "exp"]},
            )
        except jwt.ExpiredSignatureError:
            raise TokenError("The token has expired.") from None
        except (jwt.PyJWTError, ValueError, TypeError, OverflowError, RecursionError):
            raise TokenError("The token is not valid here.") from None
        if float(claims["exp"]) - time.time() > _LONGEST_SECONDS:
            raise TokenError("The token is valid for too long.")
        name = claims.get(issuer.username_claim)
        if not isinstance(name, str) or not 0 < len(name) <= _LONGEST_NAME or "\0" in name:
            raise TokenError(f"The token names no user in {issuer.username_claim}.")
        return Stamp.of(name, claims)

    async def _key(self, issuer: Issuer, token: str) -> Any:
        try:
            name = jwt.get_unverified_header(token).get("kid", "")
        except (jwt.InvalidTokenError, ValueError, RecursionError):
            raise TokenError("The token is not valid here.") from None
        async with self._lock:
            fetched, keys = self._keys.get(issuer.issuer, (float("-inf"), {}))
            age = self._clock() - fetched
            if age > _KEYS_SECONDS or (name not in keys and age > _AGAIN_SECONDS):
                keys = await _fetch(issuer.jwks_url)
                self._keys[issuer.issuer] = (self._clock(), keys)
        if name not in keys:
            raise TokenError("The token is signed with a key that is not known here.")
        return keys[name]


async def _fetch(url: str) -> Mapping[str, Any]:
    """The public keys at a URL, by `kid`; keys of a form that is not known are left out."""
    try:
        answer = await AsyncHTTPClient().fetch(url, request_timeout=_TIMEOUT_SECONDS, follow_redirects=False)
        keys = jwt.PyJWKSet.from_dict(json.loads(answer.body)).keys
    except (OSError, HTTPClientError, ValueError, AttributeError, jwt.PyJWTError) as error:
        raise Unavailable("issuer_unavailable", "The keys of the token's issuer can't be had.") from error
    return {key.key_id: key.key for key in keys if key.key_id}
