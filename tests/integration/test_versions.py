"""Versions: what is kept, shown, exported and restored; through core and the command line."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import nbformat
import psycopg2
import pytest
from jupyter_ydoc import YNotebook
from pycrdt import Doc
from sqlalchemy import update
from support.logs import Author, new_keys, text_of

from jupyter_rtc_amprenta import cli
from jupyter_rtc_amprenta.core import queries, queries_leases, versions
from jupyter_rtc_amprenta.core.compaction import Retention
from jupyter_rtc_amprenta.core.database import Database
from jupyter_rtc_amprenta.core.documentlog import DocumentLog
from jupyter_rtc_amprenta.core.errors import DocumentLeased, VersionNotFound
from jupyter_rtc_amprenta.core.logpolicy import LogPolicy
from jupyter_rtc_amprenta.core.queries_versions import kept_positions
from jupyter_rtc_amprenta.core.schema import now
from jupyter_rtc_amprenta.core.schema import versions as versions_table
from jupyter_rtc_amprenta.core.versions import Versions

pytestmark = [pytest.mark.anyio, pytest.mark.integration]

DOCUMENT = "file:42"


@pytest.fixture
async def log(database: Database) -> AsyncIterator[DocumentLog]:
    policy = LogPolicy(retention=Retention(1e9, 0, grace=0.0), kept_positions=kept_positions)
    log = DocumentLog(database, policy=policy)
    await log.create(DOCUMENT)
    yield log
    await log.stop()


async def _write(log: DocumentLog, author: Author, text: str) -> None:
    await log.append(DOCUMENT, author.write(text), 1)


async def test_a_version_outlives_compaction(log: DocumentLog) -> None:
    kept, author = Versions(log), Author()
    await _write(log, author, "one\n")
    first = await kept.create(DOCUMENT, "the first", "alice")
    await _write(log, author, "two\n")
    await log.compact(DOCUMENT)
    await _write(log, author, "three\n")
    await log.compact(DOCUMENT)
    assert await kept.content(DOCUMENT, first.version_id) == "one\n"
    assert await kept.content(DOCUMENT) == "one\ntwo\nthree\n"
    assert await kept.list(DOCUMENT) == [first]
    assert (first.label, first.created_by, first.seq) == ("the first", "alice", 1)


async def test_restoring_is_an_edit_that_others_edits_survive(log: DocumentLog) -> None:
    kept, author = Versions(log), Author()
    await _write(log, author, "one\n")
    first = await kept.create(DOCUMENT, "the first", "alice")
    await _write(log, author, "two\n")
    offline = Author(author.updates)
    await kept.restore(DOCUMENT, first.version_id, "bob")
    assert await kept.content(DOCUMENT) == "one\n"
    history = await log.read(DOCUMENT)
    assert [entry.seq for entry in history.entries] == [1, 2, 3]
    before, again = await kept.list(DOCUMENT)
    assert again == first
    assert (before.seq, before.created_by, before.label) == (2, "bob", None)
    assert await kept.content(DOCUMENT, before.version_id) == "one\ntwo\n"
    await log.append(DOCUMENT, offline.write("of somebody who was offline"), 1)
    assert text_of(await log.read(DOCUMENT)) == "one\nof somebody who was offline"


async def test_restoring_what_is_there_appends_nothing(log: DocumentLog) -> None:
    kept = Versions(log)
    await _write(log, Author(), "one\n")
    version = await kept.create(DOCUMENT, None, None)
    assert await kept.restore(DOCUMENT, version.version_id, None) == 1


async def test_a_notebook_is_exported_and_restored(log: DocumentLog) -> None:
    kept, document_id = Versions(log), "notebook:7"
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("1 + 1")])
    ydoc = YNotebook()
    ydoc.set(notebook)
    await log.create(document_id)
    await log.append(document_id, ydoc.ydoc.get_update(), 1)
    version = await kept.create(document_id, "two", "alice")
    vector = ydoc.ydoc.get_state()
    ydoc.set(nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell("# all anew")]))
    await log.append(document_id, ydoc.ydoc.get_update(vector), 1)
    exported = await kept.content(document_id, version.version_id)
    nbformat.validate(nbformat.reads(exported, as_version=4))
    assert json.loads(exported)["cells"][0]["source"] == ["1 + 1"]
    assert "trusted" not in exported
    await kept.restore(document_id, version.version_id, "alice")
    live: Doc[Any] = Doc()
    for entry in (await log.read(document_id)).updates:
        live.apply_update(entry)
    assert [cell["source"] for cell in YNotebook(live).get()["cells"]] == ["1 + 1"]


async def test_versions_are_named_listed_in_pages_and_not_found(log: DocumentLog) -> None:
    kept, author = Versions(log), Author()
    made = []
    for number in range(5):
        await _write(log, author, f"{number}\n")
        made.append(await kept.create(DOCUMENT, None, "alice"))
    page = await kept.list(DOCUMENT, 3)
    rest = await kept.list(DOCUMENT, 3, (page[-1].seq, page[-1].version_id))
    assert page + rest == made[::-1]
    named = await kept.name(DOCUMENT, made[0].version_id, "zero")
    assert named.label == "zero" and await kept.find(DOCUMENT, named.version_id) == named
    with pytest.raises(VersionNotFound):
        await kept.content(DOCUMENT, "nonsense")
    await log.create("other")
    with pytest.raises(VersionNotFound):
        await kept.restore("other", made[0].version_id, None)


async def test_versions_of_a_history_that_was_reset_are_gone(log: DocumentLog, database: Database) -> None:
    kept = Versions(log)
    await _write(log, Author(), "one\n")
    version = await kept.create(DOCUMENT, "one", None)
    await database.run(queries.reset_document, DOCUMENT)
    assert await kept.list(DOCUMENT) == []
    with pytest.raises(VersionNotFound):
        await kept.find(DOCUMENT, version.version_id)


async def test_automatic_versions_come_while_it_is_edited_and_old_ones_go(
    log: DocumentLog, database: Database
) -> None:
    kept, author = Versions(log), Author()
    named = await kept.create(DOCUMENT, "named", None)

    def let_time_pass(connection: Any) -> None:
        connection.execute(update(versions_table).values(created_at=now() - timedelta(hours=2)))

    for number in range(4):
        await _write(log, author, f"{number}\n")
        await database.run(let_time_pass)
        for _ in range(2):
            await database.run(versions.make_automatic, [DOCUMENT, "deleted"], 3600, 2)
    assert [version.seq for version in await kept.list(DOCUMENT)] == [4, 3, 0]
    assert (await kept.find(DOCUMENT, named.version_id)).label == "named"


async def test_a_document_that_a_server_has_open_in_direct_mode_is_not_restored(
    log: DocumentLog, database: Database
) -> None:
    kept = Versions(log)
    await _write(log, Author(), "one\n")
    version = await kept.create(DOCUMENT, "one", None)
    await database.run(queries_leases.acquire, DOCUMENT, "alice's server", 30)
    with pytest.raises(DocumentLeased, match="alice's server"):
        await kept.restore(DOCUMENT, version.version_id, None)


async def test_every_append_is_told_to_who_listens(log: DocumentLog, database_url: str) -> None:
    connection = psycopg2.connect(database_url)
    connection.autocommit = True
    connection.cursor().execute(f"LISTEN {queries.CHANNEL}")
    author = Author()
    await _write(log, author, "one\n")
    await log.create("other")
    await log.append("other", author.write("x"), 1)
    async with asyncio.timeout(10):
        while len(connection.notifies) < 2:
            connection.poll()
            await asyncio.sleep(0.01)
    assert [notice.payload for notice in connection.notifies] == [f"{DOCUMENT} 1 1", "other 1 1"]
    connection.close()


async def test_the_command_line(
    database_url: str, database: Database, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture, tmp_path
) -> None:
    monkeypatch.setenv("RTC_DATABASE_URL", database_url)
    monkeypatch.setenv("RTC_HISTORY_UPDATES", "0")
    plain, author = DocumentLog(database), Author()
    await plain.create(DOCUMENT)
    await _write(plain, author, "one\n")
    version = await Versions(plain).create(DOCUMENT, "the first", "alice")
    await _write(plain, author, "two\n")

    async def run(*arguments: str) -> tuple[int, str, str]:
        code = await asyncio.to_thread(cli.main, list(arguments))
        out, err = capsys.readouterr()
        return code, out, err

    keys = new_keys("2026-01")
    monkeypatch.setattr("jupyter_rtc_amprenta.core.crypto.EncryptionKeys.parse", lambda text: keys)
    assert await run("rotate-keys") == (0, "2 updates and snapshots are encrypted with key 2026-01 now.\n", "")
    assert await run("rotate-keys") == (0, "0 updates and snapshots are encrypted with key 2026-01 now.\n", "")
    code, out, _ = await run("compact", "--dry-run")
    assert code == 0 and "would be" in out
    code, out, _ = await run("history", DOCUMENT)
    assert code == 0 and "position 2" in out and version.version_id in out and "the first" in out
    assert await run("export", DOCUMENT, "--version", version.version_id) == (0, "one\n", "")
    file = tmp_path / "out.txt"
    assert (await run("export", DOCUMENT, "--output", str(file)))[0] == 0
    assert file.read_text() == "one\ntwo\n"
    code, _, err = await run("export", DOCUMENT, "--output", str(tmp_path / "none" / "x"))
    assert code == 2 and "can't be written" in err
    code, out, _ = await run("restore-version", DOCUMENT, version.version_id, "--user", "bob")
    assert code == 0 and "position 3" in out
    assert await run("export", DOCUMENT) == (0, "one\n", "")
    code, _, err = await run("history", "nowhere")
    assert code == 1 and "no document nowhere" in err
    monkeypatch.undo()
    monkeypatch.setenv("RTC_DATABASE_URL", database_url)
    code, _, err = await run("export", DOCUMENT)
    assert code == 1 and "RTC_ENCRYPTION_KEYS lacks" in err
    code, _, err = await run("rotate-keys")
    assert code == 2 and "no key" in err
    await plain.stop()
