"""An outage's edits on the disk, so that they outlive the process.

While the database is away, what waits for it in memory is also appended to a file, one for each process. When all
of it is committed the file is emptied. A process that starts takes over the files of those that have died; the
log leaves out what they had committed, and refuses what was fenced since: that is kept beside as `….refused`.

What waits is bounded (RTC_MAX_PENDING_BYTES), and so the file is.
"""

from __future__ import annotations

import base64
import fcntl
import json
import logging
import os
import zlib
from collections.abc import Iterable, Iterator
from io import FileIO
from pathlib import Path
from threading import Lock
from uuid import uuid4

from .crypto import EncryptionKeys, update_place
from .errors import ConfigurationError, EncryptionError
from .queries import Pending

log = logging.getLogger(__name__)


class Spool:
    """This process's file, and those that others left.

    Args:
        folder: made when missing.
        keys: what the file is encrypted with, as the database is.

    Raises:
        ConfigurationError: the folder can't be made or written.
    """

    def __init__(self, folder: Path, keys: EncryptionKeys) -> None:
        self._folder = folder
        self._keys = keys
        try:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            # Held as long as it is open: so others know that this process is alive.
            self._file = _locked(folder / f"{uuid4().hex}.spool")
        except OSError as error:
            raise ConfigurationError(
                f"RTC_SPOOL_FOLDER: nothing can be kept in {folder}: {error.strerror}. "
                "Name a folder that may be written."
            ) from None
        self._taken_over: list[FileIO] = []
        # The log's task works on it in a thread, which a cancelled task leaves running.
        self._lock = Lock()

    def left_by_others(self) -> list[Pending]:
        """What processes that died had not committed, in order; their files are ours from now on."""
        left: list[Pending] = []
        for path in sorted(self._folder.glob("*.spool"), key=lambda path: path.stat().st_mtime):
            if path.name == Path(self._file.name).name:
                continue
            try:
                file = _locked(path)
            except BlockingIOError:
                continue  # its process is alive
            self._taken_over.append(file)
            found = list(self._read(file))
            if found:
                log.warning("%d edits of a process that has ended wait in %s.", len(found), path)
            left += found
        return left

    def add(self, updates: Iterable[Pending]) -> bool:
        """Append, and see to it that it is on the disk.

        Returns:
            whether it is. On a full disk nothing of it is: the edits wait in memory, and can be added again.
        """
        records = memoryview(b"".join(map(self._record, updates)))
        with self._lock:
            if self._file.closed:
                return False
            end = self._file.seek(0, os.SEEK_END)
            try:
                while records:
                    records = records[self._file.write(records) :]
                os.fsync(self._file.fileno())
            except OSError as error:
                log.error("The spool can't be written: %s. Edits wait in memory alone.", error.strerror)
                # What comes after half a record would not be read.
                self._file.truncate(end)
                return False
        return True

    def clear(self) -> None:
        """All is committed: nothing needs to be kept."""
        with self._lock:
            for file in self._taken_over:
                os.unlink(file.name)
                file.close()
            self._taken_over = []
            if not self._file.closed and os.fstat(self._file.fileno()).st_size:
                self._file.truncate(0)

    def keep_refused(self, updates: Iterable[Pending]) -> None:
        """What the log refuses for good is kept beside, for a person to look at."""
        path = Path(self._file.name).with_suffix(".refused")
        try:
            with open(path, "ab", opener=_opened) as file:
                file.write(b"".join(map(self._record, updates)))
        except OSError as error:
            log.error("Edits that the log refused can't be kept in %s: %s", path, error.strerror)
        else:
            log.error("Edits that the log refused are kept in %s.", path)

    def close(self, *, keep: bool) -> None:
        """Let go of the files.

        Args:
            keep: something in them is not committed.
        """
        if not keep:
            self.clear()
        with self._lock:
            if self._file.closed:
                return
            if not keep:
                os.unlink(self._file.name)
            for file in [*self._taken_over, self._file]:
                file.close()

    # --- records: a line of JSON with the update's place and its checksum, each ---

    def _record(self, pending: Pending) -> bytes:
        place = update_place(pending.document_id, pending.generation or 0, pending.writer, pending.writer_seq)
        sealed, key_id = self._keys.seal(pending.payload, pending.document_id, place)
        fields = {
            "document_id": pending.document_id,
            "generation": pending.generation,
            "writer": pending.writer,
            "writer_seq": pending.writer_seq,
            "lease_epoch": pending.lease_epoch,
            "key_id": key_id,
            "payload": base64.b64encode(sealed).decode(),
        }
        text = json.dumps(fields).encode()
        return b"%08x %s\n" % (zlib.crc32(text), text)

    def _read(self, file: FileIO) -> Iterator[Pending]:
        file.seek(0)
        for line in file.read().splitlines(keepends=True):
            checksum, _, text = line.rstrip(b"\n").partition(b" ")
            if not line.endswith(b"\n") or checksum != b"%08x" % zlib.crc32(text):
                # Its process died while it wrote this; whoever made the edit was told nothing.
                return
            fields = json.loads(text)
            payload, key_id = base64.b64decode(fields.pop("payload")), fields.pop("key_id")
            place = update_place(
                fields["document_id"], fields["generation"] or 0, fields["writer"], fields["writer_seq"]
            )
            try:
                opened = self._keys.open(payload, key_id, fields["document_id"], place)
            except EncryptionError as error:
                raise ConfigurationError(f"The spool {file.name} can't be read. {error}") from None
            yield Pending(payload=opened, **fields)


def _locked(path: Path) -> FileIO:
    # Not buffered: what could not be written must not be written later, after something else.
    file = open(path, "r+b", buffering=0, opener=_opened)  # noqa: SIM115 - open as long as the process is there
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        file.close()
        raise
    return file


def _opened(path: str, flags: int) -> int:
    # Only its owner may read it: it holds what people write.
    return os.open(path, flags | os.O_CREAT, 0o600)
