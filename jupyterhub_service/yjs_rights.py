"""Rights are checked where the bytes arrive: what a connection was given is held against what holds now."""

from __future__ import annotations

from jupyter_rtc_amprenta.core.protocol import CloseCode
from jupyter_rtc_amprenta.core.queries_open import DocumentRights
from jupyter_rtc_amprenta.core.tokens import DocumentClaims

from .yjs_room import Room


def loss(
    room: Room, claims: DocumentClaims, rights: DocumentRights, is_revoked: bool
) -> tuple[CloseCode, str] | None:
    """Why a connection may not go on as it is.

    Args:
        is_revoked: whether the token it came with is refused now.

    Returns:
        the close code and a sentence, or None: nothing has changed.
    """
    generation = rights.generations.get(room.document_id)
    permissions = rights.permissions.get((room.document_id, claims.username))
    if generation is None:
        room.outdated = True
        return CloseCode.NO_DOCUMENT, "The document was deleted."
    if (reason := rights.closed.get(room.document_id)) is not None:
        return CloseCode.NO_DOCUMENT, f"The session is over: {reason}"
    if generation != room.generation:
        room.outdated = True
        return CloseCode.WRONG_GENERATION, f"The document was reset; its generation is {generation}."
    if permissions is None:
        return CloseCode.NO_RIGHT, "You are not a participant of this document."
    if is_revoked:
        return CloseCode.NOT_AUTHENTICATED, "The token was revoked."
    # A token may ask for less than its user may do; but a link asks for all, and must know of every change.
    if permissions != claims.permissions and (claims.via or claims.permissions == "read-write"):
        return CloseCode.RIGHTS_CHANGED, f"Your right has changed; you may now: {permissions}."
    return None
