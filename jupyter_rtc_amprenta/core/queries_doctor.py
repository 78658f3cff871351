"""The SQL of `jupyter-rtc doctor`: how the database is. Nothing is changed. The connection comes first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, Table, func, select, text
from sqlalchemy.schema import AddConstraint, CreateIndex

from . import schema_record  # noqa: F401 - its tables are in the metadata
from .schema import metadata, sessions, yjs_documents, yjs_snapshots, yjs_updates

_RIGHTS = ("SELECT", "INSERT", "UPDATE", "DELETE")
_FUNCTIONS = ("rtc_append_updates", "rtc_read_document")


def clock(connection: Connection) -> float:
    """The database's time, in seconds since the epoch."""
    return float(connection.execute(text("SELECT extract(epoch FROM clock_timestamp())")).scalar_one())


def server_version(connection: Connection) -> str:
    """PostgreSQL's version, as it says it."""
    return connection.execute(text("SHOW server_version")).scalar_one()


def is_writable(connection: Connection) -> bool:
    """Whether this is a primary that takes writes."""
    query = "SELECT NOT pg_is_in_recovery() AND current_setting('default_transaction_read_only') = 'off'"
    return connection.execute(text(query)).scalar_one()


def user_name(connection: Connection) -> str:
    """Who we are to the database."""
    return connection.execute(text("SELECT quote_ident(current_user)")).scalar_one()


def missing_rights(connection: Connection) -> list[str]:
    """Which rights we lack, as `INSERT ON audit`; tables that are not there have none to lack."""
    query = text(
        "SELECT r || ' ON ' || t FROM unnest(:tables ::text[]) t, unnest(:rights ::text[]) r "
        "WHERE to_regclass(t) IS NOT NULL AND NOT has_table_privilege(to_regclass(t), r) ORDER BY t, r"
    )
    given = {"tables": [table.name for table in metadata.sorted_tables], "rights": list(_RIGHTS)}
    execute = text(
        "SELECT 'EXECUTE ON FUNCTION ' || f FROM unnest(:functions ::text[]) f "
        "WHERE NOT has_function_privilege(to_regproc(f), 'EXECUTE') ORDER BY f"
    )
    missing = connection.execute(query, given).scalars().all()
    return [*missing, *connection.execute(execute, {"functions": list(_FUNCTIONS)}).scalars()]


def missing_indexes(connection: Connection) -> dict[str, str]:
    """The indexes that are not there or not valid, each with the statement that mends it."""
    query = "SELECT c.relname, i.indisvalid FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid"
    found = {row.relname: row.indisvalid for row in connection.execute(text(query))}
    wanted = {name: made for table in metadata.sorted_tables for name, made in _indexes(connection, table).items()}
    return {
        name: f"REINDEX INDEX {name};" if name in found else f"{' '.join(made.split())};"
        for name, made in wanted.items()
        if not found.get(name)
    }


def _indexes(connection: Connection, table: Table) -> dict[str, str]:
    made = {str(index.name): str(CreateIndex(index).compile(connection)) for index in table.indexes}
    if table.primary_key.name:
        # Isolated, as it is by default, the table would be made without it from now on, in this process.
        add = AddConstraint(table.primary_key, isolate_from_table=False)
        made[str(table.primary_key.name)] = str(add.compile(connection))
    return made


@dataclass(frozen=True)
class Size:
    """How much there is.

    Attributes:
        documents: how many.
        bytes: of all tables of the log, with their indexes.
        largest: the bytes of the largest document.
    """

    documents: int
    bytes: int
    largest: int


def size(connection: Connection) -> Size:
    """How large the log is."""
    table = yjs_documents.c
    of_one = table.snapshot_bytes + table.tail_bytes
    documents, largest = connection.execute(select(func.count(), func.coalesce(func.max(of_one), 0))).one()
    names = [log.name for log in (yjs_documents, yjs_updates, yjs_snapshots)]
    sizes = text("SELECT sum(pg_total_relation_size(to_regclass(t))) FROM unnest(:tables ::text[]) t")
    return Size(documents, int(connection.execute(sizes, {"tables": names}).scalar_one()), largest)


def overdue(connection: Connection, updates: int, size: int, seconds: float) -> list[str]:
    """Documents that have so many updates or bytes since their last snapshot, and were not edited for so long."""
    table = yjs_documents.c
    many = (table.seq - table.snapshot_seq >= updates) | (table.tail_bytes >= size)
    idle = table.updated_at < func.clock_timestamp() - func.make_interval(0, 0, 0, 0, 0, 0, seconds)
    return list(connection.execute(select(table.document_id).where(many, idle).order_by(table.document_id)).scalars())


def rows_by_key(connection: Connection) -> dict[str | None, int]:
    """How many updates and snapshots are encrypted with each key; None: they are plain."""
    found: dict[str | None, int] = {}
    for table in (yjs_updates, yjs_snapshots):
        for row in connection.execute(select(table.c.key_id, func.count().label("rows")).group_by(table.c.key_id)):
            found[row.key_id] = found.get(row.key_id, 0) + row.rows
    return found


def sample_of_key(connection: Connection, key_id: str) -> Sequence[tuple[Table, Row[Any]]]:
    """A row of each table that is encrypted with a key."""
    found = [
        (table, connection.execute(select(table).where(table.c.key_id == key_id).limit(1)).one_or_none())
        for table in (yjs_updates, yjs_snapshots)
    ]
    return [(table, row) for table, row in found if row is not None]


def owner_of(connection: Connection, document_id: str) -> str | None:
    """Who owns a document; None: it is no session."""
    return connection.execute(select(sessions.c.owner).filter_by(document_id=document_id)).scalar()
