"""The pages of `/rtc/join/{document_id}` where the document could not be opened: what is the matter, and what to do."""

from __future__ import annotations

import errno
from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass, replace
from hashlib import sha256

from jinja2 import Environment, PackageLoader, StrictUndefined
from tornado.web import HTTPError

from .core.errors import DatabaseError, DocumentTooLarge, ServiceError, ServiceUnavailable

_TEMPLATES = Environment(
    loader=PackageLoader("jupyter_rtc_amprenta"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_STYLE = _TEMPLATES.loader.get_source(_TEMPLATES, "join.css")[0]  # type: ignore[union-attr]
# Nothing from elsewhere, no script at all, and no other style than the page's own.
CONTENT_SECURITY_POLICY = (
    f"default-src 'none'; style-src 'sha256-{b64encode(sha256(_STYLE.encode()).digest()).decode()}'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


@dataclass(frozen=True)
class Link:
    """A button."""

    text: str
    href: str


@dataclass(frozen=True)
class Page:
    """What a page says.

    Attributes:
        status: HTTP's.
        title: what is the matter.
        sentences: more of it, and what to do.
        offers: which buttons there are, the likeliest first: `again`, `invitation`, `session`, `documents`,
            `own`, `copy`.
        tries_again: whether the page asks again by itself: nobody has to do anything.
        links: the buttons.
        detail: for who is asked for help.
    """

    status: int
    title: str
    sentences: Sequence[str]
    offers: Sequence[str] = ("again",)
    tries_again: bool = False
    links: Sequence[Link] = ()
    detail: str = ""

    @property
    def explains_all(self) -> bool:
        """Whether nobody has to look further: it is about who may do what."""
        return self.status in (403, 404)

    def html(self) -> str:
        """The page. Whatever stands in it is escaped."""
        return _TEMPLATES.get_template("join.html").render(page=self, style=_Safe(_STYLE))


class _Safe(str):
    """Markup of our own."""

    def __html__(self) -> str:
        return self


NOT_LINKED = Page(
    503,
    "This server is not connected to collaboration",
    ("It was started without the collaboration service. Ask who runs this Hub.",),
)
OTHERS_SERVER = Page(
    403,
    "This is somebody else's server",
    ("A document that is shared with you opens among your own files, on your own server.",),
    ("own", "documents"),
)
NOT_INVITED = Page(
    403,
    "You do not take part in this document yet",
    (
        "If you were invited, accept the invitation first; then this address opens the document.",
        "If the invitation has lapsed, was withdrawn, or there was none, ask the document's owner for a new one.",
    ),
    ("invitation", "documents"),
)
REMOVED = Page(
    403,
    "This document is no longer shared with you",
    ("You do not take part in it any more. The copy among your files stays as it is, and is yours.",),
    ("copy", "documents"),
)
DELETED = Page(
    404,
    "There is no such document",
    ("It may have been deleted, or the link is not complete. Ask who sent you the link.",),
    ("documents",),
)
DELETED_COPY = replace(
    DELETED,
    title="This document was deleted",
    sentences=("Its owner has deleted it. The copy among your files stays as it is, and is yours.",),
    offers=("copy", "documents"),
)
NOT_OPENED = Page(
    409,
    "Its owner has not opened this document yet",
    ("There is nothing in it so far. Try again once they have opened it.",),
    ("again", "documents"),
)
TOO_LARGE = Page(
    413,
    "The document is too large for this server",
    ("Ask its owner to make it smaller, for instance by clearing outputs, or who runs this Hub for a higher limit.",),
    ("again", "documents"),
)
SERVICE_AWAY = Page(
    503,
    "Collaboration pauses for a moment",
    ("The collaboration service does not answer right now. Nothing is lost.",),
    tries_again=True,
)
YJS_AWAY = Page(
    503,
    "The document can't be fetched right now",
    ("The server that holds the shared documents does not answer. Nothing is lost.",),
    tries_again=True,
)
DISK_FULL = Page(
    507,
    "There is no room left for the document",
    ("The disk with your files, or your quota of it, is full. Delete what you don't need, and try again.",),
)
READ_ONLY = Page(
    403,
    "Your files can't be written to",
    (
        "The folder for shared documents is read-only for this server. Make it writable, or ask who runs this Hub.",
        "You can see the document's page all the same.",
    ),
    ("again", "session"),
)
IN_THE_WAY = Page(
    409,
    "Something is in the way",
    ("The document can't be put among your files under its name. Rename or move what is there, and try again.",),
)
STORE_AWAY = Page(
    500,
    "The document can't be noted down here",
    ("This server's own store of documents can't be written. Is there room on the disk? Restart the server if so.",),
)
FAILED = Page(
    500,
    "That did not work",
    ("The document could not be put among your files. It is in your server's log.",),
)

_BY_CODE = {
    "not_a_participant": NOT_INVITED,
    "session_not_found": DELETED,
    "not_opened": NOT_OPENED,
    "yjs_unavailable": YJS_AWAY,
}
_BY_STATUS = {403: NOT_INVITED, 404: DELETED, 413: TOO_LARGE}
_BY_ERRNO = {
    errno.ENOSPC: DISK_FULL,
    errno.EDQUOT: DISK_FULL,
    errno.EROFS: READ_ONLY,
    errno.EACCES: READ_ONLY,
    errno.EPERM: READ_ONLY,
    errno.ENOTDIR: IN_THE_WAY,
    errno.EEXIST: IN_THE_WAY,
    errno.EISDIR: IN_THE_WAY,
    errno.ENAMETOOLONG: IN_THE_WAY,
}


def explain(error: BaseException) -> Page:
    """The page for what went wrong when a document was joined."""
    if isinstance(error, ServiceError):
        known = _BY_CODE.get(error.code) or _BY_STATUS.get(error.status)
        return known or (SERVICE_AWAY if isinstance(error, ServiceUnavailable) else FAILED)
    if isinstance(error, DocumentTooLarge):
        return TOO_LARGE
    # The contents manager wraps what the operating system says.
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError) and cause.errno in _BY_ERRNO:
            return _BY_ERRNO[cause.errno]
        cause = cause.__cause__ or cause.__context__
    if isinstance(error, DatabaseError):
        return STORE_AWAY
    if isinstance(error, HTTPError) and error.status_code in (400, 403, 409):
        return READ_ONLY if error.status_code == 403 else IN_THE_WAY
    return FAILED
