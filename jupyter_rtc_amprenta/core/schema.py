"""The tables, in SQLAlchemy Core.

The log's tables (`yjs_*`) are in both databases: PostgreSQL, and the SQLite file of a user's server. The
people's tables are in PostgreSQL alone, `local_files` in the local store alone. Every invariant that several
processes rely on is a named constraint, with the why above it.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Connection,
    DateTime,
    Dialect,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    PrimaryKeyConstraint,
    String,
    Table,
    Text,
    TypeDecorator,
    UniqueConstraint,
    false,
    func,
    inspect,
    true,
)
from sqlalchemy.schema import CreateColumn


class UtcDateTime(TypeDecorator[datetime]):
    """An aware UTC time; SQLite, which keeps no zone, gives it back aware too."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_result_value(self, value: Any, dialect: Dialect) -> datetime | None:
        if value is None or value.tzinfo is UTC:
            return value
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


def now() -> datetime:
    """The time for display, in UTC. Nothing is ordered by it: order is `seq`'s."""
    return datetime.now(UTC)


# --- the log: in PostgreSQL and in the local store ---

metadata = MetaData()

yjs_documents = Table(
    "yjs_documents",
    metadata,
    Column("document_id", String(200), nullable=False),
    # Raised when a document is reset: writers that hold an older history are refused (rule 9).
    Column("generation", BigInteger, nullable=False, server_default="1"),
    # The last assigned position of this generation. Its row is locked while positions are given out, so that
    # they have no gap and become visible in order (rule 3): an identity column's order is not commit order.
    Column("seq", BigInteger, nullable=False, server_default="0"),
    # Direct mode: who may append. The epoch fences a holder that comes back late.
    Column("lease_epoch", BigInteger, nullable=False, server_default="0"),
    Column("lease_holder", String(200)),
    Column("lease_expires_at", UtcDateTime),
    # What the newest snapshot stands for and its size, and what was appended since, in bytes of Yjs updates: when
    # to compact and how large the document is are read from here, without counting rows.
    Column("snapshot_seq", BigInteger, nullable=False, server_default="0"),
    Column("snapshot_bytes", BigInteger, nullable=False, server_default="0"),
    Column("tail_bytes", BigInteger, nullable=False, server_default="0"),
    Column("created_at", UtcDateTime, nullable=False),
    Column("updated_at", UtcDateTime, nullable=False),
    PrimaryKeyConstraint("document_id", name="idx_yjs_documents_id"),
    CheckConstraint("generation >= 1 AND seq >= 0 AND lease_epoch >= 0", name="ck_yjs_documents_counters"),
)
Index("idx_yjs_documents_updated", yjs_documents.c.updated_at)


def _of_document() -> ForeignKey:
    return ForeignKey("yjs_documents.document_id", ondelete="CASCADE")


yjs_updates = Table(
    "yjs_updates",
    metadata,
    Column("document_id", String(200), _of_document(), nullable=False),
    Column("generation", BigInteger, nullable=False),
    Column("seq", BigInteger, nullable=False),
    Column("writer", String(32), nullable=False),
    Column("writer_seq", BigInteger, nullable=False),
    Column("payload", LargeBinary, nullable=False),
    # What a Y-store was given along with the update; NULL: nothing.
    Column("metadata", LargeBinary),
    # Of the key that payload and metadata are encrypted with; NULL: they are plain.
    Column("key_id", String(64)),
    Column("created_at", UtcDateTime, nullable=False),
    # One update a position, and a position once.
    PrimaryKeyConstraint("document_id", "generation", "seq", name="pk_yjs_updates"),
    # A commit whose answer was lost is tried again; the second try must find the first (rule 5).
    UniqueConstraint("document_id", "writer", "writer_seq", name="uq_yjs_updates_writer"),
)

yjs_snapshots = Table(
    "yjs_snapshots",
    metadata,
    Column("document_id", String(200), _of_document(), nullable=False),
    Column("generation", BigInteger, nullable=False),
    # Stands for all updates up to and with this position.
    Column("seq", BigInteger, nullable=False),
    Column("payload", LargeBinary, nullable=False),
    Column("key_id", String(64)),
    # When the document was in this state, not when the snapshot was made.
    Column("created_at", UtcDateTime, nullable=False),
    PrimaryKeyConstraint("document_id", "generation", "seq", name="pk_yjs_snapshots"),
)

yjs_writers = Table(
    "yjs_writers",
    metadata,
    Column("document_id", String(200), _of_document(), nullable=False),
    Column("writer", String(32), nullable=False),
    # Of the writer's updates that compaction has merged: a late second try must find them here (rule 5).
    Column("writer_seq", BigInteger, nullable=False),
    Column("merged_at", UtcDateTime, nullable=False),
    PrimaryKeyConstraint("document_id", "writer", name="pk_yjs_writers"),
)

LOG_TABLES = (yjs_documents, yjs_updates, yjs_snapshots, yjs_writers)


versions = Table(
    "versions",
    metadata,
    Column("version_id", String(36), primary_key=True),
    Column("document_id", String(200), _of_document(), nullable=False),
    Column("generation", BigInteger, nullable=False),
    # The position whose state it is; compaction keeps that state as long as this row is there.
    Column("seq", BigInteger, nullable=False),
    # What a person called it; NULL: it was made automatically, and may be removed so too.
    Column("label", String(200)),
    # Who; NULL: nobody in particular.
    Column("created_by", String(200)),
    Column("created_at", UtcDateTime, nullable=False),
)
Index("idx_versions_document", versions.c.document_id, versions.c.generation, versions.c.seq)

# --- people: in PostgreSQL alone ---

users = Table(
    "users",
    metadata,
    Column("user_id", String(36), primary_key=True),
    Column("username", String(200), nullable=False),
    Column("display_name", String(200), nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    # When the Hub was last asked whether it knows this user, and since when it does not; NULL: never, and it does.
    Column("checked_at", UtcDateTime),
    Column("gone_at", UtcDateTime),
    UniqueConstraint("username", name="uq_users_username"),
)


def _of_user(column: str, **options: Any) -> Column[str]:
    reference = ForeignKey("users.username", onupdate="CASCADE", ondelete="CASCADE")
    return Column(column, String(200), reference, nullable=False, **options)


DOCUMENT_TYPES = ("notebook", "python", "markdown", "text", "json")

sessions = Table(
    "sessions",
    metadata,
    Column("document_id", String(200), _of_document(), primary_key=True),
    _of_user("owner"),
    # Whose file it was made from. It stays when the session is handed over, since that user's servers go on naming
    # the file so; it is nobody's once that user takes part no more.
    Column("file_owner", String(200), ForeignKey("users.username", onupdate="CASCADE", ondelete="SET NULL")),
    # The volume (or the home of one user's servers) that the file lies in, and its id there.
    Column("volume", String(200), nullable=False),
    Column("file_id", String(200), nullable=False),
    # Whether the file lies on a volume that several users' servers have: whoever opens it finds this document.
    Column("shared", Boolean, nullable=False, server_default=false()),
    Column("document_type", String(20), nullable=False),
    Column("path", Text, nullable=False),
    Column("title", Text, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("last_activity", UtcDateTime, nullable=False),
    # Its file was deleted, and why it is over, for people; the log stays. NULL: it goes on.
    Column("closed_at", UtcDateTime),
    Column("closed_reason", Text),
    # Two servers of one owner that register one file at the same time must get one document (rule 1).
    UniqueConstraint("file_owner", "volume", "file_id", "document_type", name="uq_sessions_file"),
    CheckConstraint(f"document_type IN {DOCUMENT_TYPES}", name="ck_sessions_document_type"),
)

# A file on a shared volume is nobody's own, and one document for all who open it (rule 1).
Index(
    "uq_sessions_shared_file",
    sessions.c.volume,
    sessions.c.file_id,
    sessions.c.document_type,
    unique=True,
    postgresql_where=sessions.c.shared,
)

document_files = Table(
    "document_files",
    metadata,
    Column("document_id", String(200), _of_document(), nullable=False),
    # The volume, or the home of one user's servers, on which several servers have this file of the document.
    Column("place", String(500), nullable=False),
    # Where in a home: by it, and by what it holds, another server of the user's knows the file.
    Column("path", Text, nullable=False, server_default=""),
    Column("generation", BigInteger, nullable=False),
    # Who saves the file: one server process, until the lease ends; whoever writes without it may tear the file.
    Column("holder", String(64)),
    Column("holder_name", String(200)),
    Column("expires_at", UtcDateTime),
    # What the file holds: written before the file is, so after a crash it may also be the content before. With
    # the state of the document that it shows, as a Yjs snapshot: what a change made outside is merged on (rule 2).
    Column("digest", String(64)),
    Column("snapshot", LargeBinary),
    Column("previous_digest", String(64)),
    Column("previous_snapshot", LargeBinary),
    # The last digests, with spaces between: who has one has read the file lately.
    Column("recent", Text, nullable=False, server_default=""),
    PrimaryKeyConstraint("document_id", "place", name="pk_document_files"),
)
Index("idx_document_files_place", document_files.c.place)

PERMISSIONS = ("read-only", "read-write")
_PERMISSION_CHECK = "permissions IN ('read-only', 'read-write')"

participants = Table(
    "participants",
    metadata,
    Column(
        "document_id", String(200), ForeignKey("sessions.document_id", ondelete="CASCADE"), nullable=False
    ),
    _of_user("username", index=True),
    Column("permissions", String(20), nullable=False),
    # Whether they are in by one of the Hub's groups, which may enter the file's volume, and only as long as that.
    Column("by_group", Boolean, nullable=False, server_default=false()),
    Column("joined_at", UtcDateTime, nullable=False),
    PrimaryKeyConstraint("document_id", "username", name="pk_participants"),
    CheckConstraint(_PERMISSION_CHECK, name="ck_participants_permissions"),
)

invites = Table(
    "invites",
    metadata,
    Column("invite_id", String(36), primary_key=True),
    Column(
        "document_id", String(200), ForeignKey("sessions.document_id", ondelete="CASCADE"), nullable=False
    ),
    _of_user("invited_user", index=True),
    _of_user("invited_by"),
    Column("message", Text, nullable=False),
    Column("permissions", String(20), nullable=False),
    Column("state", String(20), nullable=False, server_default="pending"),
    Column("created_at", UtcDateTime, nullable=False),
    Column("expires_at", UtcDateTime, nullable=False),
    Column("answered_at", UtcDateTime),
    CheckConstraint(_PERMISSION_CHECK, name="ck_invites_permissions"),
    CheckConstraint("state IN ('pending', 'accepted', 'declined', 'revoked')", name="ck_invites_state"),
)
# Inviting someone again replaces the open invite; two open ones could not both be answered.
Index(
    "uq_invites_pending",
    invites.c.document_id,
    invites.c.invited_user,
    unique=True,
    postgresql_where=invites.c.state == "pending",
)
Index("idx_invites_document", invites.c.document_id)

invite_links = Table(
    "invite_links",
    metadata,
    Column("link_id", String(36), primary_key=True),
    # SHA-256 of the token, which is told once and kept nowhere: whoever reads this table can open nothing.
    Column("token_hash", String(64), nullable=False),
    Column("document_id", String(200), ForeignKey("sessions.document_id", ondelete="CASCADE"), nullable=False),
    _of_user("created_by"),
    Column("permissions", String(20), nullable=False),
    Column("max_uses", Integer, nullable=False),
    Column("uses", Integer, nullable=False, server_default="0"),
    Column("created_at", UtcDateTime, nullable=False),
    Column("expires_at", UtcDateTime, nullable=False),
    Column("revoked_at", UtcDateTime),
    UniqueConstraint("token_hash", name="uq_invite_links_token_hash"),
    CheckConstraint(_PERMISSION_CHECK, name="ck_invite_links_permissions"),
    # Two who accept at once can't both take the last use.
    CheckConstraint("uses >= 0 AND uses <= max_uses", name="ck_invite_links_uses"),
)
Index("idx_invite_links_document", invite_links.c.document_id)

presence = Table(
    "presence",
    metadata,
    Column(
        "document_id", String(200), ForeignKey("sessions.document_id", ondelete="CASCADE"), nullable=False
    ),
    _of_user("username"),
    # The server that reports it, such as "alice/": each one speaks for itself, and its silence ends its rows.
    Column("server", String(200), nullable=False),
    Column("connections", Integer, nullable=False),
    Column("place", Text),
    Column("last_seen", UtcDateTime, nullable=False),
    # When the user last came, moved or edited: who is here and has not for long is idle. The default is for a replica
    # of before, which does not know the column.
    Column("last_active", UtcDateTime, nullable=False, server_default=func.now()),
    PrimaryKeyConstraint("document_id", "username", "server", name="pk_presence"),
)
# A report replaces all that its server said before.
Index("idx_presence_server", presence.c.username, presence.c.server)

activity = Table(
    "activity",
    metadata,
    Column("activity_id", BigInteger, primary_key=True, autoincrement=True),
    Column(
        "document_id", String(200), ForeignKey("sessions.document_id", ondelete="CASCADE"), nullable=False
    ),
    _of_user("username"),
    Column("action", String(40), nullable=False),
    Column("detail", Text, nullable=False, server_default=""),
    Column("created_at", UtcDateTime, nullable=False),
)
Index("idx_activity_document", activity.c.document_id, activity.c.activity_id)
Index("idx_activity_username", activity.c.username, activity.c.created_at)

signing_keys = Table(
    "signing_keys",
    metadata,
    Column("key_id", String(64), primary_key=True),
    Column("private_key", Text, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
)

# Tokens that are refused before they expire. Rows are kept until no token that they are about could be valid.
revoked_tokens = Table(
    "revoked_tokens",
    metadata,
    # SHA-256 of the issuer and the `jti`, which other issuers may make as long as they like.
    Column("token_hash", String(64), nullable=False),
    Column("expires_at", UtcDateTime, nullable=False),
    PrimaryKeyConstraint("token_hash", name="pk_revoked_tokens"),
)

# All tokens of a user that were made until a time. It refers to no user: it outlives one that is erased.
token_cutoffs = Table(
    "token_cutoffs",
    metadata,
    Column("username", String(200), nullable=False),
    Column("made_until", UtcDateTime, nullable=False),
    PrimaryKeyConstraint("username", name="pk_token_cutoffs"),
)

# --- the local store of a user's server ---

local_metadata = MetaData()

local_files = Table(
    "local_files",
    local_metadata,
    # `format:type:file id`, as jupyter-collaboration names rooms; also the name of its history in this log.
    Column("room_id", String(200), nullable=False),
    Column("path", Text, nullable=False),
    # The service's name for it; none until the service was first reached.
    Column("document_id", String(200)),
    # The Y.js server's generation of the history held here; 0 until a history was taken from or accepted there.
    Column("generation", BigInteger, nullable=False, server_default="0"),
    Column("permissions", String(20), nullable=False, server_default="read-write"),
    # Whether the file is its owner's, rather than a copy that a participant has joined.
    Column("own", Boolean, nullable=False, server_default=true()),
    # Why it is a document no longer: `removed` (its user was) or `deleted` (it was). The file stays, as a copy.
    Column("ended", String(20)),
    # The name under which the service knows the file: its room's at the time; file ids may be lost since.
    Column("registered_as", String(200)),
    # Whether somebody else's edits have come: from then on no content is signed as trusted here.
    Column("others", Boolean, nullable=False, server_default=false()),
    # What the file holds, and the document that it shows: the log up to a position, and then `saved_extra`, an
    # outside change that was taken in from the file. The intent is committed before the file is written, so
    # that a crash in between is recognised (rule 2).
    Column("saved_digest", String(64)),
    Column("saved_seq", BigInteger),
    Column("saved_extra", LargeBinary),
    Column("intent_digest", String(64)),
    Column("intent_seq", BigInteger),
    PrimaryKeyConstraint("room_id", name="pk_local_files"),
    # A document has one file here: two would save each other's content.
    UniqueConstraint("document_id", name="uq_local_files_document"),
)


def is_prepared(connection: Connection) -> bool:
    """Whether a local store has tables, and so may hold something."""
    return inspect(connection).has_table(local_files.name)


def prepare_local_store(connection: Connection) -> None:
    """Make a local store's tables, or add what those lack that an older version made."""
    tables = [*LOG_TABLES, *local_metadata.sorted_tables]
    for owner in (metadata, local_metadata):
        owner.create_all(connection, tables=[table for table in tables if table.metadata is owner])
    for table in tables:
        known = {column["name"] for column in inspect(connection).get_columns(table.name)}
        for column in table.columns:
            if column.name not in known:
                definition = CreateColumn(column).compile(dialect=connection.dialect)
                connection.exec_driver_sql(f"ALTER TABLE {table.name} ADD COLUMN {definition}")
