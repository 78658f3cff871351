"""What one client, one user and one document may ask of the Y.js server. 0 means no limit."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable

# A burst is this many seconds' worth: a reload sends a good deal at once.
_BURST_SECONDS = 10
# So many times as long as the work took, nothing more of it is done.
_SHARE = 20


class Pace:
    """A token bucket: so many messages a second, with bursts.

    Args:
        per_second: messages a second; 0: none are refused.
        clock: seconds, monotonic.
    """

    def __init__(self, per_second: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._per_second = per_second
        self._clock = clock
        self._credit = float(per_second * _BURST_SECONDS)
        self._last = clock()

    def allows_one_more(self) -> bool:
        """Count one message; whether it is within the pace."""
        if not self._per_second:
            return True
        now = self._clock()
        earned = (now - self._last) * self._per_second
        self._credit = min(self._credit + earned, self._per_second * _BURST_SECONDS)
        self._last = now
        if self._credit < 1:
            return False
        self._credit -= 1
        return True


class Share:
    """Keeps expensive work to a twentieth of the time: whoever asks for a lot of it waits, and not everybody else.

    with share: work()      # counted in this thread's time: a machine that is busy elsewhere is nobody's fault
    await asyncio.sleep(share.wait)
    """

    def __init__(self) -> None:
        self._began = self._rests_until = 0.0

    @property
    def wait(self) -> float:
        """How many seconds until it may go on; 0: at once."""
        return max(0.0, self._rests_until - time.monotonic())

    def __enter__(self) -> None:
        self._began = time.thread_time()

    def __exit__(self, *_: object) -> None:
        self._rests_until = time.monotonic() + _SHARE * (time.thread_time() - self._began)


class ConnectionCount:
    """How many connections each user has.

    Args:
        most: connections of one user; 0: no limit.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._open: Counter[str] = Counter()

    def enter(self, username: str) -> bool:
        """Count a connection in; whether it is within the limit (it is not counted if not)."""
        if self._most and self._open[username] >= self._most:
            return False
        self._open[username] += 1
        return True

    def leave(self, username: str) -> None:
        """Count a connection out."""
        self._open[username] -= 1
        if not self._open[username]:
            del self._open[username]
