"""JSON Web Tokens of this project: EdDSA (Ed25519), minutes not days.

A document token opens one document at the Y.js server: claims `iss aud sub iat exp jti doc permissions gen`, and
`via` when a user's server holds it (a link). An API token stands for a person at the REST API.
"""

from __future__ import annotations

import base64
import hashlib
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import jwt
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from .errors import ConfigurationError, TokenError

ISSUER = "amprenta-rtc"
DOCUMENT_AUDIENCE = "amprenta-rtc-document"
API_AUDIENCE = "amprenta-rtc-api"
ALGORITHM = "EdDSA"
# Clocks of containers differ a little.
LEEWAY_SECONDS = 10
# A token that says it is valid for longer than this was not meant to be one of ours.
LONGEST_SECONDS = 86400.0


@dataclass(frozen=True)
class Stamp:
    """Which token it is: what it is revoked by.

    Attributes:
        username: the Hub user it was made for.
        token_hash: SHA-256 of its issuer and `jti`; "" for one that has none, which can't be revoked alone.
        made_at: seconds since the epoch; 0 where it does not tell.
        expires_at: seconds since the epoch.
    """

    username: str
    token_hash: str = ""
    made_at: float = 0.0
    expires_at: float = 0.0

    @classmethod
    def of(cls, username: str, claims: Mapping[str, Any]) -> Stamp:
        """The stamp of a token whose claims are verified."""
        name = claims.get("jti")
        known = f"{claims['iss']}\0{name}" if isinstance(name, str) and name else ""
        made = claims.get("iat")
        return cls(
            username=username,
            token_hash=hashlib.sha256(known.encode(errors="replace")).hexdigest() if known else "",
            made_at=float(made) if isinstance(made, int | float) else 0.0,
            expires_at=float(claims["exp"]),
        )


@dataclass(frozen=True)
class DocumentClaims:
    """What a document token says.

    Attributes:
        username: the Hub user it was given to.
        document_id: the one document it opens.
        permissions: `read-only` or `read-write`.
        generation: of the document's history when the token was made.
        via: the server that holds it, such as "alice/": its connection is a link and carries several people; or "".
        expires_at: seconds since the epoch.
        stamp: which token it is.
    """

    username: str
    document_id: str
    permissions: str
    generation: int
    via: str
    expires_at: float
    stamp: Stamp = Stamp("")


class Keyring:
    """The keys that tokens are signed with and checked against.

    Args:
        private_keys: PEM texts of Ed25519 keys; the first signs, all verify.

    Raises:
        ConfigurationError: one of them is not an Ed25519 private key in PEM.
    """

    def __init__(self, private_keys: Sequence[str]) -> None:
        self._keys = {key_id(pem): _load(pem) for pem in private_keys}
        self._signing_id = next(iter(self._keys))

    def document_token(
        self,
        username: str,
        document_id: str,
        permissions: str,
        generation: int,
        seconds: float,
        via: str = "",
    ) -> str:
        """Mint a token that opens one document, for `seconds`."""
        claims = {"sub": username, "doc": document_id, "permissions": permissions, "gen": generation}
        return self._sign(DOCUMENT_AUDIENCE, seconds, claims | ({"via": via} if via else {}))

    def api_token(self, username: str, seconds: float) -> str:
        """Mint a token that stands for a person at the REST API, for `seconds`."""
        return self._sign(API_AUDIENCE, seconds, {"sub": username})

    def document_claims(self, token: str) -> DocumentClaims:
        """Verify a document token.

        Raises:
            TokenError: it is malformed, expired, signed by another key, or not a document token.
        """
        claims = {"via": ""} | self._verify(token, DOCUMENT_AUDIENCE, ("doc", "permissions", "gen"))
        texts = all(isinstance(claims[name], str) for name in ("doc", "permissions", "via"))
        if not texts or claims["permissions"] not in ("read-only", "read-write") or type(claims["gen"]) is not int:
            raise TokenError("The token's claims are not a document token's.")
        return DocumentClaims(
            username=claims["sub"],
            document_id=claims["doc"],
            permissions=claims["permissions"],
            generation=claims["gen"],
            via=claims["via"],
            expires_at=float(claims["exp"]),
            stamp=Stamp.of(claims["sub"], claims),
        )

    def api_stamp(self, token: str) -> Stamp:
        """Verify an API token.

        Returns:
            the user it stands for, and which token it is.

        Raises:
            TokenError: it is malformed, expired, signed by another key, or not an API token.
        """
        claims = self._verify(token, API_AUDIENCE, ())
        return Stamp.of(claims["sub"], claims)

    def any_stamp(self, token: str) -> Stamp:
        """Verify a token of either kind.

        Raises:
            TokenError: it is malformed, expired, or signed by another key.
        """
        claims = self._verify(token, (API_AUDIENCE, DOCUMENT_AUDIENCE), ())
        return Stamp.of(claims["sub"], claims)

    def jwks(self) -> dict[str, Any]:
        """The public keys, as a JSON Web Key Set (RFC 7517, RFC 8037)."""
        return {"keys": [_public_jwk(name, key) for name, key in self._keys.items()]}

    def _sign(self, audience: str, seconds: float, claims: dict[str, Any]) -> str:
        issued = int(time.time())
        times = {"iat": issued, "nbf": issued, "exp": issued + int(min(seconds, LONGEST_SECONDS))}
        payload = {"iss": ISSUER, "aud": audience, "jti": uuid4().hex} | times | claims
        key = self._keys[self._signing_id]
        return jwt.encode(payload, key, algorithm=ALGORITHM, headers={"kid": self._signing_id})

    def _verify(self, token: str, audience: str | Sequence[str], required: Sequence[str]) -> dict[str, Any]:
        try:
            name = jwt.get_unverified_header(token).get("kid")
            if name not in self._keys:
                raise TokenError("The token is signed with a key that is not known here.")
            claims: dict[str, Any] = jwt.decode(
                token,
                self._keys[name].public_key(),
                algorithms=[ALGORITHM],
                audience=audience,
                issuer=ISSUER,
                leeway=LEEWAY_SECONDS,
                options={"require": ["iss", "aud", "sub", "iat", "exp", "jti", *required]},
            )
        except jwt.ExpiredSignatureError:
            raise TokenError("The token has expired.") from None
        except (jwt.InvalidTokenError, ValueError, RecursionError):
            raise TokenError("The token is not valid here.") from None
        # PyJWT takes times in quotes too, and older ones take any `sub`.
        times = all(isinstance(claims[name], int | float) for name in ("exp", "iat"))
        if not times or not isinstance(claims["sub"], str) or not claims["sub"]:
            raise TokenError("The token's claims are not of their types.")
        if claims["exp"] - claims["iat"] > LONGEST_SECONDS:
            raise TokenError("The token is valid for too long.")
        return claims


def new_private_key() -> str:
    """A new Ed25519 private key, in PEM."""
    return (
        Ed25519PrivateKey.generate()
        .private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        .decode()
    )


def key_id(private_key: str) -> str:
    """The `kid` of a key: from its public half, so that every process names it the same.

    Raises:
        ConfigurationError: it is not an Ed25519 private key in PEM.
    """
    return hashlib.sha256(_load(private_key).public_key().public_bytes_raw()).hexdigest()[:16]


def _load(pem: str) -> Ed25519PrivateKey:
    try:
        # In an environment variable the line ends are often written as \n.
        key = serialization.load_pem_private_key(pem.replace("\\n", "\n").encode(), password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, Ed25519PrivateKey):
        raise ConfigurationError(
            "RTC_SIGNING_KEY must be an Ed25519 private key in PEM: make one with 'openssl genpkey -algorithm ed25519'."
        )
    return key


def _public_jwk(name: str, key: Ed25519PrivateKey) -> dict[str, str]:
    x = base64.urlsafe_b64encode(key.public_key().public_bytes_raw()).rstrip(b"=").decode()
    return {"kty": "OKP", "crv": "Ed25519", "use": "sig", "alg": ALGORITHM, "kid": name, "x": x}
