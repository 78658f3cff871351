"""A room's awareness, without sockets: who may speak for whom, and how often the room is told."""

from __future__ import annotations

import asyncio

import pytest

from jupyter_rtc_amprenta.core import protocol
from jupyter_rtc_amprenta.core.presence import Speaker
from jupyter_rtc_amprenta.core.protocol import ClientState
from jupyterhub_service.yjs_awareness import MOST_CLIENTS, TELL_SECONDS, Presences

pytestmark = pytest.mark.anyio


class Client:
    """A client of the room that notes what it is told."""

    hub_token = ""

    def __init__(self, username: str, via: str = "") -> None:
        self.speaker = Speaker(username, username, via)
        self.messages: list[bytes] = []
        self.seen: dict[int, ClientState] = {}

    def send(self, message: bytes) -> None:
        self.messages.append(message)
        for state in protocol.decode_states(protocol.decode(message).body):
            self.seen[state.client_id] = state

    def end(self, code: int, reason: str) -> None:
        raise AssertionError(reason)

    def names(self) -> dict[int, str]:
        return {c: s.state["user"]["name"] for c, s in self.seen.items() if s.state is not None}


def says(client_id: int, clock: int, state: dict | None) -> bytes:
    return protocol.encode_states([ClientState(client_id, clock, state)])


async def told() -> None:
    await asyncio.sleep(TELL_SECONDS * 1.5)


async def test_a_burst_is_told_as_one_message_after_the_first():
    typist, other = Client("alice"), Client("bob")
    room = Presences([typist, other])
    room.receive(typist, says(1, 1, {"cursor": 0}))
    await asyncio.sleep(0.01)
    assert len(other.messages) == 1
    for clock in range(2, 50):
        room.receive(typist, says(1, clock, {"cursor": clock}))
    await told()
    assert len(other.messages) == 2
    assert other.seen[1].state == {"cursor": 49, "user": {"name": "alice"}}
    # A stock client that hears nothing takes its connection for dead; it hears itself.
    assert len(typist.messages) == 2


async def test_nobody_speaks_for_a_client_of_another_live_connection():
    alice, bob = Client("alice"), Client("bob")
    room = Presences([alice, bob])
    room.receive(alice, says(1, 1, {}))
    room.receive(bob, says(1, 2, {"user": {"name": "bob"}}))
    room.receive(bob, says(1, 2, None))
    await told()
    assert bob.names() == alice.names() == {1: "alice"}
    assert room.left_out == 2


async def test_a_tab_that_reconnects_takes_its_client_over_and_the_old_socket_takes_nothing_away():
    old, new, other = Client("alice"), Client("alice"), Client("bob")
    room = Presences([old, new, other])
    room.receive(old, says(1, 1, {}))
    room.receive(new, says(1, 2, {}))
    room.leave(old)
    await told()
    assert other.names() == {1: "alice"}


async def test_who_has_left_does_not_come_back_by_an_echo_but_does_by_coming_back():
    alice, bob = Client("alice"), Client("bob")
    connections = [alice, bob]
    room = Presences(connections)
    room.receive(bob, says(2, 1, {}))
    room.receive(alice, says(1, 5, {}))
    await told()
    connections.remove(alice)
    room.leave(alice)
    await asyncio.sleep(0.01)
    assert bob.names() == {2: "bob"}
    room.receive(bob, says(1, 5, {}))
    await told()
    assert bob.names() == {2: "bob"}
    back = Client("alice")
    connections.append(back)
    room.receive(back, says(1, 5, {}))
    await told()
    assert bob.names() == {1: "alice", 2: "bob"}


async def test_one_connection_can_say_so_much_and_no_more():
    liar, other = Client("mallory"), Client("bob")
    room = Presences([liar, other])
    for number in range(1000):
        room.receive(liar, says(number, 1, {}))
    room.receive(liar, says(0, 2, {"x": "y" * 200_000}))
    await told()
    assert len(other.names()) == MOST_CLIENTS
    link = Client("alice", "alice/")
    room._connections.append(link)
    for number in range(2000, 2100):
        room.receive(link, says(number, 1, {"user": {"name": str(number)}}))
    await told()
    assert len(other.names()) == MOST_CLIENTS + 100
    # A link knows its own browsers.
    assert link.messages == []


async def test_another_replica_speaks_for_its_own_clients_only():
    alice = Client("alice")
    room = Presences([alice])
    heard: list[list[bytes]] = []
    room._on_local = heard.append
    room.receive(alice, says(1, 1, {}))
    room.receive_remote("replica", says(1, 9, None))
    room.receive_remote("replica", says(2, 1, {"user": {"name": "bob"}}))
    await told()
    assert alice.names() == {1: "alice", 2: "bob"} and len(heard) == 1
    assert room.replicas() == {"replica"}
    room.leave("replica")
    await told()
    assert alice.names() == {1: "alice"} and len(heard) == 1
