"""Compaction, over both databases, plain and encrypted: the content stays, and what must stay readable does."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
from pycrdt import Doc, Text
from sqlalchemy import Connection, delete, func, select, text, update
from support.logs import Author, new_keys, text_of

from jupyter_rtc_amprenta.core import compaction, compactor, queries, queries_compaction, queries_quick
from jupyter_rtc_amprenta.core.compaction import Retention, merge
from jupyter_rtc_amprenta.core.compactor import DUE_UPDATES
from jupyter_rtc_amprenta.core.crypto import PLAIN
from jupyter_rtc_amprenta.core.database import Database
from jupyter_rtc_amprenta.core.documentlog import DocumentLog
from jupyter_rtc_amprenta.core.errors import (
    ContentError,
    DatabaseError,
    DocumentNotFound,
    DocumentTooLarge,
    HistoryCompacted,
)
from jupyter_rtc_amprenta.core.logpolicy import LogPolicy
from jupyter_rtc_amprenta.core.schema import (
    prepare_local_store,
    yjs_documents,
    yjs_snapshots,
    yjs_updates,
    yjs_writers,
)

pytestmark = [pytest.mark.anyio, pytest.mark.integration]

# What is retained of the history.
NOTHING = Retention(seconds=1e9, updates=0, grace=0.0)
ALL = Retention()


@pytest.fixture(params=["postgresql", "sqlite"])
def any_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "postgresql":
        return request.getfixturevalue("database_url")
    return f"sqlite:///{tmp_path / 'log.db'}"


@pytest.fixture
def any_database(any_url: str) -> Iterator[Database]:
    database = Database(any_url)
    if database.is_sqlite:
        database.call(prepare_local_store)
    yield database
    database.close()


@pytest.fixture(params=["plain", "encrypted"])
def policy(request: pytest.FixtureRequest) -> LogPolicy:
    return LogPolicy(keys=PLAIN if request.param == "plain" else new_keys("k1"), retention=NOTHING)


def _log(database: Database, policy: LogPolicy, **changes: object) -> DocumentLog:
    return DocumentLog(database, policy=LogPolicy(**{**vars(policy), **changes}))


async def _written(log: DocumentLog, count: int, document_id: str = "d") -> Author:
    generation = await log.create(document_id)
    author = Author()
    for number in range(count):
        log.append(document_id, author.write(f"{number} "), generation)
    await log.committed(document_id)
    return author


async def test_the_content_stays_and_the_rows_go(any_database: Database, policy: LogPolicy) -> None:
    log = _log(any_database, policy)
    author = await _written(log, 300)
    report = await log.compact("d")
    assert report.before.updates == 300
    assert report.after.updates == 0 and report.after.snapshots == 1
    assert report.after.size < report.before.size / 5
    history = await log.read("d")
    assert text_of(history) == str(author.text)
    assert history.seq == 300
    await log.stop()


async def test_a_second_compaction_changes_nothing(any_database: Database, policy: LogPolicy) -> None:
    log = _log(any_database, policy)
    await _written(log, 5)
    assert (await log.compact("d")).changed
    assert not (await log.compact("d")).changed
    await log.stop()


async def test_a_dry_run_tells_and_changes_nothing(any_database: Database, policy: LogPolicy) -> None:
    log = _log(any_database, policy)
    author = await _written(log, 20)
    planned = await log.compact("d", dry_run=True)
    assert len((await log.read("d")).entries) == 20
    done = await log.compact("d")
    assert (planned.before, planned.after.updates) == (done.before, done.after.updates)
    assert text_of(await log.read("d")) == str(author.text)
    await log.stop()


WhileMerging = Callable[[Callable[[], None]], None]


@pytest.fixture
def while_merging(monkeypatch: pytest.MonkeyPatch) -> WhileMerging:
    """Do something else, once, when a compaction has read what it merges, and has not locked the document yet."""

    def arrange(work: Callable[[], None]) -> None:
        waiting = [work]

        def merge_late(updates: Sequence[bytes]) -> bytes:
            if waiting:
                waiting.pop()()
            return merge(updates)

        monkeypatch.setattr(compaction, "merge", merge_late)

    return arrange


def _pending(author: Author, count: int, generation: int = 1, writer: str = "w") -> list[queries.Pending]:
    numbers = range(1, count + 1)
    return [queries.Pending("d", generation, writer * 32, n, author.write(f"later {n} ")) for n in numbers]


def _counts(connection: Connection) -> tuple[int, int, int]:
    """Where the newest snapshot is, as it is noted and as it is; and the bytes that are noted since."""
    table = yjs_documents.c
    noted, tail = connection.execute(select(table.snapshot_seq, table.tail_bytes).filter_by(document_id="d")).one()
    newest = select(func.max(yjs_snapshots.c.seq)).filter_by(document_id="d")
    return noted, connection.execute(newest).scalar_one(), tail


@pytest.mark.parametrize("retention", [NOTHING, ALL], ids=["nothing-kept", "all-kept"])
async def test_what_is_appended_while_updates_are_merged_is_its_tail(
    database: Database, policy: LogPolicy, retention: Retention, while_merging: WhileMerging
) -> None:
    log = _log(database, policy, retention=retention)
    author = await _written(log, 20)
    pending = _pending(author, 2)

    def append() -> None:
        with database.engine.begin() as other:
            # It does not wait for the compaction: that would be for ever.
            other.execute(text("SET LOCAL lock_timeout = '2s'"))
            queries.append(other, pending[:1], policy.keys)
        assert database.call_one(queries_quick.append, pending[1:], policy.keys, 0) == {"d": [22]}

    while_merging(append)
    report = await log.compact("d")
    assert (report.before.updates, report.after.snapshots) == (20, 1)
    history = await log.read("d")
    assert [entry.seq for entry in history.entries] == [21, 22]
    assert text_of(history) == str(author.text)
    assert await database.run(_counts) == (20, 20, sum(len(one.payload) for one in pending))
    await log.compact("d")
    assert text_of(await log.read("d")) == str(author.text)
    assert await database.run(_counts) == (22, 22, 0)
    await log.stop()


async def test_two_compactions_of_a_document_take_turns(
    database: Database, policy: LogPolicy, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = _log(database, policy)
    author = await _written(log, 20)
    merging, may_end, merged = threading.Event(), threading.Event(), []

    def merge_slowly(updates: Sequence[bytes]) -> bytes:
        merged.append(len(updates))
        merging.set()
        assert may_end.wait(20)
        return merge(updates)

    monkeypatch.setattr(compaction, "merge", merge_slowly)
    both = [asyncio.create_task(log.compact("d"))]
    assert await asyncio.to_thread(merging.wait, 20)
    # In the background it is not waited for: it is being done.
    assert not (await asyncio.wait_for(_log(database, policy).compact("d", wait=False), 10)).changed
    both.append(asyncio.create_task(_log(database, policy).compact("d")))
    # Neither of them keeps anybody waiting who writes.
    await asyncio.wait_for(log.append("d", author.write("meanwhile "), 1), 10)
    may_end.set()
    await asyncio.gather(*both)
    assert merged == [20, 2], "the second one goes on where the first has ended"
    assert text_of(await log.read("d")) == str(author.text)
    assert await database.run(_counts) == (21, 21, 0)
    await log.stop()


@pytest.mark.parametrize("retention", [NOTHING, ALL], ids=["nothing-kept", "all-kept"])
@pytest.mark.parametrize("later", [0, 3])
async def test_one_that_takes_no_turn_overtakes(
    database: Database,
    policy: LogPolicy,
    retention: Retention,
    later: int,
    while_merging: WhileMerging,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    log = _log(database, policy, retention=retention)
    author = await _written(log, 20)
    pending = _pending(author, 2 * later)

    def compact() -> None:
        # As one of a version before does.
        monkeypatch.setattr(queries_compaction, "take_turn", lambda *_, **__: True)
        database.call(queries.append, pending[:later], policy.keys)
        database.call(compaction.compact, "d", retention, policy.kept_positions, policy.keys)
        database.call(queries.append, pending[later:], policy.keys)

    while_merging(compact)
    await log.compact("d")
    assert text_of(await log.read("d")) == str(author.text)
    assert await database.run(_counts) == (20 + 2 * later, 20 + 2 * later, 0)
    await log.stop()


async def test_a_position_that_is_recorded_while_updates_are_merged_stays_readable(
    database: Database, policy: LogPolicy, while_merging: WhileMerging
) -> None:
    recorded: set[int] = set()
    log = _log(database, policy, kept_positions=lambda connection, document_id: recorded)
    await _written(log, 20)
    while_merging(lambda: recorded.add(7))
    await log.compact("d")
    assert text_of(await log.read("d", until=7)) == "".join(f"{number} " for number in range(7))
    with pytest.raises(HistoryCompacted):
        await log.read("d", until=8)
    await log.stop()


def _make_anew(connection: Connection, document_id: str) -> int:
    connection.execute(delete(yjs_documents))
    return queries.create_document(connection, document_id)


@pytest.mark.parametrize("retention", [NOTHING, ALL], ids=["nothing-kept", "all-kept"])
@pytest.mark.parametrize(("begin_anew", "generation"), [(queries.reset_document, 2), (_make_anew, 1)])
async def test_a_document_that_is_begun_anew_while_updates_are_merged(
    database: Database,
    policy: LogPolicy,
    retention: Retention,
    begin_anew: Callable[[Connection, str], int],
    generation: int,
    while_merging: WhileMerging,
) -> None:
    log = _log(database, policy, retention=retention)
    await _written(log, 20)
    author = Author()

    def replace() -> None:
        assert database.call(begin_anew, "d") == generation
        database.call(queries.append, _pending(author, 25, generation=generation), policy.keys)

    while_merging(replace)
    await log.compact("d")
    history = await log.read("d")
    assert (history.generation, history.seq, text_of(history)) == (generation, 25, str(author.text))
    assert await database.run(_counts) == (25, 25, 0)
    await log.stop()


async def test_a_document_that_is_deleted_while_updates_are_merged(
    database: Database, policy: LogPolicy, while_merging: WhileMerging
) -> None:
    log = _log(database, policy)
    await _written(log, 20)
    while_merging(lambda: database.call(lambda connection: connection.execute(delete(yjs_documents))))
    with pytest.raises(DocumentNotFound):
        await log.compact("d")
    await log.stop()


async def test_writing_goes_on_after_a_snapshot(any_database: Database, policy: LogPolicy) -> None:
    log = _log(any_database, policy)
    author = await _written(log, 10)
    await log.compact("d")
    assert await log.append("d", author.write("and on"), 1) == 11
    history = await log.read("d")
    assert text_of(history) == str(author.text)
    assert [entry.seq for entry in history.entries] == [11]
    await log.compact("d")
    assert text_of(await log.read("d")) == str(author.text)
    await log.stop()


async def test_the_retained_history_is_what_the_timeline_reads(
    any_database: Database, policy: LogPolicy
) -> None:
    log = _log(any_database, policy, retention=Retention(1e9, updates=4, grace=0.0))
    author = await _written(log, 10)
    await log.compact("d")
    whole, fast = await log.read("d", whole=True), await log.read("d")
    assert [entry.seq for entry in whole.entries] == [7, 8, 9, 10]
    assert fast.entries == ()
    assert text_of(whole) == text_of(fast) == str(author.text)
    for position in range(6, 11):
        expected = " ".join(map(str, range(position))) + " "
        assert text_of(await log.read("d", until=position)) == expected
    with pytest.raises(HistoryCompacted):
        await log.read("d", until=5)
    await log.stop()


async def test_old_updates_go_by_age(any_database: Database, policy: LogPolicy) -> None:
    log = _log(any_database, policy, retention=Retention(3600.0, updates=1000, grace=0.0))
    await _written(log, 10)

    def make_older(connection: Connection) -> None:
        old = queries.now().replace(year=2020)
        connection.execute(update(yjs_updates).where(yjs_updates.c.seq <= 6).values(created_at=old))

    await any_database.run(make_older)
    await log.compact("d")
    assert [entry.seq for entry in (await log.read("d", whole=True)).entries] == [7, 8, 9, 10]
    await log.stop()


async def test_young_updates_stay_whatever_their_number(any_database: Database, policy: LogPolicy) -> None:
    log = _log(any_database, policy, retention=Retention(1e9, updates=0, grace=60.0))
    await _written(log, 10)
    await log.compact("d")
    assert len((await log.read("d", whole=True)).entries) == 10
    await log.stop()


async def test_recorded_positions_stay_readable(any_database: Database, policy: LogPolicy) -> None:
    recorded = {3, 7}
    log = _log(any_database, policy, kept_positions=lambda connection, document_id: recorded)
    author = await _written(log, 10)
    await log.compact("d")
    for _ in range(2):
        for position in (3, 7):
            assert text_of(await log.read("d", until=position)) == "".join(f"{n} " for n in range(position))
        await log.append("d", author.write(f"{10} "), 1)
        await log.compact("d")
    with pytest.raises(HistoryCompacted):
        await log.read("d", until=5)
    recorded.clear()
    await log.compact("d")
    assert (await log.compact("d")).after.snapshots == 1
    with pytest.raises(HistoryCompacted):
        await log.read("d", until=3)
    await log.stop()


async def test_a_second_try_after_compaction_doubles_nothing(
    any_database: Database, policy: LogPolicy
) -> None:
    log = _log(any_database, policy)
    author = Author()
    generation = await log.create("d")
    batch = [queries.Pending("d", generation, "w" * 32, n, author.write(f"{n} ")) for n in range(1, 6)]
    first = await any_database.run(queries.append, batch, policy.keys)
    assert first == {"d": [1, 2, 3, 4, 5]}
    await log.compact("d")
    assert await any_database.run(queries.append, batch, policy.keys) == {"d": [5] * 5}
    assert (await log.read("d")).seq == 5
    await log.stop()


async def test_a_second_try_after_a_reset_doubles_nothing(any_database: Database, policy: LogPolicy) -> None:
    author = Author()
    batch = [queries.Pending("d", None, "w" * 32, 1, author.write("once"))]
    await any_database.run(queries.append, batch, policy.keys)
    await any_database.run(queries.reset_document, "d")
    await any_database.run(queries.append, batch, policy.keys)
    assert (await any_database.run(queries.lock_document, "d")) == (2, 0)


async def test_writers_are_forgotten_after_a_month(any_database: Database, policy: LogPolicy) -> None:
    log = _log(any_database, policy)
    author = await _written(log, 3)
    await log.compact("d")

    def make_older(connection: Connection) -> None:
        connection.execute(update(yjs_writers).values(merged_at=queries.now().replace(year=2020), writer="old"))

    await any_database.run(make_older)
    log.append("d", author.write("x"), 1)
    await log.committed("d")
    await log.compact("d")
    count = await any_database.run(lambda c: c.execute(select(func.count()).select_from(yjs_writers)).scalar())
    assert count == 1
    await log.stop()


async def test_what_waits_for_a_predecessor_is_kept(any_database: Database, policy: LogPolicy) -> None:
    log = _log(any_database, policy)
    author = Author()
    generation = await log.create("d")
    first, missing, last = author.write("a"), author.write("b"), author.write("c")
    log.append("d", first, generation)
    log.append("d", last, generation)
    await log.committed("d")
    await log.compact("d")
    assert text_of(await log.read("d")) == "a"
    await log.append("d", missing, generation)
    assert text_of(await log.read("d")) == "abc"
    await log.stop()


async def test_bytes_that_are_no_update_are_left_alone(any_database: Database, policy: LogPolicy) -> None:
    log = _log(any_database, policy)
    generation = await log.create("d")
    await log.append("d", b"foo", generation)
    with pytest.raises(ContentError, match="no Yjs update"):
        await log.compact("d")
    assert (await log.read("d")).updates == [b"foo"]
    await log.stop()


async def test_missing_rows_are_an_error_and_no_shorter_document(
    any_database: Database, policy: LogPolicy
) -> None:
    log = _log(any_database, policy)
    await _written(log, 5)
    await any_database.run(lambda c: c.execute(delete(yjs_updates).where(yjs_updates.c.seq == 3)))
    with pytest.raises(DatabaseError, match="missing"):
        await log.read("d")
    with pytest.raises(DatabaseError, match="missing"):
        await log.compact("d")
    await log.stop()


async def test_the_quota_counts_what_the_document_is_and_not_what_was_typed(
    any_database: Database, policy: LogPolicy
) -> None:
    log = _log(any_database, policy, max_document_bytes=20_000)
    author = await _written(log, 1)
    for _ in range(10):
        await log.append("d", author.write("x" * 5000), 1)
        await log.append("d", author.remove(0, len(author.text)), 1)
    await log.append("d", author.write("y" * 15_000), 1)
    with pytest.raises(DocumentTooLarge, match="RTC_MAX_DOCUMENT_BYTES"):
        await log.append("d", author.write("z" * 15_000), 1)
    assert text_of(await log.read("d")) == "y" * 15_000
    await log.stop()


async def test_documents_that_are_edited_much_are_compacted_in_the_background(
    any_database: Database, policy: LogPolicy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compactor, "DUE_UPDATES", 50)
    log = _log(any_database, policy)
    log.compactor = compactor.Compactor(log, delay=0.01)
    author = await _written(log, 60)
    await _written(log, 10, "little")
    async with asyncio.timeout(10):
        while (await any_database.run(queries_compaction.stored, "d")).updates:  # noqa: ASYNC110 - no event tells it
            await asyncio.sleep(0.01)
    assert (await any_database.run(queries_compaction.stored, "little")).updates == 10
    assert text_of(await log.read("d")) == str(author.text)
    await log.stop()


async def test_a_month_of_editing_costs_little_more_than_the_content(
    any_database: Database, policy: LogPolicy
) -> None:
    log = _log(any_database, policy, retention=Retention(1e9, updates=100, grace=0.0))
    author = Author()
    generation = await log.create("d")
    for _ in range(20):
        for number in range(100):
            log.append("d", author.write(f"line {number}\n"), generation)
        await log.append("d", author.remove(0, len(author.text) // 2), generation)
        await log.compact("d")
    stored = await any_database.run(queries_compaction.stored, "d")
    retained = sum(len(entry.payload) for entry in (await log.read("d", whole=True)).entries)
    assert stored.updates == 100
    assert stored.size < 3 * len(author.doc.get_update()) + 2 * retained
    await log.stop()


def test_merging_through_a_document_is_small() -> None:
    author = Author()
    for _ in range(2000):
        author.write("x")
    merged = merge(author.updates)
    assert len(merged) < 3000
    doc: Doc = Doc()
    doc.apply_update(merged)
    assert str(doc.get("source", type=Text)) == str(author.text)


def test_a_deletion_of_something_unknown_is_kept() -> None:
    author = Author()
    first, middle = author.write("a"), author.write("b")
    deletion = author.remove(1, 2)
    merged = merge([first, deletion])
    doc: Doc = Doc()
    doc.apply_update(merged)
    doc.apply_update(middle)
    assert str(doc.get("source", type=Text)) == "a"


async def test_a_log_that_has_ended_compacts_no_more(database: Database) -> None:
    log, author = DocumentLog(database), Author()
    await log.create("ended")
    for number in range(DUE_UPDATES + 10):
        log.append("ended", author.write(f"{number} "), 1)
    assert await log.stop()
    running = [task.get_coro().__qualname__ for task in asyncio.all_tasks()]
    assert "Compactor._run" not in running


async def test_a_document_with_a_long_tail_is_compacted_at_once(database: Database) -> None:
    log, author = DocumentLog(database, policy=LogPolicy(retention=Retention(grace=0.0))), Author()
    await log.create("long")
    for number in range(DUE_UPDATES + 10):
        log.append("long", author.write(f"{number} "), 1)
    deadline = asyncio.get_running_loop().time() + 8  # less than the usual delay
    while len((await log.read("long")).entries) > DUE_UPDATES // 2:
        assert asyncio.get_running_loop().time() < deadline
        await asyncio.sleep(0.05)
    await log.stop()
