"""What a room knows of a client. No sockets here: a client is whatever has these."""

from __future__ import annotations

from typing import Protocol

from jupyter_rtc_amprenta.core.presence import Speaker
from jupyter_rtc_amprenta.core.tokens import DocumentClaims

from .yjs_limits import Share


class Connection(Protocol):
    """A client of a room.

    Attributes:
        claims: what its token lets it do.
        speaker: whom the others see it as.
        hub_token: the Hub's token that it entered with, or "".
        answers: how much of the time it may have its questions for the document answered.
    """

    claims: DocumentClaims
    speaker: Speaker
    hub_token: str
    answers: Share

    def send(self, message: bytes) -> None:
        """Queue a message to the client."""

    def end(self, code: int, reason: str) -> None:
        """Close the client's connection, now."""
