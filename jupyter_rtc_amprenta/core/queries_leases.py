"""The SQL of leases: in direct mode one server at a time writes a document. The connection comes first.

Times are the database's own: servers' clocks differ.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

from sqlalchemy import Connection, func, select, update

from . import queries
from .errors import DocumentLeased, LeaseLost
from .schema import UtcDateTime, now, yjs_documents


def acquire(
    connection: Connection,
    document_id: str,
    holder: str,
    seconds: float,
    has_died: Callable[[str], bool] = lambda holder: False,
) -> int:
    """Take the lease of a document, which is made known to the log if it is not.

    Args:
        holder: names this run of a server, for people: `alice's server (host, process 7)`.
        seconds: how long it holds unless it is renewed.
        has_died: whether a holder is known to be gone, so that nobody need wait for its lease to lapse.

    Returns:
        its epoch, which fences whoever held it before.

    Raises:
        DocumentLeased: another server holds it; the text says who, and what to do.
    """
    queries.create_document(connection, document_id)
    queries.lock_document(connection, document_id)
    table = yjs_documents.c
    columns = (table.lease_epoch, table.lease_holder, table.lease_expires_at)
    lease = connection.execute(select(*columns).filter_by(document_id=document_id)).one()
    time = _time(connection)
    if lease.lease_holder not in (None, holder) and lease.lease_expires_at > time and not has_died(lease.lease_holder):
        raise DocumentLeased(_refusal(lease.lease_holder))
    epoch = lease.lease_epoch if lease.lease_holder == holder else lease.lease_epoch + 1
    values = {"lease_epoch": epoch, "lease_holder": holder, "lease_expires_at": time + timedelta(seconds=seconds)}
    connection.execute(update(yjs_documents).filter_by(document_id=document_id).values(values))
    return epoch


def renew(connection: Connection, document_id: str, epoch: int, seconds: float) -> None:
    """Hold a lease for longer. One that has lapsed is renewed too, where nobody has taken it meanwhile.

    Raises:
        LeaseLost: another server has.
    """
    expires = _time(connection) + timedelta(seconds=seconds)
    held = update(yjs_documents).filter_by(document_id=document_id, lease_epoch=epoch)
    if connection.execute(held.values(lease_expires_at=expires)).rowcount == 0:
        raise LeaseLost("Another server writes this document now.")


def release(connection: Connection, document_id: str, epoch: int) -> None:
    """Give a lease back; one that another server has taken stays with it."""
    held = update(yjs_documents).filter_by(document_id=document_id, lease_epoch=epoch)
    connection.execute(held.values(lease_holder=None, lease_expires_at=None))


def require_free(connection: Connection, document_id: str) -> None:
    """Check that no server holds the document's lease.

    Raises:
        DocumentLeased: one does.
    """
    table = yjs_documents.c
    query = select(table.lease_holder).filter_by(document_id=document_id)
    holder = connection.execute(query.where(table.lease_expires_at > _time(connection))).scalar()
    if holder is not None:
        raise DocumentLeased(_refusal(holder))


def _refusal(holder: str) -> str:
    # A browser is shown it in a close frame, which has room for 123 bytes.
    name = holder.encode()[:36].decode(errors="ignore")
    return f"It is open on {name}. Close it there, or link both servers (JUPYTER_COLLABORATION_YJS_URL)."


def _time(connection: Connection) -> datetime:
    if connection.dialect.name == "sqlite":
        return now()
    return connection.execute(select(func.clock_timestamp(type_=UtcDateTime()))).scalar_one()
