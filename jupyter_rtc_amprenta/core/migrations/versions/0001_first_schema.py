"""The log, and the people who share its documents.

Revision ID: 0001
Revises:
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

_PERMISSIONS = "permissions IN ('read-only', 'read-write')"


def upgrade() -> None:
    _create_documents()
    _create_updates()
    _create_users()
    _create_sessions()
    _create_participants()
    _create_invites()
    _create_presence()
    _create_activity()
    _create_signing_keys()


def downgrade() -> None:
    for table in ("signing_keys", "activity", "presence", "invites", "participants", "sessions", "users"):
        op.drop_table(table)
    for table in ("yjs_snapshots", "yjs_updates", "yjs_documents"):
        op.drop_table(table)


def _time(name: str, nullable: bool = False) -> sa.Column:
    return sa.Column(name, sa.DateTime(timezone=True), nullable=nullable)


def _text(name: str, length: int, **options: object) -> sa.Column:
    return sa.Column(name, sa.String(length), **{"nullable": False} | options)


def _of_log() -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint(["document_id"], ["yjs_documents.document_id"], ondelete="CASCADE")


def _of_session() -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint(["document_id"], ["sessions.document_id"], ondelete="CASCADE")


def _of_user(column: str) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint([column], ["users.username"], onupdate="CASCADE", ondelete="CASCADE")


def _create_documents() -> None:
    op.create_table(
        "yjs_documents",
        _text("document_id", 200),
        sa.Column("generation", sa.BigInteger, server_default="1", nullable=False),
        sa.Column("seq", sa.BigInteger, server_default="0", nullable=False),
        sa.Column("lease_epoch", sa.BigInteger, server_default="0", nullable=False),
        _text("lease_holder", 200, nullable=True),
        _time("lease_expires_at", nullable=True),
        _time("created_at"),
        _time("updated_at"),
        sa.CheckConstraint(
            "generation >= 1 AND seq >= 0 AND lease_epoch >= 0", name="ck_yjs_documents_counters"
        ),
        sa.PrimaryKeyConstraint("document_id", name="idx_yjs_documents_id"),
    )
    op.create_index("idx_yjs_documents_updated", "yjs_documents", ["updated_at"])


def _create_updates() -> None:
    op.create_table(
        "yjs_updates",
        _text("document_id", 200),
        sa.Column("generation", sa.BigInteger, nullable=False),
        sa.Column("seq", sa.BigInteger, nullable=False),
        _text("writer", 32),
        sa.Column("writer_seq", sa.BigInteger, nullable=False),
        sa.Column("payload", sa.LargeBinary, nullable=False),
        _time("created_at"),
        _of_log(),
        sa.PrimaryKeyConstraint("document_id", "generation", "seq", name="pk_yjs_updates"),
        sa.UniqueConstraint("document_id", "writer", "writer_seq", name="uq_yjs_updates_writer"),
    )
    op.create_table(
        "yjs_snapshots",
        _text("document_id", 200),
        sa.Column("generation", sa.BigInteger, nullable=False),
        sa.Column("seq", sa.BigInteger, nullable=False),
        sa.Column("payload", sa.LargeBinary, nullable=False),
        _time("created_at"),
        _of_log(),
        sa.PrimaryKeyConstraint("document_id", "generation", "seq", name="pk_yjs_snapshots"),
    )


def _create_users() -> None:
    op.create_table(
        "users",
        _text("user_id", 36),
        _text("username", 200),
        _text("display_name", 200),
        _time("created_at"),
        sa.PrimaryKeyConstraint("user_id"),
        sa.UniqueConstraint("username", name="uq_users_username"),
    )


def _create_sessions() -> None:
    op.create_table(
        "sessions",
        _text("document_id", 200),
        _text("owner", 200),
        _text("volume", 200),
        _text("file_id", 200),
        _text("document_type", 20),
        sa.Column("path", sa.Text, nullable=False),
        sa.Column("title", sa.Text, nullable=False),
        _time("created_at"),
        _time("last_activity"),
        _of_log(),
        _of_user("owner"),
        sa.PrimaryKeyConstraint("document_id"),
        sa.UniqueConstraint("owner", "volume", "file_id", "document_type", name="uq_sessions_file"),
        sa.CheckConstraint(
            "document_type IN ('notebook', 'python', 'markdown', 'text', 'json')",
            name="ck_sessions_document_type",
        ),
    )


def _create_participants() -> None:
    op.create_table(
        "participants",
        _text("document_id", 200),
        _text("username", 200),
        _text("permissions", 20),
        _time("joined_at"),
        _of_session(),
        _of_user("username"),
        sa.PrimaryKeyConstraint("document_id", "username", name="pk_participants"),
        sa.CheckConstraint(_PERMISSIONS, name="ck_participants_permissions"),
    )
    op.create_index("ix_participants_username", "participants", ["username"])


def _create_invites() -> None:
    op.create_table(
        "invites",
        _text("invite_id", 36),
        _text("document_id", 200),
        _text("invited_user", 200),
        _text("invited_by", 200),
        sa.Column("message", sa.Text, nullable=False),
        _text("permissions", 20),
        _text("state", 20, server_default="pending"),
        _time("created_at"),
        _time("expires_at"),
        _time("answered_at", nullable=True),
        _of_session(),
        _of_user("invited_user"),
        _of_user("invited_by"),
        sa.PrimaryKeyConstraint("invite_id"),
        sa.CheckConstraint(_PERMISSIONS, name="ck_invites_permissions"),
        sa.CheckConstraint(
            "state IN ('pending', 'accepted', 'declined', 'revoked')", name="ck_invites_state"
        ),
    )
    op.create_index("ix_invites_invited_user", "invites", ["invited_user"])
    op.create_index("idx_invites_document", "invites", ["document_id"])
    pending = {"unique": True, "postgresql_where": sa.text("state = 'pending'")}
    op.create_index("uq_invites_pending", "invites", ["document_id", "invited_user"], **pending)


def _create_presence() -> None:
    op.create_table(
        "presence",
        _text("document_id", 200),
        _text("username", 200),
        _text("server", 200),
        sa.Column("connections", sa.Integer, nullable=False),
        sa.Column("place", sa.Text),
        _time("last_seen"),
        _of_session(),
        _of_user("username"),
        sa.PrimaryKeyConstraint("document_id", "username", "server", name="pk_presence"),
    )
    op.create_index("idx_presence_server", "presence", ["username", "server"])


def _create_activity() -> None:
    op.create_table(
        "activity",
        sa.Column("activity_id", sa.BigInteger, autoincrement=True, nullable=False),
        _text("document_id", 200),
        _text("username", 200),
        _text("action", 40),
        sa.Column("detail", sa.Text, server_default="", nullable=False),
        _time("created_at"),
        _of_session(),
        _of_user("username"),
        sa.PrimaryKeyConstraint("activity_id"),
    )
    op.create_index("idx_activity_document", "activity", ["document_id", "activity_id"])


def _create_signing_keys() -> None:
    op.create_table(
        "signing_keys",
        _text("key_id", 64),
        sa.Column("private_key", sa.Text, nullable=False),
        _time("created_at"),
        sa.PrimaryKeyConstraint("key_id"),
    )
