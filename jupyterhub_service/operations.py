"""Every operation of the API: its path, its handler, what it takes and answers. Served and described from here alone.

`routes.py` serves these paths, and `openapi.py` describes them, so that neither can be without the other.
"""

from __future__ import annotations

from . import api, api_history
from .base import ApiHandler
from .event_stream import EventsHandler
from .operation import PAGE, PATTERNS, SESSIONS, Operation
from .operations_admin import FOR_ADMINS

_SESSION = "/sessions/{document_id}"
_PARTICIPANT = f"{_SESSION}/participants/{{username}}"
_VERSION = f"{_SESSION}/history/{{version_id}}"
_INVITE = "/invites/{invite_id}"
_OK = {200: "Success"}

_FOR_PEOPLE: tuple[Operation, ...] = (
    Operation("get", "/documents", api.DocumentsHandler, "My documents.", {200: "Documents"}, query=PAGE),
    Operation(
        "post",
        "/documents",
        api.DocumentsHandler,
        "Register a file's document: 201 where it was made, 200 where it was known. A user's server does it.",
        {200: "Registered", 201: "Registered"},
        body="DocumentBody",
    ),
    Operation(
        "get",
        "/documents/{document_id}",
        api.DocumentHandler,
        "A document, as a participant's server needs it.",
        {200: "Document"},
    ),
    Operation(
        "patch",
        "/documents/{document_id}",
        api.DocumentHandler,
        "Its file was moved on its shared volume, or deleted: then the session is over. A user's server tells it.",
        {200: "Document"},
        body="ChangeBody",
    ),
    Operation(
        "delete",
        "/documents/{document_id}",
        api.DocumentHandler,
        "Remove a document wholly, with its history (owner).",
        {204: ""},
    ),
    Operation("get", "/sessions", api.SessionsHandler, "My sessions.", {200: "Sessions"}, query=SESSIONS),
    Operation("get", _SESSION, api.SessionHandler, "A session in detail.", {200: "SessionAnswer"}),
    Operation(
        "patch",
        _SESSION,
        api.SessionHandler,
        "Hand a session over to another participant (owner).",
        {200: "SessionAnswer"},
        body="SessionBody",
    ),
    Operation(
        "get",
        f"{_SESSION}/participants",
        api.ParticipantsHandler,
        "Who takes part, who is here, and where.",
        {200: "Participants"},
        query=PAGE,
    ),
    Operation(
        "patch",
        _PARTICIPANT,
        api.ParticipantHandler,
        "Change what somebody may do (owner).",
        {200: "Participant"},
        body="ParticipantBody",
    ),
    Operation(
        "delete",
        _PARTICIPANT,
        api.ParticipantHandler,
        "Take somebody out (owner), or leave.",
        {204: ""},
        refusals=(400,),
    ),
    Operation(
        "get",
        f"{_SESSION}/activity",
        api.ActivityHandler,
        "What happened in a session, the last first.",
        {200: "Activities"},
        query=PAGE,
    ),
    Operation(
        "post",
        f"{_SESSION}/invite",
        api.InviteHandler,
        "Invite a user of the Hub; an invite that is still open for them is renewed (owner).",
        {200: "Invited"},
        body="InviteBody",
        headers=("Idempotency-Key",),
        refusals=(409,),
    ),
    Operation(
        "get",
        f"{_SESSION}/invites",
        api.SessionInvitesHandler,
        "Who was invited to a session (owner).",
        {200: "Invites"},
        query=PAGE,
    ),
    Operation(
        "get",
        f"{_SESSION}/links",
        api.LinksHandler,
        "A session's invitation links (owner).",
        {200: "Links"},
        query=PAGE,
    ),
    Operation(
        "post",
        f"{_SESSION}/links",
        api.LinksHandler,
        "Make an invitation link; its token is told once (owner).",
        {201: "NewLink"},
        body="LinkBody",
        optional_body=True,
    ),
    Operation(
        "delete",
        f"{_SESSION}/links/{{link_id}}",
        api.LinkHandler,
        "Withdraw an invitation link (owner).",
        {204: ""},
    ),
    Operation(
        "get",
        f"{_SESSION}/history",
        api_history.HistoryHandler,
        "A document's versions, the newest first.",
        {200: "Versions"},
        query=PAGE,
    ),
    Operation(
        "post",
        f"{_SESSION}/history",
        api_history.HistoryHandler,
        "Keep the present state under a name (who may write).",
        {201: "Version"},
        body="VersionBody",
        refusals=(409,),
    ),
    Operation(
        "get",
        _VERSION,
        api_history.VersionHandler,
        "A version, with what the file held then: a notebook's JSON, or text.",
        {200: "VersionContent"},
        refusals=(409,),
    ),
    Operation(
        "patch",
        _VERSION,
        api_history.VersionHandler,
        "Name a version (who may write); null takes the name away, and it goes when automatic ones do (owner).",
        {200: "Version"},
        body="NamingBody",
        refusals=(409,),
    ),
    Operation(
        "post",
        f"{_VERSION}/restore",
        api_history.RestoreHandler,
        "Turn the document into what it was, by an edit like any other; the present becomes a version (who may write).",
        {200: "Restored"},
        refusals=(409,),
    ),
    Operation("get", "/invites", api.MyInvitesHandler, "Whereto I was invited.", {200: "Invites"}, query=PAGE),
    Operation(
        "delete", _INVITE, api.OneInviteHandler, "Take an invite back (owner).", {204: ""}, refusals=(400,)
    ),
    Operation(
        "post", f"{_INVITE}/accept", api.AcceptHandler, "Take part.", {200: "Accepted"}, refusals=(400,)
    ),
    Operation("post", f"{_INVITE}/decline", api.DeclineHandler, "Answer no.", _OK, refusals=(400,)),
    Operation(
        "post",
        f"{_INVITE}/renew",
        api.RenewHandler,
        "Let an open invite be accepted for longer (owner).",
        {200: "Invite"},
        body="RenewalBody",
        optional_body=True,
    ),
    Operation(
        "get", "/links/{token}", api.OfferHandler, "What a link opens.", {200: "Offer"}, refusals=(400,)
    ),
    Operation(
        "post",
        "/links/{token}/accept",
        api.AcceptLinkHandler,
        "Take part by a link.",
        {200: "Accepted"},
        refusals=(400,),
    ),
    Operation(
        "post",
        "/token",
        api.TokenHandler,
        "A token for one document at the Y.js server, or for this API where no document is named.",
        {200: "Token"},
        body="TokenBody",
        optional_body=True,
        refusals=(404,),
    ),
    Operation(
        "post",
        "/token/revoke",
        api.RevokeHandler,
        "Refuse a token of mine from now on, or all that were made for me until now, where none is named.",
        {204: ""},
        body="RevocationBody",
        optional_body=True,
    ),
    Operation(
        "get",
        "/users",
        api.UsersHandler,
        "Whom I might invite: of the Hub's users, where its operator allows it, or else those I work with.",
        {200: "Users"},
        query=("name",),
    ),
    Operation(
        "post",
        "/presence",
        api.PresenceHandler,
        "All that a user's server has open now: what it names no more, its owner has left.",
        {200: "Reported"},
        body="PresenceBody",
    ),
    Operation(
        "get",
        "/events",
        EventsHandler,
        "What happens, as server-sent events; Last-Event-ID says what is known already.",
        {200: "text/event-stream"},
        query=("last_event_id",),
        headers=("Last-Event-ID",),
    ),
)

OPERATIONS = _FOR_PEOPLE + FOR_ADMINS


def handlers() -> dict[str, type[ApiHandler]]:
    """The handler of each path, as a regular expression."""
    found: dict[str, type[ApiHandler]] = {}
    for operation in OPERATIONS:
        path = operation.path
        for name, pattern in PATTERNS.items():
            path = path.replace(f"{{{name}}}", f"(?P<{name}>{pattern})")
        found[path] = operation.handler
    return found
