"""Backup and restore: what is in a file, what comes back, and how everybody who has a document open learns of it."""

from __future__ import annotations

import asyncio
import base64
import os
import stat
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, delete, insert, select, text, update
from support.logs import Author, new_keys, text_of
from support.rules import ALICE, BOB, TO_BOB, Rtc, server
from support.yjs_client import until

from jupyter_rtc_amprenta import cli
from jupyter_rtc_amprenta.core import (
    backup,
    migrate,
    queries,
    queries_leases,
    queries_open,
    queries_people,
    queries_record,
    queries_tokens,
    restore,
    settings,
)
from jupyter_rtc_amprenta.core.compaction import Retention
from jupyter_rtc_amprenta.core.crypto import PLAIN, EncryptionKeys
from jupyter_rtc_amprenta.core.database import Database
from jupyter_rtc_amprenta.core.documentlog import DocumentLog
from jupyter_rtc_amprenta.core.errors import (
    BackupError,
    DocumentLeased,
    EncryptionError,
    GenerationChanged,
    LeaseLost,
)
from jupyter_rtc_amprenta.core.logpolicy import LogPolicy
from jupyter_rtc_amprenta.core.protocol import CloseCode
from jupyter_rtc_amprenta.core.queries_backup import GENERAL, LEFT_OUT, OF_DOCUMENT, opened
from jupyter_rtc_amprenta.core.restore import Choice
from jupyter_rtc_amprenta.core.schema import metadata, now, sessions, users, yjs_documents, yjs_updates
from jupyter_rtc_amprenta.core.schema_record import audit, events
from jupyter_rtc_amprenta.core.tokens import Stamp
from jupyter_rtc_amprenta.core.versions import Versions
from jupyterhub_service.bodies import LinkBody

pytestmark = [pytest.mark.anyio, pytest.mark.integration]

KEYS = new_keys("k1")
CHANGED = {"generation", "lease_epoch", "lease_holder", "lease_expires_at", "activity_id", "key_id"}


def read(path: Path) -> bytes:
    return path.read_bytes()


def write(path: Path, content: bytes) -> None:
    path.write_bytes(content)


def quiet(done: int, total: int) -> None:
    """Show no progress."""


def log_over(database: Database, keys: EncryptionKeys = KEYS) -> DocumentLog:
    policy = replace(LogPolicy.of(settings.read({})), keys=keys, retention=Retention(1e9, 3, grace=0.0))
    return DocumentLog(database, policy=policy)


def picture(connection: Connection, keys: EncryptionKeys) -> dict[str, list[dict[str, Any]]]:
    """Everything that a backup is to bring back, decrypted, as sortable rows."""
    found = {}
    for table in (*OF_DOCUMENT, *GENERAL):
        rows = (opened(table, row._mapping, keys) for row in connection.execute(select(table)))
        kept = [{name: row[name] for name in row if name not in CHANGED} for row in rows]
        found[table.name] = sorted(kept, key=str)
    # The restore itself is in the audit too.
    found["audit"] = [row for row in found["audit"] if row["action"] != "restored"]
    return found


async def fill(rtc: Rtc, log: DocumentLog) -> dict[str, str]:
    """Two documents as people make them, the first one alice's; gives their texts."""
    first = await rtc.register(document_type="text", path="notes.txt", title="notes.txt")
    second = await rtc.register(BOB, document_type="text", path="work/plan.txt", file_id="file-2")
    await rtc.let_in(first, BOB, "read-only")
    await rtc.invites.invite(ALICE, first, replace(TO_BOB, username="carol"))
    await rtc.links.make(ALICE, first, LinkBody("read-only", 3, None))
    texts = {}
    for document_id, name in ((first, "first"), (second, "second")):
        author = Author()
        for number in range(8):
            await log.append(document_id, author.write(f"{name} {number} "), 1, b"who" if number % 2 else None)
            if number == 3:
                await Versions(log).create(document_id, "half", "alice")
        await log.compact(document_id)
        await log.append(document_id, author.write("end"), 1)
        texts[document_id] = str(author.text)
    await rtc.seen(server("alice"), first)
    return texts


async def texts_of(log: DocumentLog, documents: Any) -> dict[str, str]:
    return {document_id: text_of(await log.read(document_id)) for document_id in documents}


def destroy(database: Database, url: str) -> None:
    """Everything is gone, and an empty schema is there."""
    with database.engine.begin() as connection:
        connection.execute(text("DROP SCHEMA public CASCADE"))
        connection.execute(text("CREATE SCHEMA public"))
    migrate.upgrade(url)


def put_back(database: Database, path: Path, keys: EncryptionKeys = KEYS, **choice: Any) -> list[str]:
    planned = restore.plan(database, path, keys, Choice(**choice))
    return restore.restore(database, path, keys, planned, quiet)


@pytest.fixture
async def filled(rtc: Rtc, database: Database) -> tuple[DocumentLog, dict[str, str]]:
    log = log_over(database)
    return log, await fill(rtc, log)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "rtc.backup"


def test_every_table_is_backed_up_or_left_out_for_a_reason() -> None:
    assert {*OF_DOCUMENT, *GENERAL, *LEFT_OUT} == set(metadata.tables.values())


async def test_backup_destroy_restore_gives_equal_documents(
    rtc: Rtc, database: Database, database_url: str, filled: Any, path: Path
) -> None:
    log, texts = filled
    before = database.call(picture, KEYS)
    contents = backup.make(database, path, KEYS, (), quiet)
    assert contents.documents == sorted(texts)
    destroy(database, database_url)
    assert put_back(database, path) == []

    assert database.call(picture, KEYS) == before
    assert all(before.values()) or not before["webhook_positions"]
    assert await texts_of(log, texts) == texts
    for document_id in texts:
        (version,) = await Versions(log).list(document_id)
        assert (version.label, version.created_by) == ("half", "alice")
        assert (await Versions(log).content(document_id, version.version_id)).endswith(" 3 ")
        assert len((await log.read(document_id, whole=True)).entries) == 4
    assert (await rtc.people(next(iter(texts))))["alice"]["permissions"] == "read-write"
    # They go on from there: the log takes the next edit, under new encryption too.
    await log.append(min(texts), Author().write("more"), None)


async def test_the_history_that_was_there_is_refused_from_then_on(
    database: Database, database_url: str, filled: Any, path: Path
) -> None:
    log, texts = filled
    document_id = min(texts)
    backup.make(database, path, KEYS, (), quiet)
    generations = []
    for _ in range(2):
        destroy(database, database_url)
        put_back(database, path)
        generations.append((await log.read(document_id)).generation)
        with pytest.raises(GenerationChanged):
            await log.append(document_id, Author().write("late"), 1)
        # Direct mode: a server that held a lease in the database that was lost, whatever its epoch had become.
        log.lease_epochs[document_id] = 1
        with pytest.raises(LeaseLost):
            await log.append(document_id, Author().write("late"), None)
        log.lease_epochs.clear()
    # Nor is what was written after one restore taken for what was written after another.
    assert generations[0] != generations[1] and min(generations) > 1


async def test_the_file_is_sealed_and_its_owners_alone(database: Database, filled: Any, path: Path) -> None:
    _, texts = filled
    backup.make(database, path, KEYS, (), quiet)
    content = read(path)
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]
    assert not any(word in content for word in (b"alice", b"notes", min(texts).encode()))
    with pytest.raises(EncryptionError, match="encrypted with key k1, which RTC_ENCRYPTION_KEYS lacks"):
        backup.verify(path, new_keys("k2"))
    with pytest.raises(BackupError, match="damaged, or its key is another one of that name"):
        backup.verify(path, new_keys("k1"))


async def test_keys_may_change_between_backup_and_restore(
    database: Database, database_url: str, filled: Any, path: Path
) -> None:
    _, texts = filled
    backup.make(database, path, KEYS, (), quiet)
    destroy(database, database_url)
    new = EncryptionKeys({"k2": os.urandom(32)} | KEYS._keys)
    put_back(database, path, new)
    with database.engine.begin() as connection:
        assert set(connection.execute(select(yjs_updates.c.key_id)).scalars()) == {"k2"}
    assert await texts_of(log_over(database, new), texts) == texts


async def test_without_keys_it_is_plain_and_checked_all_the_same(
    rtc: Rtc, database: Database, database_url: str, path: Path
) -> None:
    log = log_over(database, PLAIN)
    texts = await fill(rtc, log)
    assert backup.make(database, path, PLAIN, (), quiet).described["key_id"] is None
    destroy(database, database_url)
    put_back(database, path, PLAIN)
    assert await texts_of(log, texts) == texts
    sound = read(path)
    for at in range(3, len(sound), len(sound) // 40):
        write(path, sound[:at] + bytes([sound[at] ^ 1]) + sound[at + 1 :])
        with pytest.raises((BackupError, EncryptionError)):
            backup.verify(path, PLAIN)


async def test_a_file_that_is_not_whole_changes_nothing(
    database: Database, database_url: str, filled: Any, path: Path
) -> None:
    backup.make(database, path, KEYS, (), quiet)
    sound = read(path)
    header, _, frames = sound.partition(b"\n")
    broken = {
        "cut off: its end is missing": [sound[:size] for size in range(len(header) + 1, len(sound), 97)],
        "something was added": [sound + b"x"],
        "is damaged": [sound[:-20] + b"\0" + sound[-19:]],
        "no backup that 'jupyter-rtc backup' has made": [b"", b"{}\n" + frames, frames, b"[1]\n", header[:100]],
        "made by a newer version: upgrade jupyter-rtc-amprenta": [sound.replace(b'"version": 1', b'"version": 2', 1)],
    }
    destroy(database, database_url)
    for words, files in broken.items():
        for content in files:
            write(path, content)
            with pytest.raises(BackupError, match=words):
                put_back(database, path)
    with database.engine.begin() as connection:
        assert connection.execute(select(users)).all() == []


async def test_a_backup_of_an_older_schema_lacks_columns_and_has_others(
    database: Database, database_url: str, filled: Any, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log, texts = filled

    def older(table: Any, row: Any, keys: EncryptionKeys) -> dict[str, Any]:
        lacking = {"yjs_documents": "tail_bytes", "activity": "detail"}.get(table.name)
        plain = opened(table, row, keys) | {"column_of_old": 1}
        return {name: plain[name] for name in plain if name != lacking}

    monkeypatch.setattr(backup.queries_backup, "opened", older)
    monkeypatch.setattr(backup, "verify", lambda path, keys: None)
    backup.make(database, path, KEYS, (), quiet)
    monkeypatch.undo()
    destroy(database, database_url)
    put_back(database, path)
    assert await texts_of(log, texts) == texts
    assert {row["detail"] for row in database.call(picture, KEYS)["activity"]} == {""}


async def test_tokens_that_were_revoked_stay_revoked(
    database: Database, database_url: str, filled: Any, path: Path
) -> None:
    alone = Stamp("alice", "hash", time.time(), time.time() + 600)
    before = Stamp("bob", "other", time.time(), time.time() + 600)
    database.call(queries_tokens.revoke_token, alone)
    database.call(queries_tokens.revoke_tokens_of, "bob")
    backup.make(database, path, KEYS, (), quiet)
    destroy(database, database_url)
    put_back(database, path)
    assert database.call(queries_tokens.revoked, [alone, before]) == {alone, before}


async def test_a_backup_of_a_newer_schema_is_refused(
    database: Database, filled: Any, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    backup.make(database, path, KEYS, (), quiet)
    monkeypatch.setattr(restore, "is_known", lambda revision: False)
    with pytest.raises(BackupError, match="newer version: upgrade"):
        put_back(database, path, replace=True)


async def test_no_file_is_left_where_it_fails(database: Database, filled: Any, path: Path) -> None:
    _, texts = filled
    with pytest.raises(EncryptionError, match=f"{min(texts)}: .*key k1.* --without {min(texts)}"):
        backup.make(database, path, PLAIN, (), quiet)
    database.call(_lose_an_update, min(texts))
    with pytest.raises(BackupError, match=f"document {min(texts)} is not whole"):
        backup.make(database, path, KEYS, (), quiet)
    assert list(path.parent.iterdir()) == []
    assert backup.make(database, path, KEYS, {min(texts)}, quiet).documents == [max(texts)]
    with pytest.raises(BackupError, match="There is a file"):
        backup.make(database, path, KEYS, (), quiet)
    with pytest.raises(BackupError, match="can't be written: No such file"):
        backup.make(database, path.parent / "none" / "x", KEYS, (), quiet)


def _lose_an_update(connection: Connection, document_id: str) -> None:
    last = select(yjs_documents.c.seq).filter_by(document_id=document_id).scalar_subquery()
    connection.execute(delete(yjs_updates).where(yjs_updates.c.document_id == document_id, yjs_updates.c.seq == last))


# --- into a running system -------------------------------------------------------------------------------------


async def test_what_is_there_is_left_alone_unless_it_is_to_be_replaced(
    rtc: Rtc, database: Database, filled: Any, path: Path
) -> None:
    log, texts = filled
    first, second = sorted(texts)
    backup.make(database, path, KEYS, (), quiet)
    before = database.call(picture, KEYS)
    await log.append(first, Author().write("later"), 1)
    database.call(queries_people.delete_document, second)

    with pytest.raises(BackupError, match=f"1 of 2 documents are in this database already, such as {first}"):
        put_back(database, path)
    put_back(database, path, only_missing=True)
    later = await texts_of(log, texts)
    assert later[second] == texts[second] and "later" in later[first]

    put_back(database, path, replace=True)
    assert await texts_of(log, texts) == texts
    after = database.call(picture, KEYS)
    # What was told to the audit since is not forgotten; and nothing is there twice.
    assert [row for row in after.pop("audit") if row in before["audit"]] == before.pop("audit")
    assert after == before


async def test_one_document_alone(rtc: Rtc, database: Database, filled: Any, path: Path) -> None:
    log, texts = filled
    first, second = sorted(texts)
    backup.make(database, path, KEYS, (), quiet)
    for document_id in texts:
        await log.append(document_id, Author().write("later"), 1)
    put_back(database, path, documents=[first], replace=True)
    now_there = await texts_of(log, texts)
    assert now_there[first] == texts[first] and "later" in now_there[second]
    with pytest.raises(BackupError, match="has no document text_none"):
        put_back(database, path, documents=["text_none"])


async def test_people_who_were_renamed_since_and_files_that_are_other_documents_by_now(
    rtc: Rtc, database: Database, filled: Any, path: Path
) -> None:
    log, texts = filled
    document_id = next(iter(texts))
    backup.make(database, path, KEYS, (), quiet)
    database.call(queries_people.delete_document, document_id)
    other = await rtc.register(document_type="text", path="notes.txt", title="notes.txt")
    with database.engine.begin() as connection:
        connection.execute(update(users).filter_by(username="bob").values(username="robert"))
    (note,) = put_back(database, path, documents=[document_id])
    assert note.startswith(f"{document_id}: notes.txt of alice is another document by now")
    assert set(await rtc.people(document_id)) == {"alice", "robert"}
    assert await rtc.register(document_type="text", path="notes.txt", title="notes.txt") == other
    assert await texts_of(log, [document_id]) == {document_id: texts[document_id]}


async def test_a_document_that_is_open_in_direct_mode_is_not_replaced(
    database: Database, filled: Any, path: Path
) -> None:
    _, texts = filled
    backup.make(database, path, KEYS, (), quiet)
    database.call(queries_leases.acquire, min(texts), "alice's server", 60)
    with pytest.raises(DocumentLeased, match="open on alice's server"):
        put_back(database, path, replace=True)


async def test_a_restore_that_is_cut_short_says_how_far_it_came(
    database: Database, database_url: str, filled: Any, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log, texts = filled
    backup.make(database, path, KEYS, (), quiet)
    destroy(database, database_url)
    seal = EncryptionKeys.seal

    def wrong(self: EncryptionKeys, plain: bytes, document_id: str, place: bytes) -> tuple[bytes, str | None]:
        return seal(self, plain if document_id == min(texts) else plain + b"\0", document_id, place)

    monkeypatch.setattr(EncryptionKeys, "seal", wrong)
    # What is written is read back before it counts.
    with pytest.raises(BackupError, match=r"not written as it is in the backup. 1 of 2 documents are restored"):
        put_back(database, path)
    assert await database.run(queries_people.session_exists, max(texts)) is False
    monkeypatch.undo()
    put_back(database, path, only_missing=True)
    assert await texts_of(log, texts) == texts


async def test_who_listens_and_the_audit_go_on_after_what_was_lost(
    rtc: Rtc, database: Database, database_url: str, filled: Any, path: Path
) -> None:
    _, texts = filled
    backup.make(database, path, KEYS, (), quiet)
    newest = database.call(queries_record.event_position)[1]
    told = database.call(picture, KEYS)["audit"]
    destroy(database, database_url)
    with database.engine.begin() as connection:
        row = {name: told[0][name] for name in told[0] if name != "audit_id"}
        connection.execute(insert(audit).values(row | {"action": "refused", "created_at": now()}))
    put_back(database, path)
    kept = database.call(picture, KEYS)["audit"]
    strip = [{name: row[name] for name in row if name != "audit_id"} for row in kept]
    assert all({name: row[name] for name in row if name != "audit_id"} in strip for row in told)
    assert len(kept) == len(told) + 1
    await rtc.invites.invite(ALICE, next(iter(texts)), replace(TO_BOB, username="carol"))
    with database.engine.begin() as connection:
        assert min(connection.execute(select(events.c.event_id)).scalars()) > newest


# --- live ------------------------------------------------------------------------------------------------------


async def test_a_backup_under_load_has_what_was_acknowledged_and_a_restore_reaches_the_client(
    make_yjs: Any, database: Database, path: Path
) -> None:
    yjs = await make_yjs()
    document_id, other = await yjs.document(), await yjs.document()
    async with yjs.client(document_id) as typist, yjs.client(other) as bystander:
        typing = asyncio.create_task(_type(typist))
        await until(lambda: len(str(typist.text)) > 50)
        acknowledged = str(typist.text)
        await typist.committed()
        await asyncio.to_thread(backup.make, database, path, PLAIN, (), quiet)
        await until(lambda: len(str(typist.text)) > len(acknowledged) + 50)
        typing.cancel()
        await typist.committed()
        after = str(typist.text)

        choice = {"documents": [document_id], "replace": True}
        await asyncio.to_thread(lambda: put_back(database, path, PLAIN, **choice))
        await until(lambda: typist.close_code == CloseCode.WRONG_GENERATION)
        restored = text_of(await database.run(queries.read_history, document_id))
        assert restored.startswith(acknowledged) and after.startswith(restored) and restored != after
        # Nothing of the old history comes back, and a tab that is loaded anew goes on from what was restored.
        generation = yjs.database.call(queries_open.positions, [document_id])[document_id][0]
        await _is_refused(yjs, document_id, typist)
        token = yjs.token(document_id, generation=generation)
        again = yjs.client(document_id)
        again._headers = {"Authorization": f"Bearer {token}"}
        async with again:
            assert str(again.text) == restored
            again.text.insert(0, "on: ")
            await again.committed()
        assert bystander.close_code is None
    assert text_of(await database.run(queries.read_history, document_id)) == "on: " + restored


async def _type(client: Any) -> None:
    number = 0
    while True:
        client.text.insert(len(str(client.text)), f"{number} ")
        number += 1
        await asyncio.sleep(0.005)


async def _is_refused(yjs: Any, document_id: str, old: Any) -> None:
    """A tab with the old history that comes back with its old token."""
    late = yjs.client(document_id, doc=old.doc)
    await late.connect()
    await until(lambda: late.close_code == CloseCode.WRONG_GENERATION)


# --- the command line ------------------------------------------------------------------------------------------


async def test_the_commands(
    database: Database,
    database_url: str,
    filled: Any,
    path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    _, texts = filled
    monkeypatch.setenv("RTC_DATABASE_URL", database_url)
    monkeypatch.setenv("RTC_ENCRYPTION_KEYS", f"k1:{base64.b64encode(KEYS._keys['k1']).decode()}")

    def run(*arguments: str) -> tuple[int, str, str]:
        code = cli.main([*arguments])
        return code, *capsys.readouterr()

    code, out, _ = run("backup", str(path))
    assert code == 0 and "written, and read back: 2 documents, 2 versions, 3 users" in out and "with key k1" in out
    code, out, _ = run("backup", "--verify", str(path))
    assert code == 0 and "is whole: 2 documents" in out
    code, _, err = run("restore", str(path))
    assert code == 1 and "already" in err and len(err.splitlines()) == 1
    code, out, _ = run("restore", "--dry-run", "--replace", str(path))
    assert code == 0 and "It would restore 2 documents, 2 of them in place of what is there." in out
    destroy(database, database_url)
    code, out, _ = run("restore", str(path))
    assert code == 0 and "Restored and read back: 2 documents, 0 of them" in out
    assert await texts_of(log_over(database), texts) == texts
    write(path, read(path)[:-1])
    code, _, err = run("backup", "--verify", str(path))
    assert code == 1 and err == f"jupyter-rtc: {path}: The backup is cut off: its end is missing.\n"
    with database.engine.begin() as connection:
        assert len(connection.execute(select(sessions)).all()) == 2
