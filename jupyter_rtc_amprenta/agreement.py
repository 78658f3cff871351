"""What the servers that have one file agree on, at the Y.js server: who saves it, and what it holds (rule 2).

Each save is claimed before the file is written, and each change that was made outside is taken into the log by a claim,
in one transaction: so that no server takes another's save for such a change, and none is taken in twice. What a
content shows is told with it as a Yjs snapshot, so that whoever saves next can merge on it.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from pycrdt import Doc, Snapshot

from .client import ServiceClient
from .core.queries_files import Shown
from .mounts import Place

# Who saves begins to write in this part of its lease: the rest is for the write to end.
_PART_TO_BEGIN_IN = 0.7


class Agreement:
    """On one file of one document.

    Args:
        client: of the Y.js server.
        place: where the file lies.
        path: where in a home.
        holder: who claims; see `Mounts`.

    Attributes:
        contents: what the file may hold that one of its servers wrote or took in, the last first.
    """

    def __init__(self, client: ServiceClient, document_id: str, place: Place, path: str, holder: str) -> None:
        self.contents: list[Shown] = []
        self._unconfirmed = False
        self._client = client
        self._document_id = document_id
        self._place = place
        self._path = "" if place.volume else path
        self._holder = holder
        # When the lease was asked for, and for how long it was given.
        self._began = self._seconds = 0.0

    async def look(self) -> None:
        """Ask what the file may hold.

        Raises:
            ServiceError, ServiceUnavailable.
        """
        await self.confirm()
        self.contents = await self._client.file_contents(self._document_id, self._place.name)

    def knows(self, digest: str) -> bool:
        """Whether one of the servers wrote this content, or took it in."""
        return any(shown.digest == digest for shown in self.contents)

    @property
    def may_write(self) -> bool:
        """Whether this server is the one that saves, for long enough to write the file."""
        return time.monotonic() - self._began < self._seconds * _PART_TO_BEGIN_IN

    async def claim_save(self, found: str, new: Shown, *, accounted_for: bool = False) -> None:
        """Before the file is written: become the one that saves, and say what it will hold.

        Args:
            found: the digest of what it holds.
            accounted_for: what it holds is in the document, or kept as a copy.

        Raises:
            FileHeld: another server saves it.
            FileChanged: it holds what none of its servers wrote.
            ServiceError, ServiceUnavailable.
        """
        await self._claim("POST", found, new, accounted_for=accounted_for)
        before = [shown for shown in self.contents if shown.digest == found] or [Shown(found, None)]
        self.contents = [new, *before]

    async def claim_change(self, base: str, new: Shown, update: str) -> None:
        """Take into the log what was changed outside.

        Args:
            base: the digest of the content that was changed.
            new: what the file holds.
            update: the change, as a Yjs update in base64.

        Raises:
            FileHeld: another server saves it.
            FileChanged: it was taken in already, or the base is another one by now.
            ServiceError, ServiceUnavailable.
        """
        await self._claim("PUT", new.digest, new, base=base, update=update)
        self.contents = [new]

    def wrote(self) -> None:
        """The file holds what was claimed last; the others are told with `confirm`."""
        self.contents = self.contents[:1]
        self._unconfirmed = True

    async def confirm(self) -> None:
        """Tell the others that the file was written: the content before is from now on a change made outside.

        Raises:
            ServiceError, ServiceUnavailable.
        """
        if self._unconfirmed:
            self._unconfirmed = False
            written = self.contents[0].digest
            await self._client.wrote_file(self._document_id, self._place.name, self._holder, written)

    async def release(self) -> None:
        """Save the file no longer, if this server did.

        Raises:
            ServiceError, ServiceUnavailable.
        """
        await self.confirm()
        if time.monotonic() - self._began < self._seconds:
            self._seconds = 0.0
            await self._client.release_file(self._document_id, self._place.name, self._holder)

    async def _claim(self, method: str, found: str, new: Shown, **more: Any) -> None:
        # The lease counts from before it was asked for: it may have been given at once.
        asked = time.monotonic()
        self._unconfirmed = False
        claim = {"place": self._place.name, "path": self._path, "holder": self._holder, "found": found}
        self._seconds = 0.0
        self._seconds = await self._client.claim_file(method, self._document_id, claim, new, **more)
        self._began = asked


def snapshot_of(document: Doc) -> bytes:
    """What `state_at` makes the document's state of again."""
    return Snapshot.from_doc(document).encode()


def state_at(snapshot: bytes, history: Sequence[bytes]) -> bytes | None:
    """A document as it was.

    Args:
        snapshot: from `snapshot_of`, perhaps another server's.
        history: updates of the document that hold at least that state.

    Returns:
        the state as a Yjs update; None where it can't be told from this history.
    """
    document: Doc = Doc(skip_gc=True)
    for update in history:
        document.apply_update(update)
    try:
        return Doc.from_snapshot(Snapshot.decode(snapshot), document).get_update()
    except ValueError:
        return None
    except BaseException as error:
        # pycrdt panics on a snapshot of what the history does not hold.
        if type(error).__name__ != "PanicException":
            raise
        return None
