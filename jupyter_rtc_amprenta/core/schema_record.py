"""The tables of what happened: for the audit, for whoever listens, for other systems, and for a request made twice.

They are in PostgreSQL alone, and refer to nothing: they outlive the sessions and users that they tell of.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Column,
    Identity,
    Index,
    Integer,
    PrimaryKeyConstraint,
    String,
    Table,
    Text,
)

from .schema import UtcDateTime, metadata

events = Table(
    "events",
    metadata,
    # Given out under a lock that is held until the commit (`queries_record.publish`): a reader that asks for what
    # came after the last one it has seen misses none.
    Column("event_id", BigInteger, Identity(), primary_key=True),
    Column("action", String(40), nullable=False),
    Column("document_id", String(200), nullable=False),
    Column("username", String(200), nullable=False),
    Column("detail", Text, nullable=False),
    # Who is told beside the participants: somebody who is invited, or takes part no more.
    Column("recipient", String(200)),
    Column("created_at", UtcDateTime, nullable=False),
)
Index("idx_events_created", events.c.created_at)

audit = Table(
    "audit",
    metadata,
    Column("audit_id", BigInteger, Identity(), primary_key=True),
    Column("created_at", UtcDateTime, nullable=False),
    # Who did it, "" for somebody unknown; and from which address.
    Column("username", String(200), nullable=False),
    Column("address", String(64), nullable=False),
    Column("action", String(40), nullable=False),
    Column("document_id", String(200), nullable=False),
    Column("detail", Text, nullable=False),
)
Index("idx_audit_created", audit.c.created_at)
Index("idx_audit_username", audit.c.username, audit.c.audit_id)
Index("idx_audit_document", audit.c.document_id, audit.c.audit_id)

webhook_positions = Table(
    "webhook_positions",
    metadata,
    Column("target", String(500), nullable=False),
    # The last event that was delivered or given up. Its row is locked while a replica delivers the next ones, so
    # that each event goes to a target once, and in order.
    Column("event_id", BigInteger, nullable=False),
    Column("attempts", Integer, nullable=False, server_default="0"),
    Column("retry_at", UtcDateTime, nullable=False),
    PrimaryKeyConstraint("target", name="pk_webhook_positions"),
)

idempotency_keys = Table(
    "idempotency_keys",
    metadata,
    Column("username", String(200), nullable=False),
    Column("key", String(200), nullable=False),
    # SHA-256 of what was asked: the same key for something else is a mistake, and is told.
    Column("request_hash", String(64), nullable=False),
    Column("answer", Text, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    # Of two requests with one key at once, one is carried out (and the other gets its answer).
    PrimaryKeyConstraint("username", "key", name="pk_idempotency_keys"),
)
Index("idx_idempotency_keys_created", idempotency_keys.c.created_at)
