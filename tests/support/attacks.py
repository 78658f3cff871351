"""What may happen to a document that several servers have, step by step, and what must hold in the end.

Each word is one character that nobody else types, so that nobody types into it. Of each it is kept what may become of
it: a word is *secure* if it must be there once in the end, *forbidden* if it must never get into the document, and
else it may be there once or not; if it is to be *kept*, then in a copy beside the file where it is not in the document.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import nbformat
from jupyter_ydoc import YNotebook, YUnicode
from pycrdt import Array, Map, Text
from support.simulation import Hub, Server
from support.yjs_client import until
from tornado.web import HTTPError

from jupyter_rtc_amprenta.core.content import digest
from jupyter_rtc_amprenta.core.documentlog import DocumentLog
from jupyter_rtc_amprenta.core.errors import ServiceUnavailable

PEOPLE = ("alice", "bob", "carol")
CELLS = ("a", "b", "c")


@dataclass
class Word:
    """One character that was written.

    Attributes:
        server: at whose.
        cell: of a notebook, by id; "" for text.
        in_file: it was written into the file, by something else than Jupyter.
        overwritten: somebody has put an older file in the place of one that held it: it may be gone everywhere.
    """

    text: str
    server: Server
    cell: str = ""
    in_file: bool = False
    secure: bool = True
    forbidden: bool = False
    kept: bool = False
    overwritten: bool = False


class World:
    """alice's file, which the others have joined, and what happens to it.

    Args:
        hub: with one or two replicas.
        home: a folder for everything.
        kind: of document, `notebook` or `text`.
        people: how many servers there are.
    """

    def __init__(self, hub: Hub, home: Path, kind: str, people: int) -> None:
        self.hub, self.home, self.kind = hub, home, kind
        self.document_id = f"{kind}_alice{hub.tag}"
        self.servers = [Server(hub, name, home / name, kind) for name in PEOPLE[:people]]
        self.alice = self.servers[0]
        for server in self.servers:
            server.before_reload = partial(self._will_reload, server)
        self.rights: dict[Server, str | None] = dict.fromkeys(self.servers, "read-write")
        self.words: dict[str, Word] = {}
        # Cells that were moved or removed: what is typed into them at the same time goes, or comes twice.
        self.touched: set[str] = set()
        # Who has lost the store and not opened the file since: what changed in it has no base to be merged by.
        self.baseless: set[Server] = set()
        self.conflicts_are_normal = False
        self.history: list[tuple[str, int, int]] = []
        self._cells = 0
        self._log = DocumentLog(hub.database)

    async def begin(self) -> None:
        self.alice.home.mkdir()
        self._write(self.alice, first_notebook() if self.kind == "notebook" else "first line\nsecond line\n")
        for replica in range(len(self.hub.ports)):
            await self.hub.start(replica)
        await self.alice.start()
        await until(lambda: _is_committed(self.alice), "alice has begun it")
        for server in self.servers[1:]:
            await server.join(self.document_id)
            await server.start()

    async def happens(self, action: str, server: int, number: int) -> None:
        self.history.append((action, server, number))
        await getattr(self, action)(self.servers[server], number)

    # --- what people do ---

    async def type(self, server: Server, number: int) -> None:
        self._edit(server, lambda tab: self._type_into(server, number))

    def _type_into(self, server: Server, number: int) -> None:
        document = server.tab.document
        if self.kind == "text":
            server.tab.type(self._word(server).text, number)
        elif len(document.ycells):
            cell = document.ycells[number % len(document.ycells)]
            source = str(cell["source"])
            at = len(source[: number % (len(source) + 1)].encode())
            cell["source"].insert(at, self._word(server, str(cell["id"])).text)

    async def add_cell(self, server: Server, number: int) -> None:
        self._edit_cells(
            server, lambda cells: cells.insert(number % (len(cells) + 1), self._new_cell(server))
        )

    async def remove_cell(self, server: Server, number: int) -> None:
        self._edit_cells(server, lambda cells: self._take_out(cells, number))

    async def move_cell(self, server: Server, number: int) -> None:
        """As JupyterLab does it: the cell is taken out, and a copy of it put elsewhere."""
        self._edit_cells(server, lambda cells: self._move(server, cells, number))

    async def run_cell(self, server: Server, number: int) -> None:
        self._edit_cells(server, lambda cells: _run(cells[number % len(cells)], number))

    def _edit_cells(self, server: Server, edit: Callable[[Array], None]) -> None:
        if self.kind == "notebook" and len(server.tab.document.ycells):
            self._edit(server, lambda tab: edit(tab.document.ycells))

    def _edit(self, server: Server, edit: Callable[[Any], None]) -> None:
        with server.tab.doc.transaction():
            edit(server.tab)
            server.tab.state["dirty"] = True

    def _new_cell(self, server: Server) -> Map:
        self._cells += 1
        cell = f"{server.user}{self._cells}"
        return YNotebook().create_ycell(_cell(cell, f"new {self._word(server, cell).text}"))

    def _take_out(self, cells: Array, number: int) -> None:
        if len(cells) > 2:
            at = number % len(cells)
            self.touched.add(str(cells[at]["id"]))
            del cells[at]

    def _move(self, server: Server, cells: Array, number: int) -> None:
        if len(cells) > 1:
            at = number % len(cells)
            cell = server.tab.document.get_cell(at)
            self.touched.add(cell["id"])
            del cells[at]
            cells.insert(number // 7 % (len(cells) + 1), YNotebook().create_ycell(cell))

    async def save(self, server: Server, number: int) -> None:
        if server.is_open:
            with suppress(HTTPError):
                await self.hub.run_in(server.user, server.room.saver.save())

    async def reload(self, server: Server, number: int) -> None:
        await self._come_back(server, afresh=True)

    # --- what happens to files ---

    async def append(self, server: Server, number: int) -> None:
        """Something else writes into the file, in place."""
        if self.kind == "text" and server.file.exists():
            word = self._word_in_file(server)
            await asyncio.to_thread(_append, server.file, f"{word.text}\n")

    async def rewrite(self, server: Server, number: int) -> None:
        """Something else writes the file anew: in place, in two halves; or a new one in its place."""
        if not server.file.exists() or (content := self._read(server)) is None:
            return
        text = self._with_word(server, content, number)
        if number % 3:
            replaced = server.file.with_name(".new")
            replaced.write_text(text)
            replaced.rename(server.file)
            return
        with server.file.open("w") as file:
            file.write(text[: len(text) // 2])
            file.flush()
            await asyncio.sleep(0.03)
            file.write(text[len(text) // 2 :])

    async def check_out(self, server: Server, number: int) -> None:
        """The file is as it was in the beginning: what it held goes, unless it comes from elsewhere."""
        if not server.file.exists() or (content := self._read(server)) is None:
            return
        held = content if self.kind == "text" else json.dumps(content, ensure_ascii=False)
        for word in self.words.values():
            if word.text in held:
                word.secure, word.kept, word.overwritten = False, False, True
        if self.kind == "notebook":
            self.touched.update(CELLS, (cell["id"] for cell in content["cells"]))
        self._write(server, first_notebook() if self.kind == "notebook" else "first line\nsecond line\n")

    async def delete_file(self, server: Server, number: int) -> None:
        if server.is_running and server.file.exists() and server is not self.alice:
            await self._may_lose(server, kept=False)
            await server.delete_file()
            await server.stop()
            server.forget_tab()

    def _read(self, server: Server) -> Any:
        """What the file holds; None while somebody writes it."""
        text = server.file.read_text()
        with suppress(json.JSONDecodeError):
            return text if self.kind == "text" else json.loads(text)

    def _write(self, server: Server, content: Any) -> None:
        text = content if isinstance(content, str) else json.dumps(content, indent=1, ensure_ascii=False)
        new = server.file.with_name(".new")
        new.write_text(text)
        new.rename(server.file)

    def _with_word(self, server: Server, content: Any, number: int) -> str:
        if self.kind == "text":
            return f"{content}{self._word_in_file(server).text}\n"
        cell = content["cells"][number % len(content["cells"])] if content["cells"] else None
        if cell is not None and number % 2:
            cell["source"] = "".join(cell["source"]) + self._word_in_file(server, cell["id"]).text
        else:
            self._cells += 1
            new = f"script{self._cells}"
            content["cells"].append(_cell(new, f"by a script {self._word_in_file(server, new).text}"))
        return json.dumps(content, indent=1, ensure_ascii=False)

    # --- what happens to servers ---

    async def wait(self, server: Server, number: int) -> None:
        await asyncio.sleep((0, 0, 0.01, 0.05, 0.3)[number % 5])

    async def start(self, server: Server, number: int) -> None:
        await self._come_back(server)

    async def stop(self, server: Server, number: int) -> None:
        await server.stop()

    async def crash(self, server: Server, number: int) -> None:
        await server.crash()

    async def crash_at_start(self, server: Server, number: int) -> None:
        """The server is killed in the middle of opening the document; the file is there by then."""
        if not server.file.exists():
            await self._come_back(server)
        starting = asyncio.ensure_future(self._come_back(server))
        await asyncio.wait([starting], timeout=number / 800)
        await server.crash()
        starting.cancel()
        await asyncio.wait([starting])

    async def cut(self, server: Server, number: int) -> None:
        server.cut()

    async def start_yjs(self, server: Server, number: int) -> None:
        await self.hub.start(number % len(self.hub.ports))

    async def crash_yjs(self, server: Server, number: int) -> None:
        await self.hub.crash(number % len(self.hub.ports))

    async def lose_store(self, server: Server, number: int) -> None:
        if server.is_running:
            await server.crash()
        await self._may_lose(server, kept=False)
        server.lose_store()
        self.baseless.add(server)
        if server is not self.alice:
            # Whose the file is stood in the store; so the file goes, and the document is joined again.
            server.file.unlink(missing_ok=True)
            server.forget_tab()

    async def _come_back(self, server: Server, afresh: bool = False) -> None:
        """The server is started, if its file is there or can be had again, and the tab comes back."""
        if afresh:
            await self._will_reload(server)
            server.forget_tab()
        try:
            if not server.file.exists() and not server.is_running and self.hub.is_up and self.rights[server]:
                await server.fetch(self.document_id)
            if server.file.exists():
                await server.start()
        except (ServiceUnavailable, HTTPError):
            pass  # the document is at the Y.js server alone, or half a file is there

    # --- what happens to rights ---

    async def make_reader(self, server: Server, number: int) -> None:
        await self._give(server, "read-only")

    async def make_writer(self, server: Server, number: int) -> None:
        await self._give(server, "read-write")

    async def remove(self, server: Server, number: int) -> None:
        await self._give(server, None)

    async def _give(self, server: Server, permissions: str | None) -> None:
        if server is self.alice or self.rights[server] == permissions:
            return
        if permissions == "read-write":
            for word in self._words_of(server):
                word.forbidden = False
        else:
            await self._may_lose(server, kept=True)
        self.rights[server] = permissions
        await self.hub.give(self.document_id, server.user, permissions)

    # --- what may become of words ---

    def _word(self, server: Server, cell: str = "") -> Word:
        may_write = self.rights[server] == "read-write"
        word = Word(chr(0x4E00 + len(self.words)), server, cell)
        word.forbidden = not may_write and not self.hub.may_connect_to_write(server.user)
        word.secure = may_write and (
            server.room is None or not server.is_open or server.room.linked.may_write
        )
        self.words[word.text] = word
        return word

    def _word_in_file(self, server: Server, cell: str = "") -> Word:
        word = self._word(server, cell)
        word.in_file = True
        if server.is_open:
            self.baseless.discard(server)
        word.secure = word.secure and server not in self.baseless
        word.kept = not word.secure
        return word

    def _words_of(self, server: Server) -> list[Word]:
        return [word for word in self.words.values() if word.server is server]

    async def _may_lose(self, server: Server, kept: bool) -> None:
        """What this server alone has goes; what `kept` says, or the file holds, goes to a copy beside it."""
        self.conflicts_are_normal = True
        committed = await self.stored()
        here = server.file.read_text() if server.file.exists() else ""
        if server.is_open and kept:
            here += json.dumps(server.room.linked.content(), ensure_ascii=False)
        for word in self._words_of(server):
            if word.text not in committed and not word.overwritten:
                word.secure, word.kept = False, word.text in here and (kept or server is self.alice)

    async def _will_reload(self, server: Server) -> None:
        """What is in the tab alone goes."""
        elsewhere = (await self.stored()) + (server.file.read_text() if server.file.exists() else "")
        if server.is_open:
            elsewhere += json.dumps(server.room._document.get(), ensure_ascii=False)
        for word in self._words_of(server):
            if word.text not in elsewhere and not word.in_file:
                word.secure = False

    # --- the end ---

    async def heal(self) -> None:
        """Everything is back, and everybody looks."""
        for replica in range(len(self.hub.ports)):
            await self.hub.start(replica)
        for server in self.servers:
            await self._come_back(server)

    async def become_whole(self) -> None:
        """Wait until everybody has the same.

        Raises:
            AssertionError: they don't.
        """
        deadline = asyncio.get_running_loop().time() + 25
        while not await self.is_whole():
            if asyncio.get_running_loop().time() > deadline:
                raise AssertionError(f"not equal:\n{self.described()}\n{await self._differences()}")
            for server in self._participants():
                if not server.is_open or not server.tab.is_connected:
                    await self._come_back(server)
                elif not server.room.linked.may_write:
                    # What a reader has typed is in the tab alone.
                    await self._come_back(server, afresh=True)
            await asyncio.sleep(0.05)

    def _participants(self) -> list[Server]:
        return [server for server in self.servers if self.rights[server] is not None]

    async def is_whole(self) -> bool:
        if not all(server.is_open and _is_committed(server) for server in self._participants()):
            return False
        digests = {one for server in self._participants() for one in self._digests(server).values()}
        digests.add(digest(self._document(await self._updates()), self._file_type))
        return len(digests) == 1

    async def _differences(self) -> str:
        shown = {server.user: self._digests(server) for server in self._participants() if server.is_open}
        stored = self._document(await self._updates())
        return f"stored: {digest(stored, self._file_type)} {stored}\nshown: {shown}"

    @property
    def _file_type(self) -> str:
        return "notebook" if self.kind == "notebook" else "file"

    def _digests(self, server: Server) -> dict[str, str]:
        shown = {"tab": server.tab.document.get(), "room": server.room._document.get()}
        with suppress(Exception):  # half a file is no notebook
            text = server.file.read_text()
            shown["file"] = nbformat.reads(text, 4) if self.kind == "notebook" else text
        return {where: digest(content, self._file_type) for where, content in shown.items()} | (
            {} if "file" in shown else {"file": "half"}
        )

    def _document(self, updates: list[bytes]) -> Any:
        document = YNotebook() if self.kind == "notebook" else YUnicode()
        for update in updates:
            document.ydoc.apply_update(update)
        return document.get()

    async def _updates(self) -> list[bytes]:
        return (await self._log.read(self.document_id)).updates

    async def stored(self) -> str:
        """Everything that is in PostgreSQL, as text."""
        return json.dumps(self._document(await self._updates()), ensure_ascii=False)

    async def check(self) -> None:
        """Of each word, that it is where it must be.

        Raises:
            AssertionError: one is not.
        """
        stored = await self.stored()
        for word in self.words.values():
            times = stored.count(word.text)
            if word.cell in self.touched:
                continue
            assert times <= 1, f"{word} is {times} times in the document:\n{self.described()}"
            if word.forbidden:
                assert times == 0, f"{word} is in the document:\n{self.described()}"
            elif word.secure:
                assert times == 1, f"{word} is not in the document:\n{self.described()}"
            if times == 0 and word.kept:
                assert word.text in self._beside(word.server), f"{word} is nowhere:\n{self.described()}"
        assert self.conflicts_are_normal or not list(self.home.rglob("*(conflict *")), self.described()

    def _beside(self, server: Server) -> str:
        """What is in copies beside the file, such as one that is shared no longer, and in the file where it is one."""
        paths = [
            path
            for path in server.home.glob(f"{server.file.stem}*")
            if path != server.file or self.rights[server] is None
        ]
        return "".join(json.dumps(path.read_text(), ensure_ascii=False) for path in paths)

    def described(self) -> str:
        lines = [f"history = {self.history}"]
        for server in self.servers:
            lines.append(f"--- {server.user}: {self.rights[server]}, link: {_link_of(server)}")
            lines.append(f"file: {server.file.read_text() if server.file.exists() else None!r}")
            lines.append(f"tab: {server.tab.text!r} {server.tab.is_connected=}")
            if server.room is not None:
                lines.append(f"room: {server.room._document.get()} open: {server.is_open}")
            lines += [f"beside: {path.read_text()!r}" for path in server.home.glob("*(conflict *")]
        return "\n".join(lines)

    async def end(self) -> None:
        for server in self.servers:
            await server.stop()
        await self.hub.end_all()


def _append(file: Path, text: str) -> None:
    with suppress(FileNotFoundError):
        descriptor = os.open(file, os.O_WRONLY | os.O_APPEND)
        try:
            os.write(descriptor, text.encode())
        finally:
            os.close(descriptor)


def _is_committed(server: Server) -> bool:
    link = server.room.linked.link
    return link.state == "live" and link.unacknowledged == 0


def _link_of(server: Server) -> str:
    return str(server.room.linked.status()) if server.room is not None else "no room"


def _run(cell: Map, number: int) -> None:
    """As JupyterLab does when a kernel answers: a new count, and outputs, the last of which grows."""
    if cell["cell_type"] == "code":
        cell["execution_count"] = number
        del cell["outputs"][:]
        cell["outputs"].append(
            Map({"output_type": "stream", "name": "stdout", "text": Text(f"out {number}\n")})
        )
        cell["outputs"][0]["text"].insert(0, "more\n")


def _cell(cell: str, source: str) -> dict[str, Any]:
    parts = {"execution_count": None, "metadata": {}, "outputs": []}
    return {"cell_type": "code", "id": cell, "source": source} | parts


def first_notebook() -> dict[str, Any]:
    cells = [_cell(cell, f"cell {cell}\nits second line") for cell in CELLS]
    cells[0]["outputs"] = [{"output_type": "stream", "name": "stdout", "text": "printed\n"}]
    # As Jupyter writes it: a file is not written anew for its form alone.
    metadata = {"kernelspec": {"display_name": "", "name": ""}, "language_info": {"name": ""}}
    return {"cells": cells, "metadata": metadata, "nbformat": 4, "nbformat_minor": 5}
