"""Every path of the API, and what else is not for people; see also `page_routes.py`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tornado.web import RequestHandler

from . import api, operations
from .base import Context
from .openapi import OpenApiHandler
from .status import HealthHandler, JwksHandler

Route = tuple[str, type[RequestHandler], dict[str, Any]]

API = "api/v1/collaboration"

def routes(
    prefix: str,
    context: Context,
    rules: api.Rules,
    yjs_health: Callable[[], dict[str, Any]] | None,
) -> list[Route]:
    """All paths, under the Hub's prefix and at the root too: users' servers come straight to this port.

    Args:
        prefix: such as `/services/rtc/`.
        context: what every handler is given.
        rules: what the API's handlers ask.
        yjs_health: the health of the Y.js server in this process, if there is one.
    """
    shared = {"context": context}
    relative: list[Route] = [
        ("health", HealthHandler, shared | {"yjs_health": yjs_health}),
        ("jwks.json", JwksHandler, shared),
        ("openapi.json", OpenApiHandler, shared | {"prefix": f"{prefix}{API}"}),
        *((API + path, handler, shared | {"rules": rules}) for path, handler in operations.handlers().items()),
    ]
    return [(base + path, handler, more) for base in (prefix, "/") for path, handler, more in relative]
