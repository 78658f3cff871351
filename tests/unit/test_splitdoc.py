"""The two documents of a linked room (rule 10): what is this server's stays here, everything else goes everywhere.

The world of these tests: a relay, as the Y.js server is one; servers, each a room with its `SplitDocument` and its
two histories; browsers, which sync with a room as upstream's rooms sync, and keep what they have when it is gone.
"""

from __future__ import annotations

import asyncio
import struct
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from jupyter_ydoc import YNotebook, YUnicode
from pycrdt import Doc, Map, Text

from jupyter_rtc_amprenta.core.protocol import read_uint
from jupyter_rtc_amprenta.perserver import per_server
from jupyter_rtc_amprenta.splitdoc import PER_SERVER_KEYS, SplitDocument

pytestmark = pytest.mark.anyio


# --- reading updates as a browser does ---


@dataclass
class Item:
    """One struct of an update, and the ids that must be there before it."""

    client: int
    clock: int
    length: int
    hangs_on: list[tuple[int, int]] = field(default_factory=list)


class Update:
    """A Yjs update, version 1, taken apart: its structs by client, and what it deletes."""

    def __init__(self, data: bytes) -> None:
        self._data, self._at = data, 0
        self.items: dict[int, deque[Item]] = {}
        for _ in range(self._uint()):
            count, client, clock = self._uint(), self._uint(), self._uint()
            items = self.items[client] = deque()
            for _ in range(count):
                items.append(self._item(client, clock))
                clock += items[-1].length
        self.deletions = [
            (client, self._uint(), self._uint())
            for client, ranges in ((self._uint(), self._uint()) for _ in range(self._uint()))
            for _ in range(ranges)
        ]
        assert self._at == len(data)

    @property
    def clients(self) -> set[int]:
        """Every client that it speaks of in any way."""
        hung_on = {client for items in self.items.values() for item in items for client, _ in item.hangs_on}
        return set(self.items) | hung_on | {client for client, _, _ in self.deletions}

    def _item(self, client: int, clock: int) -> Item:
        info = self._byte()
        kind = info & 31
        if kind in (0, 10):  # garbage that was collected, or a gap
            return Item(client, clock, self._uint())
        item = Item(client, clock, 1)
        item.hangs_on += [(self._uint(), self._uint()) for bit in (128, 64) if info & bit]
        if not info & 192:
            if self._uint():
                self._bytes()  # the name of a root
            else:
                item.hangs_on.append((self._uint(), self._uint()))
            if info & 32:
                self._bytes()  # the key in a map
        item.length = self._content(kind)
        return item

    def _content(self, kind: int) -> int:
        if kind == 1:  # deleted
            return self._uint()
        if kind == 4:  # text: its clock counts as JavaScript counts
            return len(self._bytes().decode().encode("utf-16-le")) // 2
        if kind == 8:  # JSON values
            count = self._uint()
            for _ in range(count):
                self._any()
            return count
        if kind == 7:  # a shared type
            assert self._uint() < 3
        elif kind in (3, 5):  # bytes, an embed
            self._bytes()
        else:
            assert kind == 6, f"a struct of kind {kind}"
            self._bytes()
            self._bytes()
        return 1

    def _any(self) -> None:
        kind = self._byte()
        if kind == 125:
            while self._byte() > 127:
                pass
        elif kind in (124, 123, 122):
            self._at += struct.calcsize({124: "f", 123: "d", 122: "q"}[kind])
        elif kind in (119, 116):
            self._bytes()
        elif kind in (118, 117):
            for _ in range(self._uint()):
                if kind == 118:
                    self._bytes()
                self._any()
        else:
            assert kind in (127, 126, 121, 120)

    def _byte(self) -> int:
        self._at += 1
        return self._data[self._at - 1]

    def _uint(self) -> int:
        number, self._at = read_uint(self._data, self._at)
        return number

    def _bytes(self) -> bytes:
        size = self._uint()
        self._at += size
        return self._data[self._at - size : self._at]


class StrictReader:
    """Follows a stream of updates as Yjs does in JavaScript: a struct waits until all that it hangs on is there.

    pycrdt is more forgiving: what hangs on nothing is integrated, and nobody sees that browsers wait for ever.
    """

    def __init__(self) -> None:
        self.state: dict[int, int] = {}
        self.clients: set[int] = set()
        self.waiting: list[str] = []

    def read(self, data: bytes) -> None:
        update = Update(data)
        self.clients |= update.clients
        while sum(self._integrate(items) for items in update.items.values()):
            pass
        self.waiting += [f"{items[0]} waits" for items in update.items.values() if items]
        self.waiting += [
            f"a deletion of {client}:{clock}+{length} waits"
            for client, clock, length in update.deletions
            if clock + length > self.state.get(client, 0)
        ]

    def _integrate(self, items: deque[Item]) -> bool:
        went_on = False
        while items and self._is_complete(items[0]):
            item = items.popleft()
            self.state[item.client] = max(self.state.get(item.client, 0), item.clock + item.length)
            went_on = True
        return went_on

    def _is_complete(self, item: Item) -> bool:
        needed = [*item.hangs_on, (item.client, item.clock - 1)]
        return all(clock < self.state.get(client, 0) for client, clock in needed)


def state_vector(doc: Doc) -> dict[int, int]:
    data = doc.get_state()
    count, at = read_uint(data, 0)
    found = {}
    for _ in range(count):
        client, at = read_uint(data, at)
        found[client], at = read_uint(data, at)
    return found


# --- the world ---


class Relay:
    """The Y.js server, as far as a link sees it."""

    def __init__(self) -> None:
        self.doc: Doc = Doc()
        self.strict = StrictReader()
        self.links: list[Server] = []

    def receive(self, update: bytes, sender: Server | None) -> None:
        self.strict.read(update)
        self.doc.apply_update(update)
        for server in self.links:
            if server is not sender:
                server.inbox.append(update)


@dataclass
class Store:
    """What a server keeps on its disk: the shared history, and the one of its own keys."""

    shared: list[bytes] = field(default_factory=list)
    side: list[bytes] = field(default_factory=list)


class Server:
    """A linked room, wired as `linked.py` wires it."""

    def __init__(self, name: str, relay: Relay, store: Store | None = None, kind: type = YUnicode) -> None:
        self.name, self.relay, self.kind = name, relay, kind
        self.store = store or Store()
        self.inbox: deque[bytes] = deque()
        self.outbox: deque[bytes] = deque()
        self.browsers: list[Browser] = []
        self.told: list[tuple[bytes, bool]] = []
        self.room: Doc = Doc()
        self.split = SplitDocument(self.room, self._keep_shared, self._keep_side)
        # As other extensions get it: `get_document(copy=False)`.
        self.document = per_server(kind)(self.room)
        self.document.keep = self.split.keep
        self.document.may_write = lambda: True
        self.split.load([], self.store.side)
        self.split.load(self.store.shared, [])
        self.document.path = f"{name}.txt"
        self._subscription = self.room.observe(self._room_changed)

    def _keep_shared(self, update: bytes, remote: bool) -> None:
        self.store.shared.append(update)
        self.told.append((update, remote))
        if not remote and self in self.relay.links:
            self.outbox.append(update)

    def _keep_side(self, update: bytes) -> None:
        self.store.side.append(update)
        asyncio.get_running_loop().call_soon(self.split.apply_side, update)

    def _room_changed(self, event: Any) -> None:
        for browser in self.browsers:
            browser.inbox.append(event.update)

    def link(self) -> None:
        if self in self.relay.links:
            return
        self.split.flush()
        self.inbox.clear()
        self.outbox.clear()
        self.relay.links.append(self)
        self.inbox.append(self.relay.doc.get_update(self.split.shared.get_state()))
        self.outbox.append(self.split.shared.get_update(self.relay.doc.get_state()))

    def unlink(self) -> None:
        if self in self.relay.links:
            self.relay.links.remove(self)

    def save(self, content_hash: str) -> None:
        """What the server writes after a save."""
        self.document.hash = content_hash
        self.document.dirty = False

    def end(self) -> None:
        """The process is gone; its browsers notice."""
        for browser in list(self.browsers):
            browser.disconnect()
        self.unlink()
        self.room.unobserve(self._subscription)

    def deliver(self) -> bool:
        """Whether anything was on its way."""
        busy = False
        while self in self.relay.links and self.outbox:
            self.relay.receive(self.outbox.popleft(), self)
            busy = True
        while self in self.relay.links and self.inbox:
            self.split.apply_remote(self.inbox.popleft())
            busy = True
        return busy


class Browser:
    """A tab: it syncs with a room, and keeps what it has."""

    def __init__(self, server: Server | None = None, kind: type = YUnicode) -> None:
        self.doc: Doc = Doc()
        self.document = kind(self.doc)
        self.server: Server | None = None
        self.inbox: deque[bytes] = deque()
        self.outbox: deque[bytes] = deque()
        self._applying = False
        self._subscription = self.doc.observe(self._changed)
        if server is not None:
            self.connect(server)

    @property
    def text(self) -> Text:
        return self.doc.get("source", type=Text)

    @property
    def state(self) -> Map:
        return self.doc.get("state", type=Map)

    def _changed(self, event: Any) -> None:
        if self.server is not None and not self._applying:
            self.outbox.append(event.update)

    def connect(self, server: Server) -> None:
        if self.server is not None:
            return
        self.server = server
        server.browsers.append(self)
        self.inbox.append(server.room.get_update(self.doc.get_state()))
        self.outbox.append(self.doc.get_update(server.room.get_state()))

    def disconnect(self) -> None:
        """What was under way is lost; the next sync makes up for it."""
        if self.server is not None:
            self.server.browsers.remove(self)
        self.server = None
        self.inbox.clear()
        self.outbox.clear()

    def type(self, text: str, at: int = 0) -> None:
        """As JupyterLab does: the text and `dirty` in one transaction."""
        with self.doc.transaction():
            self.text.insert(min(at, len(str(self.text).encode())), text)
            self.state["dirty"] = True

    def deliver(self) -> bool:
        busy = bool(self.outbox or self.inbox)
        while self.outbox and self.server is not None:
            self.server.room.apply_update(self.outbox.popleft())
        while self.inbox:
            self._applying = True
            try:
                self.doc.apply_update(self.inbox.popleft())
            finally:
                self._applying = False
        return busy


async def settle(*members: Server | Browser) -> None:
    """Deliver all that is on its way, until nothing is."""
    quiet = 0
    while quiet < 3:
        await asyncio.sleep(0)
        quiet = 0 if sum(member.deliver() for member in members) else quiet + 1


def content(doc: Doc, kind: type) -> Any:
    return kind(doc).get()


def fresh(update: bytes) -> Doc:
    doc: Doc = Doc()
    doc.apply_update(update)
    return doc


def side_clients(updates: Iterable[bytes]) -> set[int]:
    return {client for update in updates for client in Update(update).items}


def check(server: Server) -> None:
    """What must hold of one server whenever nothing is on its way."""
    room, shared, kind = server.room, server.split.shared, server.kind
    side = side_clients(server.store.side)
    # The room is the shared document and this server's own keys, and neither lacks anything.
    assert {c: n for c, n in state_vector(room).items() if c not in side} == state_vector(shared)
    assert content(room, kind) == content(shared, kind)
    states = [doc.get("state", type=Map).to_py() for doc in (room, shared)]
    assert not set(PER_SERVER_KEYS) & set(states[1])
    assert {key: value for key, value in states[0].items() if key not in PER_SERVER_KEYS} == states[1]
    assert states[0]["path"] == f"{server.name}.txt"
    # Nothing hangs in the air: not in the document as it is, not in its history as it was written down.
    whole = fresh(shared.get_update())
    assert state_vector(whole) == state_vector(shared)
    assert content(whole, kind) == content(shared, kind)
    for updates in ([shared.get_update()], server.store.shared):
        strict = StrictReader()
        for update in updates:
            strict.read(update)
        assert strict.waiting == []
        assert strict.state == state_vector(shared)
        assert not strict.clients & side, "an update speaks of this server's own keys"


def check_all(relay: Relay, servers: Iterable[Server], browsers: Iterable[Browser]) -> Any:
    """Everybody has the same content; gives it."""
    servers = list(servers)
    kind = servers[0].kind
    for server in servers:
        check(server)
        assert state_vector(server.split.shared) == state_vector(relay.doc)
    assert relay.strict.waiting == []
    assert relay.strict.state == state_vector(relay.doc)
    assert not relay.strict.clients & side_clients(u for server in servers for u in server.store.side)
    contents = [
        content(doc, kind) for doc in (relay.doc, *(s.room for s in servers), *(b.doc for b in browsers))
    ]
    assert all(each == contents[0] for each in contents)
    for browser in browsers:
        assert state_vector(browser.doc).items() >= state_vector(relay.doc).items()
    return contents[0]


@dataclass
class World:
    """Two servers with a browser each, linked."""

    relay: Relay
    alice: Server
    bob: Server
    ann: Browser
    ben: Browser

    async def settle(self, *more: Server | Browser) -> None:
        await settle(self.alice, self.bob, self.ann, self.ben, *more)

    def check(self, *more: Browser) -> Any:
        return check_all(self.relay, (self.alice, self.bob), (self.ann, self.ben, *more))


async def world(kind: type = YUnicode) -> World:
    relay = Relay()
    alice, bob = Server("alice", relay, kind=kind), Server("bob", relay, kind=kind)
    alice.link()
    bob.link()
    made = World(relay, alice, bob, Browser(alice, kind), Browser(bob, kind))
    await made.settle()
    return made


# --- what stays, and what travels ---


async def test_each_server_has_its_own_path_and_hash_and_no_other_sees_them() -> None:
    w = await world()
    for name, server in (("a", w.alice), ("b", w.bob), ("c", w.alice)):
        server.save(f"hash {name}")
        await w.settle()
    assert w.ann.state.to_py() == {"path": "alice.txt", "hash": "hash c"}
    assert w.ben.state.to_py() == {"path": "bob.txt", "hash": "hash b"}
    assert w.relay.doc.get("state", type=Map).to_py() == {}
    w.check()


async def test_what_browsers_type_is_everywhere_and_so_is_dirty() -> None:
    w = await world()
    w.ann.type("hello ")
    await w.settle()
    assert w.ben.state["dirty"] is True
    w.ben.type("wörld 🦉", at=6)
    await w.settle()
    assert w.check() == "hello wörld 🦉"
    w.alice.save("1")
    await w.settle()
    assert (
        w.ann.state["dirty"] is w.ben.state["dirty"] is w.relay.doc.get("state", type=Map)["dirty"] is False
    )
    w.ben.type("!")
    await w.settle()
    assert w.ann.state["dirty"] is True
    assert w.check() == "!hello wörld 🦉"


async def test_other_keys_that_browsers_write_travel() -> None:
    w = await world()
    w.ann.state["document_id"] = "text:file:1"
    w.ann.state["mine"] = {"a": [1, 2.5, None, True, "x"]}
    await w.settle()
    assert w.ben.state["document_id"] == "text:file:1"
    assert w.ben.state["mine"] == {"a": [1, 2.5, None, True, "x"]}
    w.check()


async def test_typing_on_both_sides_at_once_converges() -> None:
    w = await world()
    for number in range(20):
        w.ann.type(f"a{number} ", at=number)
        w.ben.type(f"b{number} ", at=2 * number)
        if number % 3 == 0:
            w.alice.save(str(number))
            await asyncio.sleep(0)
    await w.settle()
    text = w.check()
    assert all(f"{who}{number}"[:1] in text for who in "ab" for number in range(20))
    assert len(text) == sum(len(f"a{number} ") * 2 for number in range(20))


async def test_what_an_extension_writes_into_the_rooms_own_document_goes_everywhere() -> None:
    w = await world()
    w.alice.document.set("from an extension")
    await w.settle()
    assert w.check() == "from an extension"
    w.alice.room.get("source", type=Text).insert(0, "again ")
    w.bob.document.set("and from another")
    await w.settle()
    w.ann.type("x")
    await w.settle()
    w.check()


async def test_an_extension_that_sets_a_whole_notebook_takes_no_ones_keys_away() -> None:
    """YNotebook.set deletes the keys of `state` that it does not know: `hash`, which is the side document's."""
    w = await world(YNotebook)
    w.alice.save("1")
    await w.settle()
    cell = {
        "cell_type": "code",
        "source": "a = 1",
        "metadata": {},
        "outputs": [],
        "execution_count": None,
        "id": "a",
    }
    w.alice.document.set({"cells": [cell], "metadata": {}, "nbformat": 4, "nbformat_minor": 5})
    await w.settle()
    assert w.ben.document.get()["cells"][0]["source"] == "a = 1"
    w.ann.document.ycells[0]["source"].insert(0, "b = ")
    await w.settle()
    w.alice.save("1")
    await w.settle()
    assert w.ben.document.get()["cells"][0]["source"] == "b = a = 1"
    assert w.ann.state["hash"] == "1"
    w.check()


async def test_a_notebook_with_outputs_is_the_same_everywhere() -> None:
    w = await world(YNotebook)
    output = {"output_type": "stream", "name": "stdout", "text": "héllo\n"}
    cell = {
        "cell_type": "code", "source": "print('héllo')", "metadata": {"tags": ["x"]}, "outputs": [output],
        "execution_count": 3, "id": "a",
    }  # fmt: skip
    seed = YNotebook()
    seed.set(
        {
            "cells": [cell, cell | {"id": "b"}],
            "metadata": {"k": {"x": 1.5}},
            "nbformat": 4,
            "nbformat_minor": 5,
        }
    )
    w.alice.split.apply_local(seed.ydoc.get_update())
    await w.settle()
    w.ben.document.ycells[1]["source"].insert(0, "# ")
    del w.ann.document.ycells[0]["outputs"][0]
    w.bob.save("h")
    await w.settle()
    assert [cell["source"] for cell in w.check()["cells"]] == ["print('héllo')", "# print('héllo')"]


# --- who comes late, or comes back ---


async def test_a_late_browser_gets_everything_and_may_edit() -> None:
    w = await world()
    w.ann.type("early ")
    await w.settle()
    w.alice.save("1")
    await w.settle()
    late = Browser(w.alice)
    await w.settle(late)
    assert late.state.to_py() == {"path": "alice.txt", "hash": "1", "dirty": False}
    late.type("late ")
    await w.settle(late)
    assert w.check(late) == "late early "


async def test_a_browser_that_comes_back_brings_its_edits_and_none_of_the_servers_keys() -> None:
    w = await world()
    w.alice.save("1")
    await w.settle()
    w.ann.disconnect()
    w.ann.type("offline ")
    w.alice.save("2")
    w.ben.type("meanwhile ")
    await w.settle()
    w.ann.connect(w.alice)
    await w.settle()
    assert sorted(w.check().split()) == ["meanwhile", "offline"]
    assert w.ann.state["hash"] == "2"


async def test_a_browser_comes_back_to_a_server_that_was_restarted() -> None:
    w = await world()
    w.ann.type("before ")
    await w.settle()
    w.alice.save("1")
    await w.settle()
    w.alice.split.close()
    w.alice.end()
    w.ann.type("offline ")
    w.ben.type("meanwhile ")
    await w.settle()
    w.alice = Server("alice", w.relay, w.alice.store)
    assert w.alice.room.get("state", type=Map).to_py() == {"path": "alice.txt", "hash": "1", "dirty": False}
    w.alice.save("2")
    w.ann.connect(w.alice)
    await w.settle()
    w.alice.link()
    await w.settle()
    assert sorted(w.check().split()) == ["before", "meanwhile", "offline"]
    assert w.ann.state["hash"] == "2"


async def test_what_a_killed_server_had_not_written_down_comes_back_from_the_others() -> None:
    w = await world()
    w.ann.type("kept ")
    await w.settle()
    written = list(w.alice.store.shared)
    w.ann.type("not written down ")
    w.alice.save("1")
    await w.settle()
    w.ann.type("not even sent ")
    w.alice.end()
    w.alice = Server("alice", w.relay, Store(written, w.alice.store.side))
    w.ann.connect(w.alice)
    w.alice.link()
    await w.settle()
    assert w.check() == "not even sent not written down kept "


async def test_edits_made_while_the_link_is_away_cross_when_it_is_back() -> None:
    w = await world()
    w.ann.type("one ")
    await w.settle()
    w.alice.unlink()
    for number in range(5):
        w.ann.type(f"a{number} ")
        w.ben.type(f"b{number} ")
        w.alice.save(str(number))
        await w.settle()
    w.alice.link()
    await w.settle()
    assert len(w.check().split()) == 11


async def test_a_browsers_updates_that_come_in_the_wrong_order_reach_the_others_when_they_are_whole() -> None:
    w = await world()
    other: Doc = Doc()
    text, updates = other.get("source", type=Text), []
    subscription = other.observe(lambda event: updates.append(event.update))
    for word in ("one ", "two ", "three "):
        text.insert(len(str(text)), word)
    del subscription
    for update in (updates[2], updates[1]):
        w.alice.room.apply_update(update)
        await w.settle()
        assert str(w.ben.text) == ""
        check(w.alice)
    w.alice.room.apply_update(updates[0])
    await w.settle()
    assert w.check() == "one two three "


# --- in the middle of something ---


async def test_a_save_in_the_middle_of_somebodys_transaction_waits_until_they_are_done() -> None:
    w = await world()
    async with w.alice.room.new_transaction():
        w.alice.room.get("source", type=Text).insert(0, "long ")
        w.alice.save("1")
        await asyncio.sleep(0.01)
        w.bob.room.get("source", type=Text).insert(0, "remote ")
        await settle(w.bob, w.ben)
        w.alice.deliver()
        await asyncio.sleep(0)
        assert "hash" not in w.alice.room.get("state", type=Map)
        w.alice.room.get("source", type=Text).insert(0, "very ")
    await asyncio.sleep(0.06)
    await w.settle()
    assert w.ann.state["hash"] == "1"
    assert sorted(w.check().split()) == ["long", "remote", "very"]


async def test_a_save_within_a_plain_transaction_stays_here_too() -> None:
    w = await world()
    with w.alice.room.transaction():
        w.alice.room.get("source", type=Text).insert(0, "text")
        w.alice.save("1")
        w.alice.split.flush()
    await w.settle()
    await asyncio.sleep(0.06)
    await w.settle()
    assert w.ann.state["hash"] == "1"
    assert w.check() == "text"


async def test_what_comes_over_the_link_right_after_an_edit_comes_after_it_in_the_history() -> None:
    w = await world()
    w.ben.type("remote ")
    await settle(w.bob, w.ben)
    w.alice.room.get("source", type=Text).insert(0, "local ")
    w.alice.told.clear()
    w.alice.deliver()
    assert [remote for _, remote in w.alice.told] == [False, True]
    await w.settle()
    w.check()


async def test_a_merge_in_the_middle_of_unflushed_edits_keeps_both() -> None:
    w = await world()
    w.ann.type("typed ")
    await w.settle()
    fork = fresh(w.alice.split.shared.get_update())
    base = fork.get_state()
    fork.get("source", type=Text).insert(0, "merged ")
    w.alice.room.get("source", type=Text).insert(0, "unflushed ")
    w.alice.told.clear()
    w.alice.split.apply_local(fork.get_update(base))
    assert [word for update, _ in w.alice.told for word in (b"unflushed", b"merged") if word in update] == [
        b"unflushed",
        b"merged",
    ]
    assert "merged " in str(w.alice.room.get("source", type=Text))
    await w.settle()
    assert sorted(w.check().split()) == ["merged", "typed", "unflushed"]


async def test_what_waited_in_the_shared_document_for_an_edit_of_this_room_is_shown_in_the_room_too() -> None:
    w = await world()
    other: Doc = Doc()
    text = other.get("source", type=Text)
    text.insert(0, "one ")
    first, state = other.get_update(), other.get_state()
    text.insert(4, "two ")
    w.alice.split.apply_remote(other.get_update(state))
    w.alice.room.apply_update(first)
    await w.settle()
    assert w.check() == str(w.ann.text) == "one two "


# --- who is told of what ---


async def test_every_update_is_told_once_with_where_it_came_from() -> None:
    w = await world()
    w.alice.told.clear()
    w.ann.type("browser ")
    await w.settle()
    w.alice.split.apply_local(Doc({"source": Text("file ")}).get_update())
    w.ben.type("link ")
    await w.settle()
    assert [remote for _, remote in w.alice.told] == [False, False, True]
    assert len({update for update, _ in w.alice.told}) == 3
    w.check()


async def test_what_is_known_already_is_told_to_nobody() -> None:
    w = await world()
    w.ann.type("x")
    await w.settle()
    w.alice.told.clear()
    written = len(w.alice.store.side)
    for update in (w.alice.split.shared.get_update(), w.relay.doc.get_update(), b"\x00\x00"):
        w.alice.split.apply_remote(update)
        w.alice.split.apply_local(update)
        w.alice.room.apply_update(update)
        await w.settle()
    assert w.alice.told == [] and len(w.alice.store.side) == written


async def test_an_idle_room_writes_nothing() -> None:
    w = await world()
    w.alice.save("1")
    await w.settle()
    before = [(len(s.store.shared), len(s.store.side)) for s in (w.alice, w.bob)]
    for _ in range(5):
        for server, kept in ((w.alice, "1"), (w.bob, None)):
            if kept:
                server.save(kept)
            server.document.path = f"{server.name}.txt"
        await w.settle()
    assert [(len(s.store.shared), len(s.store.side)) for s in (w.alice, w.bob)] == before


async def test_loading_a_history_tells_nobody_and_shows_it_in_the_room() -> None:
    w = await world()
    w.ann.type("kept ")
    await w.settle()
    w.alice.save("1")
    await w.settle()
    told: list[Any] = []
    room: Doc = Doc()
    split = SplitDocument(room, lambda *update: told.append(update), told.append)
    split.load(w.alice.store.shared, w.alice.store.side)
    await asyncio.sleep(0)
    assert told == []
    assert str(room.get("source", type=Text)) == "kept "
    assert room.get("state", type=Map).to_py() == {"path": "alice.txt", "hash": "1", "dirty": False}
    split.close()


async def test_a_servers_own_key_is_in_the_room_only_after_it_was_kept() -> None:
    kept: list[bytes] = []
    room: Doc = Doc()
    split = SplitDocument(room, lambda update, remote: None, kept.append)
    split.keep("path", "a.txt")
    split.flush()
    assert room.get("state", type=Map).to_py() == {} and len(kept) == 1
    split.apply_side(kept[0])
    assert room.get("state", type=Map).to_py() == {"path": "a.txt"}
    split.close()


async def test_rubbish_from_the_link_is_refused_and_changes_nothing() -> None:
    w = await world()
    w.ann.type("still here")
    await w.settle()
    for rubbish in (b"foo", b"", b"\xff" * 9, b"\x01"):
        with pytest.raises(ValueError):
            w.alice.split.apply_remote(rubbish)
    w.alice.told.clear()
    w.ann.type("and ")
    await w.settle()
    assert [remote for _, remote in w.alice.told] == [False]
    assert w.check() == "and still here"


async def test_after_closing_nothing_is_told_any_more() -> None:
    w = await world()
    w.alice.room.get("source", type=Text).insert(0, "last words")
    w.alice.split.close()
    assert str(w.alice.split.shared.get("source", type=Text)) == "last words"
    w.alice.told.clear()
    w.alice.room.get("source", type=Text).insert(0, "x")
    w.alice.split.shared.get("source", type=Text).insert(0, "y")
    w.alice.split.keep("hash", "z")
    await w.settle()
    assert w.alice.told == []


# --- what these tests can see ---


async def test_a_key_that_browsers_write_can_never_be_one_of_the_servers_own() -> None:
    """Why `dirty` travels: a browser's edits would hang on an item that nobody else has, and all its later ones."""
    w = await world()
    w.alice.split.keep("dirty", False)
    await w.settle()
    w.ann.type("seen ")
    elsewhere = StrictReader()
    for update in w.ann.outbox:
        elsewhere.read(update)
    assert any(f"client={w.ann.doc.client_id}" in wait for wait in elsewhere.waiting)
    await w.settle()
    w.ann.type("lost ")
    await w.settle()
    assert (str(w.ann.text), str(w.ben.text)) == ("lost seen ", "seen ")
    with pytest.raises(AssertionError):
        w.check()


def test_the_strict_reader_reads_what_pycrdt_and_jupyter_ydoc_write() -> None:
    document = YNotebook()
    document.set(
        {
            "cells": [
                {"cell_type": "markdown", "source": "# 🦉", "metadata": {"a": [1, -5, 2.5, 10**12, True]}, "id": "a"},
                {"cell_type": "raw", "source": "x", "metadata": {"b": {"c": "d"}}, "id": "b"},
            ],
            "metadata": {},
            "nbformat": 4,
            "nbformat_minor": 5,
        }
    )  # fmt: skip
    text = document.ycells[0]["source"]
    text.format(0, 3, {"bold": True})
    text.insert_embed(1, {"image": "x"})
    del document.ycells[1]
    strict = StrictReader()
    strict.read(document.ydoc.get_update())
    assert strict.waiting == [] and strict.state == state_vector(document.ydoc)
    state = document.ydoc.get_state()
    text.insert(0, "after ")
    late = StrictReader()
    late.read(document.ydoc.get_update(state))
    assert late.waiting
    strict.read(document.ydoc.get_update(state))
    assert strict.waiting == [] and strict.state == state_vector(document.ydoc)


# --- anything, in any order ---

WORDS = st.sampled_from(["a", "bc ", "ü", "🦉", "def\n"])
WHO = st.sampled_from([0, 1])
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("type"), st.integers(0, 3), WORDS, st.integers(0, 30)),
        st.tuples(st.just("delete"), st.integers(0, 3), st.integers(0, 30)),
        st.tuples(st.just("extension"), WHO, WORDS),
        st.tuples(st.just("merge"), WHO, WORDS),
        st.tuples(st.just("save"), WHO, st.integers(0, 3)),
        st.tuples(st.just("rename"), WHO),
        st.tuples(st.just("link"), WHO),
        st.tuples(st.just("unlink"), WHO),
        st.tuples(st.just("offline"), st.integers(0, 3)),
        st.tuples(st.just("online"), st.integers(0, 3)),
        st.tuples(st.just("restart"), WHO),
        st.tuples(st.just("kill"), WHO, st.integers(0, 3)),
        st.tuples(st.just("tick")),
        st.tuples(st.just("settle")),
    ),
    max_size=25,
)  # fmt: skip


class Play:
    """Two servers with two browsers each, and what may happen to them."""

    def __init__(self) -> None:
        self.relay = Relay()
        self.servers = [Server("s0", self.relay), Server("s1", self.relay)]
        self.browsers = [Browser(self.servers[number // 2]) for number in range(4)]

    async def settle(self) -> None:
        await settle(*self.servers, *self.browsers)

    async def do(self, what: str, who: int = 0, *more: Any) -> None:
        await getattr(self, f"_{what}")(who, *more)

    async def end(self) -> None:
        for number, browser in enumerate(self.browsers):
            browser.connect(self.servers[number // 2])
        for server in self.servers:
            server.link()
        await self.settle()
        check_all(self.relay, self.servers, self.browsers)

    async def _type(self, who: int, text: str, at: int) -> None:
        whole = str(self.browsers[who].text)
        self.browsers[who].type(text, len(whole[:at].encode()))

    async def _delete(self, who: int, at: int) -> None:
        whole = str(self.browsers[who].text)
        if gone := whole[at : at + 3]:
            start = len(whole[:at].encode())
            del self.browsers[who].text[start : start + len(gone.encode())]

    async def _extension(self, who: int, text: str) -> None:
        self.servers[who].room.get("source", type=Text).insert(0, text)

    async def _merge(self, who: int, text: str) -> None:
        shared = self.servers[who].split.shared
        fork = fresh(shared.get_update())
        fork.get("source", type=Text).insert(0, text)
        self.servers[who].split.apply_local(fork.get_update(shared.get_state()))

    async def _save(self, who: int, content_hash: int) -> None:
        self.servers[who].save(str(content_hash))

    async def _rename(self, who: int) -> None:
        self.servers[who].document.path = "elsewhere.txt"
        self.servers[who].document.path = f"s{who}.txt"

    async def _link(self, who: int) -> None:
        self.servers[who].link()

    async def _unlink(self, who: int) -> None:
        self.servers[who].unlink()

    async def _offline(self, who: int) -> None:
        self.browsers[who].disconnect()

    async def _online(self, who: int) -> None:
        self.browsers[who].connect(self.servers[who // 2])

    async def _restart(self, who: int) -> None:
        self.servers[who].split.close()
        await self._kill(who, 0)

    async def _kill(self, who: int, not_written: int) -> None:
        server, store = self.servers[who], self.servers[who].store
        server.end()
        kept = store.shared[: len(store.shared) - not_written]
        self.servers[who] = Server(server.name, self.relay, Store(kept, list(store.side)))

    async def _tick(self, _: int) -> None:
        await asyncio.sleep(0)
        for member in (*self.browsers, *self.servers):
            member.deliver()

    async def _settle(self, _: int) -> None:
        await self.settle()
        for server in self.servers:
            check(server)


@given(STEPS)
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_whatever_happens_everybody_has_the_same_in_the_end(steps: list[tuple[Any, ...]]) -> None:
    async def play() -> None:
        world = Play()
        for step in steps:
            await world.do(*step)
        await world.end()

    asyncio.run(play())
