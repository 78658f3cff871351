"""A file that other servers have too: one of them saves it, and one takes in what was changed outside (rule 2).

What is different from a file of one's own (`filesaver.py`): each save is claimed at the Y.js server before it is
written, and whoever is refused waits, and finds that the file shows the document by then. Without the claim nothing
is written: while the Y.js server is away edits stay in the local stores, and the file stays as it is.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

from jupyter_server.utils import ensure_async
from tornado.web import HTTPError

from .agreedrecord import AgreedRecord
from .agreement import Agreement
from .core.content import digest
from .core.errors import FileChanged, FileHeld, ServiceError, ServiceUnavailable
from .filerecord import FileContent, FileVerdict
from .filesaver import FileSaver, SaveOutcome
from .filewriting import Writing

log = logging.getLogger(__name__)

# Whoever may not save now asks again after this long; who saves renews its claim with each save.
_ASK_AGAIN_SECONDS = 3.0
_MOST_TRIES = 20
# After a save, until the others are told that the file is written, unless the next save tells them.
_CONFIRM_SECONDS = 1.5
# How often it is looked whether the file is there; where it is gone, the service is asked less and less often.
_LOOK_SECONDS = 2.0
_LONGEST_LOOK_SECONDS = 60.0
# A notebook that can't be read may be half written: this often, and so many times, it is read again.
_READ_AGAIN_SECONDS = 0.2
_MOST_READS = 10


class AgreedFileSaver(FileSaver):
    """Keeps one file in step with its document, together with other servers.

    Args:
        on_missing: called while the file is not there: others may have moved or deleted it.
        *args: as `FileSaver`.
    """

    def __init__(self, on_missing: Callable[[], Awaitable[None]], *args: Any) -> None:
        super().__init__(*args)
        self._on_missing = on_missing
        # Of what the file holds, as long as its bytes have the hash that is kept.
        self._found: str | None = None
        self._asks_again = 0.0
        self._is_recorded = False
        self._kept_beside: str | None = None
        self._watching: asyncio.Task[None] | None = None
        self._confirming: asyncio.Task[None] | None = None

    async def load_first(self) -> FileContent:
        """Read the file, which another server may just be writing, or have left half written."""
        return await self._load_whole()

    async def settle(self, verdict: FileVerdict, on_disk: FileContent) -> None:
        """Bring the file up to the document, or leave that to the server that saves it."""
        if self._linked.place.volume is not None:
            self._watching = asyncio.create_task(self._watch_place())
        await self.save()
        await super().settle(FileVerdict.AS_IT_IS, on_disk)

    # --- saving ---

    async def _save(self) -> None:
        async with self._saving:
            try:
                await self._save_with_others()
            except (FileHeld, ServiceUnavailable) as error:
                log.debug("%s is not saved now: %s", self._linked.file.path, error)
                if self._asks_again < time.monotonic():
                    self._asks_again = time.monotonic() + _ASK_AGAIN_SECONDS
                self.content_changed(_ASK_AGAIN_SECONDS)

    async def _save_with_others(self) -> None:
        for _ in range(_MOST_TRIES):
            if await self._try_to_save():
                return
        raise FileHeld("The file changes all the time.")

    def retry_delay(self, delay: float) -> float:
        """Not before it makes sense to ask again."""
        return max(delay, self._asks_again - time.monotonic())

    async def _try_to_save(self) -> bool:
        self._unsaved = False
        found = await self._look()
        content = self._linked.content()
        content_digest = digest(content, self._type)
        if found == content_digest:
            self._document.hash = self._hash
            self._document.dirty = False
            await self._tell_content(found)
            return True
        if not self._linked.may_write and self._linked.place.volume is not None:
            # Who may write saves the file that all have.
            return True
        if time.monotonic() < self._asks_again and not self._hurry.is_set():
            raise FileHeld("It was asked a moment ago.")
        agreed = self._agreed()
        shown = agreed.shown_now(content_digest)
        await self._linked.record.intend_to_save(content_digest)
        if not agreed.knows(found):
            await agreed.agreement.look()
        if not agreed.knows(found):
            await self._linked.record.withdraw_intent()
            return await self._take_in_by_claim(agreed)
        try:
            await agreed.agreement.claim_save(found, shown)
        except FileChanged:
            await agreed.agreement.look()
            return False
        return await self._write_claimed(agreed.agreement, content, content_digest)

    async def _write_claimed(self, agreement: Agreement, content: Any, content_digest: str) -> bool:
        """Write what was claimed, unless the lease is ending; see `FileSaver._write_intended`.

        Returns:
            False if the file was changed outside, before or since: that must be looked at first.
        """
        if not agreement.may_write:
            await self._linked.record.withdraw_intent()
            return False
        outcome = await self._write_intended(content, Writing(self._file.path, self._hash))
        if outcome in (SaveOutcome.SAVED, SaveOutcome.CHANGED_SINCE):
            agreement.wrote()
            self._confirm_later(agreement)
            self._is_recorded = True
            self._found = content_digest if outcome is SaveOutcome.SAVED else None
        return outcome in (SaveOutcome.SAVED, SaveOutcome.NOT_WRITABLE)

    def _confirm_later(self, agreement: Agreement) -> None:
        """The next save says it too: it is told apart only when nobody goes on typing."""
        if self._confirming is not None:
            self._confirming.cancel()
        self._confirming = asyncio.create_task(_confirm(agreement))

    async def _look(self) -> str:
        """The digest of what the file holds; it is read only when its bytes have changed."""
        await self._wait_for_writer()
        if self._found is None or await self._hash_on_disk() != self._hash:
            self._found = None
            self._found = (await self._load_whole()).digest
        return self._found

    async def _load_whole(self) -> FileContent:
        for _ in range(_MOST_READS):
            try:
                return await self.load()
            except HTTPError as error:
                if error.status_code != 400:
                    raise
            await asyncio.sleep(_READ_AGAIN_SECONDS)
        return FileContent(self._file.path, self._type, None)

    def _agreed(self) -> AgreedRecord:
        if self._linked.agreed is None or not self._linked.is_live:
            raise ServiceUnavailable("The Y.js server does not answer.")
        return self._linked.agreed

    async def _tell_content(self, found: str) -> None:
        """The others must know what the document's file holds, though nobody has saved it yet."""
        if self._is_recorded or self._linked.agreed is None or not self._linked.is_live:
            return
        self._is_recorded = True
        agreement, shown = self._linked.agreed.agreement, self._linked.agreed.shown_now(found)
        await agreement.look()
        if not agreement.knows(found) and self._linked.may_write:
            with suppress(FileHeld):
                await agreement.claim_save(found, shown, accounted_for=True)
                await agreement.release()

    async def _raw_text(self) -> str:
        """What an unreadable notebook holds."""
        manager = self._contents_manager()
        model = await ensure_async(manager.get(self._file.path, type="file", format="text", content=True))
        return str(model["content"])

    # --- what was changed outside ---

    async def outside_change(self) -> None:
        """The file was written by another server, or changed outside: the next save finds out which."""
        await self.save()

    async def _take_in_by_claim(self, agreed: AgreedRecord) -> bool:
        """Take in what none of the servers wrote.

        Returns:
            whether the file is saved after that.
        """
        on_disk = await self._load_whole()
        self._found = on_disk.digest
        if agreed.knows(on_disk.digest):
            return False
        if await self._is_torn(agreed, on_disk):
            return await self._overwrite(agreed, on_disk)
        log.info("%s was changed outside; its changes are merged.", self._file.path)
        try:
            if on_disk.content is not None and await agreed.take_in(on_disk):
                return False
        except FileChanged:
            await agreed.agreement.look()
            return False
        if self._kept_beside != on_disk.digest:
            # Before the claim: after it, another server may overwrite the file.
            await self.keep_beside(await self._raw_text() if on_disk.content is None else on_disk.content)
            self._kept_beside = on_disk.digest
        return await self._overwrite(agreed, on_disk)

    async def _is_torn(self, agreed: AgreedRecord, on_disk: FileContent) -> bool:
        if on_disk.type == "notebook" and on_disk.content is not None:
            return False
        text = on_disk.content if on_disk.content is not None else await self._raw_text()
        return await agreed.is_torn(text, self._type)

    async def _overwrite(self, agreed: AgreedRecord, on_disk: FileContent) -> bool:
        content = self._linked.content()
        shown = agreed.shown_now(digest(content, self._type))
        await self._linked.record.intend_to_save(shown.digest)
        await agreed.agreement.claim_save(on_disk.digest, shown, accounted_for=True)
        return await self._write_claimed(agreed.agreement, content, shown.digest)

    # --- where the file is ---

    async def _watch_place(self) -> None:
        wait = _LOOK_SECONDS
        while True:
            await asyncio.sleep(wait)
            try:
                await self._hash_on_disk()
                wait = _LOOK_SECONDS
            except HTTPError as error:
                wait = min(2 * wait, _LONGEST_LOOK_SECONDS)
                if error.status_code == 404:
                    await self._look_elsewhere()

    async def _look_elsewhere(self) -> None:
        try:
            await self._on_missing()
        except ServiceError as error:
            log.warning("%s is gone, and the service does not tell: %s", self._linked.file.path, error)

    async def finish(self) -> None:
        """Save what is unsaved, and leave the file to the others."""
        await super().finish()
        if self._confirming is not None:
            self._confirming.cancel()
        if self._linked.agreed is not None:
            with suppress(ServiceError):
                await self._linked.agreed.agreement.release()

    def _stop_watching(self) -> None:
        super()._stop_watching()
        # It may be the one that found the file deleted, and so ends the room.
        if self._watching is not None and self._watching is not asyncio.current_task():
            self._watching.cancel()


async def _confirm(agreement: Agreement) -> None:
    await asyncio.sleep(_CONFIRM_SECONDS)
    # While it is not told, the content before counts as one of ours that was not overwritten yet.
    with suppress(ServiceError):
        await agreement.confirm()
