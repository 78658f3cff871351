"""The engine, and the one bridge from blocking drivers to asyncio.

`Database.run(function, *arguments)` calls `function(connection, *arguments)` in a worker thread, inside one
transaction, and maps what the driver raises to our errors.
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, Concatenate, ParamSpec, TypeVar

import psycopg2
from sqlalchemy import Connection, Engine, create_engine, event, exc
from sqlalchemy.engine import URL, make_url

from .errors import ConfigurationError, DatabaseError, DatabaseFull, DatabaseUnavailable

log = logging.getLogger(__name__)

P = ParamSpec("P")
T = TypeVar("T")

MINIMUM_SERVER_VERSION = 130000
# SQLSTATE of a write at a standby, or while an operator has forbidden writes.
_READ_ONLY = "25006"
_DISK_FULL = "53100"
# A connection that was used so lately is not asked whether it is there still.
IDLE_SECONDS = 1.0
_CONNECT = {"connect_timeout": 5, "keepalives_idle": 30, "keepalives_interval": 10, "keepalives_count": 3}


def parse_url(text: str) -> URL:
    """A database URL in SQLAlchemy's form, from libpq's (`postgres://…`, `host=… dbname=…`) or SQLAlchemy's.

    SQLAlchemy 2.1 takes a bare `postgresql://` for psycopg 3; here it is psycopg2's.

    Raises:
        ConfigurationError: it is neither.
    """
    try:
        scheme, separator, rest = text.strip().partition("://")
        if "=" in scheme:
            return _from_libpq(text)
        if separator and scheme in ("postgres", "postgresql"):
            authority = rest.partition("/")[0].rpartition("@")[2]
            if "%" in authority or "," in authority:
                # A socket's folder, or several hosts: libpq's own, which SQLAlchemy does not read.
                return _from_libpq(text)
            scheme = "postgresql+psycopg2"
        url = make_url(scheme + separator + rest)
    except (exc.ArgumentError, ValueError):
        raise ConfigurationError(
            "The database URL can't be understood. It should look like postgresql://user:password@host:5432/database."
        ) from None
    if url.drivername not in ("postgresql+psycopg2", "sqlite", "sqlite+pysqlite"):
        raise ConfigurationError(f"{url.drivername} is not a database this works with: use postgresql://…")
    return url


def _from_libpq(text: str) -> URL:
    from psycopg2.extensions import parse_dsn

    try:
        parts = parse_dsn(text)
    except psycopg2.ProgrammingError as error:
        raise ValueError(str(error)) from None
    names = {"user": "username", "password": "password", "host": "host", "dbname": "database"}
    ports = [int(port) if port else None for port in parts.get("port", "").split(",")]
    if len(ports) > 1:
        # SQLAlchemy's URL has one port; of several, both hosts and ports go along as they are.
        del names["host"]
    known: dict[str, Any] = {ours: parts.pop(theirs) for theirs, ours in names.items() if theirs in parts}
    if len(ports) == 1:
        known["port"] = ports[0]
        parts.pop("port", None)
    return URL.create("postgresql+psycopg2", query=parts, **known)


@contextmanager
def errors_mapped() -> Iterator[None]:
    """Turn the driver's errors into ours; what it says of statements stays in the cause, and of values nothing.

    Raises:
        DatabaseFull: its disk is full.
        DatabaseUnavailable: the connection failed or broke, or the database is starting or read-only.
        DatabaseError: the database refused the statement.
    """
    try:
        yield
    except (exc.OperationalError, exc.InterfaceError, exc.TimeoutError) as error:
        if _is_full(getattr(error, "orig", None)):
            raise DatabaseFull("The database can't write: its disk is full, or a quota is used up.") from error
        if getattr(getattr(error, "orig", None), "sqlite_errorcode", None) == sqlite3.SQLITE_ERROR:
            # SQLite calls operational what no other try mends: a table that is not there, a schema that is not ours.
            raise DatabaseError("The database refused a statement.") from error
        raise DatabaseUnavailable("The database does not answer.") from error
    except exc.DBAPIError as error:
        if error.connection_invalidated:
            raise DatabaseUnavailable("The connection to the database broke.") from error
        raise DatabaseError("The database refused a statement.") from error


def in_short(error: DatabaseError) -> str:
    """What the driver says of it, for the log: its first line alone, since more may hold what people wrote."""
    cause = error.__cause__
    return str(getattr(cause, "orig", cause)).strip().partition("\n")[0]


def _is_full(error: BaseException | None) -> bool:
    # SQLite says "disk I/O error" where a quota, and not the disk, is at its end.
    code = getattr(error, "sqlite_errorcode", None)
    return getattr(error, "pgcode", None) == _DISK_FULL or code in (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR_WRITE)


class Database:
    """An engine with its worker threads.

    Args:
        url: of PostgreSQL, in any form that `parse_url` takes, or `sqlite:///file`.
        threads: how many transactions may run at once; SQLite has one.

    Raises:
        ConfigurationError: the URL can't be understood.
    """

    def __init__(self, url: str | URL, threads: int = 4) -> None:
        self.url = parse_url(url) if isinstance(url, str) else url
        self.is_sqlite = self.url.get_backend_name() == "sqlite"
        threads = 1 if self.is_sqlite else threads
        self.engine = _sqlite_engine(self.url) if self.is_sqlite else _postgres_engine(self.url, threads)
        # Connections of its own: to change one from a transaction's to this and back takes two ways to PostgreSQL.
        self._autocommit = self.engine if self.is_sqlite else _postgres_engine(self.url, threads, "AUTOCOMMIT")
        for engine in self.engines:
            event.listen(engine, "handle_error", self._forget_connections)
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="rtc-database")

    @property
    def engines(self) -> tuple[Engine, ...]:
        """All its engines, for whoever listens to what is done with them."""
        return (self.engine,) if self.is_sqlite else (self.engine, self._autocommit)

    def _forget_connections(self, context: Any) -> None:
        """Where one connection has broken, those of the other kind have too: they are made anew."""
        if context.is_disconnect:
            for engine in self.engines:
                if engine is not context.engine:
                    engine.dispose(close=False)

    def call(self, function: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run `function` in one transaction, in this thread.

        Raises:
            DatabaseUnavailable, DatabaseError: see `errors_mapped`.
        """
        with errors_mapped(), self.engine.begin() as connection:
            return function(connection, *args, **kwargs)

    async def run(self, function: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run `function` in one transaction, in a worker thread. Once begun it ends, even if the caller is cancelled.

        Raises:
            DatabaseUnavailable, DatabaseError: see `errors_mapped`.
        """
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, lambda: self.call(function, *args, **kwargs))

    def call_one(self, function: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run `function`, each of whose statements is a transaction of its own, in this thread.

        One statement costs one way to PostgreSQL and back so, instead of three.

        Raises:
            DatabaseUnavailable, DatabaseError: see `errors_mapped`.
        """
        if self.is_sqlite:
            return self.call(function, *args, **kwargs)
        with errors_mapped(), self._autocommit.begin() as connection:
            return function(connection, *args, **kwargs)

    async def run_one(
        self, function: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """The same in a worker thread. Once begun it ends, even if the caller is cancelled.

        Raises:
            DatabaseUnavailable, DatabaseError: see `errors_mapped`.
        """
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, lambda: self.call_one(function, *args, **kwargs))

    async def read(
        self, function: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """The same for what only reads: where its connection is from before a restart, it is tried with a new one.

        Raises:
            DatabaseUnavailable, DatabaseError: see `errors_mapped`.
        """
        try:
            return await self.run_one(function, *args, **kwargs)
        except DatabaseUnavailable as error:
            if not getattr(error.__cause__, "connection_invalidated", False):
                raise
        return await self.run_one(function, *args, **kwargs)

    async def read_quickly(
        self, function: Callable[Concatenate[Any, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T | None:
        """Run `function(cursor, *arguments)`, which only reads, in a worker thread, with a cursor of psycopg2's.

        To go through SQLAlchemy takes longer than a quick statement does.

        Returns:
            None where it failed, too: `read` the same, which knows how to try again, and what to say.

        Raises:
            DatabaseUnavailable: there is no connection to be had.
        """
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, lambda: self._read_quickly(function, *args, **kwargs))

    def _read_quickly(self, function: Callable[Concatenate[Any, P], T], *args: P.args, **kwargs: P.kwargs) -> T | None:
        with errors_mapped():
            try:
                connection = self._autocommit.raw_connection()
            except psycopg2.Error as error:
                raise DatabaseUnavailable("The database does not answer.") from error
        try:
            with connection.cursor() as cursor:
                return function(cursor, *args, **kwargs)
        except psycopg2.Error as error:
            if connection.dbapi_connection.closed:
                connection.invalidate(error)
                for engine in self.engines:
                    engine.dispose(close=False)
            else:
                log.warning("A quick read failed, and goes the long way: %s", str(error).partition("\n")[0])
            return None
        finally:
            connection.close()

    def close(self) -> None:
        """Wait for what runs, and close all connections."""
        self._threads.shutdown(wait=True)
        for engine in self.engines:
            engine.dispose()


def _postgres_engine(url: URL, threads: int, isolation_level: Any = None) -> Engine:
    options = {"pool_size": threads, "max_overflow": 0, "pool_use_lifo": True, "connect_args": _CONNECT}
    engine = create_engine(url, isolation_level=isolation_level, hide_parameters=True, **options)
    event.listen(engine, "connect", _refuse_old_server)
    event.listen(engine, "checkin", _note_use)
    event.listen(engine, "checkout", _check_if_idle)
    event.listen(engine, "handle_error", _leave_read_only_server)
    return engine


def _note_use(connection: Any, record: Any) -> None:
    record.info["used_at"] = time.monotonic()
    if connection is not None:
        # Behind pgbouncer it hears what somebody else has listened for, and psycopg2 would keep all of it.
        connection.notifies.clear()


def _check_if_idle(connection: Any, record: Any, proxy: Any) -> None:
    """Ask a connection that has been idle whether it is there still; to ask each time would double its work."""
    if time.monotonic() - record.info.get("used_at", time.monotonic()) < IDLE_SECONDS:
        return
    before = connection.autocommit
    try:
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
        connection.autocommit = before
    except psycopg2.Error as error:
        # The pool takes another one.
        raise exc.DisconnectionError from error


def _leave_read_only_server(context: Any) -> None:
    # After a fail-over the old primary may go on as a standby: a new connection finds the new one.
    if getattr(context.original_exception, "pgcode", None) == _READ_ONLY:
        context.is_disconnect = True


def _refuse_old_server(connection: Any, record: Any) -> None:
    if connection.server_version < MINIMUM_SERVER_VERSION:
        connection.close()
        raise ConfigurationError("PostgreSQL 13 or newer is needed.")


def _sqlite_engine(url: URL) -> Engine:
    connect = {"check_same_thread": False, "timeout": 10}
    engine = create_engine(url, connect_args=connect, pool_size=1, max_overflow=0, hide_parameters=True)
    event.listen(engine, "connect", _prepare_sqlite)
    event.listen(engine, "begin", _begin_immediate)
    return engine


def _prepare_sqlite(connection: Any, record: Any) -> None:
    # The driver must not open transactions by itself: ours begin with the write lock (below).
    connection.isolation_level = None
    # One process has the file, for as long as it lives: two would each take the other's saves for outside changes.
    connection.execute("PRAGMA locking_mode=EXCLUSIVE")
    # Said after that, a write-ahead log needs no shared memory, which network homes have not
    # (https://sqlite.org/wal.html#use_of_wal_without_shared_memory). FULL: a commit is on the disk.
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")
    connection.execute("PRAGMA foreign_keys=ON")


def _begin_immediate(connection: Connection) -> None:
    # The lock on the whole file, first: it stands for PostgreSQL's lock on the document's row.
    connection.exec_driver_sql("BEGIN IMMEDIATE")
