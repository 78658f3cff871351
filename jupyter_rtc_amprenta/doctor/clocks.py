"""The clocks: tokens are valid for minutes, and are refused by a clock that differs by more than their leeway."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing

from ..core import queries_doctor
from ..core.errors import DatabaseError
from ..core.tokens import LEEWAY_SECONDS
from . import database as database_checks
from .asking import ask
from .check import Check, Scene
from .yjs import http_url

_ADVICE = (
    "Let the clocks of both hosts be set by NTP: timedatectl set-ntp true (a container has its host's clock); "
    "`date -u` on both then tells the same."
)


def checks(scene: Scene) -> Iterator[Check]:
    """The checks of this area."""
    yield _database(scene)
    for name, url in (
        ("hub", scene.hub_api_url),
        ("yjs", f"{http_url(scene.yjs_url)}/health"),
        ("service", scene.service_url and f"{scene.service_url}/health"),
    ):
        yield _measured(f"clocks.{name}", scene, lambda url=url: ask(url).date if url else None)


def _database(scene: Scene) -> Check:
    if reason := database_checks.why_not(scene):
        return Check("clocks.database", None, reason)

    def asked() -> float | None:
        with closing(database_checks.of(scene)) as database:
            try:
                database.call(queries_doctor.clock)
                return database.call(queries_doctor.clock)
            except DatabaseError:
                return None

    return _measured("clocks.database", scene, asked)


def _measured(name: str, scene: Scene, asked: Callable[[], float | None]) -> Check:
    before = scene.clock()
    there = asked()
    if there is None:
        return Check(name, None, "It does not tell its time here.")
    after = scene.clock()
    # Between the two; a header's time is cut to a second.
    apart = max(before - there - 1, there - after, 0.0)
    if apart > LEEWAY_SECONDS:
        return Check(name, False, f"Its clock and this one differ by {apart:.0f} s.", _ADVICE)
    return Check(name, True, f"Its clock and this one agree ({LEEWAY_SECONDS} s are borne).")
