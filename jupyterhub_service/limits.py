"""How often somebody may ask the API. 0 means no limit."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

_MINUTE = 60.0
# Above this many, those who have all their credit are forgotten: to have it is the same as to be unknown.
_MOST_KNOWN = 10_000


@dataclass
class Credit:
    """What somebody may still ask.

    Attributes:
        left: requests.
        last: when it was counted last, in seconds, monotonic.
    """

    left: float
    last: float


@dataclass(frozen=True)
class Count:
    """What a request has left of its caller's credit.

    Attributes:
        allowed: whether it is within the limit.
        remaining: how many requests may follow at once.
        reset: in how many seconds the credit is full again; where it is not allowed, when one may be tried again.
    """

    allowed: bool
    remaining: int
    reset: int


class RequestLimits:
    """So many requests a minute for each caller, in this process: a token bucket, which is full at first.

    Args:
        per_minute: 0: none are refused.
        clock: seconds, monotonic.
    """

    def __init__(self, per_minute: int, clock: Callable[[], float] = time.monotonic) -> None:
        self.per_minute = per_minute
        self._clock = clock
        self._known: dict[str, Credit] = {}

    def take(self, caller: str) -> Count:
        """Count a request."""
        credit = self._current(caller)
        allowed = not self.per_minute or credit.left >= 1
        if allowed:
            credit.left -= 1
        return self._count(credit, allowed)

    def look(self, caller: str) -> Count:
        """What a request would find, without counting one."""
        credit = self._current(caller)
        return self._count(credit, not self.per_minute or credit.left >= 1)

    def _current(self, caller: str) -> Credit:
        now = self._clock()
        if len(self._known) > _MOST_KNOWN:
            self._forget_full(now)
        credit = self._known.setdefault(caller, Credit(float(self.per_minute), now))
        credit.left = min(self.per_minute, credit.left + self._earned(credit, now))
        credit.last = now
        return credit

    def _count(self, credit: Credit, allowed: bool) -> Count:
        if not self.per_minute:
            return Count(True, 0, 0)
        missing = self.per_minute - credit.left if allowed else 1 - credit.left
        return Count(allowed, max(0, int(credit.left)), math.ceil(missing * _MINUTE / self.per_minute))

    def _earned(self, credit: Credit, now: float) -> float:
        return (now - credit.last) * self.per_minute / _MINUTE

    def _forget_full(self, now: float) -> None:
        self._known = {
            caller: credit
            for caller, credit in self._known.items()
            if credit.left + self._earned(credit, now) < self.per_minute
        }
