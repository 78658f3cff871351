"""Versions over the service: who sees, makes, names and restores them, and what is told of it."""

from __future__ import annotations

import base64
import json
import os

import nbformat
import pytest
from jupyter_ydoc import YNotebook, YUnicode
from pycrdt import Array, Doc
from support.rules import ALICE, BOB, CAROL, ROOT, Rtc, person, refused, server

from jupyter_rtc_amprenta.core import queries_versions
from jupyter_rtc_amprenta.core.documentlog import DocumentLog
from jupyter_rtc_amprenta.core.errors import VersionNotFound
from jupyter_rtc_amprenta.core.logpolicy import LogPolicy
from jupyter_rtc_amprenta.core.settings import read
from jupyterhub_service.errors import Conflict, Forbidden, NotFound
from jupyterhub_service.history import MOST_NAMED, History
from jupyterhub_service.listing import Page

pytestmark = [pytest.mark.anyio, pytest.mark.integration]


async def write(rtc: Rtc, document_id: str, *updates: bytes) -> None:
    log = DocumentLog(rtc.database, policy=LogPolicy.of(rtc.settings))
    for update in updates:
        await log.append(document_id, update, 1)
    await log.stop()


def text(*lines: str) -> tuple[YUnicode, bytes]:
    document = YUnicode()
    document.set("\n".join(lines))
    return document, document.ydoc.get_update()


@pytest.fixture
async def document_id(rtc: Rtc) -> str:
    """A text of alice's, with bob as a writer and carol as a reader."""
    document_id = await rtc.register(document_type="text", path="notes/plan.txt")
    await rtc.let_in(document_id, BOB)
    await rtc.let_in(document_id, CAROL, "read-only")
    return document_id


async def test_a_version_is_made_shown_and_restored(rtc: Rtc, document_id: str) -> None:
    document, update = text("one")
    await write(rtc, document_id, update)
    made = await rtc.history.make(BOB, document_id, "the first")
    assert (made["label"], made["created_by"]) == ("the first", "bob")
    vector = document.ydoc.get_state()
    document.set("two")
    await write(rtc, document_id, document.ydoc.get_update(vector))

    shown = await rtc.history.show(CAROL, document_id, made["version_id"])
    assert shown == made | {"document_type": "text", "file_name": "plan.txt", "content": "one"}
    answer = await rtc.history.restore(ALICE, document_id, made["version_id"])
    assert answer == {"success": True, "document_id": document_id, "version_id": made["version_id"]}

    before, first = (await rtc.history.listed(CAROL, document_id, Page()))["versions"]
    assert first == made
    assert (before["label"], before["created_by"]) == (None, "alice")
    assert (await rtc.history.show(ALICE, document_id, before["version_id"]))["content"] == "two"
    now_ = await rtc.history.make(ALICE, document_id, "again")
    assert (await rtc.history.show(ALICE, document_id, now_["version_id"]))["content"] == "one"
    assert (await rtc.happened(document_id))[-3:] == [
        "bob kept the version “the first”",
        "alice restored the version “the first”",
        "alice kept the version “again”",
    ]
    entries = (await rtc.admin.audit(ROOT, Page(), rtc.audit_of(document_id)))["audit"]
    assert ("alice", "restored", "“the first”") in {(one["username"], one["action"], one["detail"]) for one in entries}


async def test_a_notebook_comes_as_a_file_that_jupyter_reads(rtc: Rtc) -> None:
    document_id = await rtc.register()
    notebook = YNotebook()
    notebook.set(nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("1 + 1")]))
    await write(rtc, document_id, notebook.ydoc.get_update())
    made = await rtc.history.make(ALICE, document_id, "x")
    shown = await rtc.history.show(ALICE, document_id, made["version_id"])
    nbformat.validate(nbformat.reads(shown["content"], as_version=4))
    assert (shown["file_name"], json.loads(shown["content"])["cells"][0]["source"]) == ("analysis.ipynb", ["1 + 1"])


async def test_what_is_encrypted_is_shown_to_whoever_takes_part(rtc: Rtc, document_id: str) -> None:
    keys = f"k1:{base64.b64encode(os.urandom(32)).decode()}"
    rtc.settings = read({}, encryption_keys=keys)
    history = History(rtc.database, rtc.settings)
    await write(rtc, document_id, text("secret")[1])
    made = await history.make(ALICE, document_id, "x")
    assert (await history.show(ALICE, document_id, made["version_id"]))["content"] == "secret"


async def test_readers_look_and_strangers_do_not(rtc: Rtc, document_id: str) -> None:
    made = await rtc.history.make(ALICE, document_id, "x")
    version = made["version_id"]
    assert (await rtc.history.show(CAROL, document_id, version))["content"] == ""
    for call in (
        rtc.history.make(CAROL, document_id, "mine"),
        rtc.history.name(CAROL, document_id, version, "mine"),
        rtc.history.restore(CAROL, document_id, version),
    ):
        assert await refused(call, Forbidden) == "writer_required"
    dave = person("dave")
    for who, code in ((dave, "not_a_participant"), (server("alice"), "person_required")):
        for call in (
            rtc.history.listed(who, document_id, Page()),
            rtc.history.show(who, document_id, version),
            rtc.history.make(who, document_id, "mine"),
            rtc.history.name(who, document_id, version, "mine"),
            rtc.history.restore(who, document_id, version),
        ):
            assert await refused(call, Forbidden) == code
    assert await refused(rtc.history.listed(ALICE, "unknown", Page()), NotFound) == "session_not_found"


async def test_a_version_belongs_to_its_document(rtc: Rtc, document_id: str) -> None:
    """Whoever may write one document must not come by another's versions."""
    version = (await rtc.history.make(ALICE, document_id, "secret"))["version_id"]
    own = await rtc.register(BOB, file_id="own", document_type="text")
    for call in (
        rtc.history.show(BOB, own, version),
        rtc.history.name(BOB, own, version, "mine"),
        rtc.history.restore(BOB, own, version),
    ):
        with pytest.raises(VersionNotFound):
            await call
    assert (await rtc.history.listed(ALICE, document_id, Page()))["versions"][0]["label"] == "secret"


async def test_a_name_is_changed_and_only_the_owner_takes_one_away(rtc: Rtc, document_id: str) -> None:
    version = (await rtc.history.make(ALICE, document_id, "draft"))["version_id"]
    assert (await rtc.history.name(BOB, document_id, version, "final"))["label"] == "final"
    assert await refused(rtc.history.name(BOB, document_id, version, None), Forbidden) == "owner_required"
    assert (await rtc.history.name(ALICE, document_id, version, None))["label"] is None
    assert (await rtc.happened(document_id))[-2] == "bob named the version “final”"


async def test_versions_come_in_pages(rtc: Rtc, document_id: str) -> None:
    made = [(await rtc.history.make(ALICE, document_id, f"{number}"))["version_id"] for number in range(3)]
    first = await rtc.history.listed(ALICE, document_id, Page(2))
    assert "next_cursor" in first
    last = first["versions"][-1]
    second = await rtc.history.listed(ALICE, document_id, Page(2, (0, last["version_id"])))
    assert "next_cursor" not in second
    assert {one["version_id"] for one in first["versions"] + second["versions"]} == set(made)


async def test_named_versions_are_bounded(rtc: Rtc, document_id: str) -> None:
    def fill(connection) -> None:
        for number in range(MOST_NAMED):
            queries_versions.add_version(connection, document_id, 1, 0, f"{number}", "alice")

    automatic = await rtc.database.run(queries_versions.add_version, document_id, 1, 0, None, None)
    await rtc.database.run(fill)
    for call in (
        rtc.history.make(ALICE, document_id, "one more"),
        rtc.history.name(ALICE, document_id, automatic.version_id, "one more"),
    ):
        assert await refused(call, Conflict) == "too_many_versions"


@pytest.mark.parametrize("content", ["nothing", "cells that are numbers"])
async def test_what_is_no_notebook_is_said_and_nothing_breaks(rtc: Rtc, content: str) -> None:
    document_id = await rtc.register()
    if content != "nothing":
        document: Doc = Doc()
        document["cells"] = Array([1, 2])
        await write(rtc, document_id, document.get_update())
    version = (await rtc.history.make(ALICE, document_id, "x"))["version_id"]
    assert await refused(rtc.history.show(ALICE, document_id, version), Conflict) == "version_unreadable"


async def test_who_made_a_version_is_renamed_and_erased_with_them(rtc: Rtc, document_id: str) -> None:
    await rtc.history.make(BOB, document_id, "x")
    await rtc.admin.rename(ROOT, "bob", "robert")
    (version,) = (await rtc.history.listed(ALICE, document_id, Page()))["versions"]
    assert version["created_by"] == "robert"
    await rtc.admin.erase(ROOT, "robert", "robert", "")
    (version,) = (await rtc.history.listed(ALICE, document_id, Page()))["versions"]
    assert version["created_by"] is None


async def test_an_automatic_version_is_called_by_its_time(rtc: Rtc, document_id: str) -> None:
    version = await rtc.database.run(queries_versions.add_version, document_id, 1, 0, None, None)
    await rtc.history.restore(ALICE, document_id, version.version_id)
    expected = f"alice restored the version of {version.created_at:%Y-%m-%d %H:%M} UTC"
    assert (await rtc.happened(document_id))[-1] == expected
