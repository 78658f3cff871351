"""Our Y-stores, PostgreSQL and a linked room's local store, against upstream's SQLiteYStore.

    python bench/ystores.py [--rounds 5] [--updates 2000]

What is measured, each as the median of several rounds, interleaved so that a busy machine is busy for all:

    write    one update after the other, each awaited: a person types
    burst    all updates at once: what a room does under load
    load     a document with all of these updates is loaded into an empty one, at once after the burst
    reopen   the same, after our compaction

Upstream's store makes a checkpoint with every 100th write, before that write is done; ours are compacted in the
background, and who loads a document meanwhile waits for that.

A ratio below 1 means that ours is faster. Each is as it ships: PostgreSQL and both SQLite files have a commit on the
disk before it is acknowledged.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable
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
_LOADS = 7


def _keystrokes(count: int) -> list[bytes]:
    doc: Doc[Any] = Doc()
    text = doc.get("source", type=Text)
    updates: list[bytes] = []
    subscription = doc.observe(lambda event: updates.append(event.update))
    for number in range(count):
        text += f"{number % 10}"
    doc.unobserve(subscription)
    return updates


async def _timed(times: Times, name: str, work: Callable[[], Awaitable[Any]]) -> None:
    begin = time.perf_counter()
    await work()
    times.setdefault(name, []).append(time.perf_counter() - begin)


async def _measure(times: Times, one: Any, many: Any, updates: list[bytes]) -> None:
    async def write() -> None:
        for update in updates[: len(updates) // 10]:
            await one.write(update)

    async def burst() -> None:
        await asyncio.gather(*(many.write(update) for update in updates))

    await _timed(times, "write", write)
    await _timed(times, "burst", burst)
    await _loads(times, "load", many, updates)


async def _loads(times: Times, name: str, store: Any, updates: list[bytes]) -> None:
    # Short: of several in a row, whatever else the machine does counts less.
    for _ in range(_LOADS):
        await _timed(times, name, lambda: _load(store, len(updates)))


async def _load(store: Any, length: int) -> None:
    doc: Doc[Any] = Doc()
    await store.apply_updates(doc)
    loaded = len(str(doc.get("source", type=Text)))
    if loaded != length:
        print(f"{type(store).__mro__[1].__name__} has lost {length - loaded} of {length} updates")


async def _sqlite_round(times: Times, folder: Path, updates: list[bytes]) -> None:
    one, many = (
        type("Store", (SQLiteYStore,), {"db_path": str(folder / f"{uuid4().hex}.db")})("store") for _ in range(2)
    )
    async with one, many:
        await _measure(times, one, many, updates)
        await _loads(times, "reopen", many, updates)


class LocalYStore(PostgresYStore):
    """The same code over a linked room's local store."""


async def _our_round(times: Times, database: Database, kind: type[PostgresYStore], updates: list[bytes]) -> None:
    log = DocumentLog(database, policy=LogPolicy(retention=Retention(grace=0.0)))
    store_class = kind.bound_to(log)
    many = store_class(uuid4().hex)
    await _measure(times, store_class(uuid4().hex), many, updates)
    await log.compact(many.document_id)
    await _loads(times, "reopen", many, updates)
    await log.stop()


async def _compare(rounds: int, count: int, url: str, folder: Path) -> None:
    theirs, ours, local = [dict[str, list[float]]() for _ in range(3)]
    updates = _keystrokes(count)
    database, file = Database(url), Database(f"sqlite:///{folder / 'local.db'}")
    file.call(prepare_local_store)
    for _ in range(rounds):
        await _sqlite_round(theirs, folder, updates)
        await _our_round(ours, database, PostgresYStore, updates)
        await _our_round(local, file, LocalYStore, updates)
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
