"""Y-stores for jupyter-collaboration: PostgreSQL itself (direct mode), and the history of a linked room."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from logging import Logger
from typing import Any

from pycrdt import Doc
from pycrdt.store import BaseYStore, YDocNotFound
from traitlets import Unicode
from traitlets.config import Config, LoggingConfigurable

from .core import settings
from .core.causal import load
from .core.database import Database
from .core.documentlog import DocumentLog
from .core.errors import ConfigurationError, DocumentNotFound
from .core.leases import LeaseKeeper
from .core.logpolicy import LogPolicy

Metadata = Callable[[], Awaitable[bytes] | bytes]
StoreItem = tuple[bytes, bytes, float]


class _StoreMetaclass(type(LoggingConfigurable), type(BaseYStore)):  # type: ignore[misc]
    """A traitlets class and an abstract one have different metaclasses; upstream's stores join them so too."""


class PostgresYStore(LoggingConfigurable, BaseYStore, metaclass=_StoreMetaclass):
    """Keeps a room's updates in PostgreSQL.

    Args:
        path: upstream's name of the history, such as `.notebook:<file id>.y`.
        metadata_callback: as upstream's stores take it; what it gives is kept with each update.
        log: where to log.
        config: traitlets' configuration.
    """

    database_url = Unicode(
        "", config=True, help="PostgreSQL's URL; by default RTC_DATABASE_URL of the environment."
    )

    # Set by `bound_to`: one log for all stores of a server, and the leases of what they hold.
    shared_log: DocumentLog | None = None
    leases: LeaseKeeper | None = None

    def __init__(
        self,
        path: str,
        metadata_callback: Metadata | None = None,
        log: Logger | None = None,
        config: Config | None = None,
    ) -> None:
        super().__init__(path=path, config=config)
        self.path = path
        self.metadata_callback = metadata_callback
        if log is not None:
            self.log = log
        self.document_id = path.removeprefix(".").removesuffix(".y")
        self._own_log: DocumentLog | None = None
        # What was appended by `follow`, and `write` was not called with yet, in order.
        self._followed: deque[tuple[bytes, asyncio.Future[int]]] = deque()
        self._following: Any = None

    @classmethod
    def bound_to(cls, log: DocumentLog, leases: LeaseKeeper | None = None) -> type[PostgresYStore]:
        """This class, over a log that its owner closes; with `leases`, who loads a document holds its lease."""
        return type(cls.__name__, (cls,), {"shared_log": log, "leases": leases})

    async def write(self, data: bytes) -> None:
        """Append an update; done once it is committed. Its place is fixed before anything is awaited.

        (Unless a `metadata_callback` was given, which may have to be awaited; jupyter-collaboration gives none.)

        Raises:
            DatabaseError, DocumentError.
        """
        if (appended := self._appended(data)) is not None:
            await appended
            return
        metadata = await self.get_metadata() if self.metadata_callback is not None else None
        await self._document_log().append(self.document_id, data, generation=None, metadata=metadata)

    async def hold(self) -> None:
        """Make sure that this server is the one that writes the document.

        Raises:
            DocumentLeased: another server writes it.
            DatabaseUnavailable: nothing is known.
        """
        if self.leases is not None:
            await self.leases.hold(self.document_id, self)

    def follow(self, ydoc: Doc) -> None:
        """From now on append each edit as it is made; `write`, which is called with it later, waits for it.

        Upstream's room hands an edit to `write` by way of a queue and a task: some ticks later, and not at all where
        it is stopped meanwhile. (What has a `metadata_callback`, which may have to be awaited, goes that way.)
        """
        if self.metadata_callback is None:
            self._following = ydoc, ydoc.observe(self._edited)

    def _edited(self, event: Any) -> None:
        try:
            appended = self._document_log().append(self.document_id, event.update, generation=None)
        except Exception:
            # Such as an edit from a thread. It must not fail for that; upstream's room brings it to `write`.
            self.log.exception("%s: an edit is appended later", self.document_id)
        else:
            self._followed.append((event.update, appended))

    def _appended(self, update: bytes) -> asyncio.Future[int] | None:
        """What became of an update that was followed; the room was not told of those before it, and will not be."""
        for place, (followed, appended) in enumerate(self._followed):
            if followed == update:
                for _ in range(place + 1):
                    self._followed.popleft()
                return appended
        return None

    def unfollow(self) -> None:
        """The room has ended: whatever it did not hand to `write` is appended all the same."""
        if self._following is not None:
            ydoc, subscription = self._following
            ydoc.unobserve(subscription)
            self._following = None

    async def apply_updates(self, ydoc: Doc) -> None:
        """Load the document, as a room does that will write it.

        Raises:
            YDocNotFound: there is none.
            DocumentLeased: another server writes it.
            DatabaseUnavailable: nothing is known.
        """
        await self.hold()
        try:
            history = await self._document_log().read(self.document_id)
        except DocumentNotFound:
            raise YDocNotFound from None
        if not history.updates:
            raise YDocNotFound
        await load(ydoc, history.updates)

    async def read(self) -> AsyncIterator[StoreItem]:  # type: ignore[override]
        """The history that is kept, in order, each with its metadata and its time in seconds. Needs no lease.

        Raises:
            YDocNotFound: there are none.
            DatabaseUnavailable: nothing is known.
        """
        async for item in _items(self._document_log(), self.document_id):
            yield item

    async def stop(self) -> None:
        """Stop; an own log is flushed and closed."""
        if self._own_log is not None:
            await self._own_log.stop()
            self._own_log.database.close()
            self._own_log = None
        await super().stop()

    def _document_log(self) -> DocumentLog:
        if self.shared_log is not None:
            return self.shared_log
        if self._own_log is None:
            url = self.database_url or settings.read().database_url
            if not url:
                raise ConfigurationError("PostgresYStore needs RTC_DATABASE_URL, or its trait database_url.")
            self._own_log = DocumentLog(Database(url, threads=2), policy=LogPolicy.of(settings.read()))
        return self._own_log


class LinkedYStore(BaseYStore):
    """What upstream's timeline reads of a linked room. The room itself writes: see `linked.py`.

    Upstream names a history without its format, which is a part of our rooms' names; `text` and `json` rooms
    of one file are told apart by which of them has a history.
    """

    shared_log: DocumentLog

    def __init__(
        self, path: str, metadata_callback: Metadata | None = None, log: Logger | None = None, **options: Any
    ) -> None:
        self.path = path
        self.metadata_callback = metadata_callback
        self.log = log
        self._rooms = [f"{form}:{path.removeprefix('.').removesuffix('.y')}" for form in ("json", "text")]

    @classmethod
    def bound_to(cls, log: DocumentLog) -> type[LinkedYStore]:
        """This class, over the local store's log."""
        return type(cls.__name__, (cls,), {"shared_log": log})

    async def write(self, data: bytes) -> None:
        """Nothing: these are the updates of the room's document, with this server's own keys among them."""

    async def read(self) -> AsyncIterator[StoreItem]:  # type: ignore[override]
        """All shared updates in order; see `PostgresYStore.read`."""
        found = False
        for room in self._rooms:
            try:
                async for item in _items(self.shared_log, room):
                    found = True
                    yield item
            except YDocNotFound:
                continue
        if not found:
            raise YDocNotFound


async def _items(log: DocumentLog, document_id: str) -> AsyncIterator[StoreItem]:
    try:
        history = await log.read(document_id, whole=True)
    except DocumentNotFound:
        raise YDocNotFound from None
    if history.snapshot is None and not history.entries:
        raise YDocNotFound
    if history.snapshot is not None:
        yield history.snapshot, b"", history.snapshot_at.timestamp() if history.snapshot_at else 0.0
    for entry in history.entries:
        yield entry.payload, entry.metadata or b"", entry.created_at.timestamp()
