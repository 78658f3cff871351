"""Who may only read: sees everything live, is seen, changes nothing; rights change while the document is open."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import psycopg2
import pytest
from support.people import Person, sources
from support.running_demo import RunningDemo
from support.shared_notebook import NOTEBOOK, home_files
from support.yjs_client import YjsClient, until
from tornado.httpclient import HTTPClientError

pytestmark = [pytest.mark.anyio, pytest.mark.acceptance, pytest.mark.timeout(300)]

RELOAD = 1003


@pytest.fixture(scope="module")
def own_demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningDemo]:
    demo = RunningDemo(tmp_path_factory.mktemp("readers") / "demo")
    demo.start()
    for name in ("alice", "bob"):
        demo.start_server(name)
    yield demo
    demo.end()


class Reading:
    """alice's notebook, which bob may read."""

    def __init__(self, demo: RunningDemo) -> None:
        self.demo = demo
        self.alice, self.bob = Person(demo, "alice"), Person(demo, "bob")
        self.document_id = self.path = ""

    async def share(self) -> None:
        at_alice = await self.alice.open(NOTEBOOK)
        self.document_id = self.alice.status()["documents"][0]["document_id"]
        body = {"username": "bob", "permissions": "read-only"}
        invite = self.alice.call("POST", f"/sessions/{self.document_id}/invite", json=body).json()
        self.bob.call("POST", f"/invites/{invite['invite_id']}/accept")
        self.path = self.bob.join(self.document_id)
        await at_alice.close()

    def grant(self, permissions: str | None) -> None:
        """What the owner decides; None removes bob."""
        connection = psycopg2.connect(self.demo.ready["database_url"])
        with connection, connection.cursor() as cursor:
            if permissions is None:
                cursor.execute("DELETE FROM participants WHERE username = 'bob'")
            else:
                cursor.execute(
                    "UPDATE participants SET permissions = %s WHERE username = 'bob'", (permissions,)
                )
        connection.close()

    def link_of_bob(self) -> str:
        return self.bob.status()["documents"][0]["link"]


@pytest.fixture(scope="module")
def reading(own_demo: RunningDemo) -> Reading:
    return Reading(own_demo)


async def test_a_reader_sees_all_is_seen_and_changes_nothing(reading):
    await reading.share()
    at_alice, at_bob = await reading.alice.open(NOTEBOOK), await reading.bob.open(reading.path)
    model = reading.bob.at_server("GET", f"api/contents/{reading.path}?content=0").json()
    assert model["writable"] is False
    assert reading.alice.at_server("GET", f"api/contents/{NOTEBOOK}?content=0").json()["writable"] is True
    at_alice.type_into(1, "[alice]")
    await until(lambda: at_bob.source(1).startswith("[alice]"), "bob sees it live")
    await until(
        lambda: sources(reading.bob.file(reading.path))[1].startswith("[alice]"),
        "his copy is kept up to date",
    )
    at_bob.present("bob")
    await until(lambda: any("bob" in name for name in at_alice.names()), "bob is seen")
    at_bob.type_into(1, "[bob]")
    await until(lambda: "[bob]" not in at_bob.source(1), "it vanishes from his own page")
    await asyncio.sleep(2)
    assert "[bob]" not in at_alice.source(1) + str(reading.alice.file(NOTEBOOK)) + str(
        reading.bob.file(reading.path)
    )
    assert at_bob.contents() == at_alice.contents()
    assert at_bob.close_code is None
    del at_bob.document.ycells[1]["source"][0:1]
    await until(lambda: at_bob.close_code == RELOAD, "what he deletes he gets back by reloading")
    assert "only read" in at_bob.close_reason
    await at_alice.close()
    await at_bob.close()


async def test_an_upgrade_takes_effect_while_open(reading):
    at_alice, at_bob = await reading.alice.open(NOTEBOOK), await reading.bob.open(reading.path)
    reading.grant("read-write")
    await until(lambda: at_bob.close_code == RELOAD, "bob's page is asked to reload")
    assert "read-write" in at_bob.close_reason
    await at_bob.close()
    at_bob = await reading.bob.open(reading.path)
    assert reading.bob.at_server("GET", f"api/contents/{reading.path}?content=0").json()["writable"] is True
    at_bob.type_into(2, "[bob may now]")
    await until(lambda: at_alice.source(2).startswith("[bob may now]"))
    await at_alice.close()
    await at_bob.close()


async def test_a_downgrade_takes_effect_while_open_and_loses_nothing_accepted(reading):
    at_alice, at_bob = await reading.alice.open(NOTEBOOK), await reading.bob.open(reading.path)
    at_bob.type_into(3, "[accepted]")
    await until(lambda: at_alice.source(3).startswith("[accepted]"))
    await until(lambda: reading.bob.status()["documents"][0]["saved"])
    reading.grant("read-only")
    await until(lambda: at_bob.close_code == RELOAD, "bob's page is asked to reload")
    await at_bob.close()
    at_bob = await reading.bob.open(reading.path)
    assert at_bob.source(3).startswith("[accepted]")
    at_bob.type_into(3, "[no more]")
    await asyncio.sleep(1.5)
    assert "[no more]" not in at_alice.source(3)
    assert home_files(reading.bob) == [Path(reading.path)]
    await at_alice.close()
    await at_bob.close()


async def test_what_was_written_without_the_right_is_kept_beside(reading):
    """bob writes while the Y.js server is away; when it is back, he may only read."""
    reading.grant("read-write")
    at_alice, at_bob = await reading.alice.open(NOTEBOOK), await reading.bob.open(reading.path)
    await until(lambda: reading.bob.status()["documents"][0]["permissions"] == "read-write")
    await at_bob.close()
    at_bob = await reading.bob.open(reading.path)
    service = next(p for p in reading.demo.processes() if "jupyterhub_service" in p.cmdline())
    service.kill()
    page = reading.bob.at_server("GET", "rtc/join/another")
    assert page.status_code == 503
    assert "Collaboration pauses for a moment" in page.text
    assert 'http-equiv="refresh"' in page.text
    await until(lambda: reading.link_of_bob() == "offline")
    at_bob.type_into(4, "[without a right]")
    await until(lambda: sources(reading.bob.file(reading.path))[4].startswith("[without a right]"))
    reading.grant("read-only")
    await until(lambda: at_bob.close_code == RELOAD, "the room is built anew", timeout=90)
    await at_bob.close()
    at_bob = await reading.bob.open(reading.path)
    assert not at_bob.source(4).startswith("[without a right]")
    assert "[without a right]" not in at_alice.source(4)
    beside = [path for path in home_files(reading.bob) if "conflict" in path.name]
    assert len(beside) == 1
    assert sources(reading.bob.file(str(beside[0])))[4].startswith("[without a right]")
    assert not sources(reading.bob.file(reading.path))[4].startswith("[without a right]")
    await at_alice.close()
    await at_bob.close()


async def test_after_removal_the_link_closes_and_the_copy_stays(reading):
    at_alice, at_bob = await reading.alice.open(NOTEBOOK), await reading.bob.open(reading.path)
    await until(lambda: reading.link_of_bob() == "live")
    reading.grant(None)
    await until(lambda: reading.link_of_bob() == "refused", timeout=20)
    await until(lambda: at_bob.close_code == RELOAD, "his page is told")
    assert "no longer shared" in at_bob.close_reason
    assert reading.bob.status()["documents"][0]["ended"] == "removed"
    page = reading.bob.at_server("GET", f"rtc/join/{reading.document_id}")
    assert page.status_code == 403
    assert "This document is no longer shared with you" in page.text
    assert "lab/tree/Shared%20with%20me/" in page.text, "his copy is offered"
    at_bob = await reading.bob.open(reading.path)
    before = at_bob.source(5)
    at_alice.type_into(5, "[after]")
    await asyncio.sleep(1.5)
    assert at_bob.source(5) == before
    assert sources(reading.bob.file(reading.path))[5] == before
    response = reading.bob.at_server("GET", f"rtc/join/{reading.document_id}x", allow_redirects=False)
    assert response.status_code == 404
    await at_alice.close()
    await at_bob.close()


async def test_a_strangers_socket_leaves_no_room_behind(reading):
    (reading.alice.home / "private.txt").write_text("private")
    described = reading.alice.at_server(
        "PUT", "api/collaboration/session/private.txt", json={"format": "text", "type": "file"}
    ).json()
    url = f"{reading.alice.server_url}api/collaboration/room/text:file:{described['fileId']}".replace("http", "ws", 1)
    with pytest.raises(HTTPClientError) as refused:
        await YjsClient(url).connect()
    assert refused.value.code == 403
    log = (reading.demo.directory / "logs" / "server-alice.log").read_text()
    assert "Creating FileLoader for: Welcome.ipynb" in log
    assert "Creating FileLoader for: private.txt" not in log
