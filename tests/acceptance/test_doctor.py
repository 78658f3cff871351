"""The doctor on a real Hub: in a user's server, in the service, on an operator's machine; and what a Hub gets wrong."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from typing import Any

import pytest
from support.people import Person
from support.running_demo import RunningDemo

pytestmark = [pytest.mark.anyio, pytest.mark.acceptance]


def environment_of(demo: RunningDemo, *words: str) -> dict[str, str]:
    """The environment that the Hub has given to a process of the demo's."""
    for process in demo.processes():
        command = " ".join(process.cmdline())
        if all(word in command for word in words):
            return process.environ()
    raise AssertionError(f"the demo has no process {words}")


def doctor(environ: dict[str, str], *arguments: str) -> tuple[int, dict[str, dict[str, Any]]]:
    command = [sys.executable, "-m", "jupyter_rtc_amprenta.cli", "doctor", "--json", *arguments]
    done = subprocess.run(command, env=environ, capture_output=True, text=True)
    assert done.returncode in (0, 1) and not done.stderr, done.stderr
    return done.returncode, {check["name"]: check for check in json.loads(done.stdout)["checks"]}


def states(checks: dict[str, dict[str, Any]], ok: bool | None) -> set[str]:
    return {name for name, check in checks.items() if check["ok"] is ok}


@pytest.fixture
def alice(demo: RunningDemo) -> Person:
    return Person(demo, "alice")


@pytest.fixture
def server(demo: RunningDemo, alice: Person) -> dict[str, str]:
    """The environment of a terminal in alice's JupyterLab."""
    for process in demo.processes():
        if "jupyterhub.singleuser" in process.cmdline() and process.environ().get("JUPYTERHUB_USER") == "alice":
            return process.environ()
    raise AssertionError("alice's server does not run")


async def test_a_users_server_that_is_well_and_what_a_hub_can_get_wrong(
    demo: RunningDemo, alice: Person, server: dict[str, str]
) -> None:
    at_hub = ("--hub-url", demo.ready["hub_url"])
    (alice.home / "doctor.txt").write_text("hello")
    room = await alice.open("doctor.txt")
    try:
        code, well = await asyncio.to_thread(doctor, server, *at_hub)
        assert (code, states(well, False)) == (0, set())
        assert states(well, True) >= {
            "variables.set", "variables.secrets", "yjs.health", "yjs.websocket", "yjs.token", "service.health",
            "service.registered", "service.scopes", "service.access", "service.oauth", "proxy.websocket",
            "extension.versions", "extension.enabled", "extension.mode", "extension.documents",
            "clocks.hub", "clocks.yjs", "clocks.service",
        }  # fmt: skip
        assert {name.partition(".")[0] for name in states(well, None)} == {"database", "encryption", "clocks"}

        # A token as a server has it that was started before the Hub was configured; its restart brings the other one.
        scopes = ["read:users:name!user", "access:servers!user=alice"]
        made = await asyncio.to_thread(demo.request, "POST", "users/alice/tokens", "alice", json={"scopes": scopes})
        bare = server | {"JUPYTERHUB_API_TOKEN": made.json()["token"]}
        code, found = await asyncio.to_thread(doctor, bare, *at_hub)
        assert code == 1
        assert states(found, False) == {"service.scopes", "service.access", "yjs.token"}
        assert "lacks access:services!service=rtc" in found["service.scopes"]["detail"]
        for name in ("service.scopes", "service.access"):
            assert "configure(c, …)" in found[name]["advice"] and "users' servers" in found[name]["advice"]

        # A token that the Hub does not know (any more).
        code, found = await asyncio.to_thread(doctor, server | {"JUPYTERHUB_API_TOKEN": "f" * 32}, *at_hub)
        assert states(found, False) >= {"service.scopes", "service.access", "proxy.websocket"}
        assert "does not know this token" in found["service.scopes"]["detail"]

        # A Hub at another place than browsers are said to find it.
        code, found = await asyncio.to_thread(doctor, server, "--hub-url", "http://127.0.0.1:1")
        assert states(found, False) == {"service.registered", "service.oauth", "proxy.websocket"}
    finally:
        await room.close()


def test_the_service_that_is_well_and_one_that_the_hub_does_not_know(demo: RunningDemo) -> None:
    environ = environment_of(demo, "jupyterhub_service")
    code, well = doctor(environ, "--hub-url", demo.ready["hub_url"])
    assert (code, states(well, False)) == (0, set())
    assert states(well, True) >= {
        "database.reachable", "database.schema", "database.rights", "database.index", "yjs.health", "yjs.token",
        "service.registered", "service.scopes", "service.oauth", "clocks.database", "clocks.hub",
    }  # fmt: skip
    # What an operator has: the database's URL, and where the parts are.
    names = ("RTC_DATABASE_URL", "PATH", "HOME", "YJS_SERVER_URL", "RTC_SIGNING_KEY")
    operator = {name: environ[name] for name in names if name in environ}
    token = {"JUPYTERHUB_API_TOKEN": demo.ready["users"]["alice"]["token"]}
    code, found = doctor(operator | token, "--hub-url", demo.ready["hub_url"])
    assert (code, states(found, False)) == (0, set())
    assert {"yjs.token", "service.registered", "service.oauth", "proxy.websocket", "clocks.hub"} <= states(found, True)
    # Not registered under this name.
    code, found = doctor(environ | {"JUPYTERHUB_SERVICE_NAME": "other"}, "--hub-url", demo.ready["hub_url"])
    assert states(found, False) == {"service.oauth"}
    assert "configure(c, …)" in found["service.oauth"]["advice"]
