"""Which part of which list a client asks for, by query parameters; and where a listener to events stood. Pure."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from jupyter_rtc_amprenta.core.queries_audit import AuditFilter
from jupyter_rtc_amprenta.core.queries_people import Wanted
from jupyter_rtc_amprenta.core.schema import DOCUMENT_TYPES

from .bodies import clean, text
from .errors import BadRequest

DEFAULT_LIMIT = 100
LONGEST_LIST = 500
# How to read the sort keys of a list of sessions, by what it is sorted by.
SESSION_KEYS: Mapping[str, Sequence[Callable[[str], Any]]] = {
    "last_activity": (datetime.fromisoformat, str),
    "created_at": (datetime.fromisoformat, str),
    "title": (str, str),
}
_FLAGS = {"true": True, "false": False}


@dataclass(frozen=True)
class Page:
    """Which part of a list is asked for.

    Attributes:
        limit: how many rows at most.
        after: the sort keys of the last row that the client has seen.
    """

    limit: int = DEFAULT_LIMIT
    after: Sequence[Any] | None = None


def wanted(parameters: Mapping[str, str], username: str) -> Wanted:
    """The sessions that the query parameters `active`, `document_type`, `owner`, `q` and `sort` ask for.

    Args:
        username: the caller's, whom `owner=me` means.
    """
    kind = parameters.get("document_type")
    if kind and kind not in DOCUMENT_TYPES:
        raise BadRequest(
            "invalid_document_type", f"document_type must be one of {', '.join(DOCUMENT_TYPES)}."
        )
    sort = parameters.get("sort") or "last_activity"
    if sort not in SESSION_KEYS:
        raise BadRequest("invalid_sort", f"sort must be one of {', '.join(SESSION_KEYS)}.")
    owner = text(parameters, "owner", 200, default="")
    return Wanted(
        active=flag(parameters, "active"),
        document_type=kind or None,
        owner=(username if owner == "me" else owner) or None,
        search=text(parameters, "q", 200, default=""),
        sort=sort,
    )


def flag(parameters: Mapping[str, str], name: str) -> bool | None:
    """A query parameter that is `true` or `false`; None where it is not given."""
    value = parameters.get(name, "")
    if value and value not in _FLAGS:
        raise BadRequest(f"invalid_{name}", f"{name} must be true or false.")
    return _FLAGS.get(value)


def name_filter(parameters: Mapping[str, str]) -> str:
    """The query parameter `name` of `GET /users`; "" for everybody."""
    return text(parameters, "name", 200, default="")


def audit_filter(parameters: Mapping[str, str]) -> AuditFilter:
    """The entries that the query parameters `username`, `document_id`, `action`, `since` and `until` ask for."""
    texts = {name: text(parameters, name, 200, "") or None for name in ("username", "document_id", "action")}
    return AuditFilter(**texts, since=_time(parameters, "since"), until=_time(parameters, "until"))


def _time(parameters: Mapping[str, str], name: str) -> datetime | None:
    value = parameters.get(name)
    if not value:
        return None
    try:
        time = datetime.fromisoformat(value)
    except ValueError:
        time = None
    if time is None or not 1970 < time.year < 9000:
        raise BadRequest(f"invalid_{name}", f"{name} must be a time such as 2025-12-31T11:22:35Z.")
    return time if time.tzinfo else time.replace(tzinfo=UTC)


def page(parameters: Mapping[str, str], keys: Sequence[Callable[[str], Any]]) -> Page:
    """The part of a list that the query parameters `limit` and `cursor` ask for.

    Args:
        keys: how to read each of the list's sort keys.
    """
    try:
        limit = int(parameters.get("limit") or DEFAULT_LIMIT)
    except ValueError:
        limit = 0
    if not 1 <= limit <= LONGEST_LIST:
        raise BadRequest("invalid_limit", f"limit must be a number, 1 to {LONGEST_LIST}.")
    if not (cursor := parameters.get("cursor")):
        return Page(limit)
    try:
        values = json.loads(base64.urlsafe_b64decode(cursor.encode()))
        return Page(limit, [read(clean(value)) for read, value in zip(keys, values, strict=True)])
    except (ValueError, TypeError, AttributeError):
        raise BadRequest("invalid_cursor", "cursor must be the next_cursor of an earlier answer.") from None


def next_cursor(values: Sequence[Any]) -> str:
    """The cursor that stands for a row's sort keys."""
    texts = [value.isoformat() if isinstance(value, datetime) else str(value) for value in values]
    return base64.urlsafe_b64encode(json.dumps(texts).encode()).decode()


def event_id(value: str) -> int | None:
    """The event that a listener knows of last; None where none is given."""
    if not value:
        return None
    if not value.isascii() or not value.isdecimal() or len(value) > 18:
        raise BadRequest("invalid_last_event_id", "Last-Event-ID must be the id of an earlier event.")
    return int(value)
