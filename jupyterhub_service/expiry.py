"""Until when an invite or a link is good: as whoever makes it chooses, within what the operator allows."""

from __future__ import annotations

from datetime import datetime, timedelta

from jupyter_rtc_amprenta.core.schema import now
from jupyter_rtc_amprenta.core.settings import Settings

from .errors import BadRequest

SHORTEST_SECONDS = 60


def expires_at(settings: Settings, seconds: float | None) -> datetime:
    """The time until which something is good that is made now.

    Args:
        settings: the default, and the longest time.
        seconds: what was chosen; None for the default.

    Raises:
        BadRequest: it is too short or too long.
    """
    longest = settings.longest_invite_seconds
    if seconds is not None and not SHORTEST_SECONDS <= seconds <= longest:
        raise BadRequest(
            "invalid_expires_in",
            f"expires_in must be a number of seconds, {SHORTEST_SECONDS} to {longest:.0f}.",
        )
    return now() + timedelta(seconds=settings.invite_seconds if seconds is None else seconds)
