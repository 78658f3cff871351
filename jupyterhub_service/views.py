"""What clients are told: rows of the database as the answers' JSON. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from jupyter_rtc_amprenta.core.schema import now

from .listing import next_cursor

Json = dict[str, Any]

# Who is here, and has neither moved nor edited for so long, is idle.
IDLE_SECONDS = 300.0

_SENTENCES = {
    "created": "{who} created the session",
    "joined": "{who} joined the session",
    "left": "{who} left the session",
    "invited": "{who} invited {whom}",
    "accepted": "{who} accepted the invitation",
    "declined": "{who} declined the invitation",
    "renewed": "{who} renewed the invitation of {whom}",
    "revoked": "{who} withdrew the invitation of {whom}",
    "made_reader": "{who} made {whom} a reader",
    "made_writer": "{who} made {whom} a writer",
    "handed_over": "{who} handed the session over to {whom}",
    "removed": "{who} removed {whom}",
    "resigned": "{who} takes part no more",
    "linked": "{who} made an invitation link",
    "unlinked": "{who} withdrew an invitation link",
    "entered": "{who} came by an invitation link",
    "opened": "{who} opened the shared file",
    "closed": "{who} deleted the file: the session is over",
    "ended": "{who} ended the session",
    "edited": "{who} edited {whom}",
    "versioned": "{who} kept the version {whom}",
    "named": "{who} named the version {whom}",
    "restored": "{who} restored the version {whom}",
}


def instant(time: datetime | None) -> str | None:
    """UTC, ISO 8601, such as `2025-12-31T11:22:35.866404Z`."""
    if time is None:
        return None
    return time.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def listed(
    name: str,
    rows: Sequence[Any],
    limit: int,
    view: Callable[[Any], Json],
    keys: Callable[[Any], Sequence[Any]],
) -> Json:
    """A page of a list: `rows` has one more than `limit` where there are more."""
    answer: Json = {name: [view(row) for row in rows[:limit]]}
    if len(rows) > limit:
        answer["next_cursor"] = next_cursor(keys(rows[limit - 1]))
    return answer


def session_summary(row: Any, username: str) -> Json:
    """A session in the list of one's own."""
    return {
        "document_id": row.document_id,
        "document_path": row.path,
        "document_type": row.document_type,
        "document_title": row.title,
        "participant_count": row.participant_count,
        "last_activity": instant(row.last_activity),
        "is_active": row.is_active,
        "is_owner": row.owner == username,
    } | _closing(row)


def _closing(row: Any) -> Json:
    """That a session is over, and why; nothing where it goes on."""
    return {} if row.closed_at is None else {"closed_at": instant(row.closed_at), "closed_reason": row.closed_reason}


def session_details(row: Any, participants: Sequence[Any]) -> Json:
    """A session with its people."""
    people = [_person(one) | {"last_seen": instant(one.last_seen)} for one in participants]
    return {
        "document_id": row.document_id,
        "document_path": row.path,
        "document_type": row.document_type,
        "created_at": instant(row.created_at),
        "last_activity": instant(row.last_activity),
        "participants": people,
        "owner": next((_person(one) for one in participants if one.username == row.owner), None),
        "is_active": row.is_active,
        "document_title": row.title,
    } | _closing(row) | _on_volume(row)


def document(row: Any, connection_url: str) -> Json:
    """A document, as its participants' servers need it."""
    return {
        "document_id": row.document_id,
        "document_type": row.document_type,
        "path": row.path,
        "title": row.title,
        "owner": row.owner,
        "permissions": row.permissions,
        "generation": row.generation,
        "connection_url": connection_url,
    } | _on_volume(row) | _closing(row)


def _on_volume(row: Any) -> Json:
    """Where the file of a document is found by every server that has its volume."""
    if not row.shared:
        return {}
    return {"volume": row.volume, "volume_path": row.path.removeprefix(f"{row.volume}/")}


def participant(row: Any, owner: str) -> Json:
    """A participant in the list of a session's."""
    return _person(row) | {
        "last_seen": instant(row.last_seen),
        "is_idle": row.is_online and row.last_active < now() - timedelta(seconds=IDLE_SECONDS),
        "last_active": instant(row.last_active),
        "place": row.place,
        "permissions": row.permissions,
        "is_owner": row.username == owner,
        "joined_at": instant(row.joined_at),
    }


def _person(row: Any) -> Json:
    return {
        "id": row.user_id,
        "username": row.username,
        "display_name": row.display_name,
        "is_online": row.is_online,
    }


def invited(invite_id: str, username: str, document_id: str, expires_at: datetime) -> Json:
    """The answer to who has invited somebody."""
    return {
        "success": True,
        "invite_id": invite_id,
        "invited_user": username,
        "document_id": document_id,
        "message": f"Successfully invited {username} to collaborate on document",
        "expires_at": instant(expires_at),
    }


def invite(row: Any, open_url: str) -> Json:
    """An invite; one that is open and too old is `expired`."""
    is_expired = row.state == "pending" and row.expires_at <= now()
    return {
        "invite_id": row.invite_id,
        "document_id": row.document_id,
        "document_title": row.title,
        "document_type": row.document_type,
        "invited_user": row.invited_user,
        "invited_by": row.invited_by,
        "message": row.message,
        "permissions": row.permissions,
        "state": "expired" if is_expired else row.state,
        "created_at": instant(row.created_at),
        "expires_at": instant(row.expires_at),
        "answered_at": instant(row.answered_at),
        "open_url": open_url,
    }


def version(row: Any) -> Json:
    """A state of a document that is kept; one without a label was made automatically, unless `created_by` says who."""
    return {
        "version_id": row.version_id,
        "label": row.label,
        "created_by": row.created_by,
        "created_at": instant(row.created_at),
    }


def version_name(row: Any) -> str:
    """What a version is called for people: its label, or when it was made."""
    return f"“{row.label}”" if row.label else f"of {row.created_at.astimezone(UTC):%Y-%m-%d %H:%M} UTC"


def link(row: Any) -> Json:
    """An invitation link, for its owner; its token is kept nowhere."""
    return {
        "link_id": row.link_id,
        "document_id": row.document_id,
        "permissions": row.permissions,
        "max_uses": row.max_uses,
        "uses": row.uses,
        "state": _link_state(row),
        "created_by": row.created_by,
        "created_at": instant(row.created_at),
        "expires_at": instant(row.expires_at),
    }


def _link_state(row: Any) -> str:
    if row.revoked_at is not None:
        return "revoked"
    if row.uses >= row.max_uses:
        return "used_up"
    return "expired" if row.expires_at <= now() else "active"


def offer(row: Any) -> Json:
    """What a link opens, for whoever has it."""
    return {
        "document_id": row.document_id,
        "document_title": row.title,
        "document_type": row.document_type,
        "owner": row.owner,
        "permissions": row.permissions,
        "expires_at": instant(row.expires_at),
    }


def activity(row: Any) -> Json:
    """Something that happened, with its sentence."""
    return {
        "activity_id": row.activity_id,
        "username": row.username,
        "action": row.action,
        "detail": row.detail,
        "created_at": instant(row.created_at),
        "sentence": sentence(row),
    }


_KINDS = {
    "invited": "invited",
    "accepted": "answered",
    "declined": "answered",
    "joined": "joined",
    "left": "left",
    "moved": "presence",
}


def event_kind(action: str) -> str:
    """The name of an event in the stream: `invited`, `answered`, `joined`, `left`, `presence`, else `changed`."""
    return _KINDS.get(action, "changed")


def event(row: Any) -> Json:
    """An event of the stream."""
    return {
        "action": row.action,
        "document_id": row.document_id,
        "username": row.username,
        "detail": row.detail,
        "created_at": instant(row.created_at),
    }


def known_user(row: Any) -> Json:
    """Somebody who has been here or was invited, for admins."""
    return {
        "username": row.username,
        "display_name": row.display_name,
        "is_online": row.is_online,
        "owned_sessions": row.owned_sessions,
        "created_at": instant(row.created_at),
        "gone_at": instant(row.gone_at),
    }


def audit_entry(row: Any) -> Json:
    """An entry of the audit."""
    return {
        "audit_id": row.audit_id,
        "created_at": instant(row.created_at),
        "username": row.username,
        "address": row.address,
        "action": row.action,
        "document_id": row.document_id,
        "detail": row.detail,
    }


def sentence(row: Any) -> str:
    """Something that happened, for people."""
    return _SENTENCES.get(row.action, "{who} " + row.action).format(who=row.username, whom=row.detail)
