"""jupyter-collaboration's document room, extended: a room whose document is linked.

`LinkedRoom` takes `DocumentRoom`'s place in `jupyter_server_ydoc` (see `upstream.py`, which pins every name that
is leaned on here). What it changes:

- opening is `LinkedDocument.open`, where upstream's file would win over everybody's edits;
- the server's own `path` and `hash` go to the side document (`splitdoc.py`);
- only content is saved, one save at a time, and what changed outside is merged (`filesaver.py`);
- a reader's edits are dropped at the socket.
"""

from __future__ import annotations

import asyncio
from typing import Any

from jupyter_server_ydoc.utils import LogLevel
from jupyter_ydoc import ydocs as YDOCS
from pycrdt import Awareness, Channel, Doc
from tornado.web import HTTPError

from .agreedsaver import AgreedFileSaver
from .browsers import BROWSER, ENDED, Browser, ask_to_reload, for_the_browser
from .core import protocol
from .core.errors import ProtocolError, ServiceError, ServiceUnavailable
from .core.pieces import LARGE_BYTES, require_sound
from .core.protocol import MessageType
from .core.volumes import VolumePath
from .documentroom import SeparateRoom
from .filesaver import FileSaver
from .linkawareness import LinkAwareness
from .linked import LinkedDocument
from .linking import Linking
from .perserver import per_server
from .places import Places
from .retraction import Retraction


class LinkedRoom(SeparateRoom):
    """A document room that is a peer of the Y.js server. `linking` is set by `upstream.install`."""

    linking: Linking

    def __init__(self, room_id: str, *args: Any, **kwargs: Any) -> None:
        super().__init__(room_id, *args, **kwargs)
        # Upstream has written `path` into the document by now, as the document's own client: all later edits
        # of that client would hang on an item that the shared document lacks. So it begins anew.
        self._document.unobserve()
        self.ydoc = Doc()
        self.awareness = Awareness(self.ydoc)
        self._document = per_server(YDOCS.get(self._file_type, YDOCS["file"]))(self.ydoc, self.awareness)
        self._document.observe(self._on_document_change)
        self.link_awareness = LinkAwareness(self.awareness, self._tell_clients)
        self.places = Places(self._document)
        self.linked = LinkedDocument(room_id, self.linking, self._document, self.link_awareness, self)
        self._document.keep = self.linked.split.keep
        self._document.may_write = lambda: self.linked.may_write
        self.saver = self._make_saver()
        self.on_message = self._drops
        self._stopping: asyncio.Task[None] | None = None
        self._drops_history = False
        self._browsers: set[Browser] = set()
        self._asked_to_reload: set[int] = set()

    def _make_saver(self) -> FileSaver:
        kind = (self._file_format, self._file_type)
        parts = (self._file, *kind, self._document, self.linking.contents_manager, self._tell_rooms_of_the_file)
        if self.linking.mounts.of(self._file.path).agreed:
            return AgreedFileSaver(self._file_is_missing, self.linked, *parts)
        return FileSaver(self.linked, *parts)

    async def initialize(self) -> None:
        """Open the document: see `LinkedDocument.open`.

        Raises:
            HTTPError: the file can't be read.
            ServiceUnavailable: the document is at the Y.js server alone, which does not answer.
                Or the file is on a shared volume, and this user may not enter it there.
        """
        if self._stopping is not None:
            raise ServiceUnavailable("It is being closed. Open it again.")
        if self.ready:
            return
        try:
            await self._open()
        except HTTPError:
            raise
        except Exception as error:
            # Whatever it is, upstream puts its text into a close frame, which has 123 bytes; and it would serve a
            # room that is half open.
            self.log.exception("Room %s can't be opened", self.room_id)
            self._stopping = asyncio.create_task(self._stop())
            raise for_the_browser(error) from error

    async def _open(self) -> None:
        await self._wait_for_predecessor()
        self.linking.rooms[self.room_id] = self
        on_disk = await self.saver.load_first()
        verdict = await self.linked.open(on_disk)
        self._document.path = self._file.path
        await self.linked.side_is_kept()
        await self.saver.settle(verdict, on_disk)
        self.ready = True
        if self.saver.unsaved:
            self.saver.content_changed(self._save_delay)
        self._emit(LogLevel.INFO, "initialize", "Room initialized")

    async def _wait_for_predecessor(self) -> None:
        """A room that is being closed still flushes: two must not write one history and one file."""
        previous = self.linking.rooms.get(self.room_id)
        if previous is not None and previous is not self and previous._stopping is not None:
            await asyncio.wait([previous._stopping])

    async def serve(self, channel: Channel) -> None:
        """Serve a browser; it learns at once who is here, on all servers."""
        if (
            self.linked.was_reset
            and channel.get_query_argument("sessionId", "") != self.linking.tabs_session()
        ):
            ask_to_reload(channel, "This document was opened anew.")
            return
        self.link_awareness.renew()
        if (present := self.link_awareness.present()) is not None:
            await channel.send(present)
        browser = Browser(channel)
        self._browsers.add(browser)
        BROWSER.set(browser)
        self.linking.on_clients()
        try:
            await super().serve(channel)
        finally:
            self._browsers.discard(browser)
            self.link_awareness.left(browser.speaks_for)
            self.linking.on_clients()

    async def stop(self) -> None:
        """Flush to the file, to the link and to the local store, and stop; whoever cancels the caller."""
        if self._stopping is None:
            self._stopping = asyncio.create_task(self._stop())
        await asyncio.shield(self._stopping)

    async def _stop(self) -> None:
        try:
            if self.ready:
                try:
                    await self.saver.finish()
                    await self.saver.mark_name()
                except Exception:
                    # Whatever it is, its edits must still be flushed.
                    self.log.exception("Room %s: its file could not be finished", self.room_id)
            try:
                await self.linked.close()
                # What is in no file is dropped by the next opening, which keeps it beside.
                if self._drops_history and not self.saver.unsaved:
                    await self.linking.store.reset(self.room_id)
            finally:
                self.link_awareness.stop()
                await super().stop()
        finally:
            if self.linking.rooms.get(self.room_id) is self:
                del self.linking.rooms[self.room_id]

    def _drops(self, message: bytes) -> bool:
        """Look at a browser's message before it is handled.

        A reader's edits go no further than this socket (rule 7); an empty step 2 is normal. What is malformed
        is left out, since upstream would fail on it.
        """
        browser = BROWSER.get()
        assert browser is not None
        try:
            frame = protocol.decode(message)
            if frame.type == MessageType.AWARENESS:
                self._hear(browser, frame.body)
                if browser.username == self.linking.owner:
                    self.linking.on_moves()
            if frame.edits:
                if len(frame.body) < LARGE_BYTES:
                    # All rooms wait meanwhile, and no stranger comes here.
                    require_sound(frame.body)
                if self._stopping is None and not self.linked.may_write:
                    self._take_back(browser, frame.body)
        except (ProtocolError, ValueError) as error:
            self.log.warning("A browser's message in room %s is left out: %s", self.room_id, error)
            return True
        return frame.edits and (self._stopping is not None or not self.linked.may_write)

    def _hear(self, browser: Browser, update: bytes) -> None:
        """Note whom a browser speaks for: a page that comes back does, and its old connection no longer.

        Raises:
            ProtocolError: it is not an awareness update.
        """
        speaks_for = self.link_awareness.spoken_for(update, introduces=not browser.introduced)
        browser.introduced = True
        for other in self._browsers:
            other.speaks_for -= speaks_for
        browser.speaks_for |= speaks_for

    def _take_back(self, browser: Browser, update: bytes) -> None:
        """Make what a reader has typed vanish from their page.

        Raises:
            ValueError: it is no Yjs update.
        """
        if browser.retraction is None:
            browser.retraction = Retraction(self.ydoc, YDOCS.get(self._file_type, YDOCS["file"]))
        taken_back = browser.retraction.take_back(update)
        if taken_back is None:
            # A page that was asked comes back by itself while its question is still open: one question is enough.
            if not browser.speaks_for & self._asked_to_reload:
                ask_to_reload(browser.channel, "You may only read this. Reload it; nothing was changed.")
            self._asked_to_reload |= browser.speaks_for
        elif taken_back != protocol.EMPTY_UPDATE:
            self.create_task(browser.channel.send(protocol.encode_update(taken_back)))

    def _tell_clients(self, message: bytes) -> None:
        for client in list(self.clients):
            self.create_task(client.send(message))

    # --- saving: upstream's three ways to it ---

    def _on_document_change(self, target: str, event: Any) -> None:
        # Servers and browsers write `state` too: were it saved for, two linked rooms would save each other for ever.
        if target == "state" or not self.linked.seen_with_file:
            return
        browser = BROWSER.get()
        if browser is not None and browser.username == self.linking.owner and not self.linked.split.filling:
            self.places.edited(target, event)
            self.linking.on_moves()
        if self._autosave():
            # What comes while it opens is saved as soon as what the file held is safe.
            self.saver.content_changed(self._save_delay if self.ready else None)

    def _autosave(self) -> bool:
        """Whether at least one of the browsers that are here wants to be saved for; with none here, yes."""
        states = self.awareness.states.items()
        wishes = [
            state.get("autosave", True) for client, state in states if state and client != self.awareness.client_id
        ]
        return any(wishes) if wishes else True

    def _save_to_disc(self) -> asyncio.Task[None]:
        return asyncio.create_task(self.saver.save())

    async def _on_outofband_change(self) -> None:
        if not self.ready:
            self.saver.note_outside_change()
            return
        try:
            await self.saver.outside_change()
        except (HTTPError, OSError) as error:
            self.log.error("%s was changed outside, and can't be read: %s", self._file.path, error)

    def _tell_rooms_of_the_file(self) -> None:
        """A notebook and its text are two documents: to the one, what the other saved is a change from outside."""
        for room in self.linking.rooms.values():
            if room is not self and room._file is self._file:
                self.create_task(room._on_outofband_change())

    async def _on_filepath_change(self) -> None:
        super()._on_filepath_change()
        try:
            await self.linked.renamed(self._file.path)
        except ServiceError as error:
            self.log.warning(
                "The service does not know yet that %s has this name: %s", self._file.path, error
            )

    def begin_anew(self, reason: str) -> None:
        self.log.warning("Room %s is opened anew: %s", self.room_id, reason)
        self.create_task(self._close_for_good(reason))

    async def _close_for_good(self, reason: str) -> None:
        """The document's history is not the one in this room.

        What is here stays in the file; the next opening finds it there without a base, and keeps it as a copy.
        """
        clients = list(self.clients)
        # Tabs first: what is dropped below must not come back with one, whatever fails.
        self.linking.forget_tabs()
        for client in clients:
            # The handler must not clean the room up a second time.
            client._cleanup_delay = None
            ask_to_reload(client, "This document was opened anew.")
        self._drops_history = True
        await self.linking.delete_room(self)

    async def _file_is_missing(self) -> None:
        """Another server may have moved or deleted the file that all have."""
        document_id = self.linked.file.document_id
        assert document_id is not None
        described = await self.linking.client.document(document_id)
        if "closed_reason" in described:
            await self.file_deleted()
            return
        place = VolumePath(described.get("volume", ""), described.get("volume_path", ""))
        path = self.linking.mounts.path_of(place)
        if path is not None and path != self._file.path and self.linking.mounts.exists(path):
            self.log.info("%s was moved to %s by another server.", self._file.path, path)
            self.linking.follow_move(self._file.path, path)

    async def file_moved_away(self) -> None:
        """The file has left its home or its volume: where it is now, it is another document."""
        self.saver.give_up()
        await self._close_for_good("The file was moved elsewhere.")

    async def file_deleted(self) -> None:
        """The file is gone: so is the room. The document stays with the others."""
        self.saver.give_up()
        for client in list(self.clients):
            client._cleanup_delay = None
            ask_to_reload(client, "The file of this document was deleted.")
        await self.linking.delete_room(self)

    async def keep_beside(self, content: Any) -> None:
        """What is dropped is kept as a copy beside the file."""
        await self.saver.keep_beside(content)

    def sharing_ended(self, ended: str) -> None:
        """It is no document any more, here: the file is what is left."""
        for client in list(self.clients):
            ask_to_reload(client, ENDED[ended])

    def rights_changed(self, permissions: str) -> None:
        """What a browser typed while it might only read was dropped, and has left a gap: it begins afresh."""
        for client in list(self.clients):
            ask_to_reload(client, f"Your right to this document has changed: {permissions}.")
