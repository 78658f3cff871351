"""What the demo shows in the terminal."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager


class Console:
    """Short lines for a person; on a terminal a running step shows how long it has taken."""

    def __init__(self) -> None:
        self._live = sys.stdout.isatty()

    def say(self, text: str = "") -> None:
        """Prints a line."""
        print(text, flush=True)

    @contextmanager
    def step(self, text: str) -> Iterator[None]:
        """Shows that something is being done, and when it is done."""
        begun = time.monotonic()
        done = threading.Event()
        ticker = threading.Thread(target=self._tick, args=(text, begun, done), daemon=True)
        if self._live:
            ticker.start()
        result = "failed"
        try:
            yield
            result = "ok"
        finally:
            done.set()
            if self._live:
                ticker.join()
            start = "\r" if self._live else ""
            self.say(f"{start}  {text:<44} {result:<6} {time.monotonic() - begun:5.1f} s")

    def _tick(self, text: str, begun: float, done: threading.Event) -> None:
        while True:
            sys.stdout.write(f"\r  {text:<44} {'...':<6} {time.monotonic() - begun:5.0f} s")
            sys.stdout.flush()
            if done.wait(0.5):
                return
