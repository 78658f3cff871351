"""The reference's examples, held against the running service: fields, types, status codes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any

import pytest
import requests
from support.service_process import Service
from support.stub_hub import StubHub

pytestmark = pytest.mark.integration

TIME = "2025-12-31T11:22:35.866404"
PERSON = {"id": "uuid-here", "username": "researcher", "display_name": "Research User", "is_online": True}
SESSIONS = {
    "sessions": [
        {
            "document_id": "notebook_analysis_001",
            "document_path": "/home/jovyan/work/data_analysis.ipynb",
            "document_type": "notebook",
            "document_title": "Customer Data Analysis",
            "participant_count": 3,
            "last_activity": TIME,
            "is_active": True,
            "is_owner": True,
        }
    ],
    "total_count": 2,
    "active_count": 1,
}
SESSION = {
    "session": {
        "document_id": "notebook_analysis_001",
        "document_path": "/home/jovyan/work/data_analysis.ipynb",
        "document_type": "notebook",
        "created_at": "2025-12-31T08:22:35.866404",
        "last_activity": TIME,
        "participants": [PERSON | {"last_seen": TIME}],
        "owner": PERSON,
        "is_active": True,
        "document_title": "Customer Data Analysis",
    },
    "user_permissions": "read-write",
    "connection_url": "ws://yjs-server:1234/doc/notebook_analysis_001",
    "recent_activity": [
        "researcher created the session",
        "collaborator1 joined the session",
        "collaborator2 edited cell 3",
    ],
}
INVITED = {
    "success": True,
    "invite_id": "uuid-here",
    "invited_user": "researcher123",
    "document_id": "notebook_analysis_001",
    "message": "Successfully invited researcher123 to collaborate on document",
    "expires_at": "2025-01-01T11:22:35.866404",
}
BODY = {
    "username": "researcher123",
    "message": "Would you like to collaborate on this analysis?",
    "permissions": "read-write",
}
USERS = ("researcher", "collaborator1", "collaborator2", "researcher123", "stranger")


def shape(value: Any) -> Any:
    """The form of a JSON value: its fields, and the types of what they hold; times are told from other texts."""
    if isinstance(value, dict):
        return {name: shape(one) for name, one in value.items()}
    if isinstance(value, list):
        return [shape(value[0])] if value else []
    if isinstance(value, str):
        try:
            datetime.fromisoformat(value)
        except ValueError:
            return "text"
        return "time"
    return type(value).__name__


class Platform:
    """The running service, as the reference's people ask it."""

    def __init__(self, service: Service) -> None:
        self._url = f"{service.url}/api/v1/collaboration"

    def __call__(self, method: str, path: str, token: str = "person-researcher", **more: Any) -> requests.Response:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        return requests.request(method, self._url + path, headers=headers, timeout=20, **more)

    def report(self, user: str, document_id: str, **more: Any) -> None:
        present = {"document_id": document_id, "connections": 1} | more
        answer = self("POST", "/presence", f"server-{user}", json={"documents": [present]})
        assert answer.json()["accepted"] == [document_id]

    def let_in(self, user: str, document_id: str) -> None:
        invited = self("POST", f"/sessions/{document_id}/invite", json={"username": user}).json()
        accept = self("POST", f"/invites/{invited['invite_id']}/accept", f"person-{user}")
        assert accept.status_code == 200


@pytest.fixture
def platform(start: Callable[..., Service], database_url: str) -> Iterator[Platform]:
    hub = StubHub(USERS)
    service = start(RTC_DATABASE_URL=database_url, YJS_SERVER_URL="ws://yjs-server:1234", **hub.environment)
    service.health(200)
    yield Platform(service)
    hub.end()


@pytest.fixture
def document_id(platform: Platform) -> str:
    """The reference's notebook, in which two collaborators have been at work."""
    file = {
        "volume": "home",
        "file_id": "1",
        "document_type": "notebook",
        "path": "/home/jovyan/work/data_analysis.ipynb",
        "title": "Customer Data Analysis",
    }
    document_id = platform("POST", "/documents", "server-researcher", json=file).json()["document_id"]
    for user in ("collaborator1", "collaborator2"):
        platform.let_in(user, document_id)
    platform.report("researcher", document_id)
    platform.report("collaborator1", document_id)
    platform.report("collaborator2", document_id, edited="cell 3")
    return document_id


def test_list_collaboration_sessions(platform: Platform, document_id: str) -> None:
    answer = platform("GET", "/sessions")
    assert answer.status_code == 200
    assert shape(answer.json()) == shape(SESSIONS)
    (session,) = answer.json()["sessions"]
    expected = SESSIONS["sessions"][0] | {"document_id": document_id, "last_activity": session["last_activity"]}
    assert session == expected
    assert (answer.json()["total_count"], answer.json()["active_count"]) == (1, 1)
    assert platform("GET", "/sessions", "").status_code == 401


def test_get_session_details(platform: Platform, document_id: str) -> None:
    answer = platform("GET", f"/sessions/{document_id}")
    assert answer.status_code == 200
    assert shape(answer.json()) == shape(SESSION)
    details = answer.json()
    assert details["connection_url"] == f"ws://yjs-server:1234/doc/{document_id}"
    assert details["user_permissions"] == "read-write"
    assert set(SESSION["recent_activity"]) <= set(details["recent_activity"])
    for path, token, status in (
        (f"/sessions/{document_id}", "", 401),
        (f"/sessions/{document_id}", "person-stranger", 403),
        ("/sessions/unknown", "person-researcher", 404),
    ):
        refused = platform("GET", path, token)
        assert refused.status_code == status
        assert isinstance(refused.json()["detail"], str)


def test_invite_user_to_session(platform: Platform, document_id: str) -> None:
    path = f"/sessions/{document_id}/invite"
    answer = platform("POST", path, json=BODY)
    assert answer.status_code == 200
    assert shape(answer.json()) == shape(INVITED)
    told = answer.json()
    assert told | {"invite_id": "", "expires_at": ""} == INVITED | {
        "invite_id": "",
        "expires_at": "",
        "document_id": document_id,
    }
    for where, token, change, status in (
        (path, "person-researcher", {"username": "researcher"}, 400),
        (path, "person-researcher", {"username": "collaborator1"}, 400),
        (path, "", {}, 401),
        (path, "person-collaborator1", {}, 403),
        ("/sessions/unknown/invite", "person-researcher", {}, 404),
        (path, "person-researcher", {"username": "nobody"}, 404),
    ):
        refused = platform("POST", where, token, json=BODY | change)
        assert refused.status_code == status, refused.text
        assert isinstance(refused.json()["detail"], str)
