"""A linked document and its file: saves, outside changes, and the copies that are kept beside (rule 2).

One save at a time. The content is taken in one tick together with its position in the log, the intent is
committed, then the file is written: after a crash in between it is still known whose content the file holds.
How it is written, so that who else writes it is not overwritten, is in `filewriting.py`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress
from enum import Enum
from typing import Any

from jupyter_server.utils import ensure_async
from jupyter_server_ydoc.loaders import FileLoader
from jupyter_server_ydoc.utils import OutOfBandChanges
from jupyter_ydoc.ybasedoc import YBaseDoc
from tornado.web import HTTPError

from . import filecopies
from .core.content import digest, without_trust
from .filerecord import FileContent, FileVerdict
from .filewriting import WRITING, FileChanged, Writing, is_being_written, signature
from .linked import LinkedDocument
from .readonly import MAY_WRITE

log = logging.getLogger(__name__)

_LONGEST_RETRY_SECONDS = 300.0
# Who is in the middle of writing the file is waited for, within reason.
_LONGEST_WRITE_SECONDS = 2.0
_LOOK_SECONDS = 0.02
# Something that changes the file after each save, such as a hook of the contents manager, is not raced for ever.
_MOST_SAVES = 3


class SaveOutcome(Enum):
    """What became of one try to save."""

    SAVED = "the file shows the document"
    NOT_WRITABLE = "the file can't be written; the document is kept in the log"
    CHANGED_BEFORE = "the file was changed outside, and nothing was written"
    CHANGED_SINCE = "it was written, and changed outside since"


class FileSaver:
    """Keeps one file in step with its document.

    Args:
        linked: the document's history.
        file: upstream's loader of the file.
        file_format, file_type: as the room names them.
        document: the room's document.
        contents_manager: gives the server's contents manager.
        on_saved: called when the file was written: upstream's loader tells other rooms of it nothing of that.
    """

    def __init__(
        self,
        linked: LinkedDocument,
        file: FileLoader,
        file_format: str,
        file_type: str,
        document: YBaseDoc,
        contents_manager: Callable[[], Any],
        on_saved: Callable[[], None],
    ) -> None:
        self._linked = linked
        self._file = file
        self._format = file_format
        self._type = file_type
        self._document = document
        self._contents_manager = contents_manager
        self._on_saved = on_saved
        self._saving = asyncio.Lock()
        self._unsaved = False
        # The file holds what was not taken in yet. Upstream's loader tells once, and forgets when it has told.
        self._outside = False
        # Of the file's bytes, as they were last read or written here. Upstream's loader compares times alone, whose
        # tick is some milliseconds: who writes within one tick of our save would be overwritten unseen.
        self._hash: str | None = None
        self._signature: tuple[int, ...] | None = None
        self._hurry = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._watcher: asyncio.Task[None] | None = None

    @property
    def unsaved(self) -> bool:
        """Whether the document holds what the file does not."""
        return self._unsaved

    async def load(self) -> FileContent:
        """Read the file.

        Raises:
            HTTPError: it is not there, or not of its type.
        """
        await self._wait_for_writer()
        self._signature = self._signature_now()
        self._hash = await self._hash_on_disk()
        model = await self._file.load_content(self._format, self._type)
        return FileContent(self._file.path, self._type, model["content"])

    async def load_first(self) -> FileContent:
        """Read the file, which a crash may have left half written.

        Raises:
            HTTPError: it is not there, or not of its type, and it was not this server that left it so.
        """
        try:
            return await self.load()
        except HTTPError as error:
            if error.status_code != 400 or not await self._linked.was_saving(self._file.path):
                raise
            log.warning("%s was left half written; it is written anew from the document.", self._file.path)
            return FileContent(self._file.path, self._type, None)

    async def settle(self, verdict: FileVerdict, on_disk: FileContent) -> None:
        """Do what opening decided about the file."""
        if verdict is FileVerdict.KEEP_BESIDE:
            await self.keep_beside(on_disk.content)
        if verdict is not FileVerdict.AS_IT_IS:
            await self.save()
        if self._os_path is not None and self._file._poll_interval:
            self._watcher = asyncio.create_task(self._watch(self._file._poll_interval))

    async def _watch(self, interval: float) -> None:
        """Upstream's loader looks for a later time alone; a sync tool or a restored backup brings an earlier one."""
        while True:
            await asyncio.sleep(interval)
            try:
                if not self._saving.locked() and self._signature_now() not in (None, self._signature):
                    await self.outside_change()
            except Exception as error:
                # Half a notebook, a database that is away: the next look, or the next save, meets it again.
                log.warning("%s was changed outside, and is not taken in yet: %s", self._file.path, error)

    @property
    def _os_path(self) -> str | None:
        """Where the file is; None: the contents manager does not keep it on the disk."""
        find = getattr(self._contents_manager(), "_get_os_path", None)
        return None if find is None else find(self._file.path)

    def _signature_now(self) -> tuple[int, ...] | None:
        path = self._os_path
        return None if path is None else signature(path)

    async def _wait_for_writer(self) -> bool:
        """What is half written is not the file's content.

        Returns:
            False if something keeps the file open for writing, such as a log: it is taken as it is.
        """
        deadline = asyncio.get_running_loop().time() + _LONGEST_WRITE_SECONDS
        while (path := self._os_path) is not None and await asyncio.to_thread(is_being_written, path):
            if asyncio.get_running_loop().time() > deadline:
                return False
            await asyncio.sleep(_LOOK_SECONDS)
        return True

    def content_changed(self, delay: float | None) -> None:
        """Save after `delay` seconds; what changes until then goes along. None: only when asked to."""
        self._unsaved = True
        if delay is not None and (self._task is None or self._task.done()):
            self._task = asyncio.create_task(self._save_later(delay))

    async def _save_later(self, delay: float) -> None:
        retry = delay
        while self._unsaved and not self._hurry.is_set():
            await self._pause(self.retry_delay(retry))
            try:
                await self.save()
            except Exception as error:
                # Contents managers raise whatever they like; what can't be saved now is tried again for ever.
                retry = min(2 * retry + 1, _LONGEST_RETRY_SECONDS)
                log.error(
                    "%s can't be saved: %s. It is tried again in %.0f s.",
                    self._linked.file.path,
                    error,
                    retry,
                )
                self._unsaved = True
            else:
                retry = delay

    def retry_delay(self, delay: float) -> float:
        """How long to wait before a save, in seconds, where `delay` is due."""
        return delay

    async def _pause(self, seconds: float) -> None:
        with suppress(TimeoutError):
            await asyncio.wait_for(self._hurry.wait(), seconds)

    async def save(self) -> None:
        """Write the document to the file, now. What was changed outside is taken in before.

        Raises:
            HTTPError, OSError: the file can't be written, or what was changed outside can't be read.
        """
        # Upstream's loader swallows a cancellation in the middle of a write, and reports nothing saved.
        await asyncio.shield(asyncio.ensure_future(self._save()))

    async def _save(self) -> None:
        async with self._saving:
            for _ in range(_MOST_SAVES):
                if self._outside:
                    await self._take_in()
                if await self._try_to_save():
                    return
                self._outside = True
            # The next save takes it in.
            self._unsaved = True

    async def _try_to_save(self) -> bool:
        """Save once.

        Returns:
            False if the file was changed outside, before or since: that must be taken in first.
        """
        is_alone = await self._wait_for_writer()
        self._unsaved = False
        content = self._linked.content()
        await self._linked.record.intend_to_save(digest(content, self._type))
        outcome = await self._write_intended(content, Writing(self._file.path, self._hash, is_alone))
        return outcome in (SaveOutcome.SAVED, SaveOutcome.NOT_WRITABLE)

    async def _write_intended(self, content: Any, writing: Writing) -> SaveOutcome:
        """Write the content that was intended to be saved, if the file holds what it held when it was looked at."""
        record = self._linked.record
        if not record.vouches:
            content = without_trust(content, self._type)
        try:
            saved = await self._write(
                {"format": self._format, "type": self._type, "content": content}, writing
            )
        except (OutOfBandChanges, FileChanged):
            await record.withdraw_intent()
            return SaveOutcome.CHANGED_BEFORE
        finally:
            self._hash = writing.written or self._hash
            self._signature = writing.signature or self._signature
        if saved is None:
            log.warning("%s is not writable: its document is kept, its file is not.", self._file.path)
            # Not writable, or the write was cancelled in its middle, which upstream's loader does not tell apart:
            # the intent stays, so that the file is recognised whichever content it holds.
            return SaveOutcome.NOT_WRITABLE
        await record.saved()
        if writing.written not in (None, saved["hash"]):
            return SaveOutcome.CHANGED_SINCE
        self._hash = saved["hash"]
        self._document.hash = self._hash
        self._document.dirty = False
        self._on_saved()
        return SaveOutcome.SAVED

    async def _write(self, model: dict[str, Any], writing: Writing) -> dict[str, Any] | None:
        # The copy of what one may only read is kept up to date all the same.
        MAY_WRITE.set(True)
        WRITING.set(writing)
        if await self._hash_on_disk() != self._hash:
            raise OutOfBandChanges
        return await self._file.maybe_save_content(model)

    async def _hash_on_disk(self) -> str:
        model = await ensure_async(
            self._contents_manager().get(self._file.path, content=False, require_hash=True)
        )
        return model["hash"]

    def note_outside_change(self) -> None:
        """The file was changed by someone else; the next save takes it in before it writes."""
        self._outside = True

    async def outside_change(self) -> None:
        """The file was changed by someone else: merge it, and write the outcome.

        Raises:
            HTTPError, OSError: see `save`.
        """
        self._outside = True
        async with self._saving:
            if not self._outside or not await self._take_in():
                return
        await self.save()

    async def _take_in(self) -> bool:
        """Merge the file's content, or keep it beside.

        Returns:
            whether the file held anything that this server had not written.
        """
        # Before it is read: whoever is told of another change meanwhile sets it again.
        self._outside = False
        try:
            return await self._take_in_once()
        except BaseException:
            # Also where it is cancelled in its middle: the next save must not take the file as known.
            self._outside = True
            raise

    async def _take_in_once(self) -> bool:
        on_disk = await self.load()
        if self._linked.file.wrote(on_disk.digest) or await self._linked.record.shows(on_disk):
            return False
        log.info("%s was changed outside; its changes are merged.", self._file.path)
        if not await self._linked.record.take_in(on_disk):
            await self.keep_beside(on_disk.content)
        return True

    async def keep_beside(self, content: Any) -> None:
        """Keep a content that can't be merged as a copy beside the file; nothing is overwritten.

        Raises:
            HTTPError, OSError: it can't be written.
        """
        kind = (self._format, self._type)
        await filecopies.keep_beside(self._contents_manager(), self._file.path, kind, content)

    async def mark_name(self) -> None:
        """The name of a copy says whether it is shared no longer. Nobody has it open when this is called.

        Raises:
            HTTPError, OSError: the file can't be renamed.
        """
        file = self._linked.file
        if not file.own:
            await filecopies.mark_name(self._contents_manager(), self._file.path, file.ended is not None)

    def give_up(self) -> None:
        """There is no file any more."""
        self._stop_watching()
        self._unsaved = False
        self._hurry.set()

    def _stop_watching(self) -> None:
        if self._watcher is not None:
            self._watcher.cancel()

    async def finish(self) -> None:
        """Save what is unsaved, before the room goes."""
        self._stop_watching()
        self._hurry.set()
        if self._task is not None:
            await asyncio.wait([self._task])
        if self._unsaved:
            try:
                await self.save()
            except Exception as error:
                # Whatever it is, the room must still be closed.
                self._unsaved = True
                log.error(
                    "%s could not be saved: %s. Its edits are in the local store.",
                    self._linked.file.path,
                    error,
                )
