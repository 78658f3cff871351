"""jupyter-collaboration's document room in direct mode: a stale file does not beat the log (rule 2).

Upstream reads the file first, and on any difference the file wins: an edit that was committed and not saved yet is
undone. The document's own `hash` says which file was saved last: one with that hash is stale, and is written anew.
Where nothing was saved yet, it is the file that the history began with.
"""

from __future__ import annotations

import asyncio
from typing import Any

from jupyter_server.utils import ensure_async
from jupyter_server_ydoc.utils import LogLevel
from jupyter_ydoc import ydocs as YDOCS
from jupyter_ydoc.ybasedoc import YBaseDoc
from pycrdt.store import YDocNotFound
from pycrdt.websocket import YRoom

from .core.causal import load
from .core.content import digest
from .documentroom import SeparateRoom
from .ystore import PostgresYStore


class DirectRoom(SeparateRoom):
    """A document room whose store is PostgreSQL."""

    ystore: PostgresYStore

    @SeparateRoom.ready.setter  # type: ignore[attr-defined, misc]
    def ready(self, value: bool) -> None:
        """Whether the document may be edited: each edit is the store's from now on."""
        if value and not self.ready:
            self.ystore.follow(self.ydoc)
        YRoom.ready.fset(self, value)  # type: ignore[attr-defined]

    async def stop(self) -> None:
        """Stop; edits that upstream has not handed to the store are in the log already."""
        try:
            await super().stop()
        finally:
            self.ystore.unfollow()

    async def initialize(self) -> None:
        """Open the document: from the log if the file is the one that was saved last, else as upstream does.

        Raises:
            HTTPError: the file can't be read.
            RtcError: the log can't be read, or another server has the document.
        """
        if self.ready:
            return
        # First: what another server appends until it lets go must be in the history.
        await self.ystore.hold()
        history = await self._history()
        # The loader learns the file's time, too, by which it notices a change from outside.
        model = await self._file.load_content(self._file_format, self._file_type)
        if not history or not await self._is_stale(model["content"], history):
            await super().initialize()
            return
        async with self._update_lock:
            await load(self.ydoc, history)
            self._document.path = self._file.path
        self.ready = True
        self._emit(LogLevel.INFO, "initialize", "Room initialized")
        self._saving_document = asyncio.create_task(self._maybe_save_document(None))

    async def _history(self) -> list[bytes]:
        store = self.ystore
        async with store.start_lock:
            if not store.started.is_set():
                self.create_task(store.start())
                await store.started.wait()
        try:
            return [item[0] async for item in store.read()]
        except YDocNotFound:
            return []

    async def _is_stale(self, content: Any, history: list[bytes]) -> bool:
        """Whether the file is the one that was saved last, or that the history began with."""
        saved = (await self._document_of(history)).ystate.get("hash")
        if saved is None:
            first = await self._document_of(history[:1])
            return digest(first.get(), self._file_type) == digest(content, self._file_type)
        return saved == await self._hash_of_file()

    async def _document_of(self, history: list[bytes]) -> YBaseDoc:
        document = YDOCS.get(self._file_type, YDOCS["file"])()
        await load(document.ydoc, history)
        return document

    async def _hash_of_file(self) -> Any:
        manager = self._file._contents_manager
        model = await ensure_async(manager.get(self._file.path, content=False, require_hash=True))
        return model["hash"]
