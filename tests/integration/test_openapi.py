"""The running service keeps to its own description, whoever asks for whatever (schemathesis)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi import checks as conform
from support.service_process import Service
from support.stub_hub import StubHub

from jupyter_rtc_amprenta.core import queries_participants, queries_people
from jupyter_rtc_amprenta.core.database import Database
from jupyterhub_service import openapi
from jupyterhub_service.operation import Operation
from jupyterhub_service.operations import OPERATIONS

pytestmark = pytest.mark.integration

API = "/api/v1/collaboration"
CHECKS = [
    not_a_server_error,
    conform.status_code_conformance,
    conform.content_type_conformance,
    conform.response_schema_conformance,
    conform.response_headers_conformance,
]
CALLERS = {
    "owner": "person-alice",
    "participant": "person-bob",
    "reader": "person-carol",
    "stranger": "person-dave",
    "admin": "person-admin",
    "server": "server-alice",
    "anonymous": "",
}
EXAMPLES = 2
# It would tell for minutes what happens; `test_events.py` listens.
DESCRIBED = [operation for operation in OPERATIONS if operation.path != "/events"]


@dataclass
class World:
    """A service with a document of alice's, bob as a writer, and carol as a reader."""

    service: Service
    database: Database
    schema: Any

    def ask(self, method: str, path: str, token: str = "person-alice", **options: Any) -> requests.Response:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        return requests.request(method, self.service.url + API + path, headers=headers, timeout=20, **options)

    def ids(self) -> dict[str, str]:
        """What there really is, made anew: an operation may remove it."""
        file = {"volume": "v", "file_id": uuid4().hex, "document_type": "text", "path": "notes/ä.txt"}
        document_id = self.ask("POST", "/documents", json=file).json()["document_id"]
        for name, permissions in (("bob", "read-write"), ("carol", "read-only")):
            self.database.call(queries_people.remember_user, name)
            self.database.call(queries_participants.add_participant, document_id, name, permissions)
        invite = self.ask("POST", f"/sessions/{document_id}/invite", json={"username": "dave"}).json()
        link = self.ask("POST", f"/sessions/{document_id}/links", json={"max_uses": 50}).json()
        version = self.ask("POST", f"/sessions/{document_id}/history", json={"label": "as it was"}).json()
        return {
            "document_id": document_id,
            "version_id": version["version_id"],
            "invite_id": invite["invite_id"],
            "link_id": link["link_id"],
            "token": link["token"],
            "username": "bob",
        }


@pytest.fixture(scope="module")
def hub() -> Iterator[StubHub]:
    hub = StubHub(("alice", "bob", "carol", "dave", "admin"))
    yield hub
    hub.end()


@pytest.fixture
def world(hub: StubHub, start: Callable[..., Service], database_url: str) -> Iterator[World]:
    service = start(RTC_DATABASE_URL=database_url, RTC_MAX_REQUESTS_PER_MINUTE="0", **hub.environment)
    service.health(200)
    database = Database(database_url, threads=1)
    schema = schemathesis.openapi.from_dict(openapi.document(API))
    yield World(service, database, schema)
    database.close()
    assert "Traceback" not in service.end()[1]


@pytest.mark.parametrize("caller", CALLERS)
def test_every_operation_keeps_to_its_description(world: World, caller: str) -> None:
    token = CALLERS[caller]
    answered: set[int] = set()
    known, is_fresh = world.ids(), True
    for operation in DESCRIBED:
        if "{" in operation.path and not is_fresh:
            known, is_fresh = world.ids(), True
        for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE):
            answered |= _try(world, operation, token, mode, known)
        if "{" in operation.path:
            answered |= _try(world, operation, token, GenerationMode.POSITIVE, None)
            # What only reads leaves the next one what there is.
            is_fresh = operation.method == "get"
    # It has got somewhere: to what there is, unless by nobody.
    assert answered >= ({401} if caller == "anonymous" else {200, 403, 404}), answered


def _try(
    world: World, operation: Operation, token: str, mode: GenerationMode, ids: dict[str, str] | None
) -> set[int]:
    """Ask an operation some times, and hold each answer against the description.

    Args:
        ids: of what there is; None for any.
    """
    answered: set[int] = set()
    if mode is GenerationMode.NEGATIVE and not (operation.body or operation.query or operation.headers):
        return answered
    path = {name: value for name, value in (ids or {}).items() if f"{{{name}}}" in operation.path}
    described = world.schema[operation.path][operation.method.upper()]
    cases = described.as_strategy(generation_mode=mode, path_parameters=path or None)

    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        derandomize=True,
        database=None,
        phases=(Phase.explicit, Phase.generate),  # a failure is told as it is found: to shrink it takes minutes
        suppress_health_check=list(HealthCheck),
    )
    @given(cases)
    def ask(case: Any) -> None:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        response = case.call(base_url=world.service.url + API, headers=headers)
        answered.add(response.status_code)
        case.validate_response(response, checks=CHECKS)

    ask()
    return answered
