"""Files that several servers have: on shared volumes, and in homes that several servers of one user share.

Revision ID: 0005_shared_files
Revises: 0004_tokens
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005_shared_files"
down_revision = "0004_tokens"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("sessions", _flag("shared"))
    op.add_column("sessions", sa.Column("closed_at", sa.DateTime(timezone=True)))
    op.add_column("sessions", sa.Column("closed_reason", sa.Text))
    op.create_index(
        "uq_sessions_shared_file",
        "sessions",
        ["volume", "file_id", "document_type"],
        unique=True,
        postgresql_where=sa.text("shared"),
    )
    op.add_column("participants", _flag("by_group"))
    _create_document_files()


def downgrade() -> None:
    op.drop_table("document_files")
    op.drop_column("participants", "by_group")
    op.drop_index("uq_sessions_shared_file")
    for column in ("shared", "closed_at", "closed_reason"):
        op.drop_column("sessions", column)


def _flag(name: str) -> sa.Column:
    return sa.Column(name, sa.Boolean, nullable=False, server_default=sa.false())


def _create_document_files() -> None:
    document = sa.ForeignKey("yjs_documents.document_id", ondelete="CASCADE")
    op.create_table(
        "document_files",
        sa.Column("document_id", sa.String(200), document, nullable=False),
        sa.Column("place", sa.String(500), nullable=False),
        sa.Column("path", sa.Text, nullable=False, server_default=""),
        sa.Column("generation", sa.BigInteger, nullable=False),
        sa.Column("holder", sa.String(64)),
        sa.Column("holder_name", sa.String(200)),
        sa.Column("expires_at", sa.DateTime(timezone=True)),
        sa.Column("digest", sa.String(64)),
        sa.Column("snapshot", sa.LargeBinary),
        sa.Column("previous_digest", sa.String(64)),
        sa.Column("previous_snapshot", sa.LargeBinary),
        sa.Column("recent", sa.Text, nullable=False, server_default=""),
        sa.PrimaryKeyConstraint("document_id", "place", name="pk_document_files"),
    )
    op.create_index("idx_document_files_place", "document_files", ["place"])
