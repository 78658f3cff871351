"""What the service refuses, and with which HTTP status.

    Refused
    ├── BadRequest         400
    ├── NotAuthenticated   401
    ├── Forbidden          403
    ├── NotFound           404
    ├── Conflict           409  it contradicts what was before
    ├── TooLarge           413  the request's body
    ├── TooMany            429  later
    └── Unavailable        503  something that the answer needs is away; try again

`base.py` maps them, and the errors of `core/errors.py`, to answers.
"""

from __future__ import annotations

from jupyter_rtc_amprenta.core.errors import RtcError


class Refused(RtcError):
    """The request is refused.

    Attributes:
        status: the HTTP status.
        code: stable and machine-readable, such as `self_invite`.
        detail: for people.
    """

    status = 400

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail


class BadRequest(Refused):
    """The request is wrong in itself."""


class NotAuthenticated(Refused):
    """Nobody, or nobody known, asks."""

    status = 401


class Forbidden(Refused):
    """Whoever asks may not."""

    status = 403


class NotFound(Refused):
    """There is no such thing."""

    status = 404


class Conflict(Refused):
    """It contradicts what was before."""

    status = 409


class TooLarge(Refused):
    """The request's body is too large."""

    status = 413


class TooMany(Refused):
    """Too often, or too many; later it may do."""

    status = 429


class Unavailable(Refused):
    """Something that the answer needs is away."""

    status = 503
