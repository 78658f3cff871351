"""Sessions that can be handed over, invitation links, events, the audit, webhooks, and keys of repeated requests.

Revision ID: 0003_people
Revises: 0002_document_log
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003_people"
down_revision = "0002_document_log"
branch_labels = None
depends_on = None

_FILE = ["volume", "file_id", "document_type"]


def upgrade() -> None:
    _add_file_owner()
    op.create_index("idx_activity_username", "activity", ["username", "created_at"])
    _create_invite_links()
    _create_events()
    _create_audit()
    _create_webhook_positions()
    _create_idempotency_keys()


def downgrade() -> None:
    for table in ("idempotency_keys", "webhook_positions", "audit", "events", "invite_links"):
        op.drop_table(table)
    op.drop_index("idx_activity_username")
    op.drop_constraint("uq_sessions_file", "sessions")
    op.drop_column("sessions", "file_owner")
    op.create_unique_constraint("uq_sessions_file", "sessions", ["owner", *_FILE])


def _time(name: str, nullable: bool = False) -> sa.Column:
    return sa.Column(name, sa.DateTime(timezone=True), nullable=nullable)


def _text(name: str, length: int, **options: object) -> sa.Column:
    return sa.Column(name, sa.String(length), **{"nullable": False} | options)


def _number(name: str) -> sa.Column:
    return sa.Column(name, sa.BigInteger, sa.Identity(), nullable=False)


def _add_file_owner() -> None:
    op.add_column("sessions", _text("file_owner", 200, nullable=True))
    op.execute("UPDATE sessions SET file_owner = owner")
    op.create_foreign_key(
        "sessions_file_owner_fkey",
        "sessions",
        "users",
        ["file_owner"],
        ["username"],
        onupdate="CASCADE",
        ondelete="SET NULL",
    )
    op.drop_constraint("uq_sessions_file", "sessions")
    op.create_unique_constraint("uq_sessions_file", "sessions", ["file_owner", *_FILE])


def _create_invite_links() -> None:
    of_session = sa.ForeignKeyConstraint(["document_id"], ["sessions.document_id"], ondelete="CASCADE")
    of_user = sa.ForeignKeyConstraint(
        ["created_by"], ["users.username"], onupdate="CASCADE", ondelete="CASCADE"
    )
    op.create_table(
        "invite_links",
        _text("link_id", 36),
        _text("token_hash", 64),
        _text("document_id", 200),
        _text("created_by", 200),
        _text("permissions", 20),
        sa.Column("max_uses", sa.Integer, nullable=False),
        sa.Column("uses", sa.Integer, nullable=False, server_default="0"),
        _time("created_at"),
        _time("expires_at"),
        _time("revoked_at", nullable=True),
        of_session,
        of_user,
        sa.PrimaryKeyConstraint("link_id"),
        sa.UniqueConstraint("token_hash", name="uq_invite_links_token_hash"),
        sa.CheckConstraint(
            "permissions IN ('read-only', 'read-write')", name="ck_invite_links_permissions"
        ),
        sa.CheckConstraint("uses >= 0 AND uses <= max_uses", name="ck_invite_links_uses"),
    )
    op.create_index("idx_invite_links_document", "invite_links", ["document_id"])


def _create_events() -> None:
    op.create_table(
        "events",
        _number("event_id"),
        _text("action", 40),
        _text("document_id", 200),
        _text("username", 200),
        sa.Column("detail", sa.Text, nullable=False),
        _text("recipient", 200, nullable=True),
        _time("created_at"),
        sa.PrimaryKeyConstraint("event_id"),
    )
    op.create_index("idx_events_created", "events", ["created_at"])


def _create_audit() -> None:
    op.create_table(
        "audit",
        _number("audit_id"),
        _time("created_at"),
        _text("username", 200),
        _text("address", 64),
        _text("action", 40),
        _text("document_id", 200),
        sa.Column("detail", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("audit_id"),
    )
    op.create_index("idx_audit_created", "audit", ["created_at"])
    op.create_index("idx_audit_username", "audit", ["username", "audit_id"])
    op.create_index("idx_audit_document", "audit", ["document_id", "audit_id"])


def _create_webhook_positions() -> None:
    op.create_table(
        "webhook_positions",
        _text("target", 500),
        sa.Column("event_id", sa.BigInteger, nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False, server_default="0"),
        _time("retry_at"),
        sa.PrimaryKeyConstraint("target", name="pk_webhook_positions"),
    )


def _create_idempotency_keys() -> None:
    op.create_table(
        "idempotency_keys",
        _text("username", 200),
        _text("key", 200),
        _text("request_hash", 64),
        sa.Column("answer", sa.Text, nullable=False),
        _time("created_at"),
        sa.PrimaryKeyConstraint("username", "key", name="pk_idempotency_keys"),
    )
    op.create_index("idx_idempotency_keys_created", "idempotency_keys", ["created_at"])
