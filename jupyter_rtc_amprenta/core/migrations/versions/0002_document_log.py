"""What compaction, encryption and versions of the log need.

Revision ID: 0002_document_log
Revises: 0001
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002_document_log"
down_revision = "0001"
branch_labels = None
depends_on = None

_COUNTERS = ("snapshot_seq", "snapshot_bytes", "tail_bytes")


def upgrade() -> None:
    for name in _COUNTERS:
        # A constant default: PostgreSQL rewrites no row for it, so the table is locked for a moment only.
        op.add_column(
            "yjs_documents", sa.Column(name, sa.BigInteger, server_default="0", nullable=False)
        )
    for table in ("yjs_updates", "yjs_snapshots"):
        op.add_column(table, sa.Column("key_id", sa.String(64)))
    op.add_column("yjs_updates", sa.Column("metadata", sa.LargeBinary))
    _create_writers()
    _create_versions()


def downgrade() -> None:
    for table in ("yjs_updates", "yjs_snapshots"):
        if op.get_bind().execute(sa.text(f"SELECT 1 FROM {table} WHERE key_id IS NOT NULL LIMIT 1")).scalar():
            raise RuntimeError("Documents are encrypted: an older version could not tell, and would spoil them.")
    op.drop_column("yjs_updates", "metadata")
    op.drop_table("versions")
    op.drop_table("yjs_writers")
    for table in ("yjs_updates", "yjs_snapshots"):
        op.drop_column(table, "key_id")
    for name in _COUNTERS:
        op.drop_column("yjs_documents", name)


def _document_id() -> sa.Column:
    return sa.Column("document_id", sa.String(200), nullable=False)


def _of_log() -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint(["document_id"], ["yjs_documents.document_id"], ondelete="CASCADE")


def _create_writers() -> None:
    op.create_table(
        "yjs_writers",
        _document_id(),
        sa.Column("writer", sa.String(32), nullable=False),
        sa.Column("writer_seq", sa.BigInteger, nullable=False),
        sa.Column("merged_at", sa.DateTime(timezone=True), nullable=False),
        _of_log(),
        sa.PrimaryKeyConstraint("document_id", "writer", name="pk_yjs_writers"),
    )


def _create_versions() -> None:
    op.create_table(
        "versions",
        sa.Column("version_id", sa.String(36), nullable=False),
        _document_id(),
        sa.Column("generation", sa.BigInteger, nullable=False),
        sa.Column("seq", sa.BigInteger, nullable=False),
        sa.Column("label", sa.String(200)),
        sa.Column("created_by", sa.String(200)),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        _of_log(),
        sa.PrimaryKeyConstraint("version_id"),
    )
    op.create_index("idx_versions_document", "versions", ["document_id", "generation", "seq"])
