"""What people see on their own server: joined files of every type, who edited where, what is committed, and pages
that say what to do."""

from __future__ import annotations

import asyncio
import base64
import json
import os
from pathlib import Path
from typing import Any

import pytest
from pycrdt import Assoc, Map, Text
from support.people import BrowserRoom, Person, sources
from support.running_demo import RunningDemo
from support.shared_notebook import server_of
from support.stock_server import StockServer
from support.yjs_client import until

pytestmark = [pytest.mark.anyio, pytest.mark.acceptance, pytest.mark.timeout(300)]

RELOAD = 1003


def _cell(number: int) -> dict[str, Any]:
    source = {"cell_type": "code", "source": f"x = {number}\n", "metadata": {}, "outputs": []}
    return source | {"id": f"cell-{number}", "execution_count": None}


NOTEBOOK = json.dumps(
    {"cells": [_cell(n) for n in range(4)], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}
)


class Sharing:
    """alice shares files with bob."""

    def __init__(self, demo: RunningDemo) -> None:
        self.alice, self.bob = Person(demo, "alice"), Person(demo, "bob")
        self.service_url = demo.ready["service_url"]

    def document(self, person: Person, path: str) -> dict[str, Any]:
        """What the person's server says of an open file."""
        (found,) = [one for one in person.status()["documents"] if one["path"] == path]
        return found

    async def new(self, name: str, content: str) -> tuple[str, BrowserRoom]:
        """alice has made a file, and opened it."""
        (self.alice.home / name).write_text(content)
        at_alice = await self.alice.open(name)
        await until(lambda: self.document(self.alice, name)["link"] == "live", every=0.1)
        return self.document(self.alice, name)["document_id"], at_alice

    def let_in(self, document_id: str, permissions: str = "read-write") -> None:
        """bob is invited and accepts."""
        body = {"username": "bob", "permissions": permissions}
        invite = self.alice.call("POST", f"/sessions/{document_id}/invite", json=body).json()
        assert self.bob.call("POST", f"/invites/{invite['invite_id']}/accept").status_code == 200

    async def open(self, name: str, content: str) -> tuple[str, str, BrowserRoom, BrowserRoom]:
        """Both have it open: the document's id, bob's path, and the two windows."""
        document_id, at_alice = await self.new(name, content)
        self.let_in(document_id)
        path = self.bob.join(document_id)
        return document_id, path, at_alice, await self.bob.open(path)


@pytest.fixture
def sharing(demo: RunningDemo) -> Sharing:
    return Sharing(demo)


@pytest.mark.parametrize("name", ["own.py", "own.md", "own.txt", "own.json"])
async def test_a_text_of_every_type_is_joined_and_live(sharing: Sharing, name: str) -> None:
    content = '{"text": "ü"}\n'
    _, path, at_alice, at_bob = await sharing.open(name, content)
    assert path == f"Shared with me/{name}"
    assert at_bob.contents() == content
    with at_bob.doc.transaction():
        at_bob.text.insert(0, "bob ")
        at_bob.state["dirty"] = True
    at_alice.text.insert(len(at_alice.text), " alice")
    await until(lambda: at_alice.contents() == at_bob.contents() == f"bob {content} alice", "live")
    for person, file in ((sharing.alice, name), (sharing.bob, path)):
        await until(lambda person=person, file=file: person.file(file) == f"bob {content} alice", "on the disk")
    await at_alice.close()
    await at_bob.close()


async def test_who_is_where_and_who_edited_what_is_told(sharing: Sharing) -> None:
    document_id, _, at_alice, at_bob = await sharing.open("own-places.ipynb", NOTEBOOK)
    at_bob.type_into(2, "# bob\n")
    text = at_bob.document.ycells[1]["source"].sticky_index(0, Assoc.BEFORE).to_json()["type"]
    at_bob.present("bob", user={"name": "bob", "username": "bob"}, cursors=[{"head": {"type": text}}])

    def told() -> dict[str, Any]:
        return sharing.alice.call("GET", f"/sessions/{document_id}").json()

    await until(lambda: "bob edited cell 3" in told()["recent_activity"], "the activity says so", every=0.5)
    people = sharing.alice.call("GET", f"/sessions/{document_id}/participants").json()["participants"]
    await until(
        lambda: {"bob": "cell 2"}.items()
        <= {
            person["username"]: person["place"]
            for person in sharing.alice.call("GET", f"/sessions/{document_id}/participants").json()["participants"]
        }.items(),
        "where he is",
        every=0.5,
    )
    assert {person["username"] for person in people} == {"alice", "bob"}
    assert not any("alice edited" in sentence for sentence in told()["recent_activity"]), "she has not"
    await at_alice.close()
    await at_bob.close()


async def test_the_status_tells_what_is_committed(sharing: Sharing) -> None:
    _, at_alice = await sharing.new("own-status.txt", "base\n")
    at_alice.text.insert(0, "typed ")
    client = str(at_alice.doc.client_id)

    def acknowledged() -> dict[str, Any]:
        return sharing.document(sharing.alice, "own-status.txt")["acknowledged"]

    # Six letters, and what stands in the map `state` is the server's.
    await until(lambda: acknowledged()["clocks"].get(client) == len("typed "), "committed", every=0.1)
    status = sharing.document(sharing.alice, "own-status.txt")
    assert status["saved"] is True and status["unacknowledged"] == 0
    assert base64.b64decode(status["acknowledged"]["state_vector"])[0] == len(status["acknowledged"]["clocks"])
    await at_alice.close()


async def test_pages_say_what_to_do(sharing: Sharing) -> None:
    document_id, at_alice = await sharing.new("own-pages.txt", "base\n")
    page = sharing.bob.at_server("GET", f"rtc/join/{document_id}")
    assert page.status_code == 403
    assert "You do not take part in this document yet" in page.text
    session = f"{sharing.service_url}/sessions/{document_id}"
    assert f'href="{session}"' in page.text
    assert "default-src 'none'" in page.headers["Content-Security-Policy"]
    assert sharing.bob.at_server("GET", "rtc/join/%3Cscript%3E").status_code == 404
    assert "<script>" not in sharing.bob.at_server("GET", "rtc/join/%3Cscript%3E").text

    sharing.let_in(document_id)
    path = sharing.bob.join(document_id)
    at_bob = await sharing.bob.open(path)
    assert sharing.alice.call("DELETE", f"/documents/{document_id}").status_code in (200, 204)
    await until(lambda: at_bob.close_code == RELOAD, "bob's page is told", timeout=30)
    assert "deleted" in at_bob.close_reason
    page = sharing.bob.at_server("GET", f"rtc/join/{document_id}")
    assert page.status_code == 404
    assert "This document was deleted" in page.text
    assert "lab/tree/Shared%20with%20me/own-pages.txt" in page.text
    assert sharing.bob.file(path) == "base\n"
    await at_alice.close()
    await at_bob.close()


async def test_a_large_plot_is_seen_by_the_others_who_go_on_typing(sharing: Sharing) -> None:
    _, path, at_alice, at_bob = await sharing.open("own-plot.ipynb", NOTEBOOK)
    plot = base64.b64encode(os.urandom(5_000_000)).decode()
    output = {"output_type": "display_data", "data": {"image/png": plot}, "metadata": {}}
    at_bob.document.ycells[0]["outputs"].append(output)
    for number in range(10):
        at_alice.type_into(1, f"[{number}]")
        await asyncio.sleep(0.02)
    await until(
        lambda: at_alice.contents()["cells"][0]["outputs"] == [output]
        and at_bob.source(1).count("[") == at_alice.source(1).count("[") == 10,
        "both have all",
        timeout=30,
    )
    for person, file in ((sharing.alice, "own-plot.ipynb"), (sharing.bob, path)):
        await until(
            lambda person=person, file=file: person.file(file)["cells"][0]["outputs"]
            and sharing.document(person, file)["saved"],
            "saved and committed",
            timeout=30,
            every=0.3,
        )
    await at_alice.close()
    await at_bob.close()


async def test_a_progress_bar_leaves_the_others_at_work(sharing: Sharing) -> None:
    """Four hundred redrawn lines, a hundred a second; the Y.js server takes two hundred messages a second."""
    _, path, at_alice, at_bob = await sharing.open("own-progress.ipynb", NOTEBOOK)
    bar = Text("")
    at_bob.document.ycells[0]["outputs"].append(
        Map({"output_type": "stream", "name": "stderr", "text": bar})
    )
    for number in range(400):
        with at_bob.doc.transaction():
            bar.clear()
            bar.insert(0, f"{number / 4:.0f} %|{'#' * (number // 10)}")
        if number % 20 == 0:
            at_alice.type_into(1, f"[{number}]")
        await asyncio.sleep(0.01)

    def shown(room: BrowserRoom) -> str:
        return "".join(room.contents()["cells"][0]["outputs"][0]["text"])

    await until(lambda: shown(at_alice) == shown(at_bob) == f"100 %|{'#' * 39}", "the end of it", timeout=30)
    await until(lambda: at_bob.source(1) == at_alice.source(1) and at_bob.source(1).count("[") == 20)
    for person, file in ((sharing.alice, "own-progress.ipynb"), (sharing.bob, path)):
        await until(lambda person=person, file=file: sharing.document(person, file)["saved"], every=0.2)
    log = (sharing.bob.demo.directory / "logs" / "server-bob.log").read_text()
    document = sharing.document(sharing.bob, path)
    lost = [line for line in log.splitlines() if document["room"] in line and "the link is offline" in line]
    assert lost == [], "the link has never been sent away for its pace"
    await at_alice.close()
    await at_bob.close()


async def test_it_is_adopted_and_given_up_without_a_trace_in_the_files(sharing: Sharing) -> None:
    """A notebook with a history in jupyter-collaboration's own store, and a tab that was open across both changes."""
    alice, name = sharing.alice, "own-adopted.ipynb"
    (alice.home / name).write_text(NOTEBOOK)
    process = server_of(alice.demo, "alice")
    folder, home = Path(process.cwd()), process.environ()["HOME"]
    stock = StockServer(alice.home, folder, process.environ())
    alice.stop_server()
    with stock:
        tab, session = await stock.open(name)
        tab.type_into(0, "# stock\n")
        await until(lambda: sources(alice.file(name))[0].startswith("# stock\n"), "saved by the stock server")
        await until(lambda: (folder / ".jupyter_ystore.db").exists(), "its store is there")
        await tab.close()
    before = sources(alice.file(name))

    # From here on she begins with Notebook 7, which takes no more than this.
    chosen = Path(home) / ".jupyter" / "jupyter_server_config.json"
    chosen.parent.mkdir(exist_ok=True)
    chosen.write_text(json.dumps({"ServerApp": {"default_url": "/tree"}}))
    await asyncio.to_thread(alice.start_server)
    chosen.unlink()
    old = BrowserRoom(room_url(alice, session), alice.token, "notebook", tab.doc)
    await old.connect()
    await until(lambda: old.close_code == RELOAD, "the tab from before must reload")
    await old.close()
    at_alice = await alice.open(name)
    await until(lambda: sources(at_alice.contents()) == before, "what the file held, once")
    at_alice.type_into(1, "# linked\n")
    await until(lambda: sharing.document(alice, name)["saved"], every=0.1)
    await until(lambda: sources(alice.file(name))[1].startswith("# linked\n"))
    joined = f"rtc/join/{sharing.document(alice, name)['document_id']}"
    answer = alice.at_server("GET", joined, allow_redirects=False)
    assert answer.headers["Location"].endswith(f"/user/alice/notebooks/{name}"), "it opens in Notebook 7"
    await at_alice.close()
    before = sources(alice.file(name))

    alice.stop_server()
    with stock:
        tab, _ = await stock.open(name)
        assert sources(tab.contents()) == before
        tab.type_into(2, "# stock again\n")
        await until(lambda: sources(alice.file(name))[2].startswith("# stock again\n"))
        await tab.close()
    await asyncio.to_thread(alice.start_server)
    at_alice = await alice.open(name)
    expected = [before[0], before[1], f"# stock again\n{before[2]}", before[3]]
    await until(lambda: sources(at_alice.contents()) == expected, "merged as a change from outside")
    assert [path.name for path in alice.home.glob("own-adopted*")] == [name], "nothing was kept beside"
    await at_alice.close()


def room_url(person: Person, session: dict[str, Any]) -> str:
    """Where a tab comes back to that has another server's session."""
    websocket = "ws" + person.server_url.removeprefix("http")
    room = f"json:notebook:{session['fileId']}"
    return f"{websocket}api/collaboration/room/{room}?sessionId={session['sessionId']}"
