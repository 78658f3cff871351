"""The log over both of its databases: order, acknowledgement, outages, and writers that get in each other's way."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from itertools import chain
from pathlib import Path
from typing import Any

import psycopg2
import pytest
from sqlalchemy import Connection, event, insert, select, text, update
from support.yjs_client import until

from jupyter_rtc_amprenta.core import database as database_module
from jupyter_rtc_amprenta.core import logwriter, migrate, queries, queries_open, queries_quick
from jupyter_rtc_amprenta.core.crypto import PLAIN
from jupyter_rtc_amprenta.core.database import Database
from jupyter_rtc_amprenta.core.documentlog import DocumentLog
from jupyter_rtc_amprenta.core.errors import (
    ConfigurationError,
    DatabaseError,
    DatabaseUnavailable,
    DocumentNotFound,
    GenerationChanged,
)
from jupyter_rtc_amprenta.core.queries import Pending
from jupyter_rtc_amprenta.core.queries_history import History, read_history
from jupyter_rtc_amprenta.core.schema import (
    LOG_TABLES,
    metadata,
    now,
    yjs_documents,
    yjs_snapshots,
    yjs_updates,
)
from jupyter_rtc_amprenta.demo.postgres import EmbeddedPostgres

pytestmark = [pytest.mark.anyio, pytest.mark.integration]

MakeDatabase = Callable[..., Database]
# The two ways in which a log appends.
APPENDS = (queries.append, queries_quick.append)


@pytest.fixture(params=["postgresql", "sqlite"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A fresh database of either kind, in which the log's tables are."""
    if request.param == "postgresql":
        return request.getfixturevalue("database_url")
    url = f"sqlite:///{tmp_path}/store.db"
    database = Database(url)
    database.call(lambda connection: metadata.create_all(connection, tables=list(LOG_TABLES)))
    database.close()
    return url


@pytest.fixture
def make_database(url: str) -> Iterator[MakeDatabase]:
    """Connects to it: to PostgreSQL as often as one likes, to a local store once, since one process has it."""
    made: list[Database] = []

    def make(kind: type[Database] = Database) -> Database:
        if not made or not made[0].is_sqlite:
            made.append(kind(url))
        return made[-1]

    yield make
    for database in made:
        database.close()


@pytest.fixture
async def log(make_database: MakeDatabase, anyio_backend: str) -> DocumentLog:
    """A log that knows the documents a, b and c."""
    log = DocumentLog(make_database())
    for document_id in "abc":
        assert await log.create(document_id) == 1
    return log


@asynccontextmanager
async def locked(database: Database) -> AsyncIterator[None]:
    """Somebody else holds the documents: nothing can be appended meanwhile."""
    locked, done = threading.Event(), threading.Event()

    def hold(connection: Any) -> None:
        connection.execute(select(yjs_documents).with_for_update())
        locked.set()
        done.wait(20)

    holding = asyncio.create_task(database.run(hold))
    await until(locked.is_set)
    try:
        yield
    finally:
        done.set()
        await holding


def payloads(history: History) -> list[bytes]:
    return [entry.payload for entry in history.entries]


def positions(history: History) -> list[int]:
    return [entry.seq for entry in history.entries]


def numbered(document_id: str, number: int, writer: str = "w", generation: int | None = 1) -> Pending:
    return Pending(document_id, generation, writer * 32, number, f"{writer}{number}".encode())


# --- order ---


async def test_updates_are_read_in_the_order_in_which_they_were_appended_and_without_gaps(
    log: DocumentLog,
) -> None:
    for number in range(300):
        log.append("abc"[number % 3], str(number).encode(), 1)
        if number % 50 == 0:
            await asyncio.sleep(0.001)
    for place, document_id in enumerate("abc"):
        history = await log.read(document_id)
        assert payloads(history) == [str(number).encode() for number in range(place, 300, 3)]
        assert positions(history) == list(range(1, 101))
        assert (history.generation, history.seq, history.snapshot) == (1, 100, None)
        assert all(type(update) is bytes for update in history.updates)


async def test_each_update_is_told_its_own_position(log: DocumentLog) -> None:
    told = [(document_id, log.append(document_id, b"x", 1)) for document_id in "abacabbbcca" * 5]
    given: dict[str, list[int]] = {"a": [], "b": [], "c": []}
    for document_id, committed in told:
        given[document_id].append(await committed)
    assert given == {name: list(range(1, 5 * "abacabbbcca".count(name) + 1)) for name in "abc"}


async def test_times_are_for_people_and_in_utc(log: DocumentLog) -> None:
    await log.append("a", b"x", 1)
    (entry,) = (await log.read("a", whole=True)).entries
    assert entry.created_at.utcoffset() == timedelta(0)
    assert abs(datetime.now(UTC) - entry.created_at) < timedelta(seconds=10)


async def test_what_waits_for_many_documents_is_committed_together(make_database: MakeDatabase) -> None:
    database = make_database()
    log = DocumentLog(database)
    documents = [f"d{number}" for number in range(20)]
    for document_id in documents:
        await log.create(document_id)
    commits: list[Any] = []
    for engine in database.engines:
        event.listen(engine, "commit", commits.append)
    for number in range(500):
        log.append(documents[number % 20], str(number).encode(), 1)
    assert await log.flush(20)
    assert len(commits) <= 2
    for place, document_id in enumerate(documents):
        assert payloads(await log.read(document_id)) == [str(n).encode() for n in range(place, 500, 20)]


async def test_a_backlog_is_committed_in_parts_and_in_order(
    make_database: MakeDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logwriter, "BATCH_BYTES", 100)
    monkeypatch.setattr(logwriter, "BATCH_UPDATES", 7)
    database = make_database()
    log = DocumentLog(database)
    await log.create("a")
    commits: list[Any] = []
    for engine in database.engines:
        event.listen(engine, "commit", commits.append)
    updates = [bytes([number]) * (1 + 40 * (number % 4)) for number in range(40)] + [b"large" * 100]
    for payload in updates:
        log.append("a", payload, 1)
    assert await log.flush(20)
    assert 6 <= len(commits) <= 41
    assert payloads(await log.read("a")) == updates


async def test_two_writers_interleave_without_gaps(make_database: MakeDatabase) -> None:
    logs = [DocumentLog(make_database()), DocumentLog(make_database())]
    for document_id in "ab":
        await logs[0].create(document_id)

    async def write(name: str, log: DocumentLog) -> list[tuple[str, int, bytes]]:
        told = []
        for number in range(60):
            document_id = "ab"[number % 2] if name == "x" else "ba"[number % 2]
            payload = f"{name}{number}".encode()
            told.append((document_id, log.append(document_id, payload, 1), payload))
            if number % 5 == 0:
                await asyncio.sleep(0.002)
        return [(document_id, await committed, payload) for document_id, committed, payload in told]

    told = list(chain(*await asyncio.gather(write("x", logs[0]), write("y", logs[1]))))
    for document_id in "ab":
        history = await logs[0].read(document_id)
        assert positions(history) == list(range(1, 61))
        by_position = {position: payload for name, position, payload in told if name == document_id}
        assert payloads(history) == [by_position[position] for position in range(1, 61)]
        for name in (b"x", b"y"):
            own = [int(payload[1:]) for payload in payloads(history) if payload.startswith(name)]
            assert own == sorted(own)


# --- a second try ---


async def test_a_second_try_finds_the_first_one(make_database: MakeDatabase) -> None:
    database = make_database()
    await database.run(queries.create_document, "a")
    batch = [numbered("a", 1), numbered("a", 2)]
    assert await database.run(queries.append, batch) == {"a": [1, 2]}
    assert await database.run(queries.append, batch) == {"a": [1, 2]}
    history = await database.run(queries.read_history, "a")
    assert (payloads(history), history.seq) == ([b"w1", b"w2"], 2)


async def test_a_second_try_is_told_the_positions_of_the_first_whoever_wrote_since(
    make_database: MakeDatabase,
) -> None:
    database = make_database()
    await database.run(queries.create_document, "a")
    await database.run(queries.append, [numbered("a", 1), numbered("a", 2)])
    await database.run(queries.append, [numbered("a", 1, "v"), numbered("a", 2, "v")])
    assert await database.run(queries.append, [numbered("a", 1), numbered("a", 2)]) == {"a": [1, 2]}
    assert await database.run(queries.append, [numbered("a", 2), numbered("a", 3)]) == {"a": [2, 5]}
    history = await database.run(queries.read_history, "a")
    assert payloads(history) == [b"w1", b"w2", b"v1", b"v2", b"w3"]


class LosesAnswers(Database):
    """A database whose answer to an append is lost some times, after it was committed."""

    to_lose = 0

    async def run(self, function: Any, *args: Any, **kwargs: Any) -> Any:
        return self._perhaps_lost(function, await super().run(function, *args, **kwargs))

    async def run_one(self, function: Any, *args: Any, **kwargs: Any) -> Any:
        return self._perhaps_lost(function, await super().run_one(function, *args, **kwargs))

    def _perhaps_lost(self, function: Any, answer: Any) -> Any:
        if function in APPENDS and self.to_lose:
            self.to_lose -= 1
            raise DatabaseUnavailable("The answer was lost.")
        return answer


async def test_an_update_whose_answer_was_lost_is_there_once_at_the_position_it_is_told(
    make_database: MakeDatabase,
) -> None:
    database = make_database(LosesAnswers)
    log, other = DocumentLog(database), DocumentLog(make_database())
    await log.create("a")
    database.to_lose = 2
    told = [log.append("a", str(number).encode(), 1) for number in range(3)]
    await until(lambda: database.to_lose < 2)
    await other.append("a", b"other", 1)
    assert [await committed for committed in told] == [1, 2, 3]
    assert await log.append("a", b"3", 1) == 5
    assert payloads(await log.read("a")) == [b"0", b"1", b"2", b"other", b"3"]


# --- fences ---


async def test_a_document_that_was_reset_refuses_what_was_made_on_its_old_history(log: DocumentLog) -> None:
    await log.append("a", b"old", 1)
    assert await log.database.run(queries.reset_document, "a") == 2
    with pytest.raises(GenerationChanged):
        await log.append("a", b"late", 1)
    with pytest.raises(GenerationChanged):
        await log.append_first("a", b"late", 1)
    assert await log.append("a", b"new", 2) == 1
    history = await log.read("a")
    assert (history.generation, payloads(history)) == (2, [b"new"])
    assert await log.create("a") == 2


async def test_one_documents_refusal_is_kept_from_the_others_of_its_batch(log: DocumentLog) -> None:
    await log.database.run(queries.reset_document, "b")
    told = {name: log.append(name, name.encode(), 1) for name in ("a", "b", "c", "nowhere")}
    assert (await told["a"], await told["c"]) == (1, 1)
    with pytest.raises(GenerationChanged, match="2"):
        await told["b"]
    with pytest.raises(DocumentNotFound):
        await told["nowhere"]
    assert payloads(await log.read("b")) == []
    assert log.pending_bytes == 0 and log.state == "ok"


async def test_a_refusal_is_told_to_whoever_asks_for_the_document(log: DocumentLog) -> None:
    log.append("nowhere", b"x", 1)
    with pytest.raises(DocumentNotFound):
        await log.committed("nowhere")
    await log.committed("a")
    log.append("a", b"x", 1)
    await log.committed("a")
    assert payloads(await log.read("a")) == [b"x"]


async def test_without_a_generation_the_document_is_made_and_any_history_is_right(log: DocumentLog) -> None:
    assert await log.append("new", b"one", None) == 1
    await log.database.run(queries.reset_document, "new")
    assert await log.append("new", b"two", None) == 1
    assert (await log.read("new")).generation == 2


async def test_a_statement_that_postgresql_refuses_harms_no_other_document(database: Database) -> None:
    log = DocumentLog(database)
    told = {name: log.append(name, b"x", None) for name in ("a", "n" * 201, "b")}
    assert (await told["a"], await told["b"]) == (1, 1)
    with pytest.raises(DatabaseError) as refusal:
        await told["n" * 201]
    assert not isinstance(refusal.value, DatabaseUnavailable)
    assert await log.append("a", b"y", 1) == 2


async def test_a_local_store_whose_schema_is_not_ours_refuses_and_is_not_waited_for(tmp_path: Path) -> None:
    log = DocumentLog(Database(f"sqlite:///{tmp_path}/store.db"))
    with pytest.raises(DatabaseError) as refusal:
        await log.append("a", b"x", 1)
    assert not isinstance(refusal.value, DatabaseUnavailable)
    await log.stop()
    log.database.close()


class RefusesAndBreaks(Database):
    """A database that refuses a batch of several documents, and then breaks off some times."""

    to_break = 2

    async def run(self, function: Any, *args: Any, **kwargs: Any) -> Any:
        self._refuse_or_break(function, args)
        return await super().run(function, *args, **kwargs)

    async def run_one(self, function: Any, *args: Any, **kwargs: Any) -> Any:
        self._refuse_or_break(function, args)
        return await super().run_one(function, *args, **kwargs)

    def _refuse_or_break(self, function: Any, args: Any) -> None:
        if function in APPENDS:
            if len({pending.document_id for pending in args[0]}) > 1:
                raise DatabaseError("Refused.")
            if self.to_break:
                self.to_break -= 1
                raise DatabaseUnavailable("Broken off.")


async def test_an_outage_right_after_a_refusal_loses_nothing(make_database: MakeDatabase) -> None:
    log = DocumentLog(make_database(RefusesAndBreaks))
    told = [log.append(name, name.encode(), None) for name in "abc"]
    assert [await committed for committed in told] == [1, 1, 1]
    assert [payloads(await log.read(name)) for name in "abc"] == [[b"a"], [b"b"], [b"c"]]


# --- the seed ---


async def test_of_two_seeds_one_is_taken(make_database: MakeDatabase) -> None:
    logs = [DocumentLog(make_database()) for _ in range(2)]
    for number in range(5):
        name = f"d{number}"
        await logs[0].create(name)
        first = await asyncio.gather(
            *(log.append_first(name, f"seed {i}".encode(), 1) for i, log in enumerate(logs))
        )
        assert sorted(first) == [False, True]
        assert payloads(await logs[0].read(name)) == [f"seed {first.index(True)}".encode()]


async def test_a_seed_that_is_sent_again_is_still_the_first(make_database: MakeDatabase) -> None:
    log = DocumentLog(make_database())
    await log.create("a")
    assert await log.append_first("a", b"seed", 1)
    await log.append("a", b"edit", 1)
    assert await log.append_first("a", b"seed", 1)
    assert await DocumentLog(make_database()).append_first("a", b"seed", 1)
    assert not await log.append_first("a", b"another", 1)
    assert payloads(await log.read("a")) == [b"seed", b"edit"]


async def test_a_seed_comes_too_late_after_an_edit_and_needs_a_document(log: DocumentLog) -> None:
    await log.append("a", b"edit", 1)
    assert not await log.append_first("a", b"seed", 1)
    with pytest.raises(DocumentNotFound):
        await log.append_first("nowhere", b"seed", 1)
    with pytest.raises(GenerationChanged):
        await log.append_first("b", b"seed", 7)


async def test_an_edit_that_waits_while_a_seed_is_taken_is_not_lost(log: DocumentLog) -> None:
    edit = log.append("a", b"edit", 1)
    first = await log.append_first("a", b"seed", 1)
    position = await edit
    history = await log.read("a")
    assert sorted(payloads(history)) == ([b"edit", b"seed"] if first else [b"edit"])
    assert history.entries[position - 1].payload == b"edit"


async def test_a_seed_that_lost_takes_no_place_in_the_count(log: DocumentLog) -> None:
    await log.append("a", b"one", 1)
    assert not await log.append_first("a", b"seed", 1)
    assert await log.append("a", b"two", 1) == 2


# --- reading ---


async def test_reading_sees_what_was_appended_before_it(log: DocumentLog) -> None:
    async with locked(log.database):
        log.append("a", b"one", 1)
        log.append("a", b"two", 1)
        reading = asyncio.create_task(log.read("a"))
        await asyncio.sleep(0.05)
        assert not reading.done()
    assert payloads(await reading) == [b"one", b"two"]


async def test_a_document_is_read_up_to_a_position(log: DocumentLog) -> None:
    for number in range(1, 6):
        log.append("a", str(number).encode(), 1)
    for until_, seen in [(0, 0), (3, 3), (5, 5), (99, 5), (None, 5)]:
        history = await log.read("a", until=until_)
        assert positions(history) == list(range(1, seen + 1))
        assert history.seq == seen


async def test_a_snapshot_stands_for_what_came_before_it(log: DocumentLog) -> None:
    for number in range(1, 6):
        await log.append("a", str(number).encode(), 1)
    values = {"document_id": "a", "generation": 1, "seq": 3, "payload": b"1-3", "created_at": now()}
    await log.database.run(lambda c: c.execute(insert(yjs_snapshots).values(values)))
    assert (await log.read("a")).updates == [b"1-3", b"4", b"5"]
    assert (await log.read("a", until=3)).updates == [b"1-3"]
    assert (await log.read("a", until=2)).updates == [b"1", b"2"]


@pytest.mark.parametrize("most", [4, 5], ids=["large", "small"])
async def test_what_is_large_is_read_row_by_row(log: DocumentLog, monkeypatch: pytest.MonkeyPatch, most: int) -> None:
    monkeypatch.setattr(queries_quick, "_MOST_BYTES", most)
    read = 0

    def count(*_: Any, **__: Any) -> History:
        nonlocal read
        read += 1
        return read_history(*_, **__)

    monkeypatch.setattr("jupyter_rtc_amprenta.core.documentlog.queries_history.read_history", count)
    for number in range(1, 6):
        await log.append("a", str(number).encode(), 1)
    assert (await log.read("a")).updates == [b"1", b"2", b"3", b"4", b"5"]
    assert read == (log.database.is_sqlite or most == 4)


async def test_a_plan_that_was_made_while_tables_were_small_does_for_large_ones(database_url: str) -> None:
    def scans(connection: Connection) -> int:
        with connection.connection.cursor() as cursor:
            assert queries_quick.read_quickly(cursor, "a", PLAIN).seq == 3
        assert queries_quick.append(connection, [Pending("a", 1, "writer", 1, b"4")], PLAIN, 0) == {"a": [4]}
        # Of this transaction alone.
        return connection.execute(text("SELECT sum(seq_scan) FROM pg_stat_xact_user_tables")).scalar_one()

    database = Database(database_url)
    log = DocumentLog(database)
    await log.create("a")
    for number in range(1, 4):
        await log.append("a", str(number).encode(), 1)
    # What has one page is read as a whole, where nothing else is said.
    await database.run_one(lambda connection: connection.execute(text("ANALYZE")))
    assert await database.run(scans) == 0
    await log.stop()
    database.close()


async def test_rows_that_are_missing_are_no_shorter_document(log: DocumentLog) -> None:
    for number in range(1, 6):
        await log.append("a", str(number).encode(), 1)
    await log.database.run(lambda c: c.execute(yjs_updates.delete().where(yjs_updates.c.seq == 3)))
    with pytest.raises(DatabaseError, match="missing"):
        await log.read("a")


async def test_not_found_means_that_there_is_no_such_document(log: DocumentLog) -> None:
    with pytest.raises(DocumentNotFound, match="nowhere"):
        await log.read("nowhere")
    assert await log.read("a") == History(1, 0, None, ())


async def test_what_one_process_committed_the_next_one_reads(url: str) -> None:
    for number in range(1, 4):
        database = Database(url)
        try:
            log = DocumentLog(database)
            assert await log.append("a", f"ü{number}".encode() * 1000, None) == number
            assert await log.stop()
        finally:
            database.close()
    database = Database(url)
    try:
        read = payloads(await DocumentLog(database).read("a"))
        assert read == [f"ü{number}".encode() * 1000 for number in range(1, 4)]
    finally:
        database.close()


# --- who waits, and who is cancelled ---


async def test_whoever_is_cancelled_while_waiting_takes_nothing_along(log: DocumentLog) -> None:
    async def wait(document_id: str) -> None:
        await log.append(document_id, b"kept", 1)

    async with locked(log.database):
        waiting = [asyncio.create_task(wait(document_id)) for document_id in "abc"]
        await asyncio.sleep(0.02)
        for task in waiting:
            task.cancel()
        await asyncio.wait(waiting)
        assert all(task.cancelled() for task in waiting)
        assert not await log.flush(0.05)
        asked = asyncio.create_task(log.committed("a"))
        await asyncio.sleep(0)
        assert not asked.done()
    await asked
    assert await log.stop()
    assert [payloads(await log.read(document_id)) for document_id in "abc"] == [[b"kept"]] * 3


async def test_a_shutdown_right_after_a_cancelled_write_commits_it(log: DocumentLog) -> None:
    """Upstream's rooms cancel the tasks in which they write, when they are stopped."""
    log.append("a", b"kept", 1).cancel()
    assert await log.stop()
    assert payloads(await DocumentLog(log.database).read("a")) == [b"kept"]


async def test_flush_and_stop_keep_their_deadlines(log: DocumentLog) -> None:
    async with locked(log.database):
        committed = log.append("a", b"x", 1)
        began = time.monotonic()
        assert not await log.flush(0.1)
        assert not await log.stop(0.1)
        assert time.monotonic() - began < 1.0
        assert not committed.done()
    assert await DocumentLog(log.database).flush(0.1)


async def test_nothing_to_flush_takes_no_time(log: DocumentLog) -> None:
    assert await log.flush(0)
    await log.append("a", b"x", 1)
    assert await log.flush(0)
    log.forget("a")
    log.forget("never seen")
    assert await log.flush() and await log.stop()


async def test_a_document_that_still_waits_is_not_forgotten(log: DocumentLog) -> None:
    async with locked(log.database):
        log.append("a", b"x", 1)
        log.forget("a")
        assert not await log.flush(0.05)
    await log.committed("a")
    assert payloads(await DocumentLog(log.database).read("a")) == [b"x"]


async def test_at_the_bound_callers_wait_until_there_is_room(make_database: MakeDatabase) -> None:
    log = DocumentLog(make_database(), max_pending_bytes=1000)
    await log.create("a")
    await log.wait_for_room()
    async with locked(log.database):
        log.append("a", b"x" * 999, 1)
        assert not log.is_full
        log.append("a", b"x", 1)
        assert log.is_full and log.pending_bytes == 1000
        waiting = asyncio.create_task(log.wait_for_room())
        await asyncio.sleep(0.05)
        assert not waiting.done()
        # What has come all the same is taken: nothing is dropped.
        log.append("a", b"y", 1)
    await asyncio.wait_for(waiting, 15)
    assert await log.flush(15)
    assert not log.is_full and log.pending_bytes == 0
    assert [len(payload) for payload in payloads(await log.read("a"))] == [999, 1, 1]


async def test_without_a_bound_nobody_waits(log: DocumentLog) -> None:
    async with locked(log.database):
        for _ in range(100):
            log.append("a", b"x" * 100_000, 1)
        await asyncio.wait_for(log.wait_for_room(), 1)
        assert not log.is_full
    assert await log.flush(30)


# --- outages ---


async def test_a_full_disk_is_failing_at_once_and_nothing_is_lost(
    log: DocumentLog, caplog: pytest.LogCaptureFixture
) -> None:
    run = log.database.run_one
    if log.database.is_sqlite:
        pages = await run(lambda c: c.exec_driver_sql("PRAGMA page_count").scalar())
        fill, free = f"PRAGMA max_page_count={pages}", "PRAGMA max_page_count=1000000"
    else:
        await run(
            lambda c: c.exec_driver_sql(
                "CREATE FUNCTION full_disk() RETURNS trigger LANGUAGE plpgsql AS "
                "$$ BEGIN RAISE EXCEPTION 'could not extend file: No space left' USING ERRCODE = '53100'; END $$"
            )
        )
        fill = "CREATE TRIGGER full_disk BEFORE INSERT ON yjs_updates EXECUTE FUNCTION full_disk()"
        free = "DROP TRIGGER full_disk ON yjs_updates"
    await log.append("a", b"before", 1)
    await run(lambda c: c.exec_driver_sql(fill) and None)
    told = [log.append("a", bytes([number]) * 20_000, 1) for number in range(5)]
    await until(lambda: log.state != "ok")
    assert log.state == "failing" and "disk is full" in log.trouble
    assert not any(committed.done() for committed in told)
    assert payloads(await log.database.run_one(queries.read_history, "a")) == [b"before"]
    await run(lambda c: c.exec_driver_sql(free) and None)
    assert [await committed for committed in told] == [2, 3, 4, 5, 6]
    assert (log.state, log.trouble) == ("ok", "")
    assert payloads(await log.read("a")) == [b"before", *(bytes([number]) * 20_000 for number in range(5))]


async def test_a_bound_that_is_reached_is_told(caplog: pytest.LogCaptureFixture) -> None:
    database = Database("postgresql://nobody@127.0.0.1:1/nothing")
    log = DocumentLog(database, max_pending_bytes=100)
    log.append("a", b"x" * 200, 1)
    await until(lambda: log.state == "failing")
    assert "nothing more is read from clients" in log.trouble
    assert "nothing more is read from clients" in caplog.text
    await log.stop(0.01)
    database.close()


async def test_a_database_that_is_away_degrades_and_then_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logwriter, "FAILING_AFTER_SECONDS", 0.3)
    database = Database("postgresql://nobody@127.0.0.1:1/nothing")
    log = DocumentLog(database)
    try:
        assert log.state == "ok"
        committed = log.append("a", b"x", 1)
        await until(lambda: log.state == "degraded")
        await until(lambda: log.state == "failing")
        with pytest.raises(DatabaseUnavailable):
            await DocumentLog(database).read("a")
        with pytest.raises(DatabaseUnavailable):
            await log.append_first("a", b"x", 1)
        assert not committed.done()
        assert not await log.stop(0.05)
    finally:
        database.close()


async def test_a_database_that_may_only_be_read_is_waited_for(database_url: str) -> None:
    database = Database(database_url)
    log = DocumentLog(database)
    await log.create("a")
    connected: list[Any] = []
    for engine in database.engines:
        event.listen(engine, "connect", lambda *_: connected.append(1))
    forbidden = [True]

    def forbid(connection: Any) -> None:
        if forbidden:
            # For what is one statement, and for what is a transaction.
            connection.exec_driver_sql("SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY")
            connection.exec_driver_sql("SET TRANSACTION READ ONLY")

    for engine in database.engines:
        event.listen(engine, "begin", forbid)
    try:
        committed = log.append("a", b"x", 1)
        await until(lambda: log.state == "degraded")
        await until(lambda: len(connected) > 1)
        assert not committed.done()
        forbidden.clear()
        assert await committed == 1
        assert log.state == "ok"
        assert payloads(await log.read("a")) == [b"x"]
    finally:
        database.close()


async def test_what_is_one_statement_is_one_after_a_pause_too(database: Database, monkeypatch: Any) -> None:
    monkeypatch.setattr(database_module, "IDLE_SECONDS", 0.05)

    def is_autocommit(connection: Any) -> bool:
        connection.exec_driver_sql("SELECT 1")
        return connection.connection.driver_connection.autocommit

    for pause in (0.0, 0.1, 0.0):
        await asyncio.sleep(pause)
        assert await database.run_one(is_autocommit)
        assert not await database.run(is_autocommit)


async def test_broken_connections_are_made_anew(database_url: str) -> None:
    database = Database(database_url)
    log = DocumentLog(database)

    def cut() -> None:
        killer = psycopg2.connect(database_url)
        killer.cursor().execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid != pg_backend_pid()"
        )
        killer.close()

    try:
        for number in range(3):
            assert await log.append("a", b"x", None) == number + 1
            cut()
            assert (await log.read("a")).seq == number + 1
            cut()
    finally:
        database.close()


async def test_every_acknowledged_update_survives_a_crash_of_postgresql_once_and_in_order(
    tmp_path: Path,
) -> None:
    server = EmbeddedPostgres(tmp_path / "postgres")
    server.start()
    database = Database(server.url())
    try:
        migrate.upgrade(server.url())
        log = DocumentLog(database)
        made: dict[str, list[tuple[bytes, asyncio.Future[int]]]] = {name: [] for name in "abc"}
        states: list[str] = []
        for name in made:
            await log.create(name)

        async def write() -> None:
            number = 0
            while True:
                for name, updates in made.items():
                    payload = f"{name}{number}".encode()
                    updates.append((payload, log.append(name, payload, 1)))
                number += 1
                if states[-1:] != [log.state]:
                    states.append(log.state)
                await asyncio.sleep(0.002)

        writing = asyncio.create_task(write())
        await until(lambda: len(made["a"]) > 100)
        acknowledged = sum(committed.done() for updates in made.values() for _, committed in updates)
        assert acknowledged > 0
        await asyncio.to_thread(server.stop, "immediate")
        await until(lambda: log.state == "degraded")
        await asyncio.sleep(0.3)
        await asyncio.to_thread(server.start)
        await until(lambda: log.state == "ok")
        await asyncio.sleep(0.1)
        writing.cancel()
        assert await log.flush(30)
        assert states == ["ok", "degraded", "ok"]
        for name, updates in made.items():
            history = await log.read(name)
            assert payloads(history) == [payload for payload, _ in updates]
            assert positions(history) == [committed.result() for _, committed in updates]
            assert positions(history) == list(range(1, len(updates) + 1))
        assert await log.stop()
    finally:
        database.close()
        server.stop("immediate")


# --- the database itself ---


async def test_the_same_position_cannot_be_given_twice(log: DocumentLog) -> None:
    await log.append("a", b"x", 1)
    row = {
        "document_id": "a", "generation": 1, "seq": 1, "writer": "v", "writer_seq": 1, "payload": b"y",
        "created_at": now(),
    }  # fmt: skip
    with pytest.raises(DatabaseError):
        await log.database.run(lambda c: c.execute(insert(yjs_updates).values(row)))
    assert payloads(await log.read("a")) == [b"x"]


async def test_what_fails_in_the_middle_of_a_transaction_leaves_nothing(log: DocumentLog) -> None:
    def half(connection: Any) -> None:
        connection.execute(update(yjs_documents).values(seq=99))
        raise ValueError("half way")

    with pytest.raises(ValueError, match="half way"):
        await log.database.run(half)
    seqs = await log.database.run(lambda c: c.execute(select(yjs_documents.c.seq)).scalars().all())
    assert seqs == [0, 0, 0]


async def test_a_transaction_that_was_begun_ends_though_its_caller_is_cancelled(log: DocumentLog) -> None:
    def slow(connection: Any) -> None:
        time.sleep(0.1)
        connection.execute(update(yjs_documents).values(seq=7))

    running = asyncio.create_task(log.database.run(slow))
    await asyncio.sleep(0.03)
    running.cancel()
    await asyncio.wait([running])
    await asyncio.sleep(0.15)
    seqs = await log.database.run(lambda c: c.execute(select(yjs_documents.c.seq)).scalars().all())
    assert seqs == [7, 7, 7]


async def test_an_old_postgresql_is_refused_by_name(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from jupyter_rtc_amprenta.core import database as module

    monkeypatch.setattr(module, "MINIMUM_SERVER_VERSION", 10**9)
    database = Database(database_url)
    try:
        with pytest.raises(ConfigurationError, match="PostgreSQL"):
            await database.run(queries_open.ping)
    finally:
        database.close()
