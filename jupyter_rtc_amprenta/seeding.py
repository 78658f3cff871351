"""Exactly one process seeds a document (rule 1): whether a history was the first at the Y.js server."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pycrdt import Doc

from .client import ServiceClient
from .core.protocol import EMPTY_UPDATE


async def is_first(client: ServiceClient, document_id: str, seed: bytes, begins_with: bytes | None) -> bool:
    """Offer a history as the document's first.

    Args:
        client: of the service.
        document_id: the document.
        seed: the history, as one update.
        begins_with: its first update, by which it is known again; None where it has none.

    Returns:
        whether it is the document's history now, or was already: accepted, and the answer got lost.

    Raises:
        ServiceUnavailable, ServiceError.
    """
    if await client.seed(document_id, seed):
        return True
    if begins_with in (None, EMPTY_UPDATE):
        return False
    return not await lacks(client, document_id, [begins_with])


async def lacks(client: ServiceClient, document_id: str, updates: Sequence[bytes]) -> bool:
    """Whether the Y.js server's document lacks anything of these updates.

    Raises:
        ServiceUnavailable, ServiceError.
    """
    theirs: Doc[Any] = Doc()
    theirs.apply_update(await client.state(document_id))
    more: list[bytes] = []
    subscription = theirs.observe(lambda event: more.append(event.update))
    for update in updates:
        theirs.apply_update(update)
    theirs.unobserve(subscription)
    return any(update != EMPTY_UPDATE for update in more)
