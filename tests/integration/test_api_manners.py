"""How the API behaves whoever asks for whatever: names, limits, caches, other origins. The service is a process."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
import requests
from support.service_process import Service

from jupyter_rtc_amprenta.core.tokens import Keyring, new_private_key
from jupyterhub_service.limits import RequestLimits

pytestmark = pytest.mark.integration

PORTAL = "https://portal.example.org"
FILE = {"volume": "v", "file_id": "1", "document_type": "text", "path": "a.txt"}


@dataclass
class Api:
    """The API of a running service, as somebody asks it."""

    service: Service
    keyring: Keyring

    def __call__(self, method: str, path: str, user: str = "alice", **options: Any) -> requests.Response:
        headers = {"Authorization": f"Bearer {self.keyring.api_token(user, 600)}"} if user else {}
        headers |= options.pop("headers", {})
        url = f"{self.service.url}/api/v1/collaboration{path}"
        return requests.request(method, url, headers=headers, timeout=20, **options)


@pytest.fixture
def make_api(start: Callable[..., Service], database_url: str) -> Callable[..., Api]:
    def make(**environment: str) -> Api:
        key = new_private_key()
        service = start(RTC_DATABASE_URL=database_url, RTC_SIGNING_KEY=key, **environment)
        service.health(200)
        return Api(service, Keyring([key]))

    return make


@pytest.fixture
def api(make_api: Callable[..., Api]) -> Iterator[Api]:
    api = make_api(RTC_CORS_ORIGINS=f"https://other.example.org, {PORTAL}")
    yield api
    assert "Traceback" not in api.service.end()[1]


def test_manners(api: Api) -> None:
    """One process, and one by one what holds for all requests."""
    document_id = api("POST", "/documents", json=FILE).json()["document_id"]
    session = f"/sessions/{document_id}"
    _names(api)
    _etags(api, session)
    _other_origins(api, session)
    _bodies(api)
    _methods(api, session)
    _description(api)


def _names(api: Api) -> None:
    assert api("GET", "/sessions", headers={"X-Request-ID": "mine-1"}).headers["X-Request-ID"] == "mine-1"
    assert api("GET", "/nothing", headers={"X-Request-ID": "mine-2"}).headers["X-Request-ID"] == "mine-2"
    made = api("GET", "/sessions", headers={"X-Request-ID": "not; ours"}).headers["X-Request-ID"]
    assert len(made) == 32
    assert api("GET", "/sessions").headers["X-Request-ID"] != made


def _etags(api: Api, session: str) -> None:
    first = api("GET", session)
    assert first.headers["Cache-Control"] == "private, no-cache"
    again = api("GET", session, headers={"If-None-Match": first.headers["ETag"]})
    assert (again.status_code, again.content) == (304, b"")
    api("POST", f"{session}/links")
    changed = api("GET", session, headers={"If-None-Match": first.headers["ETag"]})
    assert changed.status_code == 200
    # What one may read, another may not, whatever they say they have.
    assert api("GET", session, "bob", headers={"If-None-Match": first.headers["ETag"]}).status_code == 403


def _other_origins(api: Api, session: str) -> None:
    asked = {"Origin": PORTAL, "Access-Control-Request-Method": "PATCH"}
    preflight = api("OPTIONS", session, "", headers=asked)
    assert preflight.status_code == 204
    assert preflight.headers["Access-Control-Allow-Origin"] == PORTAL
    assert "PATCH" in preflight.headers["Access-Control-Allow-Methods"]
    assert "Authorization" in preflight.headers["Access-Control-Allow-Headers"]
    answer = api("GET", session, headers={"Origin": PORTAL})
    assert answer.headers["Access-Control-Allow-Origin"] == PORTAL
    assert "Access-Control-Allow-Credentials" not in answer.headers
    for stranger in ("https://evil.example.org", "null", f"{PORTAL}.evil.org"):
        assert api("OPTIONS", session, "", headers=asked | {"Origin": stranger}).status_code == 405
        answer = api("GET", session, headers={"Origin": stranger})
        assert "Access-Control-Allow-Origin" not in answer.headers
        assert answer.headers["Vary"] == "Origin"


def _bodies(api: Api) -> None:
    large = api("POST", "/documents", data=b"{" + b" " * 2**20)
    assert (large.status_code, large.json()["code"]) == (413, "body_too_large")
    fits = api("POST", "/documents", data=b" " * (2**20 - 1) + b"{")
    assert (fits.status_code, fits.json()["code"]) == (400, "invalid_json")


def _methods(api: Api, session: str) -> None:
    answer = api("PUT", session)
    assert (answer.status_code, answer.json()["code"]) == (405, "method_not_allowed")
    assert answer.headers["Allow"].split(", ") == ["GET", "PATCH"]


def _description(api: Api) -> None:
    document = requests.get(f"{api.service.url}/openapi.json", timeout=20).json()
    assert document["openapi"] == "3.1.0"
    assert "/sessions/{document_id}/invite" in document["paths"]


def test_who_asks_too_often_waits(make_api: Callable[..., Api]) -> None:
    api = make_api(RTC_MAX_REQUESTS_PER_MINUTE="10")
    answers = [api("GET", "/sessions") for _ in range(11)]
    assert [answer.status_code for answer in answers] == [200] * 10 + [429]
    assert answers[0].headers["RateLimit-Limit"] == "10"
    assert [int(answer.headers["RateLimit-Remaining"]) for answer in answers] == [*range(9, -1, -1), 0]
    refused = answers[-1]
    assert refused.json()["code"] == "too_many_requests"
    assert 0 < int(refused.headers["Retry-After"]) <= 6
    # Each for themselves; and whoever guesses is held up too, without being known.
    assert api("GET", "/sessions", "bob").status_code == 200
    guesses = [api("GET", "/sessions", "", headers={"Authorization": "Bearer a.b.c"}) for _ in range(11)]
    assert [answer.status_code for answer in guesses] == [401] * 10 + [429]


def test_credit_is_earned_back() -> None:
    clock = [0.0]
    limits = RequestLimits(60, lambda: clock[0])
    for _ in range(60):
        assert limits.take("alice").allowed
    refused = limits.take("alice")
    assert (refused.allowed, refused.remaining, refused.reset) == (False, 0, 1)
    assert limits.take("bob").remaining == 59
    clock[0] = 2.0
    assert [limits.take("alice").allowed for _ in range(3)] == [True, True, False]
    clock[0] = 1000.0
    assert limits.look("alice").remaining == 60


def test_no_limit_and_many_callers() -> None:
    assert all(RequestLimits(0).take("alice").allowed for _ in range(1000))
    clock = [0.0]
    limits = RequestLimits(1, lambda: clock[0])
    limits.take("alice")
    for number in range(20_000):
        limits.look(str(number))
    assert not limits.take("alice").allowed, "who has used the credit up is not forgotten"
