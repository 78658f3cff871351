"""A browser's tab as the simulation has it: a client that a room serves over a pipe instead of a socket."""

from __future__ import annotations

import asyncio
from typing import Any

from jupyter_ydoc import YNotebook, YUnicode
from jupyter_ydoc.ybasedoc import YBaseDoc
from support.yjs_client import YjsClient
from tornado.websocket import WebSocketClosedError

from jupyter_rtc_amprenta.core.nbcontent import told_apart


class Pipe:
    """Between a tab and its room: a socket for the one, a channel for the other.

    Args:
        session: what the tab names as its session.
    """

    path = "tab"
    # A visitor whom nobody knows: who edits is told of the server's owner alone.
    current_user = None

    def __init__(self, session: str) -> None:
        self._session = session
        self._to_room: asyncio.Queue[bytes | None] = asyncio.Queue()
        self._to_tab: asyncio.Queue[bytes | None] = asyncio.Queue()
        self.is_open = True
        self.close_code: int | None = None
        self.close_reason: str | None = None

    def end(self) -> None:
        """The connection breaks."""
        self.is_open = False
        self._to_room.put_nowait(None)
        self._to_tab.put_nowait(None)

    # --- the tab's side, as tornado's client has it ---

    async def write_message(self, message: bytes, binary: bool) -> None:
        if not self.is_open:
            raise WebSocketClosedError
        self._to_room.put_nowait(message)

    async def read_message(self) -> bytes | None:
        return await self._to_tab.get()

    # --- the room's side, as jupyter-collaboration's handler has it ---

    def get_query_argument(self, name: str, default: str) -> str:
        return self._session if name == "sessionId" else default

    async def send(self, message: bytes) -> None:
        if self.is_open:
            self._to_tab.put_nowait(message)

    async def recv(self) -> bytes | None:
        return await self._to_room.get()

    def __aiter__(self) -> Pipe:
        return self

    async def __anext__(self) -> bytes:
        if (message := await self._to_room.get()) is None:
            raise StopAsyncIteration
        return message

    def close(self, code: int, reason: str) -> None:
        self.close_code, self.close_reason = code, reason
        self.end()


class Page(YNotebook):
    """A notebook as JupyterLab has it, which makes no edit where it only looks."""

    def get(self, deduplicate: bool = True) -> Any:
        return told_apart(super().get(deduplicate=False))


class Tab(YjsClient):
    """A browser's tab, which stays open whatever happens, and what it has typed.

    Args:
        kind: `notebook` or `text`.
    """

    _socket: Pipe  # type: ignore[assignment]

    def __init__(self, kind: str = "text") -> None:
        super().__init__("")
        self.document: YBaseDoc = Page(self.doc) if kind == "notebook" else YUnicode(self.doc)
        self.session = ""
        self._socket = Pipe("")
        self._socket.end()

    @property
    def is_connected(self) -> bool:
        return self._socket.is_open

    @property
    def must_reload(self) -> bool:
        """The room has asked for it: what is here is not the document's."""
        return self._socket.close_code is not None

    @property
    def text(self) -> str:  # type: ignore[override]
        """All that was typed: the text, or the cells' sources."""
        content = self.document.get()
        return content if isinstance(content, str) else "\n".join(cell["source"] for cell in content["cells"])

    def type(self, text: str, at: int) -> None:
        """Type into the text."""
        position = len(self.text[:at].encode())  # pycrdt counts bytes
        with self.doc.transaction():
            self.document._ysource.insert(position, text)
            self.state["dirty"] = True

    async def connect(self) -> None:
        """A connection that `pipe` has both ends of."""
        self._socket = Pipe(self.session)
        self.synced.clear()
        self._begin()

    @property
    def pipe(self) -> Pipe:
        return self._socket

    def disconnect(self) -> None:
        self._socket.end()
