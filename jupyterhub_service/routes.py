"""Every path of the service."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tornado.web import RequestHandler

from . import api
from .base import Context
from .event_stream import EventsHandler
from .events import EventFeed
from .pages import IndexHandler, LoginHandler
from .status import HealthHandler, JwksHandler

Route = tuple[str, type[RequestHandler], dict[str, Any]]

API = "api/v1/collaboration"
_DOCUMENT = r"([A-Za-z0-9_.~-]{1,200})"
_INVITE = r"([0-9a-f-]{36})"
_TOKEN = r"([A-Za-z0-9_-]{32})"
_USER = r"([^/]{1,600})"  # escaped; tornado unescapes it

_API_HANDLERS: dict[str, type[api.RuleHandler]] = {
    "/documents": api.DocumentsHandler,
    f"/documents/{_DOCUMENT}": api.DocumentHandler,
    "/sessions": api.SessionsHandler,
    f"/sessions/{_DOCUMENT}": api.SessionHandler,
    f"/sessions/{_DOCUMENT}/participants": api.ParticipantsHandler,
    f"/sessions/{_DOCUMENT}/participants/{_USER}": api.ParticipantHandler,
    f"/sessions/{_DOCUMENT}/activity": api.ActivityHandler,
    f"/sessions/{_DOCUMENT}/invite": api.InviteHandler,
    f"/sessions/{_DOCUMENT}/invites": api.SessionInvitesHandler,
    "/invites": api.MyInvitesHandler,
    f"/invites/{_INVITE}": api.OneInviteHandler,
    f"/invites/{_INVITE}/accept": api.AcceptHandler,
    f"/invites/{_INVITE}/decline": api.DeclineHandler,
    f"/invites/{_INVITE}/renew": api.RenewHandler,
    f"/sessions/{_DOCUMENT}/links": api.LinksHandler,
    f"/sessions/{_DOCUMENT}/links/{_INVITE}": api.LinkHandler,
    f"/links/{_TOKEN}": api.OfferHandler,
    f"/links/{_TOKEN}/accept": api.AcceptLinkHandler,
    "/token": api.TokenHandler,
    "/presence": api.PresenceHandler,
}


def routes(
    prefix: str,
    context: Context,
    rules: api.Rules,
    feed: EventFeed,
    yjs_health: Callable[[], dict[str, Any]] | None,
) -> list[Route]:
    """All paths, under the Hub's prefix and at the root too: users' servers come straight to this port.

    Args:
        prefix: such as `/services/rtc/`.
        context: what every handler is given.
        rules: what the API's handlers ask.
        feed: what happens.
        yjs_health: the health of the Y.js server in this process, if there is one.
    """
    shared = {"context": context}
    relative: list[Route] = [
        ("health", HealthHandler, shared | {"yjs_health": yjs_health}),
        ("jwks.json", JwksHandler, shared),
        (f"{API}/events", EventsHandler, shared | {"feed": feed}),
        *((API + path, handler, shared | {"rules": rules}) for path, handler in _API_HANDLERS.items()),
    ]
    pages: list[Route] = [
        (prefix, IndexHandler, shared | {"sessions_url": f"{prefix}{API}/sessions"}),
        (f"{prefix}oauth_callback", LoginHandler, shared),
    ]
    return pages + [
        (base + path, handler, more) for base in (prefix, "/") for path, handler, more in relative
    ]
