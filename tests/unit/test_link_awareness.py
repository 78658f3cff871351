"""Who is here, across servers: whom a browser speaks for, and what a server says of itself."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from pycrdt import Awareness, Doc

from jupyter_rtc_amprenta.core import protocol
from jupyter_rtc_amprenta.core.protocol import ClientState
from jupyter_rtc_amprenta.linkawareness import LinkAwareness

pytestmark = pytest.mark.anyio

ALICE, HER_OTHER_TAB, BOB = 1, 2, 3
_States = list[dict[int, Any]]


def update_of(client: int, clock: int, name: str | None) -> bytes:
    return protocol.encode_states([ClientState(client, clock, None if name is None else {"user": {"name": name}})])


class Room:
    """A room of alice's server, with what its browsers and its link were told."""

    def __init__(self) -> None:
        self.awareness = Awareness(Doc())
        self.browsers: _States = []
        self.link: _States = []
        self.tested = LinkAwareness(self.awareness, lambda message: self.browsers.append(_read(message)))
        self.tested.start(lambda message: self.link.append(_read(message)))

    def browser_tells(self, update: bytes, *, introduces: bool = False) -> set[int]:
        """As a room handles it."""
        spoken_for = self.tested.spoken_for(update, introduces=introduces)
        self.awareness.apply_awareness_update(update, "a browser")
        return spoken_for


def _read(message: bytes) -> dict[int, Any]:
    return {state.client_id: state.state for state in protocol.decode_states(protocol.decode(message).body)}


async def test_a_browser_speaks_for_itself_and_not_for_whom_it_was_told_of() -> None:
    room = Room()
    assert room.browser_tells(update_of(ALICE, 1, "alice")) == {ALICE}
    assert room.browser_tells(update_of(HER_OTHER_TAB, 1, "alice")) == {HER_OTHER_TAB}
    room.tested.receive(update_of(BOB, 1, "bob"))
    # Pages send back what they are told.
    assert room.browser_tells(update_of(BOB, 1, "bob")) == set()
    assert room.browser_tells(update_of(HER_OTHER_TAB, 1, "alice")) == set()
    assert room.browser_tells(update_of(BOB, 2, "bob")) == set()
    assert room.browser_tells(update_of(room.awareness.client_id, 9, "server")) == set()
    assert room.browser_tells(update_of(ALICE, 2, "alice")) == {ALICE}


async def test_a_page_that_comes_back_with_the_clock_it_left_with_is_there_again() -> None:
    room = Room()
    hers = room.browser_tells(update_of(ALICE, 3, "alice"), introduces=True)
    room.tested.left(hers)
    assert ALICE not in room.awareness.states
    assert room.browser_tells(update_of(ALICE, 3, "alice"), introduces=True) == {ALICE}
    assert ALICE in room.awareness.states
    # Also where its old connection is not known to be dead yet; an echo is never that.
    assert room.browser_tells(update_of(ALICE, 3, "alice"), introduces=True) == {ALICE}
    assert room.browser_tells(update_of(ALICE, 3, "alice")) == set()


async def test_who_leaves_is_gone_for_all_and_nobody_else_is() -> None:
    room = Room()
    hers = room.browser_tells(update_of(ALICE, 1, "alice"))
    room.browser_tells(update_of(HER_OTHER_TAB, 1, "alice"))
    room.tested.receive(update_of(BOB, 1, "bob"))
    hers |= room.browser_tells(update_of(BOB, 1, "bob")) | room.browser_tells(update_of(HER_OTHER_TAB, 1, "alice"))
    await asyncio.sleep(0)
    room.link.clear()
    room.browsers.clear()
    room.tested.left(hers)
    await asyncio.sleep(0)
    assert room.browsers == [{ALICE: None}]
    assert room.link == [{ALICE: None}]
    assert set(room.awareness.states) == {room.awareness.client_id, HER_OTHER_TAB, BOB}


async def test_what_the_server_says_of_its_link_is_for_its_own_browsers_alone() -> None:
    room = Room()
    room.tested.show_link("offline", "It rains.")
    said = {room.awareness.client_id: {"link": {"state": "offline", "reason": "It rains."}}}
    await asyncio.sleep(0)
    assert (room.browsers, room.link) == ([said], [])
    # Whoever comes later is told, too; another server is not.
    present = room.tested.present()
    assert present is not None and _read(present) == said
    room.tested.connected()
    assert room.link == []


async def test_another_server_can_say_nothing_of_this_ones_link() -> None:
    room = Room()
    room.tested.show_link("live", "")
    own = room.awareness.client_id
    forged = [
        ClientState(own, 99, {"link": {"state": "ended"}}),
        ClientState(BOB, 1, {"link": {"state": "ended"}, "user": {"name": "bob"}}),
    ]
    room.tested.receive(protocol.encode_states(forged))
    assert room.awareness.states[own] == {"link": {"state": "live", "reason": ""}}
    assert room.awareness.states[BOB] == {"user": {"name": "bob"}}
    assert room.browsers[-1] == {BOB: {"user": {"name": "bob"}}}
    room.tested.disconnected()
    assert own in room.awareness.states


async def test_a_page_that_was_away_is_told_with_a_new_clock() -> None:
    room = Room()
    room.tested.show_link("live", "")
    before = room.awareness.meta[room.awareness.client_id]["clock"]
    room.tested.renew()
    assert room.awareness.meta[room.awareness.client_id]["clock"] == before + 1
    assert room.awareness.get_local_state() == {"link": {"state": "live", "reason": ""}}
