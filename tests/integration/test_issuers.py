"""JWTs of other issuers: who is trusted, with which keys, and all that is not."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from tornado.httpserver import HTTPServer
from tornado.testing import bind_unused_port
from tornado.web import Application, RequestHandler

from jupyter_rtc_amprenta.core.errors import ConfigurationError, TokenError
from jupyterhub_service.errors import Unavailable
from jupyterhub_service.issuers import Issuers, parse

pytestmark = [pytest.mark.anyio]

SECRET = "s" * 32
PORTAL, BACKEND = "https://portal.example.org", "backend"
FIRST, SECOND = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
ENTRY = {"issuer": BACKEND, "audience": "rtc", "algorithms": ["HS256"], "secret": SECRET}


class Portal:
    """Publishes public keys, and counts how often it is asked."""

    def __init__(self) -> None:
        self.keys: dict[str, ec.EllipticCurvePrivateKey] = {"first": FIRST}
        self.asked = 0
        self.server = HTTPServer(Application([("/jwks.json", _Keys, {"portal": self})]))
        socket, port = bind_unused_port()
        self.server.add_socket(socket)
        self.url = f"http://127.0.0.1:{port}/jwks.json"


class _Keys(RequestHandler):
    def initialize(self, portal: Portal) -> None:
        self.portal = portal

    def get(self) -> None:
        self.portal.asked += 1
        algorithm = jwt.algorithms.ECAlgorithm
        keys = [
            json.loads(algorithm.to_jwk(key.public_key())) | {"kid": name}
            for name, key in self.portal.keys.items()
        ]
        self.write({"keys": keys})


@pytest.fixture
async def portal(anyio_backend: str) -> AsyncIterator[Portal]:
    portal = Portal()
    yield portal
    portal.server.stop()


@pytest.fixture
def clock() -> list[float]:
    return [1000.0]


@pytest.fixture
def issuers(portal: Portal, clock: list[float]) -> Issuers:
    entries = [
        {
            "issuer": PORTAL,
            "audience": "rtc",
            "algorithms": ["ES256"],
            "jwks_url": portal.url,
            "username_claim": "login",
        },
        ENTRY,
    ]
    return Issuers(parse(json.dumps(entries)), lambda: clock[0])


def claims(issuer: str, **more: Any) -> dict[str, Any]:
    return {"iss": issuer, "aud": "rtc", "sub": "alice", "login": "alice", "exp": time.time() + 60} | more


def of_portal(key: Any = FIRST, kid: str = "first", **more: Any) -> str:
    return jwt.encode(claims(PORTAL, **more), key, "ES256", headers={"kid": kid})


async def username(issuers: Issuers, token: str) -> str:
    issuer = issuers.of(token)
    assert issuer is not None
    return (await issuers.stamp(issuer, token)).username


async def test_who_is_trusted_is_known_by_the_claim_that_was_configured(issuers: Issuers) -> None:
    assert await username(issuers, of_portal(login="bob")) == "bob"
    assert await username(issuers, jwt.encode(claims(BACKEND), SECRET, "HS256")) == "alice"


async def test_keys_are_fetched_once_and_again_when_they_change(
    issuers: Issuers, portal: Portal, clock: list[float]
) -> None:
    for _ in range(3):
        await username(issuers, of_portal())
    assert portal.asked == 1
    portal.keys["second"] = SECOND
    with pytest.raises(TokenError):
        await username(issuers, of_portal(SECOND, "second"))
    assert portal.asked == 1, "whoever makes names up does not make us ask for each"
    clock[0] += 11
    assert await username(issuers, of_portal(SECOND, "second")) == "alice"
    del portal.keys["first"]
    clock[0] += 301
    with pytest.raises(TokenError, match="not known"):
        await username(issuers, of_portal())


async def test_without_the_issuers_keys_nothing_is_known(issuers: Issuers, portal: Portal) -> None:
    portal.server.stop()
    with pytest.raises(Unavailable):
        await username(issuers, of_portal())


def _public_pem() -> bytes:
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    return FIRST.public_key().public_bytes(serialization.Encoding.PEM, form)


def _hmac_with(key: bytes, **more: Any) -> str:
    """A token whose secret is what everybody knows."""
    header = jwt.utils.base64url_encode(json.dumps({"alg": "HS256", "kid": "first"}).encode())
    body = jwt.utils.base64url_encode(json.dumps(claims(PORTAL, **more)).encode())
    signature = jwt.algorithms.HMACAlgorithm(jwt.algorithms.HMACAlgorithm.SHA256).sign(header + b"." + body, key)
    return (header + b"." + body + b"." + jwt.utils.base64url_encode(signature)).decode()


@pytest.mark.parametrize(
    "token",
    [
        pytest.param(lambda: of_portal(aud="another"), id="another audience"),
        pytest.param(lambda: of_portal(exp=time.time() - 60), id="expired"),
        pytest.param(lambda: of_portal(exp=time.time() + 2 * 86400), id="valid for too long"),
        pytest.param(lambda: of_portal(exp=float("inf")), id="valid for ever"),
        pytest.param(lambda: of_portal(exp=None), id="without expiry"),
        pytest.param(lambda: of_portal(SECOND), id="another key"),
        pytest.param(lambda: of_portal(kid="other"), id="unknown key"),
        pytest.param(lambda: of_portal(login=None), id="without user"),
        pytest.param(lambda: of_portal(login=["alice"]), id="user of another form"),
        pytest.param(lambda: of_portal(login="x" * 201), id="user too long"),
        pytest.param(lambda: jwt.encode(claims(PORTAL), None, "none", headers={"kid": "first"}), id="unsigned"),
        pytest.param(lambda: _hmac_with(_public_pem()), id="public key as a secret"),
        pytest.param(lambda: jwt.encode(claims(BACKEND), "x" * 32, "HS256"), id="another secret"),
        pytest.param(lambda: jwt.encode(claims(BACKEND), SECRET * 2, "HS512"), id="another algorithm"),
        pytest.param(lambda: jwt.encode(claims(PORTAL), SECRET, "HS256"), id="another issuer's secret"),
    ],
)
async def test_what_is_no_valid_token(issuers: Issuers, token: Any) -> None:
    with pytest.raises(TokenError):
        await username(issuers, token())


@pytest.mark.parametrize("issuer", ["https://evil.example.org", None, ["x"], "amprenta-rtc"])
async def test_nobody_else_is_trusted(issuers: Issuers, issuer: Any) -> None:
    header = jwt.utils.base64url_encode(b'{"alg":"HS256"}').decode()
    body = jwt.utils.base64url_encode(json.dumps({"iss": issuer}).encode()).decode()
    assert issuers.of(f"{header}.{body}.x") is None
    assert issuers.of("a.b.c") is None


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "{}x",
        '["x"]',
        '[{"issuer": "x"}]',
        json.dumps([ENTRY | {"more": 1}]),
        json.dumps([ENTRY | {"secret": ""}]),
        json.dumps([ENTRY | {"secret": "short"}]),
        json.dumps([ENTRY | {"jwks_url": "https://x"}]),
        json.dumps([ENTRY | {"algorithms": ["none"]}]),
        json.dumps([ENTRY | {"algorithms": []}]),
        json.dumps([ENTRY | {"algorithms": ["HS256", "RS256"]}]),
        json.dumps([ENTRY | {"issuer": ""}]),
        json.dumps([ENTRY | {"issuer": "amprenta-rtc"}]),
        json.dumps([ENTRY, ENTRY]),
    ],
)
def test_what_is_wrongly_configured(text: str) -> None:
    with pytest.raises(ConfigurationError, match="RTC_JWT_ISSUERS"):
        parse(text)
