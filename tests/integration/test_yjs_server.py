"""The Y.js server over real sockets and a real PostgreSQL."""

from __future__ import annotations

import asyncio
import time

import pytest
from pycrdt import Doc, Text
from sqlalchemy import delete, update
from support.yjs_client import YjsClient, until
from tornado.httpclient import AsyncHTTPClient, HTTPRequest

from jupyter_rtc_amprenta.core import protocol
from jupyter_rtc_amprenta.core.documentlog import DocumentLog
from jupyter_rtc_amprenta.core.protocol import CloseCode
from jupyter_rtc_amprenta.core.schema import participants, yjs_documents

pytestmark = [pytest.mark.anyio, pytest.mark.integration]


async def stored(yjs, document_id: str) -> str:
    """The document's text, from PostgreSQL alone."""
    doc: Doc = Doc()
    for item in (await DocumentLog(yjs.database).read(document_id)).updates:
        doc.apply_update(item)
    return str(doc.get("source", type=Text))


async def http(yjs, method: str, document_id: str, token: str, **options):
    return await AsyncHTTPClient().fetch(
        HTTPRequest(
            f"http://{yjs.url}/doc/{document_id}",
            method,
            headers={"Authorization": f"Bearer {token}"} | options.pop("headers", {}),
            **options,
        ),
        raise_error=False,
    )


def seed_update(text: str) -> bytes:
    return Doc({"source": Text(text)}).get_update()


async def test_two_clients_see_each_other_and_an_acknowledged_edit_is_in_postgresql(yjs):
    document_id = await yjs.document()
    async with yjs.client(document_id) as one, yjs.client(document_id) as two:
        one.text.insert(0, "hello ")
        await until(lambda: str(two.text) == "hello ")
        two.text.insert(6, "wörld")
        await until(lambda: str(one.text) == "hello wörld")
        await two.committed()
        assert await stored(yjs, document_id) == "hello wörld"


async def test_a_client_that_made_an_update_is_not_sent_it_again(yjs):
    document_id = await yjs.document()
    async with yjs.client(document_id) as one:
        before = len(one.messages)
        one.text.insert(0, "x")
        await one.committed()
        assert [protocol.decode(m).type for m in one.messages[before:]] == [protocol.MessageType.ECHO]


async def test_a_new_server_loads_what_another_committed(make_yjs):
    first = await make_yjs()
    document_id = await first.document()
    async with first.client(document_id) as one:
        for word in ("one ", "two ", "three"):
            one.text.insert(len(str(one.text)), word)
        await one.committed()
    second = await make_yjs()
    async with second.client(document_id) as two:
        assert str(two.text) == "one two three"


async def test_a_reader_sees_everything_and_changes_nothing(yjs):
    document_id = await yjs.document("alice", rita="read-only")
    async with yjs.client(document_id) as alice, yjs.client(document_id, "rita", "read-only") as rita:
        alice.text.insert(0, "truth")
        await until(lambda: str(rita.text) == "truth")
        rita.text.insert(0, "un")
        rita.present("rita")
        await rita.committed()
        await until(lambda: alice.names() == {"rita"})
        assert str(alice.text) == "truth" == await stored(yjs, document_id)
        assert yjs.server.rooms.rooms[document_id].refused_edits == 1
        assert rita.close_code is None


async def test_awareness_crosses_and_vanishes_with_its_connection(yjs):
    document_id = await yjs.document()
    async with yjs.client(document_id) as one:
        async with yjs.client(document_id) as two:
            two.present("two", place="Zoë 🦉")
            await until(lambda: [s.state["place"] for s in one.states.values()] == ["Zoë 🦉"])
            async with yjs.client(document_id) as late:
                await until(lambda: late.names() == {"alice"})
        await until(lambda: one.names() == set())


@pytest.mark.parametrize(
    ("token", "code"),
    [
        ("", CloseCode.NOT_AUTHENTICATED),
        ("rubbish", CloseCode.NOT_AUTHENTICATED),
        ("a.b.c", CloseCode.NOT_AUTHENTICATED),
    ],
)
async def test_a_wrong_token_is_told_by_its_close_code(yjs, token, code):
    document_id = await yjs.document()
    client = YjsClient(f"ws://{yjs.url}/doc/{document_id}?token={token}")
    await client.connect()
    await until(lambda: client.close_code == code)


async def test_who_may_not_enter_is_told_why(yjs):
    document_id, other = await yjs.document(rita="read-only"), await yjs.document("bob")
    cases = {
        CloseCode.NO_RIGHT: (document_id, yjs.token(document_id, "mallory")),
        CloseCode.RIGHTS_CHANGED: (document_id, yjs.token(document_id, "rita")),
        CloseCode.NO_DOCUMENT: ("text_none", yjs.token("text_none")),
        CloseCode.WRONG_GENERATION: (document_id, yjs.token(document_id, generation=7)),
    }
    for code, (asked, token) in cases.items():
        client = YjsClient(f"ws://{yjs.url}/doc/{asked}?token={token}")
        await client.connect()
        await until(lambda client=client, code=code: client.close_code == code, str(code))
    client = YjsClient(f"ws://{yjs.url}/doc/{other}?token={yjs.token(document_id)}")
    await client.connect()
    await until(lambda: client.close_code == CloseCode.NO_RIGHT)


@pytest.mark.parametrize(
    "message",
    [
        b"",
        b"\x00",
        b"\x00\x07\x00",
        b"\x00\x02\x05ab",
        b"\x00\x02\x03foo",
        b"\x00\x00\x03foo",
        b"\x01\x02\x01\x01",
        b"\xff" * 12,
        "text",
    ],
)
async def test_rubbish_ends_its_own_connection_only(yjs, message):
    document_id = await yjs.document()
    async with yjs.client(document_id) as good:
        bad = yjs.client(document_id)
        await bad.connect()
        await bad._socket.write_message(message, binary=isinstance(message, bytes))
        await until(lambda: bad.close_code == CloseCode.BAD_MESSAGE)
        good.text.insert(0, "still here")
        await good.committed()
    assert await stored(yjs, document_id) == "still here"


async def test_unknown_message_types_are_ignored(yjs):
    document_id = await yjs.document()
    async with yjs.client(document_id) as one:
        one.send(b"\x64\x01\x02\x03")
        one.text.insert(0, "on we go")
        await one.committed()


async def test_only_one_seed_is_taken(yjs):
    document_id = await yjs.document()
    token = yjs.token(document_id)
    answers = await asyncio.gather(
        *(
            http(
                yjs, "PUT", document_id, token, body=seed_update(f"seed {i}"), headers={"If-None-Match": "*"}
            )
            for i in range(5)
        )
    )
    assert sorted(answer.code for answer in answers) == [201, 412, 412, 412, 412]
    winner = [answer.code for answer in answers].index(201)
    assert await stored(yjs, document_id) == f"seed {winner}"
    state = await http(yjs, "GET", document_id, token)
    doc: Doc = Doc()
    doc.apply_update(state.body)
    assert str(doc.get("source", type=Text)) == f"seed {winner}"


async def test_a_seed_reaches_who_is_there_and_comes_too_late_after_an_edit(yjs):
    document_id = await yjs.document()
    async with yjs.client(document_id) as one:
        assert (
            await http(
                yjs,
                "PUT",
                document_id,
                yjs.token(document_id),
                body=seed_update("first"),
                headers={"If-None-Match": "*"},
            )
        ).code == 201
        await until(lambda: str(one.text) == "first")
    other = await yjs.document()
    async with yjs.client(other) as one:
        one.text.insert(0, "edited")
        await one.committed()
        assert (
            await http(
                yjs, "PUT", other, yjs.token(other), body=seed_update("late"), headers={"If-None-Match": "*"}
            )
        ).code == 412
        assert str(one.text) == "edited"


async def test_http_refuses_as_the_socket_does(yjs):
    document_id = await yjs.document("alice", rita="read-only")
    put = {"body": seed_update("x"), "headers": {"If-None-Match": "*"}}
    assert (await http(yjs, "GET", document_id, "x")).code == 401
    assert (await http(yjs, "GET", document_id, yjs.token(document_id, "mallory"))).code == 403
    assert (await http(yjs, "GET", "text_none", yjs.token("text_none"))).code == 404
    assert (
        await http(yjs, "PUT", document_id, yjs.token(document_id, "rita", "read-only"), **put)
    ).code == 403
    assert (
        await http(
            yjs, "PUT", document_id, yjs.token(document_id), body=b"foo", headers={"If-None-Match": "*"}
        )
    ).code == 400
    assert (await http(yjs, "PUT", document_id, yjs.token(document_id), body=seed_update("x"))).code == 428
    assert await stored(yjs, document_id) == ""


async def test_a_removed_participant_loses_the_open_connection(yjs, monkeypatch):
    document_id = await yjs.document("alice", bob="read-write")
    async with yjs.client(document_id, "bob") as bob, yjs.client(document_id) as alice:
        await yjs.database.run(
            lambda c: c.execute(delete(participants).where(participants.c.username == "bob"))
        )
        await until(lambda: bob.close_code == CloseCode.NO_RIGHT)
        assert alice.close_code is None


async def test_a_changed_right_and_a_reset_end_the_connection(yjs):
    document_id = await yjs.document("alice", bob="read-write")
    async with yjs.client(document_id, "bob") as bob, yjs.client(document_id) as alice:
        change = update(participants).where(participants.c.username == "bob").values(permissions="read-only")
        await yjs.database.run(lambda c: c.execute(change))
        await until(lambda: bob.close_code == CloseCode.RIGHTS_CHANGED)
        await yjs.database.run(lambda c: c.execute(update(yjs_documents).values(generation=2)))
        await until(lambda: alice.close_code == CloseCode.WRONG_GENERATION)
    async with YjsClient(
        f"ws://{yjs.url}/doc/{document_id}?token={yjs.token(document_id, generation=2)}"
    ) as again:
        again.text.insert(0, "anew")
        await again.committed()


async def test_an_edit_of_an_older_generation_never_reaches_the_log(yjs):
    document_id = await yjs.document()
    async with yjs.client(document_id) as one:
        await yjs.database.run(lambda c: c.execute(update(yjs_documents).values(generation=2)))
        one.text.insert(0, "late")
        await until(lambda: one.close_code == CloseCode.WRONG_GENERATION)
    assert await stored(yjs, document_id) == ""


async def test_limits_have_their_close_codes(make_yjs):
    yjs = await make_yjs(
        max_message_bytes=1000, max_messages_per_second=5, max_document_bytes=3000, max_connections_per_user=2
    )
    document_id = await yjs.document("alice", bob="read-write")

    async def code_after(act) -> int:
        async with yjs.client(document_id) as client:
            await act(client)
            return await until(lambda: client.close_code)

    async def send_large(client):
        client.text.insert(0, "x" * 1500)

    async def send_fast(client):
        for _ in range(80):
            client.send(b"\x03")

    async def grow(client):
        for _ in range(5):
            client.text.insert(0, "y" * 800)

    assert await code_after(send_large) == CloseCode.TOO_LARGE
    assert await code_after(send_fast) == CloseCode.TOO_FAST
    assert await code_after(grow) == CloseCode.TOO_LARGE
    async with yjs.client(document_id), yjs.client(document_id), yjs.client(document_id, "bob"):
        third = yjs.client(document_id)
        await third.connect()
        await until(lambda: third.close_code == CloseCode.TRY_LATER)


async def test_draining_sends_clients_away_to_come_back_and_keeps_their_edits(make_yjs):
    yjs = await make_yjs()
    document_id = await yjs.document()
    async with yjs.client(document_id) as one:
        one.text.insert(0, "last words")
        await one.committed()
        one.text.insert(0, "very ")
        await asyncio.sleep(0.05)
        await yjs.server.stop()
        await until(lambda: one.close_code == CloseCode.TRY_LATER)
    assert await stored(yjs, document_id) == "very last words"


async def test_an_idle_room_leaves_memory_and_comes_back_whole(yjs):
    yjs.server.rooms._idle_seconds = 0.05
    document_id = await yjs.document()
    async with yjs.client(document_id) as one:
        one.text.insert(0, "kept")
    await until(lambda: not yjs.server.rooms.rooms)
    async with yjs.client(document_id) as again:
        assert str(again.text) == "kept"


async def test_health_says_that_all_is_well(yjs):
    deadline = time.monotonic() + 15
    # It listens first, and finds its database and its bus then.
    while (answer := await AsyncHTTPClient().fetch(f"http://{yjs.url}/health", raise_error=False)).code != 200:
        assert time.monotonic() < deadline, answer.body
        await asyncio.sleep(0.05)
    assert b'"database": "ok"' in answer.body
