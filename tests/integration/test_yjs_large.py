"""What is large holds up nobody else: applied in pieces, loaded in pieces, and never seen as a half."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable

import pytest
from pycrdt import Array, Doc, Map, Text
from support.yjs_client import YjsClient, until
from tornado.httpclient import AsyncHTTPClient, HTTPRequest

from jupyter_rtc_amprenta.core import protocol
from jupyter_rtc_amprenta.core.causal import load
from jupyter_rtc_amprenta.core.documentlog import DocumentLog
from jupyter_rtc_amprenta.core.errors import DatabaseUnavailable
from jupyter_rtc_amprenta.core.protocol import CloseCode
from jupyterhub_service.yjs_document import LiveDocument

pytestmark = [pytest.mark.anyio, pytest.mark.integration]

CELLS = 3000


@pytest.fixture(scope="module")
def notebook() -> bytes:
    """A large notebook of two people, who took turns: megabytes, of which each part builds on the other's."""
    docs: list[Doc] = [Doc(), Doc()]
    for turn in range(10):
        doc, other = docs[turn % 2], docs[1 - turn % 2]
        cells = doc.get("cells", type=Array)
        with doc.transaction():
            for number in range(CELLS // 10):
                cell = {
                    "source": Text("x = 1\n" * 5),
                    "outputs": Array([Map({"data": {"text/plain": "y" * 700}})]),
                }
                cells.insert(random.Random(number).randrange(len(cells) + 1), Map(cell))
        other.apply_update(doc.get_update(other.get_state()))
    return docs[0].get_update()


def cells(doc: Doc) -> int:
    return len(doc.get("cells", type=Array))


async def stored(yjs, document_id: str) -> Doc:
    doc: Doc = Doc()
    await load(doc, (await DocumentLog(yjs.database).read(document_id)).updates)
    return doc


async def echoes_while(client: YjsClient, goes_on: Callable[[], bool]) -> int:
    """How many round trips a client of another room has, for as long as something goes on."""
    count = 0
    while goes_on():
        await client.committed(timeout=60)
        count += 1
    return count


async def test_while_a_large_update_is_applied_other_rooms_have_their_turns(yjs, notebook, monkeypatch):
    large, other = await yjs.document(), await yjs.document()
    async with yjs.client(large) as giver, yjs.client(large) as watcher, yjs.client(other) as bystander:
        room = yjs.server.rooms.rooms[large]
        turns: list[int] = []
        apply_large = LiveDocument._apply_large

        async def counted(self, *args):
            done = asyncio.create_task(apply_large(self, *args))
            turns.append(await echoes_while(bystander, lambda: not done.done()))
            await done

        monkeypatch.setattr(LiveDocument, "_apply_large", counted)
        giver.send(protocol.encode_update(notebook))
        # Whoever asks meanwhile is shown all of it, or nothing.
        async with yjs.client(large) as late:
            assert cells(late.doc) in (0, CELLS)
        await giver.committed(timeout=60)
        assert turns[0] >= 3, "a bystander's echo goes there and back again and again"
        assert not room.document.waits
        await until(lambda: cells(watcher.doc) == CELLS, timeout=60)
    assert cells(await stored(yjs, large)) == CELLS
    # As it was made: one edit, in one row.
    assert (await DocumentLog(yjs.database).read(large)).seq == 1


async def test_a_large_document_is_loaded_while_other_rooms_go_on(yjs, make_yjs, notebook):
    large, other = await yjs.document(), await yjs.document()
    async with yjs.client(large) as giver:
        giver.send(protocol.encode_update(notebook))
        await giver.committed(timeout=60)
    second = await make_yjs()
    async with second.client(other) as bystander:
        read, reads = second.server.log.read, []
        second.server.log.read = lambda *args: reads.append(args) or read(*args)
        one, two = second.client(large), second.client(large)
        connecting = asyncio.gather(one.connect(), two.connect())
        turns = await echoes_while(bystander, lambda: not (one.synced.is_set() and two.synced.is_set()))
        await connecting
        assert turns > 5
        assert reads == [(large,)], "it is loaded once for all who ask"
        assert cells(one.doc) == cells(two.doc) == CELLS
        await one.close()
        await two.close()


async def test_a_large_update_that_lacks_another_waits_for_it(yjs, notebook):
    document_id = await yjs.document()
    first: Doc = Doc()
    made: list[bytes] = []
    subscription = first.observe(lambda event: made.append(event.update))
    first.get("source", type=Text).insert(0, "one ")
    first.apply_update(notebook)
    first.get("source", type=Text).insert(4, "two " * 50_000)
    first.unobserve(subscription)
    async with yjs.client(document_id) as hasty, yjs.client(document_id) as other:
        hasty.send(protocol.encode_update(made[2]))
        hasty.send(protocol.encode_echo(b"mine"))
        other.text.insert(0, "> ")
        await other.committed()
        assert hasty.echoes == [] and str(other.text) == "> "
        hasty.send(protocol.encode_update(made[0]))
        await until(lambda: hasty.echoes == [b"mine"])
        await until(lambda: str(other.text).count("two ") == 50_000)
    assert str((await stored(yjs, document_id)).get("source", type=Text)).count("two ") == 50_000


async def test_a_large_update_that_is_damaged_changes_nothing(yjs, notebook):
    document_id = await yjs.document()
    async with yjs.client(document_id) as good:
        bad = yjs.client(document_id)
        await bad.connect()
        bad.send(protocol.encode_update(notebook[:-1000]))
        await until(lambda: bad.close_code == CloseCode.BAD_MESSAGE)
        good.text.insert(0, "still here")
        await good.committed()
    doc = await stored(yjs, document_id)
    assert cells(doc) == 0 and str(doc.get("source", type=Text)) == "still here"


async def test_who_asks_for_it_again_and_again_waits_and_others_do_not(yjs, notebook):
    document_id = await yjs.document("alice", rita="read-only")
    async with yjs.client(document_id) as alice:
        alice.send(protocol.encode_update(notebook))
        await alice.committed(timeout=60)
        async with yjs.client(document_id, "rita", "read-only") as rita:
            for _ in range(50):
                rita.send(protocol.encode_step_1(b"\x01\x01\x00"))
            alice.text.insert(0, "meanwhile")
            await alice.committed()
            answered = sum(len(message) > 10**6 for message in rita.messages)
            assert answered < 25


async def test_a_seed_whose_commit_was_not_answered_lets_the_room_go(yjs, monkeypatch):
    document_id = await yjs.document()
    append_first = yjs.server.log.append_first

    async def unanswered(*args):
        await append_first(*args)
        raise DatabaseUnavailable("The connection to the database broke.")

    async with yjs.client(document_id) as one:
        monkeypatch.setattr(yjs.server.log, "append_first", unanswered)
        token = yjs.token(document_id)
        headers = {"Authorization": f"Bearer {token}", "If-None-Match": "*"}
        seed = Doc({"source": Text("seed")}).get_update()
        request = HTTPRequest(f"http://{yjs.url}/doc/{document_id}", "PUT", headers=headers, body=seed)
        assert (await AsyncHTTPClient().fetch(request, raise_error=False)).code == 503
        await until(lambda: one.close_code == CloseCode.TRY_LATER)
    async with yjs.client(document_id) as again:
        assert str(again.text) == "seed"
        again.text.insert(4, "ling")
        await again.committed()
    assert str((await stored(yjs, document_id)).get("source", type=Text)) == "seedling"


async def test_a_strangers_bytes_are_not_read(yjs):
    """A body, or a message, of who is not let in is no memory of this server's."""
    document_id = await yjs.document()
    stranger = YjsClient(f"ws://{yjs.url}/doc/{document_id}?token=no")
    await stranger.connect()
    for _ in range(20):
        stranger.send(bytes(2**20))
    await until(lambda: stranger._reader.done())
    reader, writer = await asyncio.open_connection("127.0.0.1", yjs.port)
    head = (
        f"PUT /doc/{document_id} HTTP/1.1\r\nHost: x\r\nIf-None-Match: *\r\nContent-Length: 60000000\r\n\r\n"
    )
    writer.write(head.encode())
    # Refused on the head alone: nothing of the body was sent.
    assert b"401" in await asyncio.wait_for(reader.readline(), 10)
    writer.close()
    async with yjs.client(document_id) as one:
        await one.committed()
    assert yjs.server.users._open == {}


async def test_an_awareness_message_that_is_too_large_ends_its_connection(yjs):
    document_id = await yjs.document()
    async with yjs.client(document_id) as one, yjs.client(document_id) as other:
        states = [protocol.ClientState(number, 1, {"x": "y" * 90_000}) for number in range(12)]
        one.send(protocol.encode_awareness(protocol.encode_states(states)))
        await until(lambda: one.close_code == CloseCode.TOO_LARGE)
        await other.committed()
