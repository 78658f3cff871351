"""An outage's edits on the disk: they outlive the process, come back in order, once, and only where they may."""

from __future__ import annotations

import asyncio
import os
import resource
from pathlib import Path

import pytest
from support.logs import Author, new_keys, text_of
from support.yjs_client import until

from jupyter_rtc_amprenta.core import queries
from jupyter_rtc_amprenta.core.crypto import PLAIN, EncryptionKeys
from jupyter_rtc_amprenta.core.database import Database
from jupyter_rtc_amprenta.core.documentlog import DocumentLog
from jupyter_rtc_amprenta.core.errors import ConfigurationError
from jupyter_rtc_amprenta.core.logpolicy import LogPolicy
from jupyter_rtc_amprenta.core.spool import Spool

pytestmark = [pytest.mark.anyio, pytest.mark.integration]

NOWHERE = "postgresql://nobody@127.0.0.1:1/nothing"


def _log(database: Database, folder: Path, keys: EncryptionKeys = PLAIN) -> DocumentLog:
    return DocumentLog(database, policy=LogPolicy(spool=folder, keys=keys))


async def _die_in_an_outage(folder: Path, updates: list[bytes], keys: EncryptionKeys = PLAIN) -> Path:
    """A process that could not reach the database, and was killed: its file is left, and no lock on it."""
    away = Database(NOWHERE)
    log = _log(away, folder, keys)
    for update in updates[:-1]:
        log.append("d", update, 1)
    await asyncio.sleep(0.2)
    assert log.state == "degraded"
    log.append("d", updates[-1], 1)  # while it waits for the next try
    file = Path(log._writer._spool._file.name)
    async with asyncio.timeout(10):
        while file.read_bytes().count(b"\n") < len(updates):  # noqa: ASYNC110, ASYNC240 - no event tells it
            await asyncio.sleep(0.01)
    log._writer._task.cancel()
    with log._writer._spool._lock:  # a thread may be at it still, and would hold the file's lock
        log._writer._spool._file.close()
    away.close()
    return file


@pytest.mark.parametrize("keys", [PLAIN, new_keys("k1")], ids=["plain", "encrypted"])
async def test_they_are_committed_by_the_next_process(
    database: Database, tmp_path: Path, keys: EncryptionKeys
) -> None:
    await database.run(queries.create_document, "d")
    author = Author()
    for number in range(5):
        author.write(f"secret {number} ")
    file = await _die_in_an_outage(tmp_path, author.updates, keys)
    assert (b"secret" in file.read_bytes()) is False
    log = _log(database, tmp_path, keys)
    history = await log.read("d")
    assert text_of(history) == str(author.text)
    assert [entry.payload for entry in history.entries] == author.updates
    await log.flush()
    assert await log.stop()
    assert os.listdir(tmp_path) == []


async def test_what_had_been_committed_before_the_process_died_is_there_once(
    database: Database, tmp_path: Path
) -> None:
    await database.run(queries.create_document, "d")
    author = Author()
    author.write("a")
    author.write("b")
    file = await _die_in_an_outage(tmp_path, author.updates)
    kept = file.read_bytes()
    for _ in range(2):
        log = _log(database, tmp_path)
        assert [entry.payload for entry in (await log.read("d")).entries] == author.updates
        await log.stop()
        file.write_bytes(kept)  # killed before the file was removed


async def test_a_document_that_was_reset_meanwhile_takes_nothing_and_a_copy_is_kept(
    database: Database, tmp_path: Path
) -> None:
    await database.run(queries.create_document, "d")
    author = Author()
    author.write("stale")
    await _die_in_an_outage(tmp_path, author.updates * 2)
    await database.run(queries.reset_document, "d")
    log = _log(database, tmp_path)
    assert (await log.read("d")).updates == []
    await log.stop()
    (refused,) = [name for name in os.listdir(tmp_path) if name.endswith(".refused")]
    assert (tmp_path / refused).read_bytes().count(b"\n") == 2


async def test_a_record_that_was_cut_short_ends_it(tmp_path: Path) -> None:
    author = Author()
    for number in range(3):
        author.write(f"{number} ")
    whole = (await _die_in_an_outage(tmp_path, author.updates)).read_bytes()
    ends = [at + 1 for at, byte in enumerate(whole) if byte == ord("\n")]
    for cut in [*range(0, len(whole), 7), *ends, len(whole)]:
        folder = tmp_path / str(cut)
        folder.mkdir(exist_ok=True)
        (folder / "dead.spool").write_bytes(whole[:cut])
        spool = Spool(folder, PLAIN)
        left = spool.left_by_others()
        assert [pending.payload for pending in left] == author.updates[: sum(end <= cut for end in ends)]
        spool.close(keep=False)


async def test_on_a_full_disk_edits_wait_in_memory_and_are_spooled_once_there_is_room(tmp_path: Path) -> None:
    away, author = Database(NOWHERE), Author()
    log = _log(away, tmp_path)
    log.append("d", author.write("first"), 1)
    path = Path(log._writer._spool._file.name)
    written = path.read_bytes  # called where nothing else waits
    await until(lambda: written().count(b"\n") == 1)
    assert log.state == "degraded"
    before, (soft, hard) = written(), resource.getrlimit(resource.RLIMIT_FSIZE)
    # The next record fits in part; a process may write no file beyond this.
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) + 50, hard))
    try:
        log.append("d", author.write("second"), 1)
        await until(lambda: log.state == "failing")
        assert "spool can't be written" in log.trouble
        assert written() == before
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    await until(lambda: written().count(b"\n") == 2)
    await until(lambda: log.state == "degraded")
    assert not await log.stop(0.01)
    away.close()
    next_one = Spool(tmp_path, PLAIN)
    assert [pending.payload for pending in next_one.left_by_others()] == author.updates
    next_one.close(keep=False)


async def test_a_living_process_keeps_its_own(tmp_path: Path) -> None:
    alive = Spool(tmp_path, PLAIN)
    alive.add([queries.Pending("d", 1, "w", 1, b"x")])
    other = Spool(tmp_path, PLAIN)
    assert other.left_by_others() == []
    other.close(keep=False)
    alive.close(keep=True)
    third = Spool(tmp_path, PLAIN)
    assert [pending.payload for pending in third.left_by_others()] == [b"x"]
    third.close(keep=False)


async def test_what_is_not_committed_at_the_end_is_left_for_the_next_start(
    database: Database, tmp_path: Path
) -> None:
    away, author = Database(NOWHERE), Author()
    log = _log(away, tmp_path)
    log.append("d", author.write("x"), 1)
    assert not await log.stop(timeout=0.1)
    away.close()
    await database.run(queries.create_document, "d")
    log = _log(database, tmp_path)
    assert text_of(await log.read("d")) == "x"
    await log.stop()


async def test_a_folder_that_cant_be_used_is_told(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    with pytest.raises(ConfigurationError, match="RTC_SPOOL_FOLDER"):
        Spool(file, PLAIN)


async def test_a_spool_of_another_key_is_told(tmp_path: Path) -> None:
    author = Author()
    author.write("x")
    await _die_in_an_outage(tmp_path, author.updates * 2, new_keys("k1"))
    with pytest.raises(ConfigurationError, match="RTC_ENCRYPTION_KEYS lacks"):
        Spool(tmp_path, PLAIN).left_by_others()


def test_a_log_goes_on_in_a_new_event_loop(database_url: str) -> None:
    database, author = Database(database_url), Author()
    database.call(queries.create_document, "d")
    log = DocumentLog(database)

    async def append_and_leave() -> None:
        log.append("d", author.write("x"), 1)

    async def read() -> str:
        return text_of(await log.read("d"))

    asyncio.run(append_and_leave())
    asyncio.run(append_and_leave())
    assert asyncio.run(read()) == "xx"
    asyncio.run(log.stop())
    database.close()
