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
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from enum import Enum
from typing import Any

from jupyter_ydoc import ydocs as YDOCS
from jupyter_ydoc.ybasedoc import YBaseDoc
from pycrdt import Doc, merge_updates

from .client import Credentials, ServiceClient
from .core.content import digest, document_type, title
from .core.errors import HistoryReplaced, ServiceUnavailable
from .core.merge import merge_update
from .core.protocol import EMPTY_UPDATE
from .core.queries import History
from .core.queries_local import LocalFile
from .link import Link, LinkState
from .linkawareness import LinkAwareness
from .localstore import LocalStore, side_of
from .splitdoc import SplitDocument

log = logging.getLogger(__name__)

# A document that is at the Y.js server alone may be large: it gets this long.
_HISTORY_SECONDS = 60.0
_FLUSH_SECONDS = 3.0


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


@dataclass(frozen=True)
class _Base:
    """A document as a file showed it: the log up to a position, and what was taken in from the file after that."""

    seq: int
    extra: bytes | None
    state: bytes


class LinkedDocument:
    """One document of this server.

    Args:
        room_id: `format:type:file id`.
        home_id: of the folder that the files are in.
        store: the local store.
        client: of the service and the Y.js server.
        document: the room's document, as jupyter_ydoc sees it, new and empty.
        awareness: the room's, for the link.
        open_timeout: how long opening waits for the Y.js server, in seconds.
        on_replaced: called when the document must be opened anew.
        on_rights_changed: called with what this server's user may do now, while the document is open.
        on_dropped: called before a history is dropped that browsers may hold.
        keep_beside: keeps what is dropped as a copy beside the file.
        id_is_gone: whether a file id names no file any more.
    """

    def __init__(
        self,
        room_id: str,
        home_id: str,
        store: LocalStore,
        client: ServiceClient,
        document: YBaseDoc,
        awareness: LinkAwareness,
        open_timeout: float,
        on_replaced: Callable[[str], None],
        on_rights_changed: Callable[[str], None],
        on_dropped: Callable[[], None],
        keep_beside: Callable[[Any], Awaitable[None]],
        id_is_gone: Callable[[str], bool],
    ) -> None:
        self.room_id = room_id
        self.split = SplitDocument(document.ydoc, self._keep_shared, self._keep_side)
        self.file: LocalFile
        self.link = Link(room_id, self.split, awareness, self._admit, on_replaced)
        self._home_id = home_id
        self._store = store
        self._client = client
        self._document = document
        self._open_timeout = open_timeout
        self._on_rights_changed = on_rights_changed
        self._on_dropped = on_dropped
        self._keep_beside = keep_beside
        self._id_is_gone = id_is_gone
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
        self._noting: asyncio.Future[LocalFile] | None = None

    @property
    def may_write(self) -> bool:
        """Whether this server's user may edit the document."""
        return self.file.permissions == "read-write"

    # --- opening ---

    async def open(self, on_disk: FileContent) -> FileVerdict:
        """Load the document, from here and from the Y.js server.

        Args:
            on_disk: what the file holds.

        Returns:
            what is to become of the file.

        Raises:
            ServiceUnavailable: its history is at the Y.js server alone, which does not answer.
        """
        self._on_disk = on_disk
        self.file = await self._store.open(self.room_id, on_disk.path, self._is_the_same_file)
        self._kept, side = await self._store.histories(self.room_id)
        self._log_generation, self._side_generation = self._kept.generation, side.generation
        self._position = self._kept.seq
        self.split.load([], side.updates)
        self.link.start()
        await self._settle(self._open_timeout)
        async with self._deciding:
            if not self._decided:
                await self._begin(self._kept.updates)
        if self._generation != self.file.generation:
            await self._wait_for_history()
        return await self._judge_file(on_disk)

    def _is_the_same_file(self, before: LocalFile) -> bool:
        """Whether what was known at this path under another id is this file: the id is gone, the content is ours."""
        return self._id_is_gone(before.room_id.split(":", 2)[2]) and before.wrote(self._on_disk.digest)

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
        self.file = await self._store.change(self.room_id, generation=self._generation)

    async def _admit(self) -> tuple[str, Credentials]:
        """What comes before each connection: the document's id, a token, and the seed where there is none.

        Raises:
            ServiceUnavailable, ServiceError: see `Link`.
            HistoryReplaced: the Y.js server has another history than the one that is open here.
        """
        if self.file.document_id is None:
            await self._register()
        document_id = self.file.document_id
        assert document_id is not None
        credentials = await self._client.credentials(document_id, renew=True)
        changed = credentials.permissions != self.file.permissions
        if changed:
            self.file = await self._store.change(self.room_id, permissions=credentials.permissions)
        async with self._deciding:
            open_before = self._decided
            await self._decide(document_id, credentials)
        if changed and open_before:
            self._on_rights_changed(credentials.permissions)
        return self._client.document_url(document_id), credentials

    async def _register(self) -> None:
        path, content = self._on_disk.path, self._on_disk.content
        kind = document_type(self._on_disk.type, path)
        name = self.file.registered_as or self.room_id
        registered = await self._client.register(self._home_id, name, kind, path, title(content, kind, path))
        self.file = await self._store.change(
            self.room_id, document_id=registered.document_id, registered_as=name
        )

    async def renamed(self, path: str) -> None:
        """The file has another path now: the document stays, and the service is told.

        Raises:
            ServiceError: it could not be told; it is again when the document is opened the next time.
        """
        self._on_disk = FileContent(path, self._on_disk.type, self.content())
        self.file = await self._store.change(self.room_id, path=path)
        if self.file.own and self.file.document_id is not None:
            await self._register()

    async def _decide(self, document_id: str, credentials: Credentials) -> None:
        """Whose history is it? Ours if the Y.js server has accepted it, or accepts it now as the first."""
        ours = self._generation if self._decided else self.file.generation
        if ours == credentials.generation and await self._is_accepted(document_id, credentials):
            if not self._decided:
                await self._begin(self._kept.updates)
        elif ours == 0 and await self._is_first(document_id, credentials):
            if not self._decided:
                await self._begin(self._kept.updates)
            self.file = await self._store.change(self.room_id, generation=credentials.generation)
        elif self._decided:
            raise HistoryReplaced("The document has another history than the one that is open here.")
        else:
            if self._kept.updates:
                self._on_dropped()
                # First the copy: after a crash in between it is made again.
                dropped = self._content_of(self._kept.updates)
                if digest(dropped, self._on_disk.type) != self._on_disk.digest:
                    # It is in no file yet: edits that were never accepted (rule 7).
                    await self._keep_beside(dropped)
            self.file, self._log_generation = await self._store.reset(self.room_id)
            self._position = 0
            self.was_reset = bool(self._kept.updates)
            self._decided = True
        self._generation = credentials.generation

    async def _is_accepted(self, document_id: str, credentials: Credentials) -> bool:
        """Whether nothing is here that the Y.js server would refuse: a reader's edits, made before they were one."""
        if credentials.permissions == "read-write":
            return True
        ours = [self.split.shared.get_update()] if self._decided else self._kept.updates
        return not await self._lacks(document_id, ours)

    async def _is_first(self, document_id: str, credentials: Credentials) -> bool:
        if credentials.permissions != "read-write":
            return False
        if self._decided:
            seed = self.split.shared.get_update()
        else:
            seed = self._seed = (
                merge_updates(*self._kept.updates) if self._kept.updates else self._seed_of_file()
            )
        return await self._client.seed(document_id, seed) or await self._was_first(document_id)

    async def _was_first(self, document_id: str) -> bool:
        """Whether our seed is the document's already: it was accepted, and the answer got lost."""
        first = self._kept.updates[0] if self._kept.updates else self._seed
        if first is None or first == EMPTY_UPDATE:
            return False
        return not await self._lacks(document_id, [first])

    async def _lacks(self, document_id: str, updates: list[bytes]) -> bool:
        """Whether the Y.js server's document lacks anything of these updates."""
        theirs: Doc = Doc()
        theirs.apply_update(await self._client.state(document_id))
        more: list[bytes] = []
        subscription = theirs.observe(lambda event: more.append(event.update))
        for update in updates:
            theirs.apply_update(update)
        theirs.unobserve(subscription)
        return any(update != EMPTY_UPDATE for update in more)

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
            self._seed = self._seed or self._seed_of_file()
            self.split.apply_local(self._seed)
            await self._remember_save(self._on_disk.digest)
            self._shows_file = True

    def _content_of(self, updates: list[bytes]) -> Any:
        document = YDOCS.get(self._on_disk.type, YDOCS["file"])()
        for update in updates:
            document.ydoc.apply_update(update)
        return document.get()

    def _seed_of_file(self) -> bytes:
        document = YDOCS.get(self._on_disk.type, YDOCS["file"])()
        document.set(self._on_disk.content)
        return document.ydoc.get_update()

    async def _judge_file(self, on_disk: FileContent) -> FileVerdict:
        """Whose is the file's content? (rule 2)"""
        if self.file.saved_extra is not None:
            # It was taken in from the file just before a crash; where it is in the log already, this does nothing.
            self.split.apply_local(self.file.saved_extra)
        if self._shows_file or await self.shows(on_disk) or await self._is_unchanged_since(on_disk):
            return FileVerdict.AS_IT_IS
        if self.file.wrote(on_disk.digest) or await self._is_torn(on_disk):
            return FileVerdict.WRITE
        return FileVerdict.WRITE if await self.take_in(on_disk) else FileVerdict.KEEP_BESIDE

    # --- the file ---

    async def shows(self, on_disk: FileContent) -> bool:
        """Whether the file holds just what the document does, whoever wrote it; if so, it is a base from now on."""
        found = on_disk.digest
        if found != digest(self.content(), on_disk.type):
            return False
        await self._remember_save(found)
        return True

    def content(self) -> Any:
        """The document's content, in one piece: upstream's `aget` yields between cells, and tears edits apart."""
        self.split.flush()
        content = self._document.get()
        # Reading a notebook gives new ids to cells that share one: an edit.
        self.split.flush()
        return content

    async def intend_to_save(self, content_digest: str) -> None:
        """Say which content will be written to the file; called in the tick in which the content was taken."""
        position = await self._position_now()
        self.file = await self._store.change(self.room_id, intent_digest=content_digest, intent_seq=position)

    async def saved(self) -> None:
        """The file now holds what was intended."""
        self.file = await self._store.change(
            self.room_id,
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
        self.file = await self._store.change(self.room_id, intent_digest=None, intent_seq=None)

    async def take_in(self, on_disk: FileContent) -> bool:
        """Merge what was changed outside since the last save, as edits (rule 2).

        Returns:
            whether it is in the document now; if not, no base is known or this user may not write.
        """
        if self.file.saved_seq is None or not self.may_write:
            return False
        merges = [(merge_update(b.state, on_disk.content, on_disk.type), b) for b in await self._bases()]
        # Whichever of two bases it was: from the other one the way to the file is longer.
        update, base = min(merges, key=lambda merge: len(merge[0] or b""))
        if update is not None:
            # First the note, then the edit: after a crash in between the note is applied on opening.
            extra = update if base.extra is None else merge_updates(base.extra, update)
            self.file = await self._store.change(
                self.room_id,
                saved_digest=on_disk.digest,
                saved_seq=base.seq,
                saved_extra=extra,
                intent_digest=None,
                intent_seq=None,
            )
            self.split.apply_local(update)
        return True

    async def _bases(self) -> list[_Base]:
        """What the file showed before it was changed outside; after a crash in a save that may be either content."""
        assert self.file.saved_seq is not None
        bases = [await self._base(self.file.saved_seq, self.file.saved_extra)]
        if self.file.intent_seq is not None:
            bases.append(await self._base(self.file.intent_seq, None))
        return bases

    async def _base(self, seq: int, extra: bytes | None) -> _Base:
        history = await self._store.log.read(self.room_id, until=seq)
        document: Doc = Doc()
        for update in history.updates + ([] if extra is None else [extra]):
            document.apply_update(update)
        return _Base(seq, extra, document.get_update())

    async def _is_unchanged_since(self, on_disk: FileContent) -> bool:
        """Whether neither the file nor the document has changed since the last save: it is not written for its form."""
        last = (self.file.saved_digest, self.file.saved_seq, self.file.saved_extra)
        return last == (on_disk.digest, await self._position_now(), None)

    async def _is_torn(self, on_disk: FileContent) -> bool:
        """Whether a crash has cut our own save short: the file holds the beginning of it, or no notebook at all."""
        if self.file.intent_seq is None:
            return False
        if on_disk.content is None or on_disk.type == "notebook":
            return on_disk.content is None
        document = YDOCS.get(on_disk.type, YDOCS["file"])()
        document.ydoc.apply_update((await self._base(self.file.intent_seq, None)).state)
        return str(document.get()).startswith(on_disk.content)

    async def _remember_save(self, content_digest: str) -> None:
        if self.file.saved_digest != content_digest or self.file.saved_seq is None:
            await self.intend_to_save(content_digest)
            await self.saved()

    async def side_is_kept(self) -> None:
        """Wait until the per-server keys are in the local store, and so in the room: before a browser syncs."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self._store.log.committed(side_of(self.room_id)), _FLUSH_SECONDS)

    async def _position_now(self) -> int:
        position = self._position
        return position if isinstance(position, int) else await asyncio.shield(position)

    # --- the histories ---

    def _keep_shared(self, update: bytes, remote: bool) -> None:
        self._position = self._store.log.append(self.room_id, update, self._log_generation)
        if not remote:
            self.link.send(update)
        elif not self.file.others:
            self.file = replace(self.file, others=True)
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
        """What `/rtc/status` tells of it."""
        return {
            "room": self.room_id,
            "document_id": self.file.document_id,
            "path": self.file.path,
            "permissions": self.file.permissions,
            "generation": self.file.generation,
            "link": str(self.link.state),
            "reason": self.link.reason,
            "unacknowledged": self.link.unacknowledged,
            "saved": self.link.state is LinkState.LIVE and self.link.unacknowledged == 0,
        }
