"""One server loses the network while both people go on; contents are asserted on every side, and on disk."""

from __future__ import annotations

import json

import pytest
from support.attacks import first_notebook
from support.simulation import Hub, PlayedService, Server
from support.yjs_client import until

from jupyter_rtc_amprenta import link
from jupyter_rtc_amprenta.core.errors import ServiceUnavailable
from jupyter_rtc_amprenta.linked import LinkState

pytestmark = [pytest.mark.anyio, pytest.mark.integration]


def sources(server: Server) -> list[str]:
    return [cell["source"] for cell in server.tab.document.get()["cells"]]


def on_disk(server: Server) -> list[str]:
    try:
        return ["".join(cell["source"]) for cell in json.loads(server.file.read_text())["cells"]]
    except json.JSONDecodeError:  # half a save
        return []


async def test_bob_is_offline_for_a_while_and_both_go_on(database_url, tmp_path, monkeypatch):
    monkeypatch.setattr(link, "_LONGEST_RETRY_SECONDS", 0.5)
    hub = Hub(database_url)
    await hub.start()
    alice, bob = (Server(hub, name, tmp_path / name, "notebook") for name in ("alice", "bob"))
    alice.home.mkdir()
    alice.file.write_text(json.dumps(first_notebook()))
    await alice.start()
    await until(lambda: alice.room.linked.status()["saved"])
    await bob.join("notebook_alice")
    await bob.start()
    reach, is_cut = PlayedService.credentials, True

    async def credentials(service: PlayedService, *args, **options):
        if is_cut and service._user == "bob":
            raise ServiceUnavailable("No route to host")
        return await reach(service, *args, **options)

    monkeypatch.setattr(PlayedService, "credentials", credentials)
    bob.cut()
    await until(lambda: bob.room.linked.link.state is LinkState.OFFLINE)
    for number in range(20):
        alice.tab.document.ycells[0]["source"].insert(0, f"[a{number}]")
        bob.tab.document.ycells[1]["source"].insert(0, f"[b{number}]")
        (alice, bob)[number % 2].tab.document.ycells[2]["source"].insert(0, f"[c{number}]")
    await until(lambda: on_disk(bob) == sources(bob) and "[b19]" in on_disk(bob)[1], "bob's file, offline")
    await until(lambda: on_disk(alice) == sources(alice) and "[a19]" in on_disk(alice)[0], "alice's file")
    assert "[a0]" not in sources(bob)[0] and "[b0]" not in sources(alice)[1], "they were apart"
    assert not bob.room.linked.status()["saved"] and bob.room.linked.status()["unacknowledged"] >= 30
    is_cut = False
    await until(
        lambda: sources(alice) == sources(bob) and "[b19]" in sources(alice)[1], "both have everything"
    )
    for number in range(20):
        for cell, person in ((0, "a"), (1, "b"), (2, "c")):
            assert sources(alice)[cell].count(f"[{person}{number}]") == 1
    await until(lambda: on_disk(alice) == on_disk(bob) == sources(alice), "both files")
    await until(lambda: alice.room.linked.status()["saved"] and bob.room.linked.status()["saved"])
    assert not list(tmp_path.rglob("*(conflict *"))
    for server in (alice, bob):
        await server.stop()
    await hub.end_all()
