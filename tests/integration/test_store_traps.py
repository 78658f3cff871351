"""Ways in which upstream's Y-stores lose edits, and grow, and that ours do not: each is named after what it is there.

Those that need a linked room are in `test_upstream_traps.py`. What is here is true of PostgreSQL and of a local store.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from pycrdt import Doc, Text, merge_updates
from pycrdt.store import YDocNotFound
from pycrdt.websocket import YRoom
from support.direct_rooms import room_of
from support.logs import Author, new_keys, text_of
from support.yjs_client import until

from jupyter_rtc_amprenta.core import queries, queries_compaction, schema
from jupyter_rtc_amprenta.core.compaction import Retention
from jupyter_rtc_amprenta.core.crypto import PLAIN
from jupyter_rtc_amprenta.core.database import Database
from jupyter_rtc_amprenta.core.documentlog import DocumentLog
from jupyter_rtc_amprenta.core.errors import ContentError, DatabaseUnavailable
from jupyter_rtc_amprenta.core.logpolicy import LogPolicy
from jupyter_rtc_amprenta.core.schema import prepare_local_store
from jupyter_rtc_amprenta.ystore import PostgresYStore

pytestmark = [pytest.mark.anyio, pytest.mark.integration]

PATH = ".file:1.y"


class Fails(Database):
    """A database that does not answer some times, before it has done anything."""

    to_fail = failed = 0

    async def run_one(self, *args: Any, **kwargs: Any) -> Any:
        if self.to_fail:
            self.to_fail -= 1
            self.failed += 1
            raise DatabaseUnavailable("The database does not answer.")
        return await super().run_one(*args, **kwargs)


@pytest.fixture(params=["postgresql", "sqlite"])
def any_database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Fails]:
    if request.param == "postgresql":
        database = Fails(request.getfixturevalue("database_url"))
    else:
        database = Fails(f"sqlite:///{tmp_path / 'log.db'}")
        database.call(prepare_local_store)
    yield database
    database.close()


@pytest.fixture(params=["plain", "encrypted"])
async def log(request: pytest.FixtureRequest, any_database: Fails) -> AsyncIterator[DocumentLog]:
    keys = PLAIN if request.param == "plain" else new_keys("k1")
    log = DocumentLog(any_database, policy=LogPolicy(keys=keys, retention=Retention(1e9, updates=0, grace=0.0)))
    yield log
    await log.stop()


@pytest.fixture
def store(log: DocumentLog) -> PostgresYStore:
    return PostgresYStore.bound_to(log)(PATH)


async def loaded(store: PostgresYStore) -> str:
    doc: Doc = Doc()
    await store.apply_updates(doc)
    return str(doc.get("source", type=Text))


async def kept(store: PostgresYStore) -> list[bytes]:
    return [item[0] async for item in store.read()]


# --- writing ---


async def test_writes_that_complete_in_any_order(store: PostgresYStore) -> None:
    author = Author()
    for number in range(100):
        author.write(f"{number} ")
    await asyncio.gather(*(store.write(update) for update in author.updates))
    assert await kept(store) == author.updates


async def test_a_stop_that_cancels_what_is_in_flight(store: PostgresYStore, log: DocumentLog) -> None:
    author = Author()
    writing = [asyncio.create_task(store.write(author.write(f"{number} "))) for number in range(11)]
    await asyncio.sleep(0)
    for task in writing:
        task.cancel()
    await asyncio.wait(writing)
    assert await log.flush(10)
    assert await loaded(store) == str(author.text)


@pytest.mark.parametrize("ticks", range(4))
async def test_edits_of_the_last_ticks_before_a_stop(
    store: PostgresYStore, log: DocumentLog, tmp_path: Path, ticks: int
) -> None:
    room = await room_of(store, tmp_path)
    for number in range(11):
        room._document._ysource.insert(0, f"{number} ")
    for _ in range(ticks):
        await asyncio.sleep(0)
    await room.stop()
    assert await log.flush(10)
    assert await loaded(store) == " ".join(str(number) for number in reversed(range(11))) + " base\n"


async def test_an_edit_is_kept_once_though_it_is_told_twice(
    store: PostgresYStore, log: DocumentLog, tmp_path: Path
) -> None:
    """As it is made, and when upstream's room hands it to `write`."""
    handed: list[bytes] = []
    write = store.write

    async def count(data: bytes) -> None:
        handed.append(data)
        await write(data)

    store.write = count  # type: ignore[method-assign]
    room = await room_of(store, tmp_path)
    await room.ydoc_observed.wait()
    before = len(await kept(store))
    handed.clear()
    others = [Author([room.ydoc.get_update()]) for _ in range(2)]
    for number in range(20):
        room._document._ysource.insert(0, f"{number} ")
        other = others[number % 2]
        other.doc.apply_update(room.ydoc.get_update())
        # What several people have typed, in one deletion.
        room.ydoc.apply_update(other.remove(0, 3) if number % 3 == 2 else other.write(f"other {number} "))
        await asyncio.sleep(0)
    await until(lambda: len(handed) >= 40)
    await room.stop()
    await log.flush(10)
    assert (await kept(store))[before:] == handed


async def test_a_write_that_fails_ends_the_room_and_the_edits_after_it(
    store: PostgresYStore, any_database: Fails, log: DocumentLog
) -> None:
    room = YRoom(ystore=store)
    running = asyncio.create_task(room.start())
    await room.started.wait()
    await room.ydoc_observed.wait()
    text = room.ydoc.get("source", type=Text)
    for number in range(10):
        if number == 3:
            any_database.to_fail = 1
        text.insert(len(str(text)), f"{number} ")
        await asyncio.sleep(0.01)
    await until(lambda: any_database.failed == 1)
    assert await log.flush(10)
    assert not running.done()
    assert await loaded(store) == "0 1 2 3 4 5 6 7 8 9 "
    await room.stop()
    await running


async def test_a_store_that_can_not_start_is_started_thousands_of_times() -> None:
    """It starts, whatever the database does; who reads or writes waits for it, or is told."""
    database = Database("postgresql://nobody@127.0.0.1:1/nothing")
    log = DocumentLog(database)
    async with PostgresYStore.bound_to(log)(PATH) as store:
        assert store.started.is_set()
        with pytest.raises(DatabaseUnavailable):
            await loaded(store)
    await log.stop(0.1)
    database.close()


@pytest.mark.parametrize("reading", [loaded, kept])
async def test_errors_that_break_the_closing_of_a_socket(
    reading: Callable[[PostgresYStore], Awaitable[object]],
) -> None:
    """Upstream puts an error's text into a close frame, which has 123 bytes for all of it, and browsers show it."""
    database = Database("postgresql://nobody:geheim@127.0.0.1:1/nothing")
    try:
        with pytest.raises(DatabaseUnavailable) as refusal:
            await reading(PostgresYStore.bound_to(DocumentLog(database))(PATH))
        assert len(str(refusal.value)) < 60 and "geheim" not in str(refusal.value)
    finally:
        database.close()


# --- reading ---


async def test_what_is_no_update_is_taken_and_read_back(store: PostgresYStore) -> None:
    for data in (b"foo", b"", b"\x00\x00"):
        await store.write(data)
    assert await kept(store) == [b"foo", b"", b"\x00\x00"]


async def test_drivers_that_give_memoryviews(store: PostgresYStore, log: DocumentLog) -> None:
    author = Author()
    await store.write(author.write("a"))
    await log.compact(store.document_id)
    await store.write(author.write("b"))
    for whole in (False, True):
        history = await log.read(store.document_id, whole=whole)
        assert {type(update) for update in history.updates} == {bytes}
    assert await loaded(store) == "ab"


async def test_readers_of_what_is_new_miss_what_is_committed_late(database_url: str) -> None:
    """Positions are given in the order of commits: who asks for what comes after the last one sees every row."""
    databases = [Database(database_url) for _ in range(4)]
    logs = [DocumentLog(database) for database in databases]
    await logs[0].create("d")
    writing = asyncio.gather(
        *(log.append("d", f"{name} {number}".encode(), 1) for name, log in enumerate(logs[1:]) for number in range(300))
    )
    seen: list[bytes] = []
    last = 0
    while len(seen) < 900:
        news = await logs[0].read_since("d", last)
        assert not news.whole and len(news.updates) == news.seq - last
        seen += news.updates
        last = news.seq
    assert sorted(await writing) == list(range(1, 901))
    assert len(set(seen)) == 900
    for log, database in zip(logs, databases, strict=True):
        await log.stop()
        database.close()


async def test_a_store_that_was_never_written_is_not_an_empty_document(store: PostgresYStore) -> None:
    with pytest.raises(YDocNotFound):
        await loaded(store)


# --- merging ---


async def test_a_squash_that_erases_the_document(store: PostgresYStore, log: DocumentLog) -> None:
    """SQLiteYStore's does where no decompressor is registered; of ours nothing is to be registered."""
    author = Author()
    for number in range(50):
        await store.write(author.write(f"{number} "))
    for _ in range(3):
        await log.compact(store.document_id)
        assert await loaded(PostgresYStore.bound_to(log)(PATH)) == str(author.text)
    assert len(await kept(store)) < 3


async def test_a_clock_that_steps_back(
    store: PostgresYStore, log: DocumentLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SQLiteYStore compares times, and leaves out for good what was written by an earlier clock."""
    real = schema.now
    offset = timedelta()

    def now() -> datetime:
        return real() + offset

    for module in (queries, queries_compaction):
        monkeypatch.setattr(module, "now", now)
    monkeypatch.setattr("jupyter_rtc_amprenta.core.queries_quick.now", now)
    author = Author()
    for hours in (0, -5, 3, -48):
        offset = timedelta(hours=hours)
        for number in range(5):
            await store.write(author.write(f"{hours}.{number} "))
        await log.compact(store.document_id)
        await store.write(author.write("| "))
        assert await loaded(store) == str(author.text)
        assert text_of(await log.read(store.document_id, whole=True)) == str(author.text)


async def test_a_merge_that_forgets_what_waits_for_its_predecessor(store: PostgresYStore, log: DocumentLog) -> None:
    """`Doc.get_update()` leaves it out; it is committed, and must come to light with what it waits for."""
    author = Author()
    first, missing, last = (author.write(letter) for letter in "abc")
    await store.write(first)
    await store.write(last)
    await log.compact(store.document_id)
    assert await loaded(store) == "a"
    await store.write(missing)
    await log.compact(store.document_id)
    assert await loaded(store) == "abc"


async def test_a_merge_that_fails_on_bytes_that_are_no_update(store: PostgresYStore, log: DocumentLog) -> None:
    author = Author()
    with pytest.raises(ValueError):
        merge_updates(author.write("a"), b"foo")
    await store.write(author.updates[0])
    await store.write(b"foo")
    with pytest.raises(ContentError, match="no Yjs update"):
        await log.compact(store.document_id)
    assert await kept(store) == [author.updates[0], b"foo"]


async def test_a_store_that_is_hundreds_of_times_its_document(store: PostgresYStore, log: DocumentLog) -> None:
    """`merge_updates` keeps each keystroke apart: 20,000 of them are ten times what they are in a document."""
    author = Author()
    for _ in range(2000):
        author.write("x")
    await asyncio.gather(*(store.write(update) for update in author.updates))
    await log.compact(store.document_id)
    stored = await log.database.run(queries_compaction.stored, store.document_id)
    assert stored.size < 2 * len(author.doc.get_update()) < len(merge_updates(*author.updates))


async def test_opening_again_appends_the_whole_document(store: PostgresYStore, tmp_path: Path) -> None:
    rows = []
    for _ in range(3):
        room = await room_of(store, tmp_path)
        await room.stop()
        rows.append(len(await kept(store)))
    assert rows == [rows[0]] * 3
