"""The REST API on a real Hub: every kind of caller, through the Hub's proxy and straight."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any
from uuid import uuid4

import pytest
import requests
from support.running_demo import RunningDemo

pytestmark = [pytest.mark.acceptance, pytest.mark.timeout(300)]

API = "/api/v1/collaboration"
Call = Callable[..., requests.Response]


class Caller:
    """Somebody who asks the service; `url` is absolute, or a path of the API."""

    def __init__(self, demo: RunningDemo, token: str = "") -> None:
        self.service_url: str = demo.ready["service_url"]
        self.session = requests.Session()
        if token:
            self.session.headers["Authorization"] = f"Bearer {token}"

    def __call__(self, method: str, url: str, **options: Any) -> requests.Response:
        if not url.startswith("http"):
            url = f"{self.service_url}{API}{url}"
        return self.session.request(method, url, timeout=30, **options)


@pytest.fixture(scope="module")
def anonymous(demo: RunningDemo) -> Caller:
    return Caller(demo)


@pytest.fixture(scope="module")
def alice(demo: RunningDemo) -> Caller:
    return Caller(demo, demo.ready["users"]["alice"]["token"])


@pytest.fixture(scope="module")
def bob(demo: RunningDemo) -> Caller:
    return Caller(demo, demo.ready["users"]["bob"]["token"])


@pytest.fixture(scope="module")
def carol(demo: RunningDemo) -> Caller:
    return Caller(demo, demo.ready["users"]["carol"]["token"])


@pytest.fixture(scope="module")
def alices_server(demo: RunningDemo) -> Caller:
    """alice's server, with the token that the Hub gave it."""
    environments = (process.environ() for process in demo.processes())
    tokens = {
        environment["JUPYTERHUB_API_TOKEN"]
        for environment in environments
        if environment.get("JUPYTERHUB_USER") == "alice"
    }
    return Caller(demo, tokens.pop())


@pytest.fixture(scope="module")
def alices_jwt(demo: RunningDemo, alice: Caller) -> Caller:
    return Caller(demo, alice("POST", "/token").json()["token"])


@pytest.fixture(scope="module")
def alices_browser(demo: RunningDemo) -> Caller:
    """A browser in which alice has logged in at the Hub, and through it at the service."""
    browser = Caller(demo)
    login = f"{demo.ready['hub_url']}/hub/login"
    xsrf = re.search(r'name="_xsrf" value="([^"]*)"', browser("GET", login).text)
    password = re.search(r"Password +(\S+)", demo.output)
    assert xsrf is not None
    assert password is not None
    form = {"username": "alice", "password": password[1], "_xsrf": xsrf[1]}
    assert browser("POST", login, data=form, allow_redirects=False).status_code == 302
    entered = browser("GET", f"{demo.ready['service_url']}/")
    assert entered.status_code == 200
    assert entered.url == f"{demo.ready['service_url']}/"
    return browser


@pytest.fixture
def document_id(alice: Caller) -> str:
    """A new document of alice's."""
    return register(alice).json()["document_id"]


def register(caller: Call, **change: str) -> requests.Response:
    file = {
        "volume": "home",
        "file_id": uuid4().hex,
        "document_type": "notebook",
        "path": "work/data_analysis.ipynb",
        "title": "Customer Data Analysis",
    }
    return caller("POST", "/documents", json=file | change)


def refused(response: requests.Response, status: int, code: str) -> None:
    assert response.status_code == status, response.text
    assert set(response.json()) == {"detail", "code"}
    assert response.json()["code"] == code


# --- who asks --------------------------------------------------------------------------------------------------


@pytest.fixture
def everybody(
    alice: Caller, alices_server: Caller, alices_jwt: Caller, alices_browser: Caller, anonymous: Caller
) -> dict[str, Caller]:
    return {
        "person": alice,
        "server": alices_server,
        "jwt": alices_jwt,
        "cookie": alices_browser,
        "nobody": anonymous,
    }


# By endpoint, on alice's own document: a person's token, her server's, her JWT, her cookie, nobody. A request
# with a cookie alone, without its XSRF token, changes nothing: it is nobody's.
MATRIX = [
    ("GET", "/documents", 200, 403, 200, 200, 401),
    ("POST", "/documents", 201, 201, 201, 401, 401),
    ("GET", "/documents/{own}", 200, 200, 200, 200, 401),
    ("DELETE", "/documents/{own}", 204, 403, 204, 401, 401),
    ("GET", "/sessions", 200, 403, 200, 200, 401),
    ("GET", "/sessions/{own}", 200, 403, 200, 200, 401),
    ("GET", "/sessions/{own}/participants", 200, 403, 200, 200, 401),
    ("GET", "/sessions/{own}/invites", 200, 403, 200, 200, 401),
    ("GET", "/sessions/{own}/activity", 200, 403, 200, 200, 401),
    ("PATCH", "/sessions/{own}", 200, 403, 200, 401, 401),
    ("PATCH", "/sessions/{own}/participants/alice", 400, 403, 400, 401, 401),
    ("DELETE", "/sessions/{own}/participants/alice", 400, 403, 400, 401, 401),
    ("POST", "/sessions/{own}/invite", 200, 403, 200, 401, 401),
    ("GET", "/invites", 200, 403, 200, 200, 401),
    ("DELETE", "/invites/{invite}", 204, 403, 204, 401, 401),
    ("POST", "/invites/{invite}/renew", 200, 403, 200, 401, 401),
    ("POST", "/invites/{invite}/accept", 404, 403, 404, 401, 401),
    ("POST", "/invites/{invite}/decline", 404, 403, 404, 401, 401),
    ("GET", "/sessions/{own}/links", 200, 403, 200, 200, 401),
    ("POST", "/sessions/{own}/links", 201, 403, 201, 401, 401),
    ("DELETE", "/sessions/{own}/links/{link}", 204, 403, 204, 401, 401),
    ("GET", "/links/{token}", 200, 403, 200, 200, 401),
    ("POST", "/links/{token}/accept", 200, 403, 200, 401, 401),
    ("GET", "/sessions/{own}/history", 200, 403, 200, 200, 401),
    ("POST", "/sessions/{own}/history", 201, 403, 201, 401, 401),
    ("GET", "/sessions/{own}/history/{version}", 200, 403, 200, 200, 401),
    ("PATCH", "/sessions/{own}/history/{version}", 200, 403, 200, 401, 401),
    ("POST", "/sessions/{own}/history/{version}/restore", 200, 403, 200, 401, 401),
    ("GET", "/users", 200, 403, 200, 200, 401),
    ("GET", "/admin/users", 403, 403, 403, 403, 401),
    ("GET", "/admin/users/alice", 403, 403, 403, 403, 401),
    ("GET", "/admin/sessions/{own}", 403, 403, 403, 403, 401),
    ("GET", "/admin/sessions", 403, 403, 403, 403, 401),
    ("GET", "/admin/counts", 403, 403, 403, 403, 401),
    ("GET", "/admin/audit", 403, 403, 403, 403, 401),
    ("POST", "/admin/sessions/{own}/end", 403, 403, 403, 401, 401),
    ("DELETE", "/admin/sessions/{own}", 403, 403, 403, 401, 401),
    ("POST", "/admin/users/alice/disconnect", 403, 403, 403, 401, 401),
    ("POST", "/admin/users/alice/rename", 403, 403, 403, 401, 401),
    ("DELETE", "/admin/users/alice", 403, 403, 403, 401, 401),
    ("POST", "/token", 200, 403, 403, 401, 401),
    ("POST", "/token {own}", 200, 200, 200, 401, 401),
    ("POST", "/token/revoke {jwt}", 204, 403, 204, 401, 401),
    ("POST", "/presence", 403, 200, 403, 401, 401),
]
KINDS = ("person", "server", "jwt", "cookie", "nobody")


def prepared(alice: Caller, method: str, path: str) -> tuple[str, Any]:
    """The path and the body of a request that is well-formed, on a new document of alice's."""
    # A version of a text can be shown before anything was written; a notebook is none yet.
    kind = {"document_type": "text"} if "history" in path else {}
    own = register(alice, **kind).json()["document_id"]
    ids = {"own": own, "invite": "", "link": "", "token": "", "version": ""}
    if "{version}" in path:
        made = alice("POST", f"/sessions/{own}/history", json={"label": "x"})
        ids["version"] = made.json()["version_id"]
    if "{invite}" in path:
        invited = alice("POST", f"/sessions/{own}/invite", json={"username": "bob"})
        ids["invite"] = invited.json()["invite_id"]
    if "{link}" in path or "{token}" in path:
        made = alice("POST", f"/sessions/{own}/links").json()
        ids |= {"link": made["link_id"], "token": made["token"]}
    bodies: dict[str, Any] = {
        "/presence": {"documents": []},
        "/documents": {"volume": "v", "file_id": uuid4().hex, "document_type": "text", "path": "a.txt"},
        "/token {own}": {"document_id": own},
        "/sessions/{own}/history": {"label": "x"},
        "/sessions/{own}/invite": {"username": "bob"},
        "/admin/users/alice/rename": {"username": "alison"},
    }
    body = bodies.get(path)
    if method == "PATCH":
        body = {"permissions": "read-only", "owner": "alice", "label": "x"}
    if path.endswith(" {jwt}"):
        body = {"token": alice("POST", "/token").json()["token"]}
    return path.partition(" ")[0].format(**ids), body


each_row = pytest.mark.parametrize("row", MATRIX, ids=lambda row: f"{row[0]} {row[1]}")


@pytest.mark.parametrize("kind", KINDS)
@each_row
def test_who_may_do_what(
    everybody: dict[str, Caller], alice: Caller, row: tuple[Any, ...], kind: str
) -> None:
    method, path, *expected = row
    path, body = prepared(alice, method, path)
    answer = everybody[kind](method, path, json=body if method != "GET" else None)
    assert answer.status_code == expected[KINDS.index(kind)], answer.text
    if answer.status_code >= 400:
        assert set(answer.json()) == {"detail", "code"}
    if answer.status_code == 401:
        assert answer.headers["WWW-Authenticate"].startswith("Bearer")
    kept = answer.status_code == 200 and method == "GET"
    assert answer.headers["Cache-Control"] == ("private, no-cache" if kept else "no-store")


@each_row
def test_a_stranger_may_nothing_with_somebody_elses(
    alice: Caller, carol: Caller, row: tuple[Any, ...]
) -> None:
    """On alice's document: an invite that is not one's own is not even there, and a link is for whoever has it."""
    method, path, *_ = row
    if "{" not in path:
        pytest.skip("names no document")
    expected = 404 if "{invite}" in path else 200 if "{token}" in path else 403
    path, body = prepared(alice, method, path)
    answer = carol(method, path, json=body if method != "GET" else None)
    assert answer.status_code == expected, answer.text


def test_a_cookie_with_its_xsrf_token_may_change_something(alices_browser: Caller, document_id: str) -> None:
    cookies = [cookie for cookie in alices_browser.session.cookies if cookie.name == "_xsrf"]
    xsrf = next(cookie.value for cookie in cookies if cookie.path == "/services/rtc/")
    body = {"username": "bob"}
    path = f"/sessions/{document_id}/invite"
    assert alices_browser("POST", path, json=body, headers={"X-XSRFToken": xsrf}).status_code == 200
    refused(
        alices_browser("POST", path, json=body, headers={"X-XSRFToken": "guessed"}), 401, "not_authenticated"
    )


def test_a_browser_that_is_not_logged_in_is_sent_to_the_hub(demo: RunningDemo, anonymous: Caller) -> None:
    answer = anonymous("GET", f"{demo.ready['service_url']}/", allow_redirects=False)
    assert answer.status_code == 302
    assert "/hub/api/oauth2/authorize" in answer.headers["Location"]


def test_a_token_may_stand_in_the_query(demo: RunningDemo, alice: Caller, anonymous: Caller) -> None:
    token = demo.ready["users"]["alice"]["token"]
    assert anonymous("GET", "/sessions", params={"token": token}).status_code == 200
    jwt = alice("POST", "/token").json()["token"]
    assert anonymous("GET", "/sessions", params={"token": jwt}).status_code == 200


@pytest.mark.parametrize("token", ["0" * 32, "a.b.c", "eyJhbGciOiJub25lIn0.eyJzdWIiOiJhbGljZSJ9."])
def test_a_wrong_token_is_nobodys(demo: RunningDemo, alices_browser: Caller, token: str) -> None:
    answer = Caller(demo, token)("GET", "/sessions")
    assert answer.status_code == 401
    # Not even where a cookie would do.
    refused_too = alices_browser("GET", "/sessions", headers={"Authorization": f"Bearer {token}"})
    assert refused_too.status_code == 401


def test_a_document_token_is_no_api_token(demo: RunningDemo, alice: Caller, document_id: str) -> None:
    token = alice("POST", "/token", json={"document_id": document_id}).json()["token"]
    refused(Caller(demo, token)("GET", "/sessions"), 401, "invalid_token")


def test_the_keys_are_published(demo: RunningDemo, anonymous: Caller) -> None:
    (key,) = anonymous("GET", f"{demo.ready['service_url']}/jwks.json").json()["keys"]
    assert (key["kty"], key["crv"], key["alg"]) == ("OKP", "Ed25519", "EdDSA")
    assert "d" not in key


# --- alice and bob ---------------------------------------------------------------------------------------------


def test_alice_invites_bob_and_he_accepts(
    alice: Caller, bob: Caller, carol: Caller, document_id: str
) -> None:
    session = f"/sessions/{document_id}"
    refused(bob("GET", session), 403, "not_a_participant")
    refused(bob("GET", "/sessions/unknown"), 404, "session_not_found")
    body = {
        "username": "bob",
        "message": "Would you like to collaborate on this analysis?",
        "permissions": "read-only",
    }
    invited = alice("POST", f"{session}/invite", json=body)
    assert invited.status_code == 200
    assert invited.json()["message"] == "Successfully invited bob to collaborate on document"

    (invite,) = [one for one in bob("GET", "/invites").json()["invites"] if one["document_id"] == document_id]
    assert invite["invite_id"] == invited.json()["invite_id"]
    assert (invite["state"], invite["message"]) == ("pending", body["message"])
    accept = f"/invites/{invite['invite_id']}/accept"
    refused(carol("POST", accept), 404, "invite_not_found")
    answer = bob("POST", accept)
    assert answer.status_code == 200
    assert answer.json()["open_url"].endswith(f"/hub/user-redirect/rtc/join/{document_id}")
    refused(bob("POST", accept), 400, "invite_answered")

    details = bob("GET", session).json()
    assert details["user_permissions"] == "read-only"
    assert [one["username"] for one in details["session"]["participants"]] == ["alice", "bob"]
    assert details["recent_activity"] == [
        "alice created the session", "alice invited bob", "bob accepted the invitation",
    ]  # fmt: skip
    refused(bob("POST", f"{session}/invite", json={"username": "carol"}), 403, "owner_required")
    refused(alice("POST", f"{session}/invite", json={"username": "bob"}), 400, "already_participant")
    refused(alice("POST", f"{session}/invite", json={"username": "alice"}), 400, "self_invite")
    refused(alice("POST", f"{session}/invite", json={"username": "nobody"}), 404, "user_not_found")
    refused(alice("POST", f"{session}/invite", json={"username": "../alice"}), 404, "user_not_found")
    refused(carol("GET", session), 403, "not_a_participant")


def test_a_server_reports_who_is_there(alice: Caller, alices_server: Caller) -> None:
    registered = register(alices_server)
    document_id = registered.json()["document_id"]
    report = {"documents": [{"document_id": document_id, "connections": 1, "place": "cell 3"}]}
    answer = alices_server("POST", "/presence", json=report)
    assert answer.json() == {"accepted": [document_id], "refused": []}
    # Only this is sure: the server itself may have reported meanwhile that it has no such document open.
    details = alice("GET", f"/sessions/{document_id}").json()
    assert details["recent_activity"][:2] == ["alice created the session", "alice joined the session"]


def test_a_servers_document_token_names_the_server(alices_server: Caller, document_id: str) -> None:
    answer = alices_server("POST", "/token", json={"document_id": document_id}).json()
    assert (answer["token_type"], answer["permissions"], answer["generation"]) == ("Bearer", "read-write", 1)
    assert answer["connection_url"].endswith(f"/doc/{document_id}")


def test_a_hub_token_opens_a_document_at_the_yjs_server_as_a_document_token_does(
    demo: RunningDemo, alice: Caller, document_id: str
) -> None:
    url = alice("POST", "/token", json={"document_id": document_id}).json()["connection_url"]

    def status(token: str) -> int:
        headers = {"Authorization": f"Bearer {token}"}
        return requests.get("http" + url.removeprefix("ws"), headers=headers, timeout=20).status_code

    tokens = {name: user["token"] for name, user in demo.ready["users"].items()}
    assert status(tokens["alice"]) == 200
    # carol is a user of the Hub too, and no participant.
    assert status(tokens["carol"]) == 403
    assert status("0" * 32) == 401


def test_lists_have_a_cursor(carol: Caller) -> None:
    ids = {register(carol).json()["document_id"] for _ in range(3)}
    first = carol("GET", "/sessions", params={"limit": 2}).json()
    cursor = first["next_cursor"]
    second = carol("GET", "/sessions", params={"limit": 500, "cursor": cursor}).json()
    assert "next_cursor" not in second
    found = [session["document_id"] for session in first["sessions"] + second["sessions"]]
    assert len(found) == len(set(found)) == first["total_count"]
    assert ids <= set(found)


# --- manners ---------------------------------------------------------------------------------------------------


def test_registering_again_gives_the_same_document(alice: Caller) -> None:
    first = register(alice, file_id="the same")
    again = register(alice, file_id="the same", path="moved.ipynb")
    assert (again.status_code, again.json()["created"]) == (200, False)
    assert again.json()["document_id"] == first.json()["document_id"]
    assert re.fullmatch(r"notebook_customer_data_analysis_[0-9a-f]{32}", first.json()["document_id"])


def test_a_deleted_document_is_gone(alice: Caller, bob: Caller, document_id: str) -> None:
    refused(bob("DELETE", f"/documents/{document_id}"), 403, "not_a_participant")
    assert alice("DELETE", f"/documents/{document_id}").status_code == 204
    refused(alice("GET", f"/sessions/{document_id}"), 404, "session_not_found")


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"null", b"\xff", b'"x"'])
def test_what_is_no_json_object(alice: Caller, body: bytes) -> None:
    refused(alice("POST", "/documents", data=body), 400, "invalid_json")


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/nothing", 404, "not_found"),
        ("GET", "/sessions/a%00b", 404, "not_found"),
        ("GET", "/sessions/..%2f..%2fx", 404, "not_found"),
        ("POST", "/invites/no-uuid/accept", 404, "not_found"),
        ("POST", "/invites/6f1c2b64-0c53-4a53-9d0a-6b3f8d9a7e21/accept", 404, "invite_not_found"),
        ("PUT", "/sessions", 405, "method_not_allowed"),
        ("GET", "/token", 405, "method_not_allowed"),
        ("GET", "/sessions?limit=0", 400, "invalid_limit"),
        ("GET", "/sessions?cursor=x", 400, "invalid_cursor"),
        ("GET", "/sessions?active=maybe", 400, "invalid_active"),
        ("GET", "/sessions?document_type=movie", 400, "invalid_document_type"),
        ("GET", "/sessions?sort=colour", 400, "invalid_sort"),
    ],
)
def test_wrong_requests(alice: Caller, method: str, path: str, status: int, code: str) -> None:
    refused(alice(method, path), status, code)


def test_health_needs_no_login(demo: RunningDemo, anonymous: Caller) -> None:
    answer = anonymous("GET", f"{demo.ready['service_url']}/health")
    assert answer.status_code == 200
    assert answer.json()["status"] == "ok"
    assert answer.json()["database"] == {"status": "ok"}
