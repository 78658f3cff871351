"""What Alembic runs around the steps. The connection, locked and in a transaction, comes from `migrate.py`."""

from __future__ import annotations

from alembic import context

from jupyter_rtc_amprenta.core.schema import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata)
with context.begin_transaction():
    context.run_migrations()
