"""Tokens that are refused before they expire, users whom the Hub knows no more, and when somebody was last active.

Revision ID: 0004_tokens
Revises: 0003_people
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004_tokens"
down_revision = "0003_people"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "revoked_tokens",
        sa.Column("token_hash", sa.String(64), nullable=False),
        _time("expires_at", nullable=False),
        sa.PrimaryKeyConstraint("token_hash", name="pk_revoked_tokens"),
    )
    op.create_table(
        "token_cutoffs",
        sa.Column("username", sa.String(200), nullable=False),
        _time("made_until", nullable=False),
        sa.PrimaryKeyConstraint("username", name="pk_token_cutoffs"),
    )
    op.add_column("users", _time("checked_at"))
    op.add_column("users", _time("gone_at"))
    # The default is for replicas of before, which do not know the column.
    op.add_column(
        "presence",
        sa.Column("last_active", sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now()),
    )
    op.execute("UPDATE presence SET last_active = last_seen")


def downgrade() -> None:
    op.drop_column("presence", "last_active")
    op.drop_column("users", "gone_at")
    op.drop_column("users", "checked_at")
    op.drop_table("token_cutoffs")
    op.drop_table("revoked_tokens")


def _time(name: str, nullable: bool = True) -> sa.Column:
    return sa.Column(name, sa.DateTime(timezone=True), nullable=nullable)
