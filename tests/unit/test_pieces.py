"""A large update in pieces is the same update, and each piece is whole when its turn comes."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pycrdt import Array, Doc, Map, Text, XmlElement, XmlFragment, merge_updates
from support.panics import PANICS

from jupyter_rtc_amprenta.core import pieces
from jupyter_rtc_amprenta.core.causal import apply, apply_in_pieces, clocks, is_complete
from jupyter_rtc_amprenta.core.errors import DocumentBroken, ProtocolError
from jupyter_rtc_amprenta.core.pieces import Pieces, look_through, require_sound
from jupyter_rtc_amprenta.core.protocol import write_uint


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch):
    monkeypatch.setattr(pieces, "PIECE_STRUCTS", 3)
    monkeypatch.setattr(pieces, "PIECE_RANGES", 2)


def edited(seed: int, clients: int = 4, rounds: int = 30) -> tuple[Doc, list[bytes]]:
    """What several people make of one document, who hear of each other now and then; and each one's updates."""
    dice = random.Random(seed)
    docs = [Doc(client_id=number + 1) for number in range(clients)]
    made: list[bytes] = []
    subscriptions = [doc.observe(lambda event: made.append(event.update)) for doc in docs]
    for _ in range(rounds):
        doc = dice.choice(docs)
        change(doc, dice)
        if dice.random() < 0.4:
            other = dice.choice(docs)
            other.apply_update(doc.get_update(other.get_state()))
    for doc, subscription in zip(docs, subscriptions, strict=True):
        doc.unobserve(subscription)
    whole: Doc = Doc()
    for doc in docs:
        whole.apply_update(doc.get_update())
    return whole, made


def change(doc: Doc, dice: random.Random) -> None:
    text, cells, state = doc.get("text", type=Text), doc.get("cells", type=Array), doc.get("state", type=Map)
    what = dice.randrange(6)
    if what == 0 and len(text):
        # In bytes, and never a part of a character: pycrdt would delete something else for the others.
        del text[: len(str(text)[0].encode())]
    elif what <= 2:
        text.insert(0, dice.choice(("a", "word", "Zoë", "🦉🦉")))
    elif what == 3:
        cells.append(
            Map(
                {
                    "source": Text("x = 1"),
                    "outputs": Array([{"data": [1, -70000, 2.5, None, True, {"k": "v"}]}]),
                }
            )
        )
    elif what == 4:
        state["key"] = dice.choice((1, "x", b"bytes", [1, 2], {"a": {"b": []}}, 2**40))
    elif len(cells):
        del cells[0]


def shown(doc: Doc) -> tuple[bytes, str, list, dict]:
    return (
        doc.get_state(),
        str(doc.get("text", type=Text)),
        doc.get("cells", type=Array).to_py(),
        doc.get("state", type=Map).to_py(),
    )


@given(st.integers(0, 10**6))
def test_the_pieces_make_the_same_document_and_each_is_whole_in_its_turn(seed):
    whole, made = edited(seed)
    doc: Doc = Doc()
    for update in random.Random(seed).sample(made, len(made) // 4):
        doc.apply_update(update)
    known = doc.get_update()
    doc = Doc()
    doc.apply_update(known)
    cut = Pieces(whole.get_update(), clocks(doc.get_state()))
    count = 0
    for piece in filter(None, cut):
        doc.apply_update(piece)
        assert is_complete(doc, piece)
        count += 1
    assert cut.complete is True
    assert count >= 3
    assert shown(doc) == shown(whole)


@given(st.integers(0, 10**6))
def test_what_lacks_something_is_told_and_becomes_whole_when_that_comes(seed):
    whole, made = edited(seed)
    dice = random.Random(seed)
    part = merge_updates(*dice.sample(made, len(made) // 2))
    doc, at_once = Doc(), Doc()
    cut = Pieces(part, {})
    for piece in filter(None, cut):
        doc.apply_update(piece)
    at_once.apply_update(part)
    assert cut.complete is is_complete(at_once, part)
    assert shown(doc) == shown(at_once)
    doc.apply_update(whole.get_update())
    assert shown(doc) == shown(whole)


@given(st.integers(0, 10**6), st.integers(0, 10**6), st.integers(0, 255))
def test_a_damaged_update_is_refused_before_its_first_piece_or_read_as_pycrdt_reads_it(seed, where, byte):
    whole, _ = edited(seed, rounds=8)
    update = bytearray(whole.get_update())
    update[where % len(update)] = byte
    cut = Pieces(bytes(update), {})
    given: list[bytes] = []
    try:
        given.extend(filter(None, cut))
    except ProtocolError:
        assert not given
        return
    doc: Doc = Doc()
    for piece in given:
        try:
            doc.apply_update(piece)
        except (ValueError, RuntimeError):
            return


@pytest.mark.parametrize("update", PANICS)
def test_what_pycrdt_panics_on_is_refused_before(update):
    with pytest.raises(ProtocolError) as refusal:
        require_sound(update)
    assert not isinstance(refusal.value, DocumentBroken)
    with pytest.raises(ProtocolError):
        list(Pieces(update, {}))


def test_a_panic_is_told_as_a_broken_document():
    with pytest.raises(DocumentBroken):
        apply(Doc(), PANICS[0])


@given(st.integers(0, 10**6), st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 255)), max_size=3))
def test_what_is_found_sound_breaks_no_document(seed, damage):
    whole, made = edited(seed, rounds=8)
    update = bytearray(random.Random(seed).choice([whole.get_update(), *made]))
    for where, byte in damage:
        update[where % len(update)] = byte
    for doc in (Doc(), whole):
        try:
            require_sound(bytes(update))
            apply(doc, bytes(update))
        except DocumentBroken:
            raise AssertionError(f"{update.hex()} breaks a document") from None
        except ProtocolError:
            continue


@pytest.mark.parametrize("cut_at", [1, 5, 20, -1])
def test_an_update_that_is_cut_short_is_refused(cut_at):
    update = edited(1)[0].get_update()
    with pytest.raises(ProtocolError):
        list(Pieces(update[:cut_at], {}))


def test_texts_markup_and_xml_are_read_too():
    doc: Doc = Doc()
    text, xml = doc.get("text", type=Text), doc.get("xml", type=XmlFragment)
    for number in range(10):
        text.insert(0, f"{number} 🧬")
        text.format(0, 2, {"bold": True})
        text.insert_embed(0, {"image": "x"})
        xml.children.append(XmlElement("p", {"class": "y"}, ["in it"]))
    again: Doc = Doc()
    for piece in filter(None, cut := Pieces(doc.get_update(), {})):
        again.apply_update(piece)
    assert cut.complete is True
    assert str(again.get("xml", type=XmlFragment)) == str(xml)
    assert again.get("text", type=Text).diff() == text.diff()


def test_a_value_of_any_length_lets_others_have_their_turn():
    doc = Doc({"state": Map({"key": list(range(20_000))})})
    cut = list(Pieces(doc.get_update(), {}))
    assert cut.count(b"") > 5


NAME = b"\x01\x05state"


def test_deletions_of_nothing_let_others_have_their_turn():
    """One frame of some megabytes has millions of these."""
    update = b"\x00" + write_uint(20_000) + b"".join(write_uint(client) + b"\x00" for client in range(20_000))
    assert sum(1 for _ in look_through(update)) >= 5
    doc, cut = Doc(), Pieces(update, {})
    for piece in filter(None, cut):
        apply(doc, piece)
    assert cut.complete


def old_json(count: int) -> bytes:
    content = write_uint(count) + b"\x04null" * min(count, 2)
    return b"\x01\x02\x05\x00\x02" + NAME + content + b"\x84\x05\x00" + write_uint(70_000) + b"x" * 70_000 + b"\x00"


@pytest.mark.parametrize(
    ("update", "reason"),
    [
        # ContentJSON of clients from before 2020: yrs reads one text more, and makes room for them all beforehand.
        *((old_json(count), "does not know") for count in (0, 1, 2, 2**31 - 1)),
        (write_uint(2**17 + 1) + b"\x01\x05\x00\x00\x01" * 10, "clients"),
        (write_uint(2**40) + b"\x01\x05\x00\x00\x01" * 10, "clients"),
    ],
)
@pytest.mark.anyio
async def test_what_would_take_all_memory_is_refused_at_each_door(update: bytes, reason: str):
    doc: Doc = Doc()
    with pytest.raises(ProtocolError, match=reason):
        require_sound(update)
    with pytest.raises(ProtocolError, match=reason):
        await apply_in_pieces(doc, update, doc.apply_update, from_outside=True)


@pytest.mark.parametrize("depth", [201, 30_000, 1_000_000])
def test_a_value_that_is_nested_without_end_is_refused_and_ends_no_process(depth):
    update = b"\x01\x01\x05\x00\x08\x01\x05state\x01" + b"\x75\x01" * depth + b"\x78\x00"
    with pytest.raises(ProtocolError, match="nested"):
        apply(Doc(), update)
    with pytest.raises(ProtocolError, match="nested"):
        list(Pieces(update, {}))


def test_what_people_write_is_nested_less():
    value: list = []
    for _ in range(90):
        value = [{"in": value}]
    text = "u" * 1000
    doc, again = Doc({"state": Map({"key": value[:1], "text": text})}), Doc()
    apply(again, doc.get_update())
    assert again.get("state", type=Map).to_py() == {"key": value[:1], "text": text}
