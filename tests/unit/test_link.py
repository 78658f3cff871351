"""A link's messages: what leaves together, and what an acknowledgement speaks for. The socket is played."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from pycrdt import Awareness, Doc, Text
from support.yjs_client import until

from jupyter_rtc_amprenta.core import protocol
from jupyter_rtc_amprenta.core.causal import clocks
from jupyter_rtc_amprenta.core.protocol import MessageType, SyncType
from jupyter_rtc_amprenta.link import Link
from jupyter_rtc_amprenta.linkawareness import LinkAwareness
from jupyter_rtc_amprenta.splitdoc import SplitDocument

pytestmark = pytest.mark.anyio


class Socket:
    """What the Y.js server would be sent."""

    def __init__(self) -> None:
        self.sent: list[protocol.Frame] = []

    async def write_message(self, message: bytes, binary: bool) -> None:
        self.sent.append(protocol.decode(message))


class Linked:
    """A room's document, and its link with a connection that has been made."""

    def __init__(self) -> None:
        self.room = Doc()
        self.split = SplitDocument(self.room, lambda update, remote: remote or self.link.send(update), lambda _: None)
        awareness = LinkAwareness(Awareness(self.room), lambda _: None)
        self.link = Link("d", self.split, awareness, None, print, print)  # type: ignore[arg-type]
        self.socket = Socket()
        self.link._socket = self.socket  # type: ignore[assignment]
        self.link._receive(protocol.encode_step_1(protocol.EMPTY_STATE_VECTOR))

    def type(self, text: str) -> None:
        self.room.get("source", type=Text).insert(0, text)

    def updates(self) -> list[bytes]:
        return [frame.body for frame in self.socket.sent if frame.sync is SyncType.UPDATE]

    def echoes(self) -> list[bytes]:
        return [frame.body for frame in self.socket.sent if frame.type == MessageType.ECHO]

    def answer(self) -> None:
        """The Y.js server has committed all that was asked for."""
        self.link._receive(protocol.encode_echo(self.echoes()[-1]))


async def sent(linked: Linked, count: int) -> None:
    await until(lambda: len(linked.updates()) == count, f"{count} messages", every=0.001)


async def test_the_first_edit_goes_at_once_and_those_right_after_it_together() -> None:
    linked = Linked()
    for letter in "abcdefghij":
        linked.type(letter)
        await asyncio.sleep(0)
    assert len(linked.updates()) == 1
    await sent(linked, 2)
    there: Doc = Doc()
    for update in linked.updates():
        there.apply_update(update)
    assert str(there.get("source", type=Text)) == "jihgfedcba"
    assert len(linked.updates()) == 2


async def test_what_was_not_sent_is_not_acknowledged() -> None:
    linked = Linked()
    await asyncio.sleep(0.01)
    linked.answer()
    linked.type("a")
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    before = linked.split.shared.get_state()
    linked.type("b")
    await asyncio.sleep(0)
    assert (len(linked.updates()), len(linked.echoes())) == (1, 2)
    linked.answer()
    assert linked.link.unacknowledged == 1
    assert linked.link.acknowledged_state == before
    await sent(linked, 2)
    await asyncio.sleep(0.01)
    linked.answer()
    assert linked.link.unacknowledged == 0
    assert clocks(linked.link.acknowledged_state) == clocks(linked.split.shared.get_state())


async def test_an_answer_from_before_a_reconnection_acknowledges_nothing() -> None:
    linked = Linked()
    linked.type("a")
    await sent(linked, 1)
    asked: Any = linked.echoes()[-1]
    linked.link._asked = None
    linked.link._receive(protocol.encode_echo(asked))
    assert linked.link.acknowledged_state == protocol.EMPTY_STATE_VECTOR
