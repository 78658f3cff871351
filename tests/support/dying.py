"""A process that kills itself, with SIGKILL, at a chosen step of what it does with a database."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from typing import Any

from sqlalchemy import event

from jupyter_rtc_amprenta.core.database import Database


class Steps:
    """Names the steps of a database's work, and dies before one of them.

    A step is each statement, before it is sent and after it was answered, and each commit, likewise. So every
    place at which a process can die is one of them, or makes no difference to the database.

    Args:
        die_at: the number of the step, from 1; 0: never.
    """

    def __init__(self, database: Database, die_at: int) -> None:
        self._die_at = die_at
        self._done = 0
        for engine in database.engines:
            for name in ("before_cursor_execute", "after_cursor_execute", "commit", "checkin"):
                event.listen(engine, name, self._step)

    def _step(self, *_: Any) -> None:
        self._done += 1
        if self._done == self._die_at:
            os.kill(os.getpid(), signal.SIGKILL)


def run_until_it_dies(work: Callable[[int], None]) -> tuple[bool, str]:
    """Run `work` in a child process; what it writes to the descriptor that it is given comes back.

    Returns:
        whether it came to its end, and what it wrote.

    Raises:
        AssertionError: it failed otherwise than by SIGKILL.
    """
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        code = 1
        try:
            os.close(reading)
            work(writing)
            code = 0
        finally:
            os._exit(code)
    os.close(writing)
    with open(reading) as answers:
        written = answers.read()
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert status in (0, -signal.SIGKILL), f"the child ended with {status}: {written}"
    return status == 0, written
