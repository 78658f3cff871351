"""What one client and one user may ask of the Y.js server."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jupyterhub_service.yjs_limits import ConnectionCount, Pace


class Clock:
    """A clock that goes when it is told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def allowed(pace: Pace, tries: int) -> int:
    """How many of so many messages are let through."""
    return sum(pace.allows_one_more() for _ in range(tries))


# --- messages a second ---


def test_a_burst_of_ten_seconds_worth_is_allowed_and_no_more() -> None:
    assert allowed(Pace(200, Clock()), 5000) == 2000


def test_then_it_is_the_pace() -> None:
    clock = Clock()
    pace = Pace(200, clock)
    allowed(pace, 5000)
    for seconds, more in [(1, 200), (0.5, 100), (0, 0), (2, 400)]:
        clock.now += seconds
        assert allowed(pace, 5000) == more


def test_who_keeps_the_pace_is_never_refused() -> None:
    clock = Clock()
    pace = Pace(7, clock)
    for _ in range(5000):
        assert pace.allows_one_more()
        clock.now += 1 / 7


def test_a_little_over_the_pace_is_refused_in_the_end() -> None:
    clock = Clock()
    pace = Pace(10, clock)
    refused_at = None
    for second in range(200):
        if allowed(pace, 11) < 11:
            refused_at = second
            break
        clock.now += 1
    # 100 in hand, one more than earned a second.
    assert refused_at is not None and 85 <= refused_at <= 100


def test_a_quiet_night_saves_up_no_more_than_a_burst() -> None:
    clock = Clock()
    pace = Pace(5, clock)
    allowed(pace, 100)
    clock.now += 10 * 3600
    assert allowed(pace, 1000) == 50


def test_what_is_refused_costs_nothing() -> None:
    clock = Clock()
    pace = Pace(5, clock)
    allowed(pace, 10_000)
    clock.now += 1
    assert allowed(pace, 10) == 5


def test_zero_means_no_limit() -> None:
    assert allowed(Pace(0, Clock()), 10_000) == 10_000


def test_the_real_clock_is_the_default() -> None:
    assert allowed(Pace(1), 100) == 10


@given(st.integers(1, 50), st.lists(st.tuples(st.floats(0, 30), st.integers(0, 400)), max_size=20))
def test_in_any_stretch_of_time_no_more_passes_than_a_burst_and_the_pace(
    per_second: int, bursts: list[tuple[float, int]]
) -> None:
    clock = Clock()
    pace = Pace(per_second, clock)
    passed: list[tuple[float, int]] = []
    for pause, tries in bursts:
        clock.now += pause
        passed.append((clock.now, allowed(pace, tries)))
    for start in range(len(passed)):
        for end in range(start, len(passed)):
            seconds = passed[end][0] - passed[start][0]
            most = per_second * (10 + seconds) + 1e-6
            assert sum(count for _, count in passed[start : end + 1]) <= most


# --- connections of a user ---


def test_a_user_has_so_many_connections_and_others_theirs() -> None:
    users = ConnectionCount(2)
    assert [users.enter("alice") for _ in range(4)] == [True, True, False, False]
    assert users.enter("bob")


def test_who_leaves_makes_room_for_one() -> None:
    users = ConnectionCount(1)
    assert users.enter("alice") and not users.enter("alice")
    users.leave("alice")
    assert users.enter("alice") and not users.enter("alice")


def test_who_was_refused_is_not_counted() -> None:
    users = ConnectionCount(1)
    users.enter("alice")
    for _ in range(5):
        users.enter("alice")
    users.leave("alice")
    assert users.enter("alice")


def test_zero_connections_means_no_limit() -> None:
    users = ConnectionCount(0)
    assert all(users.enter("alice") for _ in range(1000))


@pytest.mark.parametrize("most", [0, 3])
def test_nothing_is_kept_of_who_has_left(most: int) -> None:
    users = ConnectionCount(most)
    for name in ("alice", "bob", "alice"):
        assert users.enter(name)
    for name in ("alice", "bob", "alice"):
        users.leave(name)
    assert not users._open
