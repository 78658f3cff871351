"""`jupyter-rtc audit`: the audit as CSV or as lines of JSON, the oldest first."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from typing import Any, TextIO

from sqlalchemy import Connection

from jupyter_rtc_amprenta.core import queries_audit
from jupyter_rtc_amprenta.core.database import Database
from jupyter_rtc_amprenta.core.migrate import require_current
from jupyter_rtc_amprenta.core.queries_audit import AuditFilter

from .views import audit_entry

_FIELDS = ("audit_id", "created_at", "username", "address", "action", "document_id", "detail")


def export(database: Database, wanted: AuditFilter, form: str, out: TextIO) -> None:
    """Write the entries that are wanted.

    Args:
        database: PostgreSQL.
        wanted: which entries.
        form: `csv` (with a header) or `jsonl`.
        out: where to.

    Raises:
        DatabaseError.
    """
    database.call(_write, wanted, form, out)


def _write(connection: Connection, wanted: AuditFilter, form: str, out: TextIO) -> None:
    require_current(connection)
    entries: Iterator[dict[str, Any]] = map(audit_entry, queries_audit.all_entries(connection, wanted))
    if form == "jsonl":
        for entry in entries:
            print(json.dumps(entry, ensure_ascii=False), file=out)
    else:
        writer = csv.DictWriter(out, _FIELDS, lineterminator="\n")
        writer.writeheader()
        writer.writerows({name: _harmless(value) for name, value in entry.items()} for entry in entries)


def _harmless(value: Any) -> Any:
    """A text that a spreadsheet takes for a formula gets an apostrophe before it."""
    return f"'{value}" if isinstance(value, str) and value.startswith(("=", "+", "-", "@")) else value
