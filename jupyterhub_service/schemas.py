"""What the API takes and answers, as JSON Schema (2020-12): the components of the OpenAPI document."""

from __future__ import annotations

from typing import Any

from jupyter_rtc_amprenta.core.schema import DOCUMENT_TYPES, PERMISSIONS

from .bodies import MOST_CONNECTIONS, MOST_DOCUMENTS, MOST_USES
from .expiry import SHORTEST_SECONDS
from .listing import DEFAULT_LIMIT, LONGEST_LIST, SESSION_KEYS

Schema = dict[str, Any]

STRING: Schema = {"type": "string"}
NUMBER: Schema = {"type": "integer"}
FLAG: Schema = {"type": "boolean"}
TIME: Schema = {"type": "string", "format": "date-time"}
MAYBE_TIME: Schema = {"type": ["string", "null"], "format": "date-time"}
MAYBE_STRING: Schema = {"type": ["string", "null"]}
NAMES: Schema = {"type": "array", "items": STRING}
TYPE: Schema = {"enum": list(DOCUMENT_TYPES)}
RIGHT: Schema = {"enum": list(PERMISSIONS)}


def _text(longest: int, shortest: int = 1) -> Schema:
    return {"type": "string", "minLength": shortest, "maxLength": longest, "pattern": r"^[^\u0000]*$"}


def _optional_text(longest: int) -> Schema:
    return {"type": ["string", "null"], "maxLength": longest, "pattern": r"^[^\u0000]*$"}


def _object(optional: Schema | None = None, **required: Schema) -> Schema:
    """An answer, with exactly these properties."""
    return {
        "type": "object",
        "properties": required | (optional or {}),
        "required": list(required),
        "additionalProperties": False,
    }


def _body(optional: Schema | None = None, **required: Schema) -> Schema:
    """A request's body; what it has beside these is not looked at."""
    return {"type": "object", "properties": required | (optional or {}), "required": list(required)}


def _ref(name: str) -> Schema:
    return {"$ref": f"#/components/schemas/{name}"}


def _list(name: str, schema: str, **more: Schema) -> Schema:
    items = {"type": "array", "items": _ref(schema)}
    return _object({"next_cursor": STRING}, **{name: items}, **more)


_EXPIRES_IN = {"type": ["number", "null"], "minimum": SHORTEST_SECONDS}
_PERSON = {"id": STRING, "username": STRING, "display_name": STRING, "is_online": FLAG}
_SESSION = {
    "document_id": STRING,
    "document_path": STRING,
    "document_type": TYPE,
    "document_title": STRING,
    "last_activity": TIME,
    "is_active": FLAG,
}
# Where it is over: its file was deleted. And where its file lies on a shared volume.
_CLOSED = {"closed_at": TIME, "closed_reason": STRING}
_ON_VOLUME = {"volume": STRING, "volume_path": STRING}
_LINK = {
    "link_id": STRING,
    "document_id": STRING,
    "permissions": RIGHT,
    "max_uses": NUMBER,
    "uses": NUMBER,
    "state": {"enum": ["active", "used_up", "expired", "revoked"]},
    "created_by": STRING,
    "created_at": TIME,
    "expires_at": TIME,
}

_VERSION = {
    "version_id": STRING,
    "label": MAYBE_STRING,
    "created_by": MAYBE_STRING,
    "created_at": TIME,
}

BODIES: dict[str, Schema] = {
    "DocumentBody": _body(
        {
            "title": _optional_text(500),
            "shared": {"type": "boolean", "default": False},
            "digest": {"type": "string", "pattern": "^[0-9a-f]{64}$"},
        },
        volume=_text(200),
        file_id=_text(200),
        document_type=TYPE,
        path=_text(4096),
    ),
    "ChangeBody": _body({"path": _text(4096), "deleted": {"const": True}}),
    "SessionBody": _body(owner=_text(200)),
    "ParticipantBody": _body(permissions=RIGHT),
    "InviteBody": _body(
        {"message": _optional_text(2000), "permissions": RIGHT, "expires_in": _EXPIRES_IN},
        username=_text(200),
    ),
    "RenewalBody": _body({"expires_in": _EXPIRES_IN}),
    "LinkBody": _body(
        {
            "permissions": RIGHT,
            "max_uses": {"type": "integer", "minimum": 1, "maximum": MOST_USES, "default": 1},
            "expires_in": _EXPIRES_IN,
        }
    ),
    "RenameBody": _body(username=_text(200)),
    "VersionBody": _body(label=_text(200)),
    "NamingBody": _body(label=_text(200) | {"type": ["string", "null"]}),
    "RevocationBody": _body({"token": _optional_text(20_000)}),
    "TokenBody": _body({"document_id": _optional_text(200)}),
    "PresenceBody": _body(
        documents={"type": "array", "maxItems": MOST_DOCUMENTS, "items": _ref("PresentBody")}
    ),
    "PresentBody": _body(
        {"place": _optional_text(200), "edited": _optional_text(200)},
        document_id=_text(200),
        connections={"type": "integer", "minimum": 0, "maximum": MOST_CONNECTIONS},
    ),
}

ANSWERS: dict[str, Schema] = {
    "Error": _object(detail=STRING, code=STRING),
    "Success": _object(success=FLAG, document_id=STRING),
    "Registered": _object(
        {"file_id": STRING, "own": FLAG},
        document_id=STRING, generation=NUMBER, permissions=RIGHT, created=FLAG, connection_url=STRING
    ),
    "Document": _object(
        _CLOSED | _ON_VOLUME,
        document_id=STRING,
        document_type=TYPE,
        path=STRING,
        title=STRING,
        owner=STRING,
        permissions=RIGHT,
        generation=NUMBER,
        connection_url=STRING,
    ),
    "Documents": _list("documents", "Document"),
    "SessionSummary": _object(_CLOSED, **_SESSION, participant_count=NUMBER, is_owner=FLAG),
    "Sessions": _list("sessions", "SessionSummary", total_count=NUMBER, active_count=NUMBER),
    "AnySession": _object(_CLOSED, **_SESSION, participant_count=NUMBER, is_owner=FLAG, owner=STRING),
    "AnySessionDetails": _object(
        _CLOSED,
        **_SESSION,
        participant_count=NUMBER,
        is_owner=FLAG,
        owner=STRING,
        created_at=TIME,
        participants={"type": "array", "items": _ref("Participant")},
    ),
    "AllSessions": _list("sessions", "AnySession", total_count=NUMBER, active_count=NUMBER),
    "Ended": _object(success=FLAG, removed=NAMES),
    "Disconnected": _object(success=FLAG, document_ids=NAMES),
    "Renamed": _object(success=FLAG, username=STRING),
    "Erased": _object(success=FLAG, handed_over=NAMES, deleted=NAMES),
    "AnyUser": _object(
        username=STRING,
        display_name=STRING,
        is_online=FLAG,
        owned_sessions=NUMBER,
        created_at=TIME,
        gone_at=MAYBE_TIME,
    ),
    "AllUsers": _list("users", "AnyUser", total_count=NUMBER),
    "Counts": _object(
        users=NUMBER,
        sessions=NUMBER,
        active_sessions=NUMBER,
        online_users=NUMBER,
        open_invites=NUMBER,
        gone_users=NUMBER,
    ),
    "AuditEntry": _object(
        audit_id=NUMBER,
        created_at=TIME,
        username=STRING,
        address=STRING,
        action=STRING,
        document_id=STRING,
        detail=STRING,
    ),
    "Audit": _list("audit", "AuditEntry"),
    "Owner": _object(**_PERSON),
    "Person": _object(**_PERSON, last_seen=MAYBE_TIME),
    "Session": _object(
        _CLOSED | _ON_VOLUME,
        **_SESSION,
        created_at=TIME,
        participants={"type": "array", "items": _ref("Person")},
        owner=_ref("Owner"),
    ),
    "SessionAnswer": _object(
        session=_ref("Session"),
        user_permissions=RIGHT,
        connection_url=STRING,
        recent_activity={"type": "array", "items": STRING},
    ),
    "Participant": _object(
        **_PERSON,
        last_seen=MAYBE_TIME,
        is_idle=FLAG,
        last_active=MAYBE_TIME,
        place=MAYBE_STRING,
        permissions=RIGHT,
        is_owner=FLAG,
        joined_at=TIME,
    ),
    "Participants": _list("participants", "Participant"),
    "Activity": _object(
        activity_id=NUMBER, username=STRING, action=STRING, detail=STRING, created_at=TIME, sentence=STRING
    ),
    "Activities": _list("activity", "Activity"),
    "Invited": _object(
        success=FLAG,
        invite_id=STRING,
        invited_user=STRING,
        document_id=STRING,
        message=STRING,
        expires_at=TIME,
    ),
    "Invite": _object(
        invite_id=STRING,
        document_id=STRING,
        document_title=STRING,
        document_type=TYPE,
        invited_user=STRING,
        invited_by=STRING,
        message=STRING,
        permissions=RIGHT,
        state={"enum": ["pending", "accepted", "declined", "revoked", "expired"]},
        created_at=TIME,
        expires_at=TIME,
        answered_at=MAYBE_TIME,
        open_url=STRING,
    ),
    "Invites": _list("invites", "Invite"),
    "Accepted": _object(success=FLAG, document_id=STRING, permissions=RIGHT, open_url=STRING),
    "Link": _object(**_LINK),
    "NewLink": _object(**_LINK, token=STRING),
    "Links": _list("links", "Link"),
    "Version": _object(**_VERSION),
    "VersionContent": _object(**_VERSION, document_type=TYPE, file_name=STRING, content=STRING),
    "Versions": _list("versions", "Version"),
    "Restored": _object(success=FLAG, document_id=STRING, version_id=STRING),
    "User": _object(username=STRING, display_name=STRING),
    "Users": _object(users={"type": "array", "items": _ref("User")}, complete=FLAG),
    "Offer": _object(
        document_id=STRING,
        document_title=STRING,
        document_type=TYPE,
        owner=STRING,
        permissions=RIGHT,
        expires_at=TIME,
    ),
    "Token": _object(
        {"permissions": RIGHT, "generation": NUMBER, "connection_url": STRING},
        token=STRING,
        token_type={"const": "Bearer"},
        expires_at=TIME,
    ),
    "Reported": _object(
        accepted={"type": "array", "items": STRING}, refused={"type": "array", "items": STRING}
    ),
}

# Query parameters and headers: what each may be, and what it does.
PARAMETERS: dict[str, tuple[Schema, str]] = {
    "limit": (
        {"type": "integer", "minimum": 1, "maximum": LONGEST_LIST, "default": DEFAULT_LIMIT},
        "How many rows at most.",
    ),
    "cursor": (STRING, "The next_cursor of an earlier answer."),
    "active": ({"enum": ["true", "false"]}, "Only sessions in which somebody is online, or nobody is."),
    "document_type": (TYPE, "Only documents of this type."),
    "owner": (_text(200), "Only this user's sessions; `me` means the caller."),
    "q": (_text(200), "Only what has this in its title or path."),
    "gone": ({"enum": ["true", "false"]}, "Only users whom the Hub does not know any more, or knows."),
    "name": (_optional_text(200) | {"type": "string"}, "Only those who have this in their name."),
    "sort": ({"enum": list(SESSION_KEYS)}, "By what the list is sorted."),
    "username": (_text(200), "Only what this user did."),
    "document_id": (_text(200), "Only what was done with this document."),
    "action": (_text(40), "Only this, such as `joined`, `removed` or `refused`."),
    "since": (TIME, "Not before this time."),
    "until": (TIME, "Before this time."),
    "confirm": (STRING, "The id or the name once more: this can't be undone."),
    "successor": (STRING, "Who gets the sessions that the user owned."),
    "last_event_id": ({"type": "string", "pattern": "^[0-9]{1,18}$"}, "The event that is known last."),
    "Last-Event-ID": ({"type": "string", "pattern": "^[0-9]{1,18}$"}, "The event that is known last."),
    "Idempotency-Key": (
        {"type": "string", "maxLength": 200, "pattern": "^[ -~]*$"},
        "The same request with the same key is carried out once, and gets the same answer.",
    ),
}
