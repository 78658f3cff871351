"""A room without sockets: whatever frames come, in whatever order, the log is the document, and only that."""

from __future__ import annotations

import asyncio
import json
import math
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pycrdt import Array, Doc, Map, Text
from support.panics import PANICS

from jupyter_rtc_amprenta.core import protocol
from jupyter_rtc_amprenta.core.causal import incomplete, load
from jupyter_rtc_amprenta.core.database import Database
from jupyter_rtc_amprenta.core.documentlog import DocumentLog
from jupyter_rtc_amprenta.core.errors import DocumentBroken, ProtocolError
from jupyter_rtc_amprenta.core.presence import Speaker
from jupyter_rtc_amprenta.core.schema import LOG_TABLES, metadata
from jupyter_rtc_amprenta.core.tokens import DocumentClaims
from jupyterhub_service.metrics import Metrics
from jupyterhub_service.yjs_limits import Share
from jupyterhub_service.yjs_peers import Peers
from jupyterhub_service.yjs_room import Room


class Client:
    """A client that keeps what it is sent."""

    hub_token = ""

    def __init__(self, name: str, permissions: str = "read-write") -> None:
        self.claims = DocumentClaims(name, "d", permissions, 1, "", math.inf)
        self.speaker = Speaker(name, name)
        self.doc: Doc = Doc()
        self.ended: int | None = None
        self.answers = Share()

    def send(self, message: bytes) -> None:
        frame = protocol.decode(message)
        if frame.sync in (protocol.SyncType.STEP_2, protocol.SyncType.UPDATE):
            self.doc.apply_update(frame.body)

    def end(self, code: int, reason: str) -> None:
        self.ended = code


def _made() -> list[bytes]:
    doc: Doc = Doc(client_id=7)
    made: list[bytes] = []
    subscription = doc.observe(lambda event: made.append(event.update))
    text, cells = doc.get("source", type=Text), doc.get("cells", type=Array)
    for number in range(8):
        text.insert(number, "ab")
        cells.append(Map({"source": Text(str(number))}))
    del text[2:5]
    del cells[1]
    doc.unobserve(subscription)
    return made


MADE = _made()


@st.composite
def frames(draw) -> bytes:
    """A frame as a client sends it, or one that was damaged on the way."""
    body = draw(st.sampled_from(MADE))
    encode = draw(st.sampled_from((protocol.encode_update, protocol.encode_step_2, protocol.encode_step_1)))
    frame = bytearray(encode(body))
    for at, value in draw(
        st.lists(st.tuples(st.integers(0, len(frame) - 1), st.integers(0, 255)), max_size=2)
    ):
        frame[at] = value
    return bytes(frame)


def shown(doc: Doc) -> tuple[bytes, str, str]:
    cells = doc.get("cells", type=Array)
    return doc.get_state(), str(doc.get("source", type=Text)), json.dumps(cells.to_py(), default=str)


@asynccontextmanager
async def _open_room(folder: Path) -> AsyncIterator[tuple[Room, DocumentLog]]:
    """A room over a log of its own."""
    database = Database(f"sqlite:///{folder}/log.db")
    metadata.create_all(database.engine, LOG_TABLES)
    log = DocumentLog(database)
    room = Room("d", await log.create("d"), 0, Doc(), log, Metrics(), Peers())
    try:
        yield room, log
    finally:
        room.close()
        await log.stop()
        database.close()


async def _play(folder: Path, messages: list[bytes]) -> None:
    async with _open_room(folder) as (room, log):
        await _play_in(room, log, messages)


async def _play_in(room: Room, log: DocumentLog, messages: list[bytes]) -> None:
    writer, reader = Client("writer"), Client("reader", "read-only")
    for client in (writer, reader):
        room.join(client)
    for message in messages:
        for client in (reader, writer):
            try:
                await room.receive(client, protocol.decode(message))
            except ProtocolError:
                continue
    await asyncio.sleep(0.03)
    await room.committed()
    stored: Doc = Doc()
    updates = (await log.read("d")).updates
    await load(stored, updates)
    assert incomplete(stored, updates) == [], "what is acknowledged is whole"
    # What hangs in the air is shown by pycrdt at times; it is nobody's document yet.
    if not room.document.waits:
        assert shown(stored) == shown(room.doc) == shown(reader.doc)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.one_of(frames(), st.binary(max_size=20)), max_size=25))
def test_whatever_frames_come_the_log_is_the_document(messages):
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(_play(Path(folder), messages))


def test_what_still_waits_is_not_logged_with_what_has_come():
    """pycrdt tells of an edit that waits together with one that has nothing to do with it."""
    first, later, latest = MADE[0], MADE[2], MADE[6]
    messages = [protocol.encode_update(update) for update in (latest, later, latest, first)]
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(_play(Path(folder), messages))


def test_what_comes_from_the_log_is_not_logged_again_while_something_waits():
    # What is typed and what is deleted, in one update, as it was made.
    author: Doc = Doc()
    made_by_author: list[bytes] = []
    subscription = author.observe(lambda event: made_by_author.append(event.update))
    text = author.get("source", type=Text)
    with author.transaction():
        text.insert(0, "typed")
        del text[1:3]
    author.unobserve(subscription)
    (both,) = made_by_author

    async def play(folder: Path) -> int:
        async with _open_room(folder) as (room, log):
            client = Client("writer")
            room.join(client)
            other: Doc = Doc(client_id=8)
            made: list[bytes] = []
            subscription = other.observe(lambda event: made.append(event.update))
            for word in ("a", "b"):
                other.get("source", type=Text).insert(0, word)
            other.unobserve(subscription)
            await room.receive(client, protocol.decode(protocol.encode_update(made[1])))
            assert room.document.waits
            await room.document.take(both, logged=True)
            assert shown(room.doc)[1:] == shown(whole(both))[1:]
            return (await log.read("d")).seq

    with tempfile.TemporaryDirectory() as folder:
        assert asyncio.run(play(Path(folder))) == 0


def test_a_document_that_is_broken_in_memory_is_left_to_be_loaded_anew():
    async def play(folder: Path) -> None:
        async with _open_room(folder) as (room, log):
            client = Client("writer")
            room.join(client)
            await room.receive(client, protocol.decode(protocol.encode_update(MADE[0])))
            await room.committed()
            with pytest.raises(DocumentBroken):
                # As it comes from another replica, which should have looked at it.
                await room.document.take(PANICS[0])
            assert room.outdated and client.ended == protocol.CloseCode.TRY_LATER
            assert (await log.read("d")).updates == [MADE[0]]

    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(play(Path(folder)))


def whole(update: bytes) -> Doc:
    doc: Doc = Doc()
    doc.apply_update(update)
    return doc
