"""Every operation of the API: its path, its handler, what it takes and answers. Served and described from here alone.

`routes.py` serves these paths, and `openapi.py` describes them, so that neither can be without the other.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from . import api, api_admin
from .event_stream import EventsHandler

# What a path's parameters may be, as regular expressions.
PATTERNS = {
    "document_id": r"[A-Za-z0-9_.~-]{1,200}",
    "invite_id": r"[0-9a-f-]{36}",
    "link_id": r"[0-9a-f-]{36}",
    "token": r"[A-Za-z0-9_-]{32}",
    "username": r"[^/]{1,600}",  # escaped
}

PAGE = ("limit", "cursor")
AUDIT = ("username", "document_id", "action", "since", "until", *PAGE)
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
    handler: type[api.ApiHandler]
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


_SESSION = "/sessions/{document_id}"
_PARTICIPANT = f"{_SESSION}/participants/{{username}}"
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


_FOR_ADMINS: tuple[Operation, ...] = (
    Operation(
        "get", "/admin/sessions", api_admin.AdminSessionsHandler, "All sessions.", {200: "AllSessions"}, query=SESSIONS
    ),
    Operation(
        "delete",
        "/admin/sessions/{document_id}",
        api_admin.AdminSessionHandler,
        "Delete a document wholly.",
        {204: ""},
        query=("confirm",),
    ),
    Operation(
        "post",
        "/admin/sessions/{document_id}/end",
        api_admin.AdminEndHandler,
        "Leave a session to its owner alone: nobody else takes part, and invites and links are withdrawn.",
        {200: "Ended"},
        query=("confirm",),
    ),
    Operation("get", "/admin/counts", api_admin.AdminCountsHandler, "How much there is.", {200: "Counts"}),
    Operation(
        "get", "/admin/audit", api_admin.AdminAuditHandler, "Who did what, from where.", {200: "Audit"}, query=AUDIT
    ),
    Operation(
        "post",
        "/admin/users/{username}/disconnect",
        api_admin.AdminDisconnectHandler,
        "Take somebody out of everybody else's sessions.",
        {200: "Disconnected"},
        query=("confirm",),
    ),
    Operation(
        "post",
        "/admin/users/{username}/rename",
        api_admin.AdminRenameHandler,
        "Follow a user whom the Hub calls otherwise now.",
        {200: "Renamed"},
        body="RenameBody",
        refusals=(409,),
    ),
    Operation(
        "delete",
        "/admin/users/{username}",
        api_admin.AdminUserHandler,
        "Erase a user; a successor who takes part in their sessions gets them, the others are deleted.",
        {200: "Erased"},
        query=("confirm", "successor"),
    ),
)

OPERATIONS = _FOR_PEOPLE + _FOR_ADMINS


def handlers() -> dict[str, type[api.ApiHandler]]:
    """The handler of each path, as a regular expression."""
    found: dict[str, type[api.ApiHandler]] = {}
    for operation in OPERATIONS:
        path = operation.path
        for name, pattern in PATTERNS.items():
            path = path.replace(f"{{{name}}}", f"(?P<{name}>{pattern})")
        found[path] = operation.handler
    return found
