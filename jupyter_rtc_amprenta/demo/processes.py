"""Finding and ending the demo's processes, whoever started them.

Every process of the demo but PostgreSQL carries the demo's directory in its environment and hands it
down. So those that outlived a `kill -9` of their parents are found without pid files, whose
numbers may by now belong to strangers.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

import psutil

MARK = "JUPYTER_RTC_DEMO_DIRECTORY"


def marked(directory: Path) -> list[psutil.Process]:
    """The running processes of the demo in this directory, without the caller and its ancestors."""
    own = {os.getpid(), *(process.pid for process in psutil.Process().parents())}
    found = []
    for process in psutil.process_iter():
        try:
            if process.pid not in own and process.environ().get(MARK) == str(directory):
                found.append(process)
        except (psutil.Error, OSError):  # it has ended, or is another user's
            continue
    return found


def end_all(directory: Path, seconds: float = 10.0) -> int:
    """Ends what is left of the demo in this directory, kindly first; returns how many there were.

    A process may start another while it is being ended, so this looks again until none is left.
    """
    ended: set[int] = set()
    deadline = time.monotonic() + seconds
    while left := marked(directory):
        for process in left:
            try:
                if time.monotonic() > deadline:
                    process.kill()
                elif process.pid not in ended:
                    process.terminate()
            except psutil.NoSuchProcess:
                continue
            ended.add(process.pid)
        psutil.wait_procs(left, timeout=0.5)
    return len(ended)
