"""Encryption in the database: nothing is readable, keys rotate on a live log, a wrong key is no empty document."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import Connection, select, update
from support.logs import Author, new_keys, text_of

from jupyter_rtc_amprenta.core import queries_compaction
from jupyter_rtc_amprenta.core.compaction import Retention
from jupyter_rtc_amprenta.core.crypto import PLAIN, EncryptionKeys
from jupyter_rtc_amprenta.core.database import Database
from jupyter_rtc_amprenta.core.documentlog import DocumentLog
from jupyter_rtc_amprenta.core.errors import EncryptionError
from jupyter_rtc_amprenta.core.logpolicy import LogPolicy
from jupyter_rtc_amprenta.core.schema import yjs_snapshots, yjs_updates

pytestmark = [pytest.mark.anyio, pytest.mark.integration]


def _log(database: Database, keys: EncryptionKeys) -> DocumentLog:
    return DocumentLog(database, policy=LogPolicy(keys=keys, retention=Retention(1e9, 3, grace=0.0)))


def _payloads(connection: Connection) -> list[tuple[bytes, str | None]]:
    return [
        (bytes(row.payload), row.key_id)
        for table in (yjs_updates, yjs_snapshots)
        for row in connection.execute(select(table.c.payload, table.c.key_id))
    ]


def _metadata(connection: Connection) -> list[bytes]:
    return [bytes(row) for row in connection.execute(select(yjs_updates.c.metadata)).scalars() if row is not None]


async def _fill(log: DocumentLog, author: Author, count: int = 6) -> None:
    await log.create("d")
    for number in range(count):
        await log.append("d", author.write(f"secret {number} "), 1, metadata=b"secret too" if number % 2 else None)


async def test_nothing_readable_is_in_the_database(database: Database) -> None:
    log, author = _log(database, new_keys("k1")), Author()
    await _fill(log, author)
    await log.append_first("d", author.updates[0], 1)
    await log.compact("d")
    payloads = await database.run(_payloads)
    assert {key_id for _, key_id in payloads} == {"k1"}
    assert not any(b"secret" in payload for payload, _ in payloads)
    assert not any(b"secret" in metadata for metadata in await database.run(_metadata))
    entries = (await log.read("d", whole=True)).entries
    assert [entry.metadata for entry in entries] == [b"secret too", None, b"secret too"]
    assert text_of(await log.read("d")) == str(author.text)
    await log.stop()


async def test_plain_documents_go_on_once_there_is_a_key(database: Database) -> None:
    plain, author = _log(database, PLAIN), Author()
    await _fill(plain, author)
    await plain.stop()
    log = _log(database, new_keys("k1"))
    await log.append("d", author.write("and now"), 1)
    assert text_of(await log.read("d", whole=True)) == str(author.text)
    await log.stop()


@pytest.mark.parametrize("keys", [PLAIN, new_keys("other"), new_keys("k1")], ids=["none", "missing", "wrong"])
async def test_a_missing_or_wrong_key_is_no_empty_document(database: Database, keys: EncryptionKeys) -> None:
    log = _log(database, new_keys("k1"))
    await _fill(log, Author())
    await log.compact("d")
    await log.stop()
    wrong = _log(database, keys)
    for options in ({}, {"whole": True}, {"until": 4}):
        with pytest.raises(EncryptionError):
            await wrong.read("d", **options)
    before = await database.run(_payloads)
    with pytest.raises(EncryptionError):
        await wrong.append("d", Author().write("x"), 1)
        await wrong.compact("d")
    assert set(before) <= set(await database.run(_payloads))
    await wrong.stop()


async def test_keys_rotate_while_it_is_written(database: Database) -> None:
    first, author = new_keys("k1"), Author()
    old = _log(database, first)
    await _fill(old, author)
    await old.compact("d")
    both = EncryptionKeys(new_keys("k2")._keys | first._keys)
    assert await database.run(queries_compaction.rows_not_encrypted_with, "k2") == 5
    while await database.run(queries_compaction.encrypt_anew, "d", both, 2):
        await old.append("d", author.write("meanwhile "), 1)
        if len(author.updates) > 8:
            await old.stop()
            old = _log(database, both)
    assert {key_id for _, key_id in await database.run(_payloads)} == {"k2"}
    await old.stop()
    alone = _log(database, EncryptionKeys({"k2": both._keys["k2"]}))
    assert text_of(await alone.read("d")) == text_of(await alone.read("d", whole=True)) == str(author.text)
    await alone.stop()


async def test_a_row_that_was_swapped_in_the_database_is_noticed(database: Database) -> None:
    log, author = _log(database, new_keys("k1")), Author()
    await _fill(log, author, 2)

    def swap(connection: Any) -> None:
        one, two = (payload for payload, _ in _payloads(connection))
        for seq, payload in ((1, two), (2, one)):
            connection.execute(update(yjs_updates).where(yjs_updates.c.seq == seq).values(payload=payload))

    await database.run(swap)
    with pytest.raises(EncryptionError, match="altered"):
        await log.read("d")
    await log.stop()
