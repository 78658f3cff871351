"""Applying a history to a document, however long it is, without keeping the event loop from everything else."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from pycrdt import Doc

# How long a history may keep the event loop, in seconds, before others get their turn.
_SLICE_SECONDS = 0.005


async def apply_updates(doc: Doc[Any], updates: Sequence[bytes]) -> None:
    """Apply updates in their order.

    Raises:
        ValueError: one of them is no Yjs update.
    """
    loop = asyncio.get_running_loop()
    turn = loop.time()
    for update in updates:
        doc.apply_update(update)
        if loop.time() - turn > _SLICE_SECONDS:
            await asyncio.sleep(0)
            turn = loop.time()
