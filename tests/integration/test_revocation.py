"""Tokens that are refused before they expire: one, all of a user's, and those of a user who is gone."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import jwt
import pytest
import requests
from sqlalchemy import Connection, func, select
from support.rules import ALICE, BOB, ROOT, Rtc, refused, server
from support.service_process import Service
from support.stub_hub import StubHub

from jupyter_rtc_amprenta.core import queries_tokens
from jupyter_rtc_amprenta.core.errors import TokenError
from jupyter_rtc_amprenta.core.schema import now, revoked_tokens, token_cutoffs
from jupyter_rtc_amprenta.core.tokens import DOCUMENT_AUDIENCE
from jupyterhub_service.errors import BadRequest, Forbidden
from jupyterhub_service.issuers import Issuer, Issuers
from jupyterhub_service.jwts import Jwts
from jupyterhub_service.retention import Retention

pytestmark = [pytest.mark.anyio, pytest.mark.integration]

SECRET = "x" * 40


async def is_refused(rtc: Rtc, token: str) -> bool:
    try:
        await rtc.jwts.username(token)
    except TokenError as error:
        assert str(error) == "The token was revoked."
        return True
    return False


async def test_one_token_is_refused_and_the_others_go_on(rtc: Rtc) -> None:
    first, second = (rtc.keyring.api_token("alice", 60) for _ in range(2))
    await rtc.jwts.revoke(ALICE, first)
    await rtc.jwts.revoke(ALICE, first)
    assert await is_refused(rtc, first)
    assert not await is_refused(rtc, second)


async def test_a_token_is_revoked_by_whose_it_is(rtc: Rtc) -> None:
    token = rtc.keyring.api_token("alice", 60)
    assert await refused(rtc.jwts.revoke(BOB, token), Forbidden) == "not_your_token"
    assert await refused(rtc.jwts.revoke(BOB, "a.b.c"), BadRequest) == "invalid_token"
    assert await rtc.jwts.username(token) == "alice"


async def test_all_tokens_until_now_are_refused(rtc: Rtc) -> None:
    by_token = replace(ALICE, by_hub=False)
    assert await refused(rtc.jwts.revoke(by_token, None), Forbidden) == "hub_token_required"
    assert await refused(rtc.jwts.revoke(server("alice"), None), Forbidden) == "person_required"
    before, bobs = rtc.keyring.api_token("alice", 60), rtc.keyring.api_token("bob", 60)
    await rtc.jwts.revoke(ALICE, None)
    assert await is_refused(rtc, before)
    assert not await is_refused(rtc, bobs)
    # A token says in whole seconds when it was made.
    await asyncio.sleep(1 - time.time() % 1)
    assert not await is_refused(rtc, rtc.keyring.api_token("alice", 60))


async def test_tokens_of_other_issuers_are_refused_too(rtc: Rtc) -> None:
    issuers = Issuers([Issuer("https://portal", "rtc", ("HS256",), secret=SECRET)])
    jwts = Jwts(rtc.database, lambda: rtc.keyring, issuers)
    claims = {"iss": "https://portal", "aud": "rtc", "sub": "alice", "exp": time.time() + 60}
    named, other = (jwt.encode(claims | {"jti": name}, SECRET, "HS256") for name in ("1", "2"))
    nameless = jwt.encode(claims, SECRET, "HS256")
    await jwts.revoke(ALICE, named)
    with pytest.raises(TokenError, match="revoked"):
        await jwts.username(named)
    assert await jwts.username(other) == "alice"
    assert await refused(jwts.revoke(ALICE, nameless), BadRequest) == "token_without_jti"
    await jwts.revoke(ALICE, None)
    # It does not say when it was made: it may have been before.
    with pytest.raises(TokenError, match="revoked"):
        await jwts.username(nameless)


@pytest.mark.parametrize("change", ["disconnect", "rename", "erase"])
async def test_who_is_taken_out_has_no_token_left(rtc: Rtc, change: str) -> None:
    await rtc.register(BOB)
    token = rtc.keyring.api_token("bob", 60)
    if change == "disconnect":
        await rtc.admin.disconnect(ROOT, "bob", "bob")
    elif change == "rename":
        await rtc.admin.rename(ROOT, "bob", "robert")
    else:
        await rtc.admin.erase(ROOT, "bob", "bob", "")
    assert await is_refused(rtc, token)


async def test_what_is_about_expired_tokens_is_forgotten(rtc: Rtc) -> None:
    token = rtc.keyring.api_token("alice", 60)
    await rtc.jwts.revoke(ALICE, token)
    await rtc.jwts.revoke(BOB, None)

    def count(connection: Connection) -> list[int]:
        tables = (revoked_tokens, token_cutoffs)
        return [connection.execute(select(func.count()).select_from(table)).scalar_one() for table in tables]

    async def kept() -> list[int]:
        return await rtc.database.run(count)

    await Retention(rtc.database, rtc.settings).forget()
    assert await kept() == [1, 1]
    await rtc.database.run(queries_tokens.forget_tokens, now() + timedelta(hours=2))
    assert await kept() == [0, 1], "a token may have been made for a day"
    await rtc.database.run(queries_tokens.forget_tokens, now() + timedelta(hours=26))
    assert await kept() == [0, 0]


def test_the_running_service_refuses_what_was_revoked(
    start: Callable[..., Service], database_url: str
) -> None:
    hub = StubHub(("alice", "bob"))
    service = start(RTC_DATABASE_URL=database_url, **hub.environment)
    service.health(200)

    def ask(method: str, path: str, token: str, **more) -> requests.Response:
        url = f"{service.url}/api/v1/collaboration{path}"
        return requests.request(method, url, headers={"Authorization": f"Bearer {token}"}, timeout=20, **more)

    file = {"volume": "v", "file_id": "1", "document_type": "text", "path": "a.txt"}
    document_id = ask("POST", "/documents", "person-alice", json=file).json()["document_id"]
    token = ask("POST", "/token", "person-alice").json()["token"]
    of_document = ask("POST", "/token", "person-alice", json={"document_id": document_id}).json()["token"]
    state = f"http://127.0.0.1:{service.yjs_port}/doc/{document_id}"

    def opens() -> int:
        return requests.get(state, headers={"Authorization": f"Bearer {of_document}"}, timeout=20).status_code

    assert jwt.decode(of_document, options={"verify_signature": False})["aud"] == DOCUMENT_AUDIENCE
    assert (ask("GET", "/sessions", token).status_code, opens()) == (200, 200)
    assert ask("POST", "/token/revoke", "person-bob", json={"token": token}).status_code == 403
    assert ask("POST", "/token/revoke", token, json={"token": token}).status_code == 204
    answer = ask("GET", "/sessions", token)
    assert (answer.status_code, answer.json()["code"]) == (401, "invalid_token")
    assert opens() == 200
    assert ask("POST", "/token/revoke", "person-alice", json={"token": of_document}).status_code == 204
    assert opens() == 401
    metrics = f"http://127.0.0.1:{service.yjs_port}/metrics"
    proxied = {"X-Forwarded-For": "1.2.3.4", "Authorization": f"Bearer {token}"}
    assert requests.get(metrics, headers=proxied, timeout=20).status_code == 403
    hub.end()
