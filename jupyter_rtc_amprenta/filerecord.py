"""A linked document's file: what it is known to hold, and whose content that is (rule 2).

It is kept in the local store which content was written last, and the position in the log that it shows; the
intent is committed before the file is written. So a crash in between is recognised, a stale file never beats the
log, and what changed outside is merged as edits since the last save.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from enum import Enum
from typing import Any

from jupyter_ydoc import YNotebook
from jupyter_ydoc import ydocs as YDOCS
from jupyter_ydoc.ybasedoc import YBaseDoc
from pycrdt import Doc, merge_updates

from .core.content import digest
from .core.errors import ContentError
from .core.merge import merge_update
from .core.nbcontent import told_apart
from .core.queries_local import LocalFile
from .localstore import LocalStore
from .splitdoc import SplitDocument


class FileVerdict(Enum):
    """What is to become of the file, now that the document is open."""

    AS_IT_IS = "it shows the document"
    WRITE = "it is stale: the document is written to it"
    KEEP_BESIDE = "it holds something that can't be merged: kept as a copy beside, then written"


@dataclass(frozen=True)
class FileContent:
    """A file as the contents manager gives it; `content` is None where it can't be read."""

    path: str
    type: str
    content: Any

    @property
    def digest(self) -> str:
        """See `core.content.digest`."""
        return digest(self.content, self.type)

    def seed(self) -> bytes:
        """A new document's first update, which holds what the file does.

        Raises:
            ContentError: it can't be read.
        """
        if self.content is None:
            raise ContentError(f"{self.path} is no notebook.")
        document = _new_document(self.type)
        document.set(self.content)
        return document.ydoc.get_update()


def content_of(updates: Iterable[bytes], file_type: str) -> Any:
    """The content of the document that updates make, as the contents manager takes it."""
    document = _new_document(file_type)
    for update in updates:
        document.ydoc.apply_update(update)
    if isinstance(document, YNotebook):
        return told_apart(document.get(deduplicate=False))
    return document.get()


def _new_document(file_type: str) -> YBaseDoc:
    return YDOCS.get(file_type, YDOCS["file"])()


@dataclass(frozen=True)
class Base:
    """A document as a file showed it: the log up to a position, and what was taken in from the file after that."""

    seq: int
    extra: bytes | None
    state: bytes


class FileRecord:
    """What is known of one document's file.

    Args:
        room_id: the document's, in the local store.
        store: the local store.
        split: the document.
        content: gives the document's content, in one piece.
        position: gives the position in the local log that the document shows now.

    Attributes:
        file: as the local store has it.
    """

    file: LocalFile

    def __init__(
        self,
        room_id: str,
        store: LocalStore,
        split: SplitDocument,
        content: Callable[[], Any],
        position: Callable[[], Awaitable[int]],
    ) -> None:
        self._room_id = room_id
        self._store = store
        self._split = split
        self._content = content
        self._position = position

    async def history(self) -> list[bytes]:
        """All that is kept of the document here, as updates."""
        return (await self._store.log.read(self._room_id, whole=True)).updates

    async def change(self, **values: Any) -> None:
        """Write some of the columns; see `schema.local_files`."""
        self.file = await self._store.change(self._room_id, **values)

    async def judge(self, on_disk: FileContent) -> FileVerdict:
        """Whose is the file's content? (rule 2)"""
        if self.file.saved_extra is not None:
            # It was taken in from the file just before a crash; where it is in the log already, this does nothing.
            self._split.apply_local(self.file.saved_extra)
        if await self.shows(on_disk) or await self._is_unchanged_since(on_disk):
            return FileVerdict.AS_IT_IS
        if self.file.wrote(on_disk.digest) or await self._is_torn(on_disk):
            return FileVerdict.WRITE
        return FileVerdict.WRITE if await self.take_in(on_disk) else FileVerdict.KEEP_BESIDE

    async def shows(self, on_disk: FileContent) -> bool:
        """Whether the file holds just what the document does, whoever wrote it; if so, it is a base from now on."""
        found = on_disk.digest
        if found != digest(self._content(), on_disk.type):
            return False
        await self.remember_save(found)
        return True

    async def intend_to_save(self, content_digest: str) -> None:
        """Say which content will be written to the file; called in the tick in which the content was taken."""
        position = await self._position()
        await self.change(intent_digest=content_digest, intent_seq=position)

    async def saved(self) -> None:
        """The file now holds what was intended."""
        await self.change(
            saved_digest=self.file.intent_digest,
            saved_seq=self.file.intent_seq,
            saved_extra=None,
            intent_digest=None,
            intent_seq=None,
        )

    @property
    def vouches(self) -> bool:
        """Whether all of it was made on this server, so that its outputs may be signed as trusted here."""
        return self.file.own and not self.file.others

    async def withdraw_intent(self) -> None:
        """The file was not written."""
        await self.change(intent_digest=None, intent_seq=None)

    async def take_in(self, on_disk: FileContent) -> bool:
        """Merge what was changed outside since the last save, as edits (rule 2).

        Returns:
            whether it is in the document now; if not, no base is known or this user may not write.
        """
        if self.file.saved_seq is None or not self.file.may_write:
            return False
        merges = [(merge_update(b.state, on_disk.content, on_disk.type), b) for b in await self._bases()]
        # Whichever of two bases it was: from the other one the way to the file is longer.
        update, base = min(merges, key=lambda merge: len(merge[0] or b""))
        if update is not None:
            # First the note, then the edit: after a crash in between the note is applied on opening.
            extra = update if base.extra is None else merge_updates(base.extra, update)
            await self.change(
                saved_digest=on_disk.digest,
                saved_seq=base.seq,
                saved_extra=extra,
                intent_digest=None,
                intent_seq=None,
            )
            self._split.apply_local(update)
        return True

    async def _bases(self) -> list[Base]:
        """What the file showed before it was changed outside; after a crash in a save that may be either content."""
        assert self.file.saved_seq is not None
        bases = [await self.base(self.file.saved_seq, self.file.saved_extra)]
        if self.file.intent_seq is not None:
            bases.append(await self.base(self.file.intent_seq, None))
        return bases

    async def base(self, seq: int, extra: bytes | None) -> Base:
        """The document as the log had it at a position, and what was taken in from the file after that."""
        history = await self._store.log.read(self._room_id, until=seq)
        document: Doc = Doc()
        for update in history.updates + ([] if extra is None else [extra]):
            document.apply_update(update)
        return Base(seq, extra, document.get_update())

    async def _is_unchanged_since(self, on_disk: FileContent) -> bool:
        """Whether neither the file nor the document has changed since the last save: it is not written for its form."""
        last = (self.file.saved_digest, self.file.saved_seq, self.file.saved_extra)
        return last == (on_disk.digest, await self._position(), None)

    async def _is_torn(self, on_disk: FileContent) -> bool:
        """Whether a crash has cut our own save short: the file holds the beginning of it, or no notebook at all."""
        if self.file.intent_seq is None:
            return False
        if on_disk.content is None or on_disk.type == "notebook":
            return on_disk.content is None
        intended = content_of([(await self.base(self.file.intent_seq, None)).state], on_disk.type)
        return str(intended).startswith(on_disk.content)

    async def remember_save(self, content_digest: str) -> None:
        """The file holds the content of this digest, and the document shows it."""
        if self.file.saved_digest != content_digest or self.file.saved_seq is None:
            await self.intend_to_save(content_digest)
            await self.saved()
