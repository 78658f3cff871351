"""What an operation of the API is: see `operations.py`, which lists them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from .base import ApiHandler

# What a path's parameters may be, as regular expressions.
PATTERNS = {
    "document_id": r"[A-Za-z0-9_.~-]{1,200}",
    "invite_id": r"[0-9a-f-]{36}",
    "link_id": r"[0-9a-f-]{36}",
    "version_id": r"[0-9a-f-]{36}",
    "token": r"[A-Za-z0-9_-]{32}",
    "username": r"[^/]{1,600}",  # escaped
}

PAGE = ("limit", "cursor")
SESSIONS = ("active", "document_type", "owner", "q", "sort", *PAGE)


@dataclass(frozen=True)
class Operation:
    """One method of one path.

    Attributes:
        method: in lower case.
        path: under the API's prefix; its parameters are keys of `PATTERNS`.
        handler: has a coroutine of the method's name.
        summary: a sentence for people.
        answers: by status, the name of the schema in `schemas.py`; "" where there is no body.
        body: the name of the request body's schema; "" where there is none.
        optional_body: whether it may be left out.
        query: names of parameters in `schemas.PARAMETERS`.
        headers: names of request headers in `schemas.PARAMETERS`.
        refusals: statuses beside those that every operation has.
    """

    method: str
    path: str
    handler: type[ApiHandler]
    summary: str
    answers: Mapping[int, str] = field(default_factory=dict)
    body: str = ""
    optional_body: bool = False
    query: tuple[str, ...] = ()
    headers: tuple[str, ...] = ()
    refusals: tuple[int, ...] = ()

    @property
    def tag(self) -> str:
        """Under which it is listed."""
        return self.path.split("/")[1]
