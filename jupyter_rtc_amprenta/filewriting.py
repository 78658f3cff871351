"""Writing a file that something else may write at the same time (rule 2).

Between a look at the file and the contents manager's write lie some milliseconds, in which the file is serialised,
signed and copied: who writes it then would be overwritten unseen. So the last look is taken in the same breath as the
write, and where the file system lends them, under a lease: nobody else has the file open meanwhile, and who opens it
waits until we are done. What it holds after the write is told apart from what is found there later.
"""

from __future__ import annotations

import fcntl
import hashlib
import io
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

from tornado.web import HTTPError

# Who has the file open is mostly done with it in a moment; a reader that keeps it open (`tail -f`) is not waited for.
_LEASE_TRIES = 10
_LEASE_SECONDS = 0.002


class FileChanged(HTTPError):
    """The file does not hold any more what it did: nothing was written."""

    def __init__(self) -> None:
        # An HTTPError, since the contents manager passes these on as they are.
        super().__init__(409, "The file was changed meanwhile.")


@dataclass
class Writing:
    """One write of one file.

    Attributes:
        path: of the file, as the contents manager names it.
        expected: the hash of the bytes that it must still hold.
        alone: it must not be written while something else has it open for writing.
        written: the hash of the bytes that it was made to hold, or that a failure has left; None: not touched.
        signature: of the file, as this write has left it.
    """

    path: str
    expected: str | None
    alone: bool = True
    written: str | None = None
    signature: tuple[int, ...] | None = None


# Set in the task that saves.
WRITING: ContextVar[Writing | None] = ContextVar("writing", default=None)


def guard_writes(manager: Any) -> None:
    """Make a contents manager that keeps files on the disk hold to `WRITING`; another is left as it is.

    Args:
        manager: jupyter_server's contents manager, whose `atomic_writing` is wrapped.
    """
    original: Callable[..., Any] | None = getattr(manager, "atomic_writing", None)
    if original is None:
        return

    @contextmanager
    def atomic_writing(
        os_path: str, text: bool = True, encoding: str = "utf-8", **options: Any
    ) -> Iterator[Any]:
        writing = WRITING.get()
        if writing is None or os_path != manager._get_os_path(writing.path):
            with original(os_path, text=text, encoding=encoding, **options) as file:
                yield file
            return
        buffer: Any = io.StringIO(newline="\n") if text else io.BytesIO()
        yield buffer
        data = buffer.getvalue().encode(encoding) if text else buffer.getvalue()
        with manager.perm_to_403(os_path):
            _write(os_path, data, writing, manager.hash_algorithm)

    manager.atomic_writing = atomic_writing


def is_being_written(os_path: str) -> bool:
    """Whether something has the file open for writing; False, too, where the file system can't tell."""
    try:
        descriptor = os.open(os_path, os.O_RDONLY)
    except OSError:
        return False
    try:
        return _lease(descriptor, "F_RDLCK") is False
    finally:
        os.close(descriptor)


def signature(os_path: str) -> tuple[int, ...] | None:
    """What changes whenever the file does, also where its time is set back (`cp -p`, `rsync -t`); None: no file."""
    try:
        return _signature(os.stat(os_path))
    except OSError:
        return None


def _signature(found: os.stat_result) -> tuple[int, ...]:
    return found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def _write(os_path: str, data: bytes, writing: Writing, algorithm: str) -> None:
    try:
        for _ in range(_LEASE_TRIES):
            with open(os_path, "r+b", buffering=0) as file:
                if _lease(file.fileno(), "F_WRLCK") is not False:
                    _replace(file, data, writing, algorithm)
                    return
            time.sleep(_LEASE_SECONDS)
        if writing.alone and is_being_written(os_path):
            raise FileChanged
        with open(os_path, "r+b", buffering=0) as file:
            _replace(file, data, writing, algorithm)
    except FileNotFoundError:
        raise HTTPError(404, f"{writing.path} is not there any more.") from None


def _replace(file: io.FileIO, data: bytes, writing: Writing, algorithm: str) -> None:
    before = os.fstat(file.fileno())
    held = file.readall()
    is_another = os.stat(file.name).st_ino != before.st_ino
    if is_another or hashlib.new(algorithm, held).hexdigest() != writing.expected:
        raise FileChanged
    try:
        _fill(file, data)
    except OSError:
        # Such as a full disk. What was there fits; its time comes back with it, for it is no change.
        with suppress(OSError):
            _fill(file, held)
            os.utime(file.fileno(), ns=(before.st_atime_ns, before.st_mtime_ns))
        file.seek(0)
        data = file.readall()
        raise
    finally:
        writing.written = hashlib.new(algorithm, data).hexdigest()
        writing.signature = _signature(os.fstat(file.fileno()))
    # Nobody need wait for the disk.
    _lease(file.fileno(), "F_UNLCK")
    os.fsync(file.fileno())


def _fill(file: io.FileIO, data: bytes) -> None:
    file.seek(0)
    file.truncate(0)
    rest = memoryview(data)
    while rest:
        rest = rest[file.write(rest) :]


def _lease(descriptor: int, kind: str) -> bool | None:
    """Take Linux's lease of an open file, until it is closed.

    Returns:
        True: held. False: somebody else has the file open (F_RDLCK: for writing). None: there are no leases here, or
        not for us.
    """
    if not hasattr(fcntl, "F_SETLEASE"):
        return None
    try:
        # Who is made to wait for us is told by a signal, whose default would end this process; this one is ignored.
        fcntl.fcntl(descriptor, fcntl.F_SETSIG, signal.SIGURG)
        fcntl.fcntl(descriptor, fcntl.F_SETLEASE, getattr(fcntl, kind))
    except BlockingIOError:
        return False
    except OSError:
        return None
    return True
