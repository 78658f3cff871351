"""Files that something else writes at the same time, through jupyter_server's own contents manager."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import io
import json
import multiprocessing
import os
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from jupyter_server.services.contents.filemanager import AsyncFileContentsManager, FileContentsManager
from jupyter_server.utils import ensure_async
from tornado.web import HTTPError

from jupyter_rtc_amprenta import filewriting
from jupyter_rtc_amprenta.filewriting import (
    WRITING,
    FileChanged,
    Writing,
    guard_writes,
    is_being_written,
    signature,
)

pytestmark = pytest.mark.anyio

NOTEBOOK = {"cells": [], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}


@pytest.fixture(params=[FileContentsManager, AsyncFileContentsManager])
def manager(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    made = request.param(root_dir=str(tmp_path))
    guard_writes(made)
    return made


@pytest.fixture
def file(tmp_path: Path) -> Path:
    file = tmp_path / "a.txt"
    file.write_text("held")
    return file


def hash_of(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


async def save(manager: Any, content: Any, expected: str, path: str = "a.txt", alone: bool = True) -> Writing:
    writing = Writing(path, hash_of(expected), alone)
    WRITING.set(writing)
    kind, form = ("notebook", "json") if path.endswith(".ipynb") else ("file", "text")
    try:
        await ensure_async(manager.save({"type": kind, "format": form, "content": content}, path))
    finally:
        WRITING.set(None)
    return writing


async def test_what_is_as_expected_is_written_in_place(manager, file):
    os.link(file, file.with_name("other name"))
    file.chmod(0o640)
    writing = await save(manager, "nëw\r\nlines\n", "held")
    assert file.read_bytes() == "nëw\r\nlines\n".encode()
    assert writing.written == hash_of("nëw\r\nlines\n")
    assert writing.signature == signature(str(file))
    assert file.with_name("other name").read_bytes() == file.read_bytes(), "it is the same file"
    assert file.stat().st_mode & 0o777 == 0o640
    assert [path.name for path in file.parent.iterdir() if path.name.startswith(".~")] == []


async def test_a_notebook_is_written_as_ever(manager, tmp_path):
    file = tmp_path / "a.ipynb"
    file.write_text("held")
    writing = await save(manager, NOTEBOOK, "held", "a.ipynb")
    assert json.loads(file.read_text()) == NOTEBOOK
    assert writing.written == hash_of(file.read_text())


async def test_a_link_is_followed(manager, file, tmp_path):
    link = tmp_path / "link.txt"
    link.symlink_to("a.txt")
    await save(manager, "new", "held", "link.txt")
    assert link.is_symlink() and file.read_text() == "new"


@pytest.mark.parametrize("replaced", [True, False], ids=["another in its place", "in place"])
async def test_what_was_changed_in_the_milliseconds_before_the_write_is_not_overwritten(
    manager, file, replaced
):
    def change(**_: Any) -> None:
        if replaced:
            file.with_name("theirs").write_text("theirs")
            file.with_name("theirs").rename(file)
        else:
            file.write_text("theirs")

    # It runs after every look that could be taken before `save`.
    manager.register_pre_save_hook(change)
    with pytest.raises(FileChanged):
        await save(manager, "ours", "held")
    assert file.read_text() == "theirs"


async def test_a_file_that_is_gone_is_not_made_again(manager, file):
    manager.register_pre_save_hook(lambda **_: file.unlink())
    with pytest.raises(HTTPError) as error:
        await save(manager, "ours", "held")
    assert error.value.status_code == 404
    assert not file.exists()


async def test_other_writes_are_not_held_to_it(manager, file):
    await ensure_async(manager.save({"type": "file", "format": "text", "content": "by hand"}, "a.txt"))
    assert file.read_text() == "by hand"
    writing = Writing("another.txt", hash_of("x"))
    WRITING.set(writing)
    await ensure_async(manager.save({"type": "file", "format": "text", "content": "a pair's other"}, "a.txt"))
    WRITING.set(None)
    assert file.read_text() == "a pair's other" and writing.written is None


async def test_a_manager_that_keeps_no_files_is_left_alone():
    class Elsewhere:
        pass

    guard_writes(elsewhere := Elsewhere())
    assert vars(elsewhere) == {}


async def test_a_full_disk_leaves_what_was_there(manager, file, monkeypatch):
    os.utime(file, ns=(10**18, 10**18))
    filled = filewriting._fill

    def fails(stream: io.FileIO, data: bytes) -> None:
        filled(stream, data[:2] if data == b"a longer one" else data)
        if data == b"a longer one":
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(filewriting, "_fill", fails)
    with pytest.raises(HTTPError, match="No space left"):
        await save(manager, "a longer one", "held")
    assert file.read_text() == "held"
    assert file.stat().st_mtime_ns == 10**18, "nobody takes it for a change"


async def test_who_is_in_the_middle_of_writing_is_seen(file):
    assert not is_being_written(str(file))
    with file.open("a"):
        assert is_being_written(str(file))
    with file.open():
        assert not is_being_written(str(file))
    assert not is_being_written(str(file.with_name("not there")))


async def test_who_opens_the_file_during_the_write_waits_and_writes_after_it(manager, file, monkeypatch):
    filled, opened = filewriting._fill, threading.Event()

    def append() -> None:
        opened.set()
        with file.open("a") as stream:
            stream.write(" and theirs")

    def slowly(stream: io.FileIO, data: bytes) -> None:
        threads.append(threading.Thread(target=append))
        threads[0].start()
        opened.wait()
        # As long as it is blocked in `open`, nobody can tell but the clock; were it not, it would write in here.
        threads[0].join(0.1)
        filled(stream, data)

    threads: list[threading.Thread] = []
    monkeypatch.setattr(filewriting, "_fill", slowly)
    writing = await save(manager, "ours", "held")
    threads[0].join()
    assert file.read_text() == "ours and theirs"
    assert writing.written == hash_of("ours"), "what came after it is not taken for ours"


async def test_who_has_the_file_open_for_writing_is_not_written_over(manager, file):
    with file.open("a") as stream, pytest.raises(FileChanged):
        await save(manager, "ours", "held")
    with file.open("a") as stream:
        # Unless it keeps it open for ever, as a log is.
        await save(manager, "ours", "held", alone=False)
        stream.write(" and more")
    assert file.read_text() == "ours and more"
    with file.open():
        await save(manager, "a reader is not waited for", "ours and more")
    assert file.read_text() == "a reader is not waited for"


async def test_where_there_are_no_leases_it_is_written_all_the_same(manager, file, monkeypatch):
    def refused(descriptor: int, command: int, *_: Any) -> int:
        raise OSError(errno.EINVAL, "no leases on this file system")

    monkeypatch.setattr(fcntl, "fcntl", refused)
    assert not is_being_written(str(file))
    await save(manager, "new", "held")
    assert file.read_text() == "new"
    monkeypatch.delattr(fcntl, "F_SETLEASE")
    await save(manager, "newer", "new")
    assert file.read_text() == "newer"


def append_lines(path: str, stop: Any, count: Any) -> None:
    while not stop.is_set():
        descriptor = os.open(path, os.O_WRONLY | os.O_APPEND)
        os.write(descriptor, f"{count.value}\n".encode())
        os.close(descriptor)
        count.value += 1
        time.sleep(0.001)  # so that there is a gap to save in, on one core too


async def test_another_process_that_appends_all_the_time_loses_no_line(manager, file):
    """Each save takes in what it finds, and adds a line; nothing is lost of either."""
    file.write_text("")
    context = multiprocessing.get_context("spawn")
    stop, count = context.Event(), context.Value("i", 0)
    process = context.Process(target=append_lines, args=(str(file), stop, count))
    process.start()
    saves = refused = 0
    # Until they have met, several times.
    while saves < 20 or refused < 5:
        content = file.read_text()
        try:
            await save(manager, f"{content}s{saves}\n", content)
            saves += 1
        except FileChanged:
            refused += 1
    stop.set()
    process.join()
    lines = file.read_text().split()
    assert [line for line in lines if line[0] != "s"] == [str(number) for number in range(count.value)]
    assert [line for line in lines if line[0] == "s"] == [f"s{number}" for number in range(saves)]


async def test_a_time_that_was_set_back_is_a_change(file):
    before = signature(str(file))
    os.utime(file, ns=(10**18, 10**18))
    assert signature(str(file)) != before
    file.unlink()
    assert signature(str(file)) is None
