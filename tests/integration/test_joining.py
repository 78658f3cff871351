"""A document is put among the files: real files, contents manager, file ids and local store; the service is played."""

from __future__ import annotations

import asyncio
import errno
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from jupyter_server.services.contents.largefilemanager import AsyncLargeFileManager
from jupyter_server_fileid.manager import ArbitraryFileIdManager
from jupyter_ydoc import YNotebook, YUnicode

from jupyter_rtc_amprenta import joinpages
from jupyter_rtc_amprenta.core import settings
from jupyter_rtc_amprenta.core.errors import DatabaseUnavailable, DocumentTooLarge, ServiceError
from jupyter_rtc_amprenta.core.protocol import EMPTY_UPDATE
from jupyter_rtc_amprenta.core.volumes import SharedVolume
from jupyter_rtc_amprenta.joining import CopyLeft, join
from jupyter_rtc_amprenta.localstore import LocalStore
from jupyter_rtc_amprenta.mounts import Mounts

pytestmark = [pytest.mark.anyio, pytest.mark.integration]

NOTEBOOK = {
    "cells": [
        {"id": "one", "cell_type": "code", "source": "1", "metadata": {}, "outputs": [], "execution_count": None}
    ],
    "metadata": {},
    "nbformat": 4,
    "nbformat_minor": 5,
}


class PlayedClient:
    """The service and the Y.js server: one document."""

    def __init__(self) -> None:
        self.described = {"document_id": "d1", "generation": 1, "permissions": "read-write"}
        self.refusal: Exception | None = None
        self.update = b""

    def holds(self, kind: str, path: str, content: Any) -> None:
        document = YNotebook() if kind == "notebook" else YUnicode()
        document.set(content)
        self.described |= {"document_type": kind, "path": path}
        self.update = document.ydoc.get_update()

    async def document(self, document_id: str) -> dict[str, Any]:
        if self.refusal is not None:
            raise self.refusal
        return self.described

    async def state(self, document_id: str) -> bytes:
        return self.update


class Home:
    """One user's files."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.manager = AsyncLargeFileManager(root_dir=str(folder))
        self.ids = ArbitraryFileIdManager(root_dir=str(folder), db_path=str(folder / ".ids.db"))
        self.store = LocalStore(folder / ".jupyter" / "rooms.db")
        self.client = PlayedClient()
        self.client.holds("text", "notes.txt", "hello")
        self.linking = SimpleNamespace(
            joining=asyncio.Lock(),
            contents_manager=lambda: self.manager,
            store=self.store,
            client=self.client,
            settings=settings.read({}),
        )

    async def join(self) -> str:
        return await join(self.linking, self.ids, "d1")  # type: ignore[arg-type]

    def files(self) -> list[str]:
        shared = self.folder / "Shared with me"
        return sorted(p.name for p in shared.iterdir() if p.is_file()) if shared.is_dir() else []


@pytest.fixture
async def home(tmp_path: Path) -> AsyncIterator[Home]:
    home = Home(tmp_path)
    yield home
    await home.store.close()


@pytest.mark.parametrize(
    ("kind", "path", "content"),
    [
        ("notebook", "analysis/Enzyme.ipynb", NOTEBOOK),
        ("python", "tools.py", "print('ü')\n"),
        ("markdown", "README.md", "# Title\n"),
        ("text", "notes.txt", "one\ntwo"),
        ("json", "data.json", '{"a": [1, 2]}\n'),
    ],
    ids=["notebook", "python", "markdown", "text", "json"],
)
async def test_every_type_becomes_a_file(home: Home, kind: str, path: str, content: Any) -> None:
    home.client.holds(kind, path, content)
    joined = await home.join()
    assert joined == f"Shared with me/{path.rpartition('/')[2]}"
    model = await home.manager.get(joined, type="notebook" if kind == "notebook" else "file")
    if kind == "notebook":
        assert model["content"]["cells"][0]["source"] == "1"
    else:
        assert model["content"] == content
    assert await home.join() == joined, "it is there already"
    assert len(home.files()) == 1


async def test_a_file_of_that_name_stays(home: Home) -> None:
    shared = home.folder / "Shared with me"
    shared.mkdir()
    (shared / "notes.txt").write_text("mine")
    assert await home.join() == "Shared with me/notes1.txt"
    assert (shared / "notes.txt").read_text() == "mine"
    assert (shared / "notes1.txt").read_text() == "hello"


@pytest.mark.parametrize(
    ("path", "name"),
    [("..", "document.txt"), ("a/.hidden.txt", "hidden.txt"), ("../../x.txt", "x.txt"), ("a/..", "document.txt")],
    ids=["up", "hidden", "outside", "folder"],
)
async def test_a_name_from_elsewhere_leads_nowhere_else(home: Home, path: str, name: str) -> None:
    home.client.holds("text", path, "hello")
    assert await home.join() == f"Shared with me/{name}"
    assert home.files() == [name]


@pytest.mark.parametrize(
    ("number", "page"),
    [(errno.ENOSPC, joinpages.DISK_FULL), (errno.EROFS, joinpages.READ_ONLY), (errno.EACCES, joinpages.READ_ONLY)],
    ids=["full", "read-only", "not-mine"],
)
async def test_a_file_that_cant_be_written_leaves_nothing_and_can_be_tried_again(
    home: Home, monkeypatch: pytest.MonkeyPatch, number: int, page: joinpages.Page
) -> None:
    def refuse(path: str, *args: Any) -> None:
        Path(path).write_text("hel")
        raise OSError(number, "refused")

    with monkeypatch.context() as patch:
        # The real manager wraps this as it wraps the system's own.
        patch.setattr(home.manager, "_save_file", refuse)
        with pytest.raises(Exception) as caught:
            await home.join()
    assert joinpages.explain(caught.value) is page
    assert home.files() == []
    assert await home.join() == "Shared with me/notes.txt"


async def test_a_store_that_cant_be_written_leaves_no_file_that_nobody_knows(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refuse(*_: Any, **__: Any) -> None:
        raise DatabaseUnavailable("disk I/O error")

    with monkeypatch.context() as patch:
        patch.setattr(home.store, "change", refuse)
        with pytest.raises(DatabaseUnavailable) as caught:
            await home.join()
    assert joinpages.explain(caught.value) is joinpages.STORE_AWAY
    assert home.files() == []
    assert await home.join() == "Shared with me/notes.txt"


async def test_a_file_in_the_place_of_the_folder(home: Home) -> None:
    (home.folder / "Shared with me").write_text("a file")
    with pytest.raises(Exception) as caught:
        await home.join()
    assert joinpages.explain(caught.value) is joinpages.IN_THE_WAY


async def test_a_document_over_the_limit(home: Home) -> None:
    home.linking.settings = settings.read({}, max_document_bytes=10)
    with pytest.raises(DocumentTooLarge) as caught:
        await home.join()
    assert joinpages.explain(caught.value) is joinpages.TOO_LARGE
    assert home.files() == []


async def test_a_notebook_that_nobody_has_opened(home: Home) -> None:
    home.client.described |= {"document_type": "notebook", "path": "a.ipynb"}
    home.client.update = EMPTY_UPDATE
    with pytest.raises(ServiceError) as caught:
        await home.join()
    assert joinpages.explain(caught.value) is joinpages.NOT_OPENED


async def test_a_copy_that_is_shared_no_longer_is_said_to_be_and_can_be_again(home: Home) -> None:
    path = await home.join()
    known = await home.store.holding("d1")
    assert known is not None
    await home.store.change(known.room_id, ended="removed")
    home.client.refusal = ServiceError("no", 403, "not_a_participant")
    with pytest.raises(CopyLeft) as left:
        await home.join()
    assert (left.value.path, left.value.ended) == (path, "removed")
    home.client.refusal = None
    assert await home.join() == path


async def test_a_file_on_a_volume_that_this_server_has_is_not_copied(home: Home, tmp_path: Path) -> None:
    volume = tmp_path / "elsewhere"
    volume.mkdir()
    (volume / "notes.md").write_text("all of ours")
    volumes = {"team": SharedVolume("team", str(volume), ())}
    home.linking.mounts = Mounts(home.folder, "home", volumes, True)
    home.client.holds("markdown", "team/notes.md", "all of ours")
    home.client.described |= {"volume": "team", "volume_path": "notes.md"}
    assert await home.join() == "elsewhere/notes.md"
    assert not (home.folder / "Shared with me").exists()
    # Who does not have the volume gets a copy, as of any document.
    home.linking.mounts = Mounts(home.folder, "home", {}, True)
    assert await home.join() == "Shared with me/notes.md"
