"""Document and API tokens: only what our own key has signed, for this purpose and for minutes, opens anything."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from jupyter_rtc_amprenta.core.errors import ConfigurationError, TokenError
from jupyter_rtc_amprenta.core.tokens import (
    ALGORITHM,
    API_AUDIENCE,
    DOCUMENT_AUDIENCE,
    ISSUER,
    LEEWAY_SECONDS,
    LONGEST_SECONDS,
    DocumentClaims,
    Keyring,
    key_id,
    new_private_key,
)

PEM = new_private_key()
KEYRING = Keyring([PEM])
KEY = serialization.load_pem_private_key(PEM.encode(), password=None)
PUBLIC_PEM = KEY.public_key().public_bytes(
    serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
)


def token(
    key: Any = KEY, algorithm: str | None = ALGORITHM, kid: str | None = key_id(PEM), **claims: Any
) -> str:
    """A document token as ours are, but for `claims`; a claim that is None is left out."""
    now = int(time.time())
    ours = {
        "iss": ISSUER, "aud": DOCUMENT_AUDIENCE, "sub": "alice", "iat": now, "exp": now + 60, "jti": "1",
        "doc": "notebook_1", "permissions": "read-write", "gen": 1,
    }  # fmt: skip
    payload = {name: value for name, value in (ours | claims).items() if value is not None}
    return jwt.encode(payload, key, algorithm=algorithm, headers={"kid": kid} if kid else None)


def base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def refused(text: str, match: str | None = None) -> None:
    with pytest.raises(TokenError, match=match):
        KEYRING.document_claims(text)


# --- what is minted is verified ---


def test_a_document_token_says_who_may_do_what_in_which_document() -> None:
    before = time.time()
    claims = KEYRING.document_claims(
        KEYRING.document_token("zoë", "notebook_1", "read-only", 3, 600, via="zoë/")
    )
    assert claims == DocumentClaims("zoë", "notebook_1", "read-only", 3, "zoë/", claims.expires_at, claims.stamp)
    assert before + 598 <= claims.expires_at <= time.time() + 600


def test_a_token_without_via_is_a_persons_own() -> None:
    assert KEYRING.document_claims(KEYRING.document_token("alice", "d", "read-write", 1, 60)).via == ""


def test_a_token_has_the_claims_that_others_rely_on() -> None:
    minted = KEYRING.document_token("alice", "notebook_1", "read-write", 2, 60)
    payload = jwt.decode(minted, options={"verify_signature": False})
    assert {"iss", "aud", "sub", "iat", "exp", "jti", "doc", "permissions", "gen"} <= set(payload)
    assert payload["iss"] == ISSUER and payload["aud"] == DOCUMENT_AUDIENCE
    assert jwt.get_unverified_header(minted) == {"alg": "EdDSA", "typ": "JWT", "kid": key_id(PEM)}


def test_no_two_tokens_are_the_same() -> None:
    assert len({KEYRING.api_token("alice", 60) for _ in range(5)}) == 5


def test_an_api_token_stands_for_a_person() -> None:
    assert KEYRING.api_stamp(KEYRING.api_token("alice", 60)).username == "alice"


def test_a_token_is_never_made_for_longer_than_is_taken() -> None:
    claims = KEYRING.document_claims(
        KEYRING.document_token("alice", "d", "read-write", 1, 10 * LONGEST_SECONDS)
    )
    assert claims.expires_at <= time.time() + LONGEST_SECONDS


@given(st.text(min_size=1, max_size=20).filter(str.isprintable), st.sampled_from(["read-only", "read-write"]))
def test_any_name_is_read_back(username: str, permissions: str) -> None:
    claims = KEYRING.document_claims(KEYRING.document_token(username, username, permissions, 1, 60, username))
    assert (claims.username, claims.document_id, claims.permissions, claims.via) == (
        username,
        username,
        permissions,
        username,
    )


# --- for one purpose ---


def test_an_api_token_opens_no_document_and_a_document_token_is_no_person() -> None:
    refused(KEYRING.api_token("alice", 60))
    with pytest.raises(TokenError):
        KEYRING.api_stamp(KEYRING.document_token("alice", "d", "read-write", 1, 60))


@pytest.mark.parametrize("claims", [{"aud": API_AUDIENCE}, {"aud": "other"}, {"aud": None}, {"aud": []}])
def test_a_token_for_another_audience_is_refused(claims: dict[str, Any]) -> None:
    refused(token(**claims))


@pytest.mark.parametrize("issuer", ["somebody", "", None, ISSUER + "2"])
def test_a_token_of_another_issuer_is_refused(issuer: str | None) -> None:
    refused(token(iss=issuer))


# --- for minutes ---


def test_an_expired_token_says_so() -> None:
    refused(token(iat=int(time.time()) - 700, exp=int(time.time()) - LEEWAY_SECONDS - 1), match="expired")


def test_clocks_may_differ_a_little() -> None:
    now = int(time.time())
    assert KEYRING.document_claims(token(exp=now - LEEWAY_SECONDS + 3)).username == "alice"
    assert KEYRING.document_claims(token(iat=now + LEEWAY_SECONDS - 3)).username == "alice"


def test_a_token_that_is_not_valid_yet_is_refused() -> None:
    refused(token(iat=int(time.time()) + 1000, exp=int(time.time()) + 1060))
    refused(token(nbf=int(time.time()) + 1000))


@pytest.mark.parametrize("seconds", [LONGEST_SECONDS + 60, 10 * 365 * 86400, 10**18])
def test_a_token_that_is_valid_for_too_long_is_refused(seconds: float) -> None:
    refused(token(exp=int(time.time() + seconds)), match="too long")


def test_a_token_cannot_hide_its_age_in_the_past() -> None:
    refused(token(iat=0), match="too long")


@pytest.mark.parametrize("claim", ["iss", "aud", "sub", "iat", "exp", "jti", "doc", "permissions", "gen"])
def test_a_token_without_one_of_the_claims_is_refused(claim: str) -> None:
    refused(token(**{claim: None}))


# --- signed by us ---


def test_a_token_of_another_key_is_refused_whatever_it_calls_itself() -> None:
    other = Ed25519PrivateKey.generate()
    refused(token(other))
    refused(token(other, kid="0123456789abcdef"), match="not known")
    refused(token(other, kid=None), match="not known")
    refused(Keyring([new_private_key()]).document_token("alice", "d", "read-write", 1, 60), match="not known")


def test_a_token_without_a_key_id_is_refused_even_when_ours_signed_it() -> None:
    refused(token(kid=None), match="not known")


def test_algorithm_none_is_refused() -> None:
    refused(token(None, "none"))
    head, payload, _ = token().split(".")
    for algorithm in ("none", "None", "NONE", "nOnE", ""):
        header = base64url(json.dumps({"alg": algorithm, "typ": "JWT", "kid": key_id(PEM)}).encode())
        for signature in ("", base64url(b"x" * 64)):
            refused(f"{header}.{payload}.{signature}")
    assert head


@pytest.mark.parametrize(
    "secret",
    [
        PUBLIC_PEM,
        KEY.public_key().public_bytes_raw(),
        base64url(KEY.public_key().public_bytes_raw()).encode(),
        b"",
    ],
    ids=["pem", "raw", "jwk", "nothing"],
)
@pytest.mark.parametrize("algorithm", ["HS256", "HS512"])
def test_the_public_key_is_no_secret_to_sign_with(secret: bytes, algorithm: str) -> None:
    # Made by hand: PyJWT refuses to make one, an attacker does not.
    header = base64url(json.dumps({"alg": algorithm, "typ": "JWT", "kid": key_id(PEM)}).encode())
    signed = f"{header}.{token().split('.')[1]}"
    digest = {"HS256": hashlib.sha256, "HS512": hashlib.sha512}[algorithm]
    refused(f"{signed}.{base64url(hmac.new(secret, signed.encode(), digest).digest())}")


@pytest.mark.parametrize(
    ("key", "algorithm"),
    [
        (rsa.generate_private_key(public_exponent=65537, key_size=2048), "RS256"),
        (ec.generate_private_key(ec.SECP256R1()), "ES256"),
    ],
    ids=["RS256", "ES256"],
)
def test_another_kind_of_key_is_refused(key: Any, algorithm: str) -> None:
    refused(token(key, algorithm))


def test_a_changed_token_is_refused() -> None:
    head, _, signature = token(permissions="read-only").split(".")
    refused(f"{head}.{token().split('.')[1]}.{signature}")


@pytest.mark.parametrize(
    "text",
    [
        "", ".", "..", "a.b.c", "Bearer x", "é.é.é", "\ud800", "\x00", "a" * 100_000,
        base64url(b"[" * 5000) + ".e30.x",
        base64url(b'{"alg":"EdDSA","kid":["x"]}') + ".e30.x",
        base64url(b'{"alg":"EdDSA","kid":{}}') + ".e30.x",
        base64url(b"null") + ".e30.x",
    ],
)  # fmt: skip
def test_what_is_no_token_is_refused(text: str) -> None:
    refused(text)


@given(st.text(max_size=40))
def test_whatever_comes_is_refused_with_a_token_error(text: str) -> None:
    refused(text)


# --- claims of the right types: an operator may mint tokens with a key of their own ---


@pytest.mark.parametrize(
    "claims",
    [
        {"gen": "1"}, {"gen": 1.0}, {"gen": True}, {"gen": [1]},
        {"permissions": "admin"}, {"permissions": ""}, {"permissions": ["read-write"]}, {"permissions": True},
        {"doc": 5}, {"doc": ["notebook_1"]}, {"doc": {}},
        {"sub": 5}, {"sub": ""}, {"sub": ["alice"]},
        {"via": 5}, {"via": ["alice/"]},
        {"exp": "soon"}, {"exp": str(int(time.time()) + 60)}, {"exp": [1]}, {"exp": float("inf")}, {"exp": {}},
        {"iat": "now"}, {"iat": str(int(time.time()))}, {"iat": {}}, {"jti": 4},
    ],
    ids=lambda claims: next(iter(claims)),
)  # fmt: skip
def test_a_claim_of_another_type_is_refused(claims: dict[str, Any]) -> None:
    refused(token(**claims))


def test_an_api_token_of_no_name_is_refused() -> None:
    for name in ("", 5, None):
        with pytest.raises(TokenError):
            KEYRING.api_stamp(token(aud=API_AUDIENCE, sub=name))


# --- keys ---


def test_the_first_key_signs_and_all_verify() -> None:
    new = new_private_key()
    both = Keyring([new, PEM])
    assert both.document_claims(KEYRING.document_token("alice", "d", "read-write", 1, 60)).username == "alice"
    minted = both.document_token("alice", "d", "read-write", 1, 60)
    assert jwt.get_unverified_header(minted)["kid"] == key_id(new)
    assert both.document_claims(minted).username == "alice"
    with pytest.raises(TokenError):
        KEYRING.document_claims(minted)


def test_a_key_has_one_name_in_every_process_however_its_lines_end() -> None:
    names = {key_id(pem) for pem in (PEM, PEM.replace("\n", "\\n"), PEM.replace("\n", "\r\n"), PEM.strip())}
    assert len(names) == 1
    assert len(names.pop()) == 16
    escaped = Keyring([PEM.replace("\n", "\\n")])
    assert escaped.document_claims(token()).username == "alice"


def test_the_published_keys_verify_our_tokens_and_hold_no_secret() -> None:
    published = Keyring([PEM, new_private_key()]).jwks()
    assert [set(key) for key in published["keys"]] == [{"kty", "crv", "use", "alg", "kid", "x"}] * 2
    assert {(key["kty"], key["crv"], key["alg"], key["use"]) for key in published["keys"]} == {
        ("OKP", "Ed25519", "EdDSA", "sig")
    }
    assert json.loads(json.dumps(published)) == published
    found = jwt.PyJWKSet.from_dict(published)[key_id(PEM)]
    minted = KEYRING.document_token("alice", "notebook_1", "read-write", 1, 60)
    payload = jwt.decode(minted, found.key, algorithms=["EdDSA"], audience=DOCUMENT_AUDIENCE, issuer=ISSUER)
    assert payload["doc"] == "notebook_1"


def rsa_pem() -> str:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()


def locked_pem() -> str:
    return KEY.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(b"x"),
    ).decode()


@pytest.mark.parametrize(
    "pem",
    [
        "",
        "secret",
        PUBLIC_PEM.decode(),
        "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----",
        rsa_pem(),
        locked_pem(),
    ],
    ids=["nothing", "a password", "a public key", "rubbish", "RSA", "with a passphrase"],
)
def test_what_is_no_ed25519_key_is_refused_with_the_variables_name(pem: str) -> None:
    for use in (key_id, lambda text: Keyring([text])):
        with pytest.raises(ConfigurationError, match=r"RTC_SIGNING_KEY.*Ed25519") as refusal:
            use(pem)
        assert pem == "" or pem not in str(refusal.value)
