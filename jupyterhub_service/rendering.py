"""Templates: how they are loaded, and how they write times and names. Pure but for reading the templates."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from datetime import datetime
from urllib.parse import quote

from jinja2 import Environment, PackageLoader, StrictUndefined

from jupyter_rtc_amprenta.core.schema import now

from .views import Json

_UNITS = ((86400, "day"), (3600, "hour"), (60, "minute"))
# After this many days a date says more than a number of days.
_MOST_DAYS = 14
# As many colours of avatars as the style sheet has.
_HUES = 8


def environment() -> Environment:
    """The templates. Whatever a template writes is escaped, and a name that it does not know is an error."""
    templates = Environment(
        loader=PackageLoader("jupyterhub_service"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    templates.filters |= {
        "ago": ago,
        "hue": hue,
        "initials": initials,
        "names": names,
        "since": since,
        "span": span,
        "quoted": lambda text: quote(text, safe=""),
        "until": until,
        "utc": utc,
    }
    return templates


def ago(time: str) -> str:
    """How long ago a time of the API's was, such as `3 minutes ago`; a date for what is long past."""
    seconds = (now() - datetime.fromisoformat(time)).total_seconds()
    if seconds < 60:
        return "just now"
    if seconds > _MOST_DAYS * 86400:
        return f"on {_date(datetime.fromisoformat(time))}"
    return f"{span(seconds)} ago"


def since(time: str) -> str:
    """How long something has gone on since a time of the API's, such as `12 minutes`."""
    return span((now() - datetime.fromisoformat(time)).total_seconds())


def until(time: str) -> str:
    """How long it is until a time of the API's, such as `in 23 hours`."""
    seconds = (datetime.fromisoformat(time) - now()).total_seconds()
    # Rounded up to minutes: what was made for a day just now ends "in 1 day".
    return f"in {span(seconds + 59)}" if seconds >= 60 else "within a minute"


def utc(time: str) -> str:
    """A time of the API's in full, such as `24 November 2025, 09:05 UTC`."""
    moment = datetime.fromisoformat(time)
    return f"{_date(moment)}, {moment:%H:%M} UTC"


def span(seconds: float) -> str:
    """A time in whole days, hours or minutes, such as `7 days`; a minute at least."""
    size, unit = next((one for one in _UNITS if seconds >= one[0]), _UNITS[-1])
    count = max(1, int(seconds // size))
    return f"{count} {unit}{'s' if count > 1 else ''}"


def initials(name: str) -> str:
    """One or two letters that stand for a name."""
    words = name.split() or ["?"]
    return "".join(word[0] for word in dict.fromkeys((words[0], words[-1]))).upper()


def hue(username: str) -> int:
    """The number of a user's colour: always the same."""
    return zlib.crc32(username.encode()) % _HUES


def names(people: Sequence[Json], me: str) -> str:
    """People in a sentence, oneself first: `you, bob and 2 more`."""
    mine = ["you"] if any(person["username"] == me for person in people) else []
    others = [str(person["display_name"]) for person in people if person["username"] != me]
    everybody = mine + others
    if len(everybody) > 4:
        everybody = [*everybody[:3], f"{len(everybody) - 3} more"]
    return " and ".join(filter(None, (", ".join(everybody[:-1]), everybody[-1]))) if everybody else "nobody"


def _date(moment: datetime) -> str:
    return f"{moment.day} {moment:%B %Y}"
