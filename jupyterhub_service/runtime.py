"""How a process that serves people runs: a quick event loop, and a garbage collector that holds nobody up."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


def run(main: Coroutine[Any, Any, T]) -> T:
    """Run until `main` ends: on uvloop where it is installed, else on asyncio's own loop."""
    with asyncio.Runner(loop_factory=loop_factory()) as runner:
        return runner.run(main)


def loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """Makes uvloop's event loop; None where it is not installed."""
    try:
        from uvloop import new_event_loop
    except ImportError:
        return None
    return new_event_loop


def settle() -> None:
    """What is in memory now stays there: modules, tables, handlers. The garbage collector need not look at it again.

    It looked at all of it every few seconds, and nobody's message moved for a tenth of a second and more.
    """
    gc.collect()
    gc.freeze()
