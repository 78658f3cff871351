"""Random writes, crashes, second tries, compactions, key rotations and resets: the content is always the written."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from pycrdt import Doc, Text
from sqlalchemy import Connection
from support.logs import Author, new_keys, text_of

from jupyter_rtc_amprenta.core import compaction, queries, queries_compaction, queries_history, queries_quick
from jupyter_rtc_amprenta.core.compaction import Retention
from jupyter_rtc_amprenta.core.crypto import PLAIN, EncryptionKeys
from jupyter_rtc_amprenta.core.database import Database
from jupyter_rtc_amprenta.core.queries import Pending
from jupyter_rtc_amprenta.core.schema import prepare_local_store

pytestmark = pytest.mark.integration


class _Crash(Exception):
    """The process dies within a transaction."""


class LogMachine(RuleBasedStateMachine):
    """One document, two people, and everything that can happen to its log."""

    database: Database

    def __init__(self) -> None:
        super().__init__()
        self.document_id = uuid4().hex
        self.database.call(queries.create_document, self.document_id)
        self.generation = 1
        self.keys: EncryptionKeys = PLAIN
        self.recorded: dict[int, str] = {}
        self._begin()

    def _begin(self) -> None:
        self.people = [Author(), Author()]
        # What the log should hold: each update that was committed, once.
        self.model: Doc[Any] = Doc()
        self.seq = 0
        self.writer, self.writer_seq = uuid4().hex, 0
        self.unsent: list[Pending] = []
        self.sent: list[Pending] = []
        self.recorded.clear()

    @property
    def text(self) -> str:
        return str(self.model.get("source", type=Text))

    def _submit(self, payload: bytes) -> None:
        self.writer_seq += 1
        self.unsent.append(Pending(self.document_id, self.generation, self.writer, self.writer_seq, payload))

    # --- what people do ---

    @rule(person=st.integers(0, 1), text=st.text("abc\n", min_size=1, max_size=8), at=st.integers(0, 100))
    def types(self, person: int, text: str, at: int) -> None:
        author = self.people[person]
        author.text.insert(min(at, len(str(author.text))), text)
        self._submit(author.updates[-1])

    @rule(person=st.integers(0, 1), start=st.integers(0, 100), length=st.integers(1, 10))
    def deletes(self, person: int, start: int, length: int) -> None:
        author = self.people[person]
        end = min(start + length, len(str(author.text)))
        if start < end:
            self._submit(author.remove(start, end))

    @rule()
    def they_sync(self) -> None:
        for author, other in (self.people, self.people[::-1]):
            author.doc.apply_update(other.doc.get_update())

    # --- what the log does ---

    @rule()
    def commits(self) -> None:
        if not (batch := self.unsent):
            return
        self.unsent = []
        positions = self.database.call(queries.append, batch, self.keys)[self.document_id]
        assert positions == list(range(self.seq + 1, self.seq + 1 + len(batch)))
        self.seq += len(batch)
        self.sent += batch
        for pending in batch:
            self.model.apply_update(pending.payload)

    @precondition(lambda self: self.unsent)
    @rule()
    def dies_before_the_commit(self) -> None:
        def append_and_die(connection: Connection) -> None:
            queries.append(connection, self.unsent, self.keys)
            raise _Crash

        with pytest.raises(_Crash):
            self.database.call(append_and_die)

    @precondition(lambda self: self.sent)
    @rule(count=st.integers(1, 5))
    def tries_again_what_was_committed(self, count: int) -> None:
        self.database.call(queries.append, self.sent[-count:], self.keys)

    @rule()
    def restarts(self) -> None:
        if not self.unsent:
            self.writer, self.writer_seq, self.sent = uuid4().hex, 0, []

    @rule(updates=st.integers(0, 10), dies=st.booleans())
    def compacts(self, updates: int, dies: bool) -> None:
        def compact(connection: Connection) -> None:
            retention = Retention(1e9, updates, grace=0.0)
            compaction.compact(
                connection, self.document_id, retention, lambda *_: set(self.recorded), self.keys
            )
            if dies:
                raise _Crash

        if dies:
            with pytest.raises(_Crash):
                self.database.call(compact)
        else:
            self.database.call(compact)
            # Whose answer was lost comes now.
            self.database.call(queries.append, self.sent[-3:], self.keys)

    @rule()
    def records_a_position(self) -> None:
        self.recorded[self.seq] = self.text

    @rule(rows=st.integers(1, 20))
    def gets_a_new_key(self, rows: int) -> None:
        fresh = new_keys(uuid4().hex[:8])
        self.keys = EncryptionKeys(fresh._keys | self.keys._keys)
        while self.database.call(queries_compaction.encrypt_anew, self.document_id, self.keys, rows):
            pass
        self.keys = fresh

    @rule()
    def gets_a_key_that_only_new_rows_use(self) -> None:
        self.keys = EncryptionKeys(new_keys(uuid4().hex[:8])._keys | self.keys._keys)

    @precondition(lambda self: self.seq > 3)
    @rule()
    def is_reset(self) -> None:
        self.generation = self.database.call(queries.reset_document, self.document_id)
        late = self.sent[-2:] + self.unsent
        outcome = self.database.call(queries.append, late, self.keys)
        assert not late or isinstance(outcome[self.document_id], Exception)
        self._begin()

    # --- what must always hold ---

    @invariant()
    def the_content_is_what_was_committed(self) -> None:
        for whole in (False, True):
            history = self.database.call(
                queries_history.read_history, self.document_id, None, self.keys, whole=whole
            )
            assert history.seq == self.seq
            assert text_of(history) == self.text
            if not whole and not self.database.is_sqlite:
                quickly = self.database.read_quickly(queries_quick.read_quickly, self.document_id, self.keys)
                assert asyncio.run(quickly) == history

    @invariant()
    def recorded_positions_are_readable(self) -> None:
        for position, text in self.recorded.items():
            history = self.database.call(
                queries_history.read_history, self.document_id, position, self.keys
            )
            assert text_of(history) == text


@pytest.mark.parametrize("kind", ["postgresql", "sqlite"])
def test_whatever_happens_the_content_is_what_was_committed(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    if kind == "postgresql":
        database = Database(request.getfixturevalue("database_url"))
    else:
        database = Database(f"sqlite:///{tmp_path / 'log.db'}")
        database.call(prepare_local_store)
    machine = type("Machine", (LogMachine,), {"database": database})
    try:
        run_state_machine_as_test(
            machine,
            settings=settings(
                max_examples=40,
                stateful_step_count=50,
                deadline=None,
                suppress_health_check=list(HealthCheck),
            ),
        )
    finally:
        database.close()
