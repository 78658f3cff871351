"""What the Y.js server promises its clients, beyond the exchange itself; over real sockets and PostgreSQL."""

from __future__ import annotations

import asyncio
import gc
import weakref

import pytest
from pycrdt import Doc, Text
from support.panics import PANICS
from support.yjs_client import YjsClient, until
from tornado.httpclient import AsyncHTTPClient

from jupyter_rtc_amprenta.core import protocol, queries_tokens
from jupyter_rtc_amprenta.core.documentlog import DocumentLog
from jupyter_rtc_amprenta.core.protocol import CloseCode, SyncType
from jupyterhub_service import yjs_gaps, yjs_handlers

pytestmark = [pytest.mark.anyio, pytest.mark.integration]


async def stored(yjs, document_id: str) -> str:
    doc: Doc = Doc()
    for item in (await DocumentLog(yjs.database).read(document_id)).updates:
        doc.apply_update(item)
    return str(doc.get("source", type=Text))


def typed(*words: str) -> list[bytes]:
    """The updates of one client that types these, one after the other."""
    doc: Doc = Doc()
    made: list[bytes] = []
    subscription = doc.observe(lambda event: made.append(event.update))
    text = doc.get("source", type=Text)
    for word in words:
        text.insert(len(str(text)), word)
    doc.unobserve(subscription)
    return made


def steps_1(client: YjsClient) -> int:
    return sum(protocol.decode(message).sync is SyncType.STEP_1 for message in client.messages)


async def test_an_edit_that_hangs_in_the_air_is_asked_for_and_not_acknowledged_before_it_is_whole(yjs):
    document_id = await yjs.document()
    first, second, third = typed("one ", "two ", "three")
    async with yjs.client(document_id) as hasty, yjs.client(document_id) as other:
        asked = steps_1(hasty)
        hasty.send(protocol.encode_update(second))
        hasty.send(protocol.encode_update(third))
        hasty.send(protocol.encode_echo(b"mine"))
        await until(lambda: steps_1(hasty) == asked + 1, "the client is asked for what is missing")
        other.text.insert(0, "> ")
        await other.committed()
        await asyncio.sleep(0.2)
        assert hasty.echoes == [] and str(other.text) == "> "
        hasty.send(protocol.encode_update(first))
        await until(lambda: hasty.echoes == [b"mine"])
        assert "one two three" in await stored(yjs, document_id)
        await until(lambda: "one two three" in str(other.text))


async def test_what_hangs_in_the_air_of_one_who_left_does_not_fill_the_memory(yjs, monkeypatch):
    monkeypatch.setattr(yjs_gaps, "MOST_BYTES", 10_000)
    document_id = await yjs.document()
    async with yjs.client(document_id) as honest:
        honest.text.insert(0, "truth")
        for _ in range(3):
            liar = yjs.client(document_id)
            await liar.connect()
            liar.send(protocol.encode_update(typed("x", "y" * 6000)[1]))
            await asyncio.sleep(0.1)
            await liar.close()
        await honest.committed()
        honest.text.insert(5, "!")
        await honest.committed()
        assert len(yjs.server.rooms.rooms[document_id].doc.get_update()) < 1000
        assert await stored(yjs, document_id) == "truth!"


@pytest.mark.parametrize("kind", [protocol.encode_update, protocol.encode_step_2])
async def test_an_update_that_would_break_the_document_ends_its_client_alone(yjs, kind):
    document_id = await yjs.document()
    async with yjs.client(document_id) as honest:
        honest.text.insert(0, "truth")
        for panic in PANICS:
            liar = yjs.client(document_id)
            await liar.connect()
            liar.send(kind(panic))
            await until(lambda liar=liar: liar.close_code == CloseCode.BAD_MESSAGE)
        honest.text.insert(5, "!")
        await honest.committed()
        assert honest.close_code is None
        assert await stored(yjs, document_id) == "truth!"


async def test_a_client_that_comes_back_exchanges_state_vectors_and_no_document(yjs):
    document_id = await yjs.document()
    async with yjs.client(document_id) as one:
        one.text.insert(0, "x" * 100_000)
        await one.committed()
    async with yjs.client(document_id, doc=one.doc) as again:
        await again.committed()
        assert sum(map(len, again.messages)) < 500


async def test_a_client_that_does_not_read_is_sent_away_and_disturbs_nobody(yjs, monkeypatch):
    monkeypatch.setattr(yjs_handlers, "MAX_UNSENT_BYTES", 2**20)
    document_id = await yjs.document("alice", bob="read-write")
    async with yjs.client(document_id) as typist, yjs.client(document_id) as reader:
        slow = yjs.client(document_id, "bob")
        await slow.connect()
        await asyncio.wait_for(slow.synced.wait(), 15)
        # Nothing is taken from its socket any more: the kernel's buffers fill up, and then the server's.
        slow._reader.cancel()
        for _ in range(40):
            typist.text.insert(0, "y" * 500_000)
            await asyncio.sleep(0.01)
        await typist.committed()
        room = yjs.server.rooms.rooms[document_id]
        await until(lambda: len(room.connections) == 2, "the slow reader is out")
        await until(lambda: len(str(reader.text)) == 20_000_000)
        slow._reader = asyncio.create_task(slow._read())
        await until(lambda: slow.close_code == CloseCode.TRY_LATER)
        assert "slow" in slow.close_reason


async def test_a_link_speaks_for_others_in_its_servers_name_and_never_as_them(yjs):
    document_id = await yjs.document("alice", bob="read-write")
    link = YjsClient(f"ws://{yjs.url}/doc/{document_id}?token={yjs.token(document_id, via='alice/')}")
    async with link, yjs.client(document_id, "bob") as bob, yjs.client(document_id, "bob") as second:
        guest = protocol.ClientState(7, 1, {"user": {"name": "bob", "username": "bob"}})
        own = protocol.ClientState(8, 1, {"user": {"name": "The Boss", "username": "alice"}})
        link.send(protocol.encode_awareness(protocol.encode_states([guest, own])))
        bob.present("root")
        await until(lambda: second.names() == {"bob, via alice's server", "alice", "bob"})


async def test_an_expired_token_ends_an_open_connection_which_may_come_back(yjs):
    document_id = await yjs.document()
    token = yjs.token(document_id, seconds=1)
    async with YjsClient(f"ws://{yjs.url}/doc/{document_id}?token={token}") as one:
        await until(lambda: one.close_code == CloseCode.RIGHTS_CHANGED)
        assert "expired" in one.close_reason


async def test_a_revoked_token_ends_the_connection_that_it_opened(yjs, monkeypatch):
    monkeypatch.setattr("jupyterhub_service.yjs_server.RIGHTS_SECONDS", 0.2)
    document_id = await yjs.document(bob="read-write")
    token = yjs.token(document_id)
    url = f"ws://{yjs.url}/doc/{document_id}"
    client = YjsClient(url, {"Authorization": f"Bearer {token}"})
    async with client, yjs.client(document_id) as other, yjs.client(document_id, "bob") as bob:
        await yjs.database.run(queries_tokens.revoke_token, yjs.keyring.any_stamp(token))
        await until(lambda: client.close_code == CloseCode.NOT_AUTHENTICATED)
        assert (other.close_code, bob.close_code) == (None, None)
        await yjs.database.run(queries_tokens.revoke_tokens_of, "alice")
        await until(lambda: other.close_code == CloseCode.NOT_AUTHENTICATED)
        bob.text.insert(0, "goes on")
        await bob.committed()
    again = YjsClient(url, {"Authorization": f"Bearer {token}"})
    await again.connect()
    await until(lambda: again.close_code == CloseCode.NOT_AUTHENTICATED)
    await again.close()


async def test_echo_requests_are_bounded(yjs):
    document_id = await yjs.document()
    async with yjs.client(document_id) as one:
        one.send(protocol.encode_echo(b"x" * 5000))
        await until(lambda: one.close_code == CloseCode.BAD_MESSAGE)


async def test_metrics_tell_the_four_groups_and_are_not_for_a_proxys_strangers(yjs):
    document_id = await yjs.document("alice", rita="read-only")
    url = f"http://{yjs.url}/metrics"
    fetch = AsyncHTTPClient().fetch
    async with yjs.client(document_id) as one, yjs.client(document_id, "rita", "read-only") as rita:
        one.text.insert(0, "x")
        rita.text.insert(0, "y")
        await one.committed()
        await rita.committed()
        lines = (await fetch(url)).body.decode().splitlines()
    assert "rtc_active_sessions 1.0" in lines
    assert "rtc_websocket_connections 2.0" in lines
    assert "rtc_document_operations_total 1.0" in lines
    assert 'rtc_refused_total{reason="reader\'s edit"} 1.0' in lines
    assert "rtc_commit_seconds_count 1.0" in lines and "rtc_fanout_seconds_count 1.0" in lines
    assert any(line.startswith('rtc_database_seconds_count{statement="INSERT"}') for line in lines)
    assert "rtc_pending_bytes 0.0" in lines
    proxied = {"X-Forwarded-For": "203.0.113.7"}
    assert (await fetch(url, headers=proxied, raise_error=False)).code == 403
    known = proxied | {"Authorization": f"Bearer {yjs.keyring.api_token('alice', 60)}"}
    assert (await fetch(url, headers=known)).code == 200


async def test_documents_that_left_memory_are_not_kept_by_their_observers(yjs):
    yjs.server.rooms._idle_seconds = 0.05
    document_id = await yjs.document()
    async with yjs.client(document_id) as one:
        one.text.insert(0, "x")
        await one.committed()
        room = weakref.ref(yjs.server.rooms.rooms[document_id])
    await until(lambda: not yjs.server.rooms.rooms)

    def is_gone() -> bool:
        gc.collect()
        return room() is None

    await until(is_gone)
