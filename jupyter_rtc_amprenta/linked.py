"""A linked document: its history here and at the Y.js server, and what opening it decides.

Opening is a small state machine (`LinkedDocument.open`). It asks, in this order:

    does the Y.js server answer?  have we a history, and was it accepted there?  if not: is it the first there?
    what does the file hold: the document, what this server wrote last, or something else?

and ends with one history in memory, and a word on what is to become of the file. Exactly one process ever seeds
a document (rule 1): a history that the Y.js server has not accepted is offered to it as the first, and dropped
if it comes second.
"""

from __future__ import annotations

import asyncio
import logging
from base64 import b64encode
from contextlib import suppress
from dataclasses import replace
from typing import Any, Protocol

from jupyter_ydoc.ybasedoc import YBaseDoc
from pycrdt import merge_updates

from . import seeding
from .agreedrecord import AgreedRecord
from .agreement import Agreement
from .client import Credentials
from .core.causal import clocks
from .core.content import digest
from .core.errors import HistoryReplaced, ServiceError, ServiceUnavailable
from .core.protocol import CloseCode
from .core.queries import History
from .core.queries_local import LocalFile
from .fileidentity import FileIdentity
from .filerecord import FileContent, FileRecord, FileVerdict, content_of
from .link import Link, LinkState
from .linkawareness import LinkAwareness
from .linking import Linking
from .localstore import side_of
from .mounts import Place
from .splitdoc import SplitDocument

log = logging.getLogger(__name__)

# A document that is at the Y.js server alone may be large: it gets this long.
_HISTORY_SECONDS = 60.0
_FLUSH_SECONDS = 3.0
# What a refusal means for good, by the service's code or the Y.js server's close code.
_ENDED: dict[str | int, str] = {
    "not_a_participant": "removed",
    "not_in_group": "removed",
    "session_not_found": "deleted",
    "session_over": "deleted",
    CloseCode.NO_RIGHT: "removed",
    CloseCode.NO_DOCUMENT: "deleted",
}


class Host(Protocol):
    """The room, as its linked document needs it."""

    def begin_anew(self, reason: str) -> None:
        """The document must be opened anew."""

    def rights_changed(self, permissions: str) -> None:
        """What this server's user may do has changed, while the document is open."""

    def sharing_ended(self, ended: str) -> None:
        """This server's user takes part no longer; `removed` or `deleted`."""

    async def keep_beside(self, content: Any) -> None:
        """Keep what is dropped as a copy beside the file."""


class LinkedDocument:
    """One document of this server.

    Args:
        room_id: `format:type:file id`.
        linking: what all linked rooms of the server share.
        document: the room's document, as jupyter_ydoc sees it, new and empty.
        awareness: the room's, for the link.
        host: the room.

    Attributes:
        agreed: with the other servers that have the file, once the document is known; None: no other has it.
        seen_with_file: what the document shows now was compared to the file, or comes from it: edits since then
            are not in the file.
    """

    def __init__(
        self, room_id: str, linking: Linking, document: YBaseDoc, awareness: LinkAwareness, host: Host
    ) -> None:
        self.room_id = room_id
        self.split = SplitDocument(document.ydoc, self._keep_shared, self._keep_side)
        self.record = FileRecord(room_id, linking.store, self.split, self.content, self._position_now)
        self.link = Link(room_id, self.split, awareness, self._admit, host.begin_anew, self._refused)
        self.agreed: AgreedRecord | None = None
        self.seen_with_file = False
        self._identity = FileIdentity(room_id, linking, self.record)
        self._linking = linking
        self._store, self._client = linking.store, linking.client
        self._document = document
        self._awareness = awareness
        self._host = host
        # Of this server's log, which begins anew when a history is dropped; not the Y.js server's.
        self._log_generation = self._side_generation = 1
        self._position: asyncio.Future[int] | int = 0
        self._on_disk: FileContent
        self._kept: History
        # One decides at a time which history this is: the link's first contact, or opening without it.
        self._deciding = asyncio.Lock()
        self._decided = False
        # The Y.js server's generation of the history in memory; 0: not accepted there.
        self._generation = 0
        # A history that browsers may hold was dropped: who comes with it would bring all content a second time.
        self.was_reset = False
        self._seed: bytes | None = None
        self._shows_file = False
        self._noting: asyncio.Future[Any] | None = None

    @property
    def file(self) -> LocalFile:
        """What the local store has of its file."""
        return self.record.file

    @property
    def place(self) -> Place:
        """Where the file lies."""
        return self._identity.place

    @property
    def is_live(self) -> bool:
        """Whether the Y.js server answers, and this user takes part."""
        return self.link.state is LinkState.LIVE

    @property
    def may_write(self) -> bool:
        """Whether this server's user may edit the document."""
        return self.file.may_write

    # --- opening ---

    async def open(self, on_disk: FileContent) -> FileVerdict:
        """Load the document, from here and from the Y.js server.

        Args:
            on_disk: what the file holds.

        Returns:
            what is to become of the file.

        Raises:
            ServiceUnavailable: its history is at the Y.js server alone, which does not answer.
            ServiceError: it is on a shared volume, and this user may not enter it there.
        """
        self._on_disk = on_disk
        self.record.file = await self._identity.find(on_disk)
        self._kept, side = await self._store.histories(self.room_id)
        self._log_generation, self._side_generation = self._kept.generation, side.generation
        self._position = self._kept.seq
        self.split.load([], side.updates)
        self.link.start()
        await self._settle(self._linking.settings.open_timeout)
        async with self._deciding:
            if not self._decided:
                await self._begin(self._kept.updates)
        if self._generation != self.file.generation:
            await self._wait_for_history()
        self.seen_with_file = True
        if self.place.agreed:
            # What the others have done with the file is asked before each save.
            return FileVerdict.WRITE
        return FileVerdict.AS_IT_IS if self._shows_file else await self.record.judge(on_disk)

    async def _settle(self, timeout: float) -> None:
        try:
            await asyncio.wait_for(self.link.settled.wait(), timeout)
        except TimeoutError:
            log.warning("document=%s: the Y.js server does not answer within %g s.", self.room_id, timeout)

    async def _wait_for_history(self) -> None:
        """Ours was dropped, so the document's must be here before anything is shown, or written to the file."""
        if self.link.state is not LinkState.LIVE:
            self.link.settled.clear()
            await self._settle(_HISTORY_SECONDS)
        if self.link.state is not LinkState.LIVE:
            raise ServiceUnavailable(f"The document can't be loaded from the Y.js server. {self.link.reason}")
        await self.record.change(generation=self._generation)

    async def _admit(self) -> tuple[str, Credentials]:
        """What comes before each connection: the document's id, a token, and the seed where there is none.

        Raises:
            ServiceUnavailable, ServiceError: see `Link`.
            HistoryReplaced: the Y.js server has another history than the one that is open here.
        """
        if self.file.document_id is None:
            await self._identity.register(self._on_disk)
        document_id = self.file.document_id
        assert document_id is not None
        credentials = await self._client.credentials(document_id, renew=True)
        if self.place.agreed and self.agreed is None:
            self._agree(document_id)
        changed = credentials.permissions != self.file.permissions
        if changed or self.file.ended:
            await self.record.change(permissions=credentials.permissions, ended=None)
        async with self._deciding:
            open_before = self._decided
            await self._decide(document_id, credentials)
        if changed and open_before:
            self._host.rights_changed(credentials.permissions)
        return self._client.document_url(document_id), credentials

    def _refused(self, error: ServiceError) -> None:
        ended = _ENDED.get(error.code or error.status)
        if ended is None or self.file.own:
            return
        self._awareness.show_link("ended", str(error))
        if self.file.ended is None:
            self._noting = asyncio.ensure_future(self._end(ended))

    async def _end(self, ended: str) -> None:
        """This server's user takes part no longer. The file stays, and is theirs alone."""
        log.warning("document=%s: it is shared no longer (%s); %s stays.", self.room_id, ended, self.file.path)
        await self.record.change(ended=ended, permissions="read-write")
        self._host.sharing_ended(ended)

    def _agree(self, document_id: str) -> None:
        agreement = Agreement(self._client, document_id, self.place, self.file.path, self._linking.mounts.holder)
        self.agreed = AgreedRecord(self.record, agreement, self.split)

    async def renamed(self, path: str) -> None:
        """The file has another path now: the document stays, and the service is told.

        Raises:
            ServiceError: it could not be told; it is again when the document is opened the next time.
        """
        self._on_disk = FileContent(path, self._on_disk.type, self.content())
        await self.record.change(path=path)
        before = self._identity.move_to(path)
        if self.agreed is not None and self.file.document_id is not None:
            self._agree(self.file.document_id)
        await self._identity.tell_move(before, self._on_disk)

    async def _decide(self, document_id: str, credentials: Credentials) -> None:
        """Whose history is it? Ours if the Y.js server has accepted it, or accepts it now as the first."""
        ours = self._generation if self._decided else self.file.generation
        if ours == credentials.generation and await self._is_accepted(document_id, credentials):
            if not self._decided:
                await self._begin(self._kept.updates)
        elif ours == 0 and await self._is_first(document_id, credentials):
            if not self._decided:
                await self._begin(self._kept.updates)
            await self.record.change(generation=credentials.generation)
        elif self._decided:
            raise HistoryReplaced("The document has another history than the one that is open here.")
        else:
            if self._kept.updates:
                self._linking.forget_tabs()
                # First the copy: after a crash in between it is made again.
                dropped = content_of(self._kept.updates, self._on_disk.type)
                if digest(dropped, self._on_disk.type) != self._on_disk.digest:
                    # It is in no file yet: edits that were never accepted (rule 7).
                    await self._host.keep_beside(dropped)
            self.record.file, self._log_generation = await self._store.reset(self.room_id)
            self._position = 0
            self.was_reset = bool(self._kept.updates)
            self._decided = True
        self._generation = credentials.generation

    async def _is_accepted(self, document_id: str, credentials: Credentials) -> bool:
        """Whether nothing is here that the Y.js server would refuse: a reader's edits, made before they were one."""
        if credentials.permissions == "read-write":
            return True
        ours = [self.split.shared.get_update()] if self._decided else self._kept.updates
        return not await seeding.lacks(self._client, document_id, ours)

    async def _is_first(self, document_id: str, credentials: Credentials) -> bool:
        if credentials.permissions != "read-write":
            return False
        if self._decided:
            seed = self.split.shared.get_update()
        else:
            seed = self._seed = (
                merge_updates(*self._kept.updates) if self._kept.updates else self._on_disk.seed()
            )
        first = self._kept.updates[0] if self._kept.updates else self._seed
        return await seeding.is_first(self._client, document_id, seed, first)

    async def was_saving(self, path: str) -> bool:
        """Whether this server ended in the middle of a save of this file."""
        return (await self._store.open(self.room_id, path)).intent_seq is not None

    async def _begin(self, kept: list[bytes]) -> None:
        """Take what was kept here, or else what the file holds, as the document's history."""
        self._decided = True
        self._generation = self.file.generation
        if kept or self.file.generation:
            self.split.load(kept, [])
        else:
            self._seed = self._seed or self._on_disk.seed()
            self.split.apply_local(self._seed)
            self.seen_with_file = True
            await self.record.remember_save(self._on_disk.digest)
            self._shows_file = True

    # --- the histories ---

    def content(self) -> Any:
        """The document's content, in one piece: upstream's `aget` yields between cells, and tears edits apart."""
        self.split.flush()
        content = self._document.get()
        # Reading a notebook gives new ids to cells that share one: an edit.
        self.split.flush()
        return content

    async def side_is_kept(self) -> None:
        """Wait until the per-server keys are in the local store, and so in the room: before a browser syncs."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self._store.log.committed(side_of(self.room_id)), _FLUSH_SECONDS)

    async def _position_now(self) -> int:
        position = self._position
        return position if isinstance(position, int) else await asyncio.shield(position)

    def _keep_shared(self, update: bytes, remote: bool) -> None:
        self._position = self._store.log.append(self.room_id, update, self._log_generation)
        if not remote:
            self.link.send(update)
        elif not self.file.others:
            self.record.file = replace(self.file, others=True)
            self._noting = asyncio.ensure_future(self._store.change(self.room_id, others=True))

    def _keep_side(self, update: bytes) -> None:
        kept = self._store.log.append(side_of(self.room_id), update, self._side_generation)
        kept.add_done_callback(lambda _: self.split.apply_side(update))

    # --- the end ---

    async def close(self) -> None:
        """Flush to the link and to the local store."""
        self.split.flush()
        await self.link.stop()
        self.split.close()
        await self._store.log.flush(_FLUSH_SECONDS)
        self._store.log.forget(self.room_id)

    def status(self) -> dict[str, Any]:
        """What `/rtc/status` tells of it; see docs/own-server.md."""
        acknowledged = self.link.acknowledged_state
        return {
            "room": self.room_id,
            "document_id": self.file.document_id,
            "path": self.file.path,
            "permissions": self.file.permissions,
            "ended": self.file.ended,
            "generation": self.file.generation,
            "link": str(self.link.state),
            "reason": self.link.reason,
            "unacknowledged": self.link.unacknowledged,
            "acknowledged": {
                "state_vector": b64encode(acknowledged).decode(),
                "clocks": {str(client): clock for client, clock in clocks(acknowledged).items()},
            },
            "saved": self.link.state is LinkState.LIVE and self.link.unacknowledged == 0,
        }
