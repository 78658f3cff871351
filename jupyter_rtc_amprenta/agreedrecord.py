"""A file that other servers have too: what it is known to hold, by what all of them have said of it (rule 2)."""

from __future__ import annotations

from base64 import b64encode
from contextlib import suppress

from pycrdt import Doc

from .agreement import Agreement, snapshot_of, state_at
from .core.content import digest, written
from .core.errors import HistoryCompacted
from .core.merge import merge_update
from .core.protocol import EMPTY_UPDATE
from .core.queries_files import Shown
from .filerecord import FileContent, FileRecord, content_of
from .splitdoc import SplitDocument


class AgreedRecord:
    """What is known of one document's file, together with the others.

    Args:
        record: what this server knows.
        agreement: what all of them do.
        split: the document.
    """

    def __init__(self, record: FileRecord, agreement: Agreement, split: SplitDocument) -> None:
        self.agreement = agreement
        self._record = record
        self._split = split

    def knows(self, found: str) -> bool:
        """Whether the file may hold this without that anybody has changed it outside."""
        return any(shown.digest == found for shown in self._file_may_hold())

    def shown_now(self, content_digest: str) -> Shown:
        """What a content shows, for the others; called in the tick in which the content was taken."""
        return Shown(content_digest, snapshot_of(self._split.shared))

    async def take_in(self, on_disk: FileContent) -> bool:
        """Merge what was changed outside since one of the servers saved, once for all of them (rule 2).

        Returns:
            whether it is in the document now; if not, no base is known or this user may not write.

        Raises:
            FileHeld: another server saves it, and so takes it in.
            FileChanged: another one has taken it in.
            ServiceError, ServiceUnavailable.
        """
        states = [(shown, await self._state_of(shown, on_disk.type)) for shown in self._file_may_hold()]
        merges = [
            (merge_update(state, on_disk.content, on_disk.type) or EMPTY_UPDATE, shown, state)
            for shown, state in states
            if state is not None
        ]
        if not merges or not self._record.file.may_write:
            return False
        # Whichever of the contents it was: from another one the way to the file is longer.
        update, base, state = min(merges, key=lambda merge: len(merge[0]))
        fork: Doc = Doc()
        for part in (state, update):
            fork.apply_update(part)
        new = Shown(on_disk.digest, snapshot_of(fork))
        await self.agreement.claim_change(base.digest, new, b64encode(update).decode())
        # It is in the log now, and comes by the link too: whichever is first.
        self._split.apply_local(update)
        return True

    async def is_torn(self, text: str, file_type: str) -> bool:
        """Whether the file holds the beginning of what one of the servers was about to write when it ended."""
        # Once it was told that all is written, a file that is cut short is somebody's change.
        if len({shown.digest for shown in self.agreement.contents}) < 2:
            return False
        state = await self._state_of(self.agreement.contents[0], file_type)
        return state is not None and written(content_of([state], file_type), file_type).startswith(text)

    def _file_may_hold(self) -> list[Shown]:
        """What one of the servers wrote or took in; where nobody has told anything yet, what this one did."""
        saved = self._record.file.saved_digest
        if self.agreement.contents or saved is None:
            return self.agreement.contents
        return [Shown(saved, None)]

    async def _state_of(self, shown: Shown, file_type: str) -> bytes | None:
        """The document that a content of the file shows; None where this server can't tell."""
        file, candidates = self._record.file, []
        if shown.digest == file.saved_digest and file.saved_seq is not None:
            with suppress(HistoryCompacted):
                candidates.append((await self._record.base(file.saved_seq, file.saved_extra)).state)
        if shown.snapshot is not None:
            candidates.append(state_at(shown.snapshot, await self._record.history()))
        for state in candidates:
            if state is not None and digest(content_of([state], file_type), file_type) == shown.digest:
                return state
        return None
