"""Two replicas of the service answer the same, and what they know survives that they are killed and started again."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import requests
from support.service_process import Service
from support.stub_hub import StubHub

pytestmark = pytest.mark.integration


def ask(service: Service, method: str, path: str, token: str, **options: Any) -> Any:
    headers = {"Authorization": f"Bearer {token}"}
    url = f"{service.url}/api/v1/collaboration{path}"
    answer = requests.request(method, url, headers=headers, timeout=20, **options)
    assert answer.status_code < 300, answer.text
    return answer.json() if answer.content else None


def test_replicas_answer_the_same_and_remember(start: Callable[..., Service], database_url: str) -> None:
    hub = StubHub(("alice", "bob", "carol", "admin"))
    # A reported presence counts for long enough to outlive a start on a busy machine.
    environment = {"RTC_DATABASE_URL": database_url, "RTC_HEARTBEAT_SECONDS": "60", **hub.environment}
    one, two = start(**environment), start(**environment)
    for service in (one, two):
        service.health(200, 60)
    file = {"volume": "v", "file_id": "1", "document_type": "text", "path": "a.txt"}
    document_id = ask(one, "POST", "/documents", "person-alice", json=file)["document_id"]
    session = f"/sessions/{document_id}"
    invited = ask(two, "POST", f"{session}/invite", "person-alice", json={"username": "bob"})
    ask(one, "POST", f"/invites/{invited['invite_id']}/accept", "person-bob")
    ask(two, "POST", f"{session}/invite", "person-alice", json={"username": "carol"})
    version = ask(one, "POST", f"{session}/history", "person-bob", json={"label": "x"})["version_id"]
    present = {"document_id": document_id, "connections": 1, "place": "line 3", "edited": "line 3"}
    ask(two, "POST", "/presence", "server-bob", json={"documents": [present]})
    ask(one, "POST", f"{session}/history/{version}/restore", "person-alice")

    def told(service: Service) -> list[Any]:
        asked = [
            ("/sessions", "person-bob"),
            (session, "person-alice"),
            (f"{session}/participants", "person-alice"),
            (f"{session}/activity", "person-alice"),
            (f"{session}/history", "person-alice"),
            (f"{session}/invites", "person-alice"),
            ("/invites", "person-carol"),
            ("/admin/sessions", "person-admin"),
            ("/admin/users", "person-admin"),
            ("/admin/audit", "person-admin"),
        ]
        return [ask(service, "GET", path, token) for path, token in asked]

    before = told(one)
    assert before[0]["active_count"] == 1
    assert [row["is_online"] for row in before[2]["participants"]] == [False, True]
    assert before[2]["participants"][1]["place"] == "line 3"
    assert told(two) == before
    one.process.kill()
    one.process.wait()
    assert told(two) == before
    again = start(**environment)
    again.health(200, 60)
    assert told(again) == before
    # A token of one is a token of the other.
    token = ask(two, "POST", "/token", "person-alice")["token"]
    assert ask(again, "GET", "/sessions", token)["total_count"] == 1
    hub.end()
