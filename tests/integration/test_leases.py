"""Leases in direct mode: two servers never both write, a dead one's lease lapses, a late one is fenced."""

from __future__ import annotations

import asyncio
import gc
import os
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from pathlib import Path

import pytest
from pycrdt import Doc
from pycrdt.store import YDocNotFound
from sqlalchemy import select
from support.direct_rooms import room_of
from support.logs import Author, text_of

from jupyter_rtc_amprenta.core.database import Database
from jupyter_rtc_amprenta.core.documentlog import DocumentLog
from jupyter_rtc_amprenta.core.errors import DocumentLeased, LeaseLost
from jupyter_rtc_amprenta.core.leases import LeaseKeeper, has_died, new_holder
from jupyter_rtc_amprenta.core.schema import yjs_documents
from jupyter_rtc_amprenta.ystore import PostgresYStore

pytestmark = [pytest.mark.anyio, pytest.mark.integration]

PATH = ".file:42.y"
Server = tuple[DocumentLog, LeaseKeeper, type[PostgresYStore]]


@pytest.fixture
async def server(database: Database) -> AsyncIterator[Callable[..., Server]]:
    running: list[Server] = []

    def make(name: str, seconds: float = 30.0) -> Server:
        log = DocumentLog(database)
        keeper = LeaseKeeper(log, name, seconds)
        running.append((log, keeper, PostgresYStore.bound_to(log, keeper)))
        return running[-1]

    yield make
    for log, keeper, _ in running:
        await keeper.stop()
        await log.stop()


async def _open(store_class: type[PostgresYStore]) -> PostgresYStore:
    store = store_class(PATH)
    with suppress(YDocNotFound):
        await store.apply_updates(Doc())
    return store


async def test_the_second_server_is_told_who_has_it_and_what_to_do(server: Callable[..., Server]) -> None:
    alice, bob = server("alice's server on a-very-long-host-name.example.org"), server("bob's server")
    store = await _open(alice[2])
    await store.write(Author().write("x"))
    with pytest.raises(DocumentLeased) as refused:
        await _open(bob[2])
    assert "alice's server" in str(refused.value)
    assert "JUPYTER_COLLABORATION_YJS_URL" in str(refused.value)
    # jupyter-collaboration shows it in a close frame; over 123 bytes the close itself breaks.
    assert len(str(refused.value).encode()) <= 123


async def test_who_opens_a_file_that_is_older_than_the_log_holds_the_document(
    server: Callable[..., Server], tmp_path: Path
) -> None:
    """Such a room is loaded from the log alone, and is written then."""
    alice, bob = server("alice"), server("bob")
    room = await room_of(alice[2](PATH), tmp_path)
    room._document._ysource.insert(0, "not saved ")
    assert await alice[0].flush(10)
    with pytest.raises(DocumentLeased):
        await room_of(bob[2](PATH), tmp_path)
    await room.stop()
    await alice[1].stop()
    room = await room_of(bob[2](PATH), tmp_path)
    assert room._document.get() == "not saved base\n"
    room._document._ysource.insert(0, "and more, ")
    assert await bob[0].flush(10)
    assert text_of(await bob[0].read("file:42")) == "and more, not saved base\n"
    await room.stop()


async def test_reading_needs_no_lease(server: Callable[..., Server]) -> None:
    alice, bob = server("alice"), server("bob")
    author = Author()
    store = await _open(alice[2])
    await store.write(author.write("x"))
    assert [item[0] async for item in bob[2](PATH).read()] == author.updates


async def test_a_dead_holders_lease_lapses_and_it_is_fenced_when_it_comes_back(
    server: Callable[..., Server],
) -> None:
    alice, bob = server("alice", seconds=0.3), server("bob")
    author = Author()
    late = await _open(alice[2])
    await late.write(author.write("in time, "))
    alice[1]._task.cancel()  # its server is suspended: nothing is renewed
    with pytest.raises(DocumentLeased):
        await _open(bob[2])
    await asyncio.sleep(0.35)
    store = await _open(bob[2])
    await store.write(Author(author.updates).write("bob"))
    with pytest.raises(LeaseLost, match="bob"):
        await late.write(author.write("too late"))
    await alice[1].renew()
    with pytest.raises(LeaseLost):
        await late.write(author.write("and again"))
    assert text_of(await bob[0].read("file:42")) == "in time, bob"


async def test_a_lapsed_lease_that_nobody_took_goes_on(server: Callable[..., Server]) -> None:
    log, keeper, store_class = server("alice", seconds=0.1)
    store = await _open(store_class)
    keeper._task.cancel()
    await asyncio.sleep(0.15)
    await keeper.renew()
    await store.write(Author().write("x"))
    assert (await log.read("file:42")).seq == 1


async def test_an_open_document_stays_leased_and_a_closed_one_is_given_back(
    server: Callable[..., Server], database: Database
) -> None:
    alice, bob = server("alice", seconds=0.3), server("bob")
    store = await _open(alice[2])
    await asyncio.sleep(0.7)
    with pytest.raises(DocumentLeased):
        await _open(bob[2])
    del store
    gc.collect()
    await alice[1].renew()
    holder = select(yjs_documents.c.lease_holder).filter_by(document_id="file:42")
    assert await database.run(lambda connection: connection.execute(holder).scalar()) is None
    await _open(bob[2])


async def test_a_server_that_stops_gives_its_documents_back(server: Callable[..., Server]) -> None:
    alice, bob = server("alice"), server("bob")
    store = await _open(alice[2])
    await store.write(Author().write("x"))
    await alice[1].stop()
    await _open(bob[2])


async def test_a_process_that_died_on_this_machine_is_not_waited_for(server: Callable[..., Server]) -> None:
    child = await asyncio.create_subprocess_exec(sys.executable, "-c", "")
    await child.wait()
    dead = new_holder("alice").replace(f"process {os.getpid()}", f"process {child.pid}")
    elsewhere = dead.replace(" on ", " on another-")
    assert has_died(dead) and not has_died(elsewhere) and not has_died("alice")
    assert not has_died(dead.replace(f"process {child.pid}", f"process {os.getppid()}"))
    late = await _open(server(dead)[2])
    store = await _open(server("bob")[2])
    await store.write(Author().write("bob"))
    with pytest.raises(LeaseLost):
        await late.write(Author().write("late"))


async def test_of_two_that_open_it_at_once_one_gets_it(server: Callable[..., Server]) -> None:
    classes = [server(name)[2] for name in ("alice", "bob", "carol")]
    outcomes = await asyncio.gather(*map(_open, classes), return_exceptions=True)
    assert sorted(type(outcome).__name__ for outcome in outcomes)[:2] == ["DocumentLeased"] * 2
