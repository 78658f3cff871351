"""What waits for another update is found, byte for byte as pycrdt and other clients encode it."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pycrdt import Array, Doc, Map, Text

from jupyter_rtc_amprenta.core import causal
from jupyter_rtc_amprenta.core.causal import clocks, incomplete, is_complete, load, load_at_once
from jupyter_rtc_amprenta.core.errors import ProtocolError

# An edit: where (in per cent), and what is typed there, or how much is deleted.
WHAT = st.one_of(st.text("abc", max_size=3), st.integers(1, 3))
EDITS = st.lists(st.tuples(st.integers(0, 100), WHAT), min_size=1, max_size=40)


def updates_of(edits, doc: Doc) -> list[bytes]:
    made: list[bytes] = []
    subscription = doc.observe(lambda event: made.append(event.update))
    text = doc.get("source", type=Text)
    for where, what in edits:
        length = len(str(text))
        at = length * where // 100
        if isinstance(what, str):
            text.insert(at, what)
        elif length:
            del text[at : min(at + what, length)]
    doc.unobserve(subscription)
    return made


@given(EDITS, st.randoms(use_true_random=False))
def test_a_history_in_any_order_is_loaded_whole(edits, random):
    made = updates_of(edits, Doc())
    order = list(range(len(made)))
    random.shuffle(order)
    doc: Doc = Doc()
    asyncio.run(load(doc, [made[number] for number in order]))
    assert incomplete(doc, made) == []
    assert str(doc.get("source", type=Text)) == whole(made)


def test_what_waits_in_vain_is_told():
    made = updates_of([(100, letter) for letter in "abcdef"], Doc())
    doc: Doc = Doc()
    assert asyncio.run(load(doc, made[:3] + made[4:])) == made[4:]
    assert str(doc.get("source", type=Text)) == "abc"
    assert load_at_once(doc, made) == []
    assert str(doc.get("source", type=Text)) == "abcdef"


@pytest.mark.parametrize("history", [[b"foo"], [b"\x00\x00", b"foo"]], ids=["alone", "among others"])
def test_bytes_that_are_no_update_are_told(history):
    with pytest.raises(ProtocolError, match="can't be read"):
        load_at_once(Doc(), history)


def test_a_long_history_lets_others_have_their_turn():
    made = updates_of([(100, "x")] * 5000, Doc())

    async def load_and_count() -> int:
        loading, turns = asyncio.ensure_future(load(Doc(), made)), 0
        while not loading.done():
            turns += 1
            await asyncio.sleep(0)
        return turns

    # However fast the machine is, and with a limit that any step reaches: one turn for each of them.
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(causal, "_SLICE_SECONDS", 0)
        assert asyncio.run(load_and_count()) > 5000 / 16


def whole(made: list[bytes]) -> str:
    doc: Doc = Doc()
    for update in made:
        doc.apply_update(update)
    return str(doc.get("source", type=Text))


@pytest.mark.parametrize("delete", [False, True])
def test_an_edit_of_what_has_not_come_waits(delete):
    first: Doc = Doc()
    first.get("source", type=Text).insert(0, "hello")
    second: Doc = Doc()
    second.apply_update(first.get_update())
    made: list[bytes] = []
    subscription = second.observe(lambda event: made.append(event.update))
    if delete:
        del second.get("source", type=Text)[1:3]
    else:
        second.get("source", type=Text).insert(2, "x")
    second.unobserve(subscription)
    doc: Doc = Doc()
    doc.apply_update(made[0])
    assert not is_complete(doc, made[0])
    doc.apply_update(first.get_update())
    assert is_complete(doc, made[0])


def test_an_edit_within_a_map_in_a_list_waits_for_them():
    first: Doc = Doc()
    made: list[bytes] = []
    subscription = first.observe(lambda event: made.append(event.update))
    cells = first.get("cells", type=Array)
    cells.append(Map({"source": "1"}))
    cells[0]["source"] = "2"
    first.unobserve(subscription)
    doc: Doc = Doc()
    doc.apply_update(made[1])
    assert not is_complete(doc, made[1])
    doc.apply_update(made[0])
    assert is_complete(doc, made[1])


def test_a_state_vector_is_read():
    doc: Doc = Doc(client_id=2**52 + 5)
    doc.get("source", type=Text).insert(0, "abc")
    assert clocks(doc.get_state()) == {2**52 + 5: 3}
    assert clocks(Doc().get_state()) == {}
