"""The JSON bodies that clients send, checked. Pure; every refusal says what it should be."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from jupyter_rtc_amprenta.core.queries_presence import Present
from jupyter_rtc_amprenta.core.schema import DOCUMENT_TYPES, PERMISSIONS

from .errors import BadRequest

Body = Mapping[str, Any]

# A server with more open documents than this is no editor.
MOST_DOCUMENTS = 1000
MOST_CONNECTIONS = 10_000
MOST_USES = 1000
_LONGEST_KEY = 200
_DIGEST = re.compile("[0-9a-f]{64}")
_LONGEST_TOKEN = 20_000


@dataclass(frozen=True)
class DocumentBody:
    """A file to be registered: what `queries_people.NewSession` has, without owner and id.

    Attributes:
        shared: whether it lies on the shared volume of that name. Then `path` is below the volume, `file_id` the
            kind of the room (`json:notebook`), and `digest` shows that the server has the file.
        digest: of the file's content; in a home that several servers share they know it by that and the path.
    """

    volume: str
    file_id: str
    document_type: str
    path: str
    title: str
    shared: bool = False
    digest: str = ""


@dataclass(frozen=True)
class ChangeBody:
    """What became of a document's file: it has another path on its volume, or it was deleted (`path` is None)."""

    path: str | None


@dataclass(frozen=True)
class InviteBody:
    """Whom to invite, and to what."""

    username: str
    message: str
    permissions: str
    expires_in: float | None = None


@dataclass(frozen=True)
class LinkBody:
    """What a link offers, to how many, for how many seconds (None: the default)."""

    permissions: str
    max_uses: int
    expires_in: float | None


def document_body(body: Body) -> DocumentBody:
    """The body of `POST /documents`.

    Raises:
        BadRequest: as all functions here.
    """
    kind = text(body, "document_type", 20)
    if kind not in DOCUMENT_TYPES:
        raise BadRequest(
            "invalid_document_type", f"document_type must be one of {', '.join(DOCUMENT_TYPES)}."
        )
    path = text(body, "path", 4096)
    shared = body.get("shared", False)
    if not isinstance(shared, bool):
        raise BadRequest("invalid_shared", "shared must be true or false.")
    return DocumentBody(
        shared=shared,
        digest=_digest(body) if shared or "digest" in body else "",
        volume=text(body, "volume", 200),
        file_id=text(body, "file_id", 200),
        document_type=kind,
        path=path,
        title=text(body, "title", 500, default="") or PurePosixPath(path).name,
    )


def change_body(body: Body) -> ChangeBody:
    """The body of `PATCH /documents/{document_id}`."""
    if body.get("deleted") is True and "path" not in body:
        return ChangeBody(None)
    if "deleted" in body:
        raise BadRequest("invalid_change", 'Send either {"path": "…"} or {"deleted": true}.')
    return ChangeBody(text(body, "path", 4096))


def _digest(body: Body) -> str:
    digest = text(body, "digest", 64)
    if not _DIGEST.fullmatch(digest):
        raise BadRequest("invalid_digest", "digest must be a SHA-256 in hexadecimal.")
    return digest


def invite_body(body: Body) -> InviteBody:
    """The body of `POST /sessions/{document_id}/invite`."""
    return InviteBody(
        username=text(body, "username", 200),
        message=text(body, "message", 2000, default=""),
        permissions=_permissions(body, default="read-write"),
        expires_in=_expires_in(body),
    )


def renewal_body(body: Body) -> float | None:
    """The body of `POST /invites/{invite_id}/renew`: for how many seconds; None for the default."""
    return _expires_in(body)


def link_body(body: Body) -> LinkBody:
    """The body of `POST /sessions/{document_id}/links`: by default one use, for a reader."""
    uses = body.get("max_uses", 1)
    if type(uses) is not int or not 1 <= uses <= MOST_USES:
        raise BadRequest("invalid_max_uses", f"max_uses must be a number, 1 to {MOST_USES}.")
    return LinkBody(_permissions(body, default="read-only"), uses, _expires_in(body))


def idempotency_key(value: str) -> str:
    """The header `Idempotency-Key`; "" where there is none."""
    if not value.isascii() or not value.isprintable() or len(value) > _LONGEST_KEY:
        raise BadRequest(
            "invalid_idempotency_key", f"Idempotency-Key must be a text of {_LONGEST_KEY} ASCII characters at most."
        )
    return value


def participant_body(body: Body) -> str:
    """The body of `PATCH /sessions/{document_id}/participants/{username}`: what they may do."""
    return _permissions(body)


def session_body(body: Body) -> str:
    """The body of `PATCH /sessions/{document_id}`: the new owner."""
    return text(body, "owner", 200)


def token_body(body: Body) -> str | None:
    """The body of `POST /token`: a document's id, or None."""
    return text(body, "document_id", 200, default="") or None


def revocation_body(body: Body) -> str | None:
    """The body of `POST /token/revoke`: a token, or None for all of the caller's."""
    return text(body, "token", _LONGEST_TOKEN, default="") or None


def label_body(body: Body) -> str:
    """The body of `POST /sessions/{document_id}/history`: what the version is called."""
    return text(body, "label", 200)


def naming_body(body: Body) -> str | None:
    """The body of `PATCH /sessions/{document_id}/history/{version_id}`: a name, or null for none any more."""
    if "label" in body and body["label"] is None:
        return None
    return text(body, "label", 200)


def presence_body(body: Body) -> list[Present]:
    """The body of `POST /presence`; of one document that is named twice, the last counts."""
    documents = body.get("documents")
    if not isinstance(documents, list) or not all(isinstance(one, dict) for one in documents):
        raise BadRequest("invalid_documents", "documents must be a list of objects.")
    if len(documents) > MOST_DOCUMENTS:
        raise BadRequest("invalid_documents", f"documents may have {MOST_DOCUMENTS} entries at most.")
    present = [_present(one) for one in documents]
    return list({one.document_id: one for one in present}.values())


def _present(body: Body) -> Present:
    connections = body.get("connections")
    # To Python, True is a number.
    if type(connections) is not int or not 0 <= connections <= MOST_CONNECTIONS:
        raise BadRequest("invalid_connections", f"connections must be a number, 0 to {MOST_CONNECTIONS}.")
    place = text(body, "place", 200, default="")
    edited = text(body, "edited", 200, default="")
    return Present(text(body, "document_id", 200), connections, place or None, edited or None)


def rename_body(body: Body) -> str:
    """The body of `POST /admin/users/{username}/rename`: the new name."""
    return text(body, "username", 200)


def _permissions(body: Body, default: str | None = None) -> str:
    permissions = text(body, "permissions", 20, default=default)
    if permissions not in PERMISSIONS:
        raise BadRequest("invalid_permissions", "permissions must be read-only or read-write.")
    return permissions


def _expires_in(body: Body) -> float | None:
    seconds = body.get("expires_in")
    if seconds is None:
        return None
    if type(seconds) not in (int, float) or not 0 < seconds < 1e9:
        raise BadRequest("invalid_expires_in", "expires_in must be a positive number of seconds.")
    return float(seconds)


def text(body: Body, name: str, longest: int, default: str | None = None) -> str:
    """A text of a body.

    Args:
        longest: how many characters it may have.
        default: what it is where none is given; None: it is required.

    Raises:
        BadRequest: it is none, or too long, or PostgreSQL would not take it.
    """
    value = body.get(name)
    if value in (None, "") and default is not None:
        return default
    if value in (None, ""):
        raise BadRequest(f"missing_{name}", f"{name} is required.")
    if not isinstance(value, str) or len(value) > longest:
        raise BadRequest(f"invalid_{name}", f"{name} must be a text of {longest} characters at most.")
    try:
        return clean(value)
    except ValueError:
        raise BadRequest(f"invalid_{name}", f"{name} holds characters that can't be kept.") from None


def clean(value: str) -> str:
    """A text that PostgreSQL takes: without NUL and lone surrogates.

    Raises:
        ValueError: it is not.
    """
    value.encode()
    if "\0" in value:
        raise ValueError("NUL")
    return value
