"""Events: everybody concerned is told, by every replica, and misses nothing by going away for a while."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest
import requests
from sqlalchemy import delete, event
from support.rules import ALICE, BOB, CAROL, TO_BOB, Rtc, server
from support.service_process import Service

from jupyter_rtc_amprenta.core.database import Database
from jupyter_rtc_amprenta.core.queries_presence import Present
from jupyter_rtc_amprenta.core.schema_record import events as events_table
from jupyter_rtc_amprenta.core.tokens import Keyring, new_private_key
from jupyterhub_service import events
from jupyterhub_service.bodies import InviteBody
from jupyterhub_service.errors import TooMany
from jupyterhub_service.events import EventFeed, Stream

pytestmark = [pytest.mark.anyio, pytest.mark.integration]


@pytest.fixture
async def feed(database: Database, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[EventFeed]:
    monkeypatch.setattr(events, "POLL_SECONDS", 0.1)
    feed = EventFeed(database)
    running = asyncio.create_task(feed.run())
    yield feed
    running.cancel()


async def told(stream: Stream, count: int) -> list[tuple[str, str, str]]:
    """The next events, and that there are no more."""
    found = []
    for _ in range(count):
        one = await stream.next(5)
        assert one is not None
        found.append((one.username, one.action, one.detail))
    with pytest.raises(TimeoutError):
        await stream.next(0.3)
    return found


async def test_everybody_concerned_is_told(rtc: Rtc, feed: EventFeed) -> None:
    document_id = await rtc.register()
    alice, bob, carol = [await feed.open(who.username, None) for who in (ALICE, BOB, CAROL)]
    await rtc.let_in(document_id, BOB)
    await rtc.seen(server("bob"), document_id)
    await rtc.presence.report(server("bob"), [Present(document_id, 1, "cell 9", edited="cell 9")])
    await rtc.participants.change(ALICE, document_id, "bob", "read-only")
    await rtc.participants.remove(ALICE, document_id, "bob")
    everything = [
        ("alice", "invited", "bob"),
        ("bob", "accepted", ""),
        ("bob", "joined", ""),
        ("bob", "moved", "cell 3"),
        ("bob", "edited", "cell 9"),
        ("bob", "moved", "cell 9"),
        ("alice", "made_reader", "bob"),
        ("alice", "removed", "bob"),
    ]
    assert await told(alice, 8) == everything
    assert await told(bob, 8) == everything
    assert await told(carol, 0) == []


async def test_the_participants_of_a_deleted_session_are_told(rtc: Rtc, feed: EventFeed) -> None:
    document_id = await rtc.register()
    await rtc.let_in(document_id, BOB)
    bob, carol = await feed.open("bob", None), await feed.open("carol", None)
    await rtc.collaboration.delete(ALICE, document_id)
    assert await told(bob, 1) == [("alice", "deleted", "")]
    assert await told(carol, 0) == []


async def test_who_comes_back_has_missed_nothing(rtc: Rtc, feed: EventFeed) -> None:
    document_id = await rtc.register()
    stream = await feed.open("bob", None)
    feed.close(stream)
    await rtc.invites.invite(ALICE, document_id, TO_BOB)
    again = await feed.open("bob", stream.position)
    assert [(one.username, one.action) for one in again.missed or ()] == [("alice", "invited")]
    assert await told(again, 0) == []
    assert (await feed.open("carol", stream.position)).missed == []


async def test_who_missed_too_much_reads_everything_anew(
    rtc: Rtc, feed: EventFeed, monkeypatch: pytest.MonkeyPatch
) -> None:
    document_id = await rtc.register()
    position = (await feed.open("alice", None)).position
    monkeypatch.setattr(events, "_MOST_MISSED", 3)
    for name in ("bob", "carol", "bob", "carol"):
        await rtc.invites.invite(ALICE, document_id, InviteBody(name, "", "read-only"))
    assert (await feed.open("alice", position)).missed is None
    assert len((await feed.open("alice", position + 1)).missed or ()) == 3
    assert (await feed.open("alice", position + 1000)).missed is None
    await rtc.database.run(lambda connection: connection.execute(delete(events_table)))
    assert (await feed.open("alice", position)).missed is None


async def test_one_query_serves_all_who_listen_and_none_is_made_for_nobody(
    rtc: Rtc, feed: EventFeed
) -> None:
    statements: list[str] = []
    for engine in rtc.database.engines:
        event.listen(engine, "before_cursor_execute", lambda *all_: statements.append(all_[2]))
    await asyncio.sleep(0.35)
    assert statements == []
    streams = [await feed.open("alice", None) for _ in range(10)]
    statements.clear()
    await asyncio.sleep(0.55)
    assert 1 <= len(statements) <= 6
    with pytest.raises(TooMany):
        for _ in range(20):
            streams.append(await feed.open("alice", None))


async def test_order_holds_while_many_write_at_once(rtc: Rtc, feed: EventFeed) -> None:
    """An id that becomes visible after a later one would be missed for ever."""
    ids = [await rtc.register(file_id=str(number)) for number in range(6)]
    stream = await feed.open("bob", None)
    invites = [rtc.invites.invite(ALICE, one, TO_BOB) for one in ids for _ in range(5)]
    await asyncio.gather(*invites)
    assert await told(stream, 30) == [("alice", "invited", "bob")] * 30


# --- as a browser gets them ------------------------------------------------------------------------------------


class Listener:
    """A stream of the service, read as it comes."""

    def __init__(self, service: Service, token: str, **headers: str) -> None:
        self.answer = requests.get(
            f"{service.url}/api/v1/collaboration/events",
            headers={"Authorization": f"Bearer {token}"} | headers,
            stream=True,
            timeout=20,
        )
        self._lines = self.answer.iter_lines(decode_unicode=True)

    def next(self) -> dict[str, Any]:
        """The next event: its fields."""
        fields: dict[str, Any] = {}
        for line in self._lines:
            if not line and "data" in fields:
                return fields | {"data": json.loads(fields["data"])}
            name, _, value = line.partition(":")
            fields |= {name: value.strip()}
        raise AssertionError("the stream ended")


@pytest.fixture
def replicas(start: Callable[..., Service], database_url: str) -> Iterator[tuple[Keyring, list[Service]]]:
    key = new_private_key()
    services = [start(RTC_DATABASE_URL=database_url, RTC_SIGNING_KEY=key) for _ in range(2)]
    for service in services:
        service.health(200)
    yield Keyring([key]), services


async def test_what_is_done_at_one_replica_is_told_by_the_other(
    rtc: Rtc, replicas: tuple[Keyring, list[Service]]
) -> None:
    keyring, (one, other) = replicas
    document_id = await rtc.register()
    await rtc.let_in(document_id, BOB)
    token = keyring.api_token("bob", 600)
    listener = await asyncio.to_thread(Listener, other, token)
    assert listener.answer.headers["Content-Type"].startswith("text/event-stream")
    hello = await asyncio.to_thread(listener.next)
    assert (hello["event"], hello["data"]) == ("hello", {})

    def demote() -> int:
        return requests.patch(
            f"{one.url}/api/v1/collaboration/sessions/{document_id}/participants/bob",
            headers={"Authorization": f"Bearer {keyring.api_token('alice', 600)}"},
            json={"permissions": "read-only"},
            timeout=20,
        ).status_code

    assert await asyncio.to_thread(demote) == 200
    start = time.monotonic()
    changed = await asyncio.to_thread(listener.next)
    assert time.monotonic() - start < 2 * events.POLL_SECONDS
    assert changed["event"] == "changed"
    assert changed["data"] | {"created_at": ""} == {
        "action": "made_reader",
        "document_id": document_id,
        "username": "alice",
        "detail": "bob",
        "created_at": "",
    }
    # After a restart of either, who comes back to the other gets what happened meanwhile.
    listener.answer.close()
    await rtc.participants.remove(ALICE, document_id, "bob")
    again = await asyncio.to_thread(lambda: Listener(one, token, **{"Last-Event-ID": changed["id"]}))
    assert (await asyncio.to_thread(again.next))["data"]["action"] == "removed"
    again.answer.close()
    for service in (one, other):
        status, log = await asyncio.to_thread(service.end)
        assert status == 0
        assert "Traceback" not in log


async def test_a_wrong_event_id(replicas: tuple[Keyring, list[Service]]) -> None:
    keyring, (one, _) = replicas
    answer = await asyncio.to_thread(one.get, "/events?last_event_id=x", keyring.api_token("bob", 600))
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_last_event_id")
