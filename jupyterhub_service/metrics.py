"""What the Y.js server counts, for Prometheus: sessions, connections, document operations, the database."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from sqlalchemy import event

from jupyter_rtc_amprenta.core.database import Database

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class Metrics:
    """The collectors of one Y.js server, in a registry of its own.

    Attributes:
        operations: changes of documents.
        fanout_seconds: from a change until the room's clients were told.
        commit_seconds: from a change until it was in PostgreSQL.
        repairs: updates that came from the log and not from a client or another replica.
        adopted: updates of another replica that this one had to append.
    """

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.operations = self._counter("document_operations", "Changes of documents.")
        self.messages = self._counter("websocket_messages", "Messages received from clients.")
        self.repairs = self._counter("replica_updates_read", "Updates of other replicas, read from the log.")
        self.adopted = self._counter(
            "replica_updates_adopted", "Updates of a replica that did not append them, appended by this one."
        )
        self.fanout_seconds = self._histogram("fanout_seconds", "From a change until the room's clients were told.")
        self.commit_seconds = self._histogram("commit_seconds", "From a change until it was in PostgreSQL.")
        self._refused = Counter(
            "rtc_refused", "Clients and messages that were refused.", ["reason"], registry=self.registry
        )
        self._query_seconds = Histogram(
            "rtc_database_seconds",
            "How long PostgreSQL takes for a statement.",
            ["statement"],
            buckets=_SECONDS,
            registry=self.registry,
        )

    def refused(self, reason: str) -> None:
        """Count what was refused; `reason` is one of few."""
        self._refused.labels(reason).inc()

    def watch(self, name: str, help_: str, value: Callable[[], float]) -> None:
        """A gauge that is read when it is asked for."""
        Gauge(f"rtc_{name}", help_, registry=self.registry).set_function(value)

    def time_statements(self, database: Database) -> None:
        """Take the time of each statement, by its first word."""
        for engine in database.engines:
            event.listen(engine, "before_cursor_execute", _begin)
            event.listen(engine, "after_cursor_execute", self._end)

    def text(self) -> bytes:
        """All of it, in Prometheus' text format."""
        return generate_latest(self.registry)

    def _end(self, connection: Any, cursor: Any, statement: str, parameters: Any, context: Any, many: bool) -> None:
        kind = statement.split(None, 1)[0].upper() if statement else ""
        taken = time.perf_counter() - context.rtc_began
        self._query_seconds.labels(kind if kind in ("SELECT", "INSERT", "UPDATE", "DELETE") else "OTHER").observe(taken)

    def _counter(self, name: str, help_: str) -> Counter:
        return Counter(f"rtc_{name}", help_, registry=self.registry)

    def _histogram(self, name: str, help_: str) -> Histogram:
        return Histogram(f"rtc_{name}", help_, buckets=_SECONDS, registry=self.registry)


def _begin(connection: Any, cursor: Any, statement: str, parameters: Any, context: Any, many: bool) -> None:
    context.rtc_began = time.perf_counter()
