"""Logs over both databases, plain and encrypted, and documents in them."""

from __future__ import annotations

import asyncio
import base64
import os
from collections.abc import Iterable
from typing import Any

from pycrdt import Doc, Text

from jupyter_rtc_amprenta.core.crypto import EncryptionKeys
from jupyter_rtc_amprenta.core.database import Database
from jupyter_rtc_amprenta.core.documentlog import DocumentLog
from jupyter_rtc_amprenta.core.queries import History


def new_keys(*key_ids: str) -> EncryptionKeys:
    """Fresh keys of these ids."""
    return EncryptionKeys.parse(",".join(f"{key_id}:{base64.b64encode(os.urandom(32)).decode()}" for key_id in key_ids))


def append(url: str, document_id: str, update: bytes) -> None:
    """Append an update to the log of a database."""

    async def write() -> None:
        database = Database(url, threads=1)
        log = DocumentLog(database)
        await log.append(document_id, update, 1)
        await log.stop()
        database.close()

    asyncio.run(write())


class Author:
    """Somebody who writes a text, and what updates that makes."""

    def __init__(self, updates: Iterable[bytes] = ()) -> None:
        self.doc: Doc[Any] = Doc()
        for update in updates:
            self.doc.apply_update(update)
        self.text = self.doc.get("source", type=Text)
        self.updates: list[bytes] = []
        self._subscription = self.doc.observe(lambda event: self.updates.append(event.update))

    def write(self, text: str) -> bytes:
        """Append to the text; the update."""
        self.text += text
        return self.updates[-1]

    def remove(self, start: int, end: int) -> bytes:
        """Delete from the text; the update."""
        del self.text[start:end]
        return self.updates[-1]


def text_of(history: History) -> str:
    """What the document's text is."""
    doc: Doc[Any] = Doc()
    for update in history.updates:
        doc.apply_update(update)
    return str(doc.get("source", type=Text))
