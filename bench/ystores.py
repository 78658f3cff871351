"""Our Y-stores, PostgreSQL and a linked room's local store, against upstream's SQLiteYStore.

    python bench/ystores.py [--rounds 5] [--updates 2000]

What is measured, each as the median of several rounds, in which the stores take turns so that a busy machine is busy
for all:

    write    one update after the other, each awaited: a person types
    burst    all updates at once, and at once after it the document is loaded
    reopen   the document is loaded into an empty one, after our compaction
    load     the same, with 50 more updates after that

Upstream's store makes a checkpoint with every 100th write, before that write is done, so it has one at the end of the
burst too. Ours are compacted in the background, which is going on while the document is loaded after the burst.

A ratio below 1 means that ours is faster. Each is as it ships: PostgreSQL and both SQLite files have a commit on the
disk before it is acknowledged.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

from pycrdt import Doc, Text
from pycrdt.store import SQLiteYStore

from jupyter_rtc_amprenta.core import migrate
from jupyter_rtc_amprenta.core.compaction import Retention
from jupyter_rtc_amprenta.core.database import Database
from jupyter_rtc_amprenta.core.documentlog import DocumentLog
from jupyter_rtc_amprenta.core.logpolicy import LogPolicy
from jupyter_rtc_amprenta.core.schema import prepare_local_store
from jupyter_rtc_amprenta.demo.postgres import EmbeddedPostgres
from jupyter_rtc_amprenta.ystore import PostgresYStore

Times = dict[str, list[float]]
_LOADS = 15
_TAIL = 50


def _keystrokes(count: int) -> list[bytes]:
    doc: Doc[Any] = Doc()
    text = doc.get("source", type=Text)
    updates: list[bytes] = []
    subscription = doc.observe(lambda event: updates.append(event.update))
    for number in range(count):
        text += f"{number % 10}"
    doc.unobserve(subscription)
    return updates


class Store:
    """One that is compared: what it keeps of two documents, and how long it took.

    Args:
        one: a store in which a person types.
        many: another one, for the burst.
    """

    def __init__(self, times: Times, one: Any, many: Any) -> None:
        self._times, self._one, self._many = times, one, many

    async def write(self, updates: list[bytes]) -> None:
        for update in updates:
            await self._one.write(update)

    async def append(self, updates: list[bytes]) -> None:
        await asyncio.gather(*(self._many.write(update) for update in updates))

    async def burst(self, updates: list[bytes]) -> None:
        await self.append(updates)
        await self.load(len(updates))

    async def load(self, length: int) -> None:
        doc: Doc[Any] = Doc()
        await self._many.apply_updates(doc)
        loaded = len(str(doc.get("source", type=Text)))
        if loaded != length:
            print(f"{type(self._many).__mro__[1].__name__} has lost {length - loaded} of {length} updates")

    async def compact(self) -> None:
        """Upstream's has done it."""
        if isinstance(self._many, PostgresYStore):
            await self._many.shared_log.compact(self._many.document_id)

    async def timed(self, name: str, work: Awaitable[None]) -> None:
        begin = time.perf_counter()
        await work
        self._times.setdefault(name, []).append(time.perf_counter() - begin)


class LocalYStore(PostgresYStore):
    """The same code over a linked room's local store."""


@asynccontextmanager
async def _theirs(times: Times, folder: Path) -> AsyncIterator[Store]:
    one, many = (
        type("Store", (SQLiteYStore,), {"db_path": str(folder / f"{uuid4().hex}.db")})("store") for _ in range(2)
    )
    async with one, many:
        yield Store(times, one, many)


@asynccontextmanager
async def _ours(times: Times, database: Database, kind: type[PostgresYStore]) -> AsyncIterator[Store]:
    log = DocumentLog(database, policy=LogPolicy(retention=Retention(grace=0.0)))
    kind = kind.bound_to(log)
    yield Store(times, kind(uuid4().hex), kind(uuid4().hex))
    await log.stop()


async def _round(stores: list[Store], updates: list[bytes], tail: list[bytes]) -> None:
    for store in stores:
        await store.timed("write", store.write(updates[: len(updates) // 10]))
    for store in stores:
        await store.timed("burst", store.burst(updates))
    for store in stores:
        await store.compact()
    await _loads("reopen", stores, len(updates))
    for store in stores:
        await store.append(tail)
    await _loads("load", stores, len(updates) + len(tail))


async def _loads(name: str, stores: list[Store], length: int) -> None:
    # Short: of several, whatever else the machine does counts less.
    for _ in range(_LOADS):
        for store in stores:
            await store.timed(name, store.load(length))


async def _compare(rounds: int, count: int, url: str, folder: Path) -> None:
    theirs, ours, local = [dict[str, list[float]]() for _ in range(3)]
    updates = _keystrokes(count + _TAIL)
    database, file = Database(url), Database(f"sqlite:///{folder / 'local.db'}")
    file.call(prepare_local_store)
    for _ in range(rounds):
        async with (
            _theirs(theirs, folder) as upstream,
            _ours(ours, database, PostgresYStore) as postgres,
            _ours(local, file, LocalYStore) as sqlite,
        ):
            await _round([upstream, postgres, sqlite], updates[:count], updates[count:])
    database.close()
    file.close()
    print(f"medians of {rounds}, {count} updates, {count // 10} of them awaited one by one")
    print(f"{'':8}{'SQLiteYStore':>15}{'PostgresYStore':>17}{'ratio':>8}{'local store':>17}{'ratio':>8}")
    for name in theirs:
        their, our, its = [statistics.median(times[name]) * 1000 for times in (theirs, ours, local)]
        print(f"{name:8}{their:>12.1f} ms{our:>14.1f} ms{our / their:>8.2f}{its:>14.1f} ms{its / their:>8.2f}")


def main() -> None:
    """Runs the comparison in a PostgreSQL of its own."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--updates", type=int, default=2000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o711)  # PostgreSQL runs as another user where this runs as root
        server = EmbeddedPostgres(folder / "postgres")
        server.start()
        try:
            migrate.upgrade(server.url())
            asyncio.run(_compare(options.rounds, options.updates, server.url(), folder))
        finally:
            server.stop("immediate")


if __name__ == "__main__":
    main()
