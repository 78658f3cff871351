"""What a document log is told by its owner: keys, limits, what compaction keeps, where an outage is spooled."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path

from sqlalchemy import Connection

from . import queries_versions
from .compaction import KeptPositions, Retention
from .crypto import PLAIN, EncryptionKeys
from .settings import Settings


def nothing_recorded(connection: Connection, document_id: str) -> Collection[int]:
    """No position must stay readable: compaction keeps the retained history, and no more."""
    return ()


@dataclass(frozen=True)
class LogPolicy:
    """How a log keeps what it is given.

    Attributes:
        keys: what updates and snapshots are encrypted with.
        max_document_bytes: the size of a document's Yjs state; 0: no limit.
        retention: how much history compaction keeps.
        kept_positions: which positions it keeps readable beyond that.
        spool: the folder in which edits wait on the disk while the database is away; None: in memory alone.
        version_seconds: how long a document is edited until a version of it is made automatically; 0: never.
        automatic_versions: how many of those are kept of each document.
    """

    keys: EncryptionKeys = PLAIN
    max_document_bytes: int = 0
    retention: Retention = field(default_factory=Retention)
    kept_positions: KeptPositions = nothing_recorded
    spool: Path | None = None
    version_seconds: float = 0
    automatic_versions: int = 0

    @classmethod
    def of(cls, settings: Settings) -> LogPolicy:
        """The policy of the log in PostgreSQL.

        Raises:
            ConfigurationError: RTC_ENCRYPTION_KEYS can't be understood.
        """
        return cls(
            keys=EncryptionKeys.parse(settings.encryption_keys),
            max_document_bytes=settings.max_document_bytes,
            retention=Retention(settings.history_seconds, settings.history_updates),
            kept_positions=queries_versions.kept_positions,
            spool=Path(settings.spool_folder) if settings.spool_folder else None,
            version_seconds=settings.version_seconds,
            automatic_versions=settings.automatic_versions,
        )
