"""y-websocket's frames: what stock clients send is read, what they read is written, and rubbish is only refused."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pycrdt import (
    Awareness,
    Doc,
    Encoder,
    Text,
    create_awareness_message,
    create_sync_message,
    create_update_message,
    handle_sync_message,
    read_message,
)

from jupyter_rtc_amprenta.core import protocol
from jupyter_rtc_amprenta.core.errors import ProtocolError
from jupyter_rtc_amprenta.core.protocol import ClientState, CloseCode, Frame, MessageType, SyncType

LARGEST = 2**53 - 1
numbers = st.integers(0, LARGEST)
bodies = st.binary(max_size=300)
# What a browser can put into a state: any string of JavaScript's, halves of emoji included.
texts = st.text(st.characters(exclude_categories=()), max_size=8)
values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-LARGEST, LARGEST)
    | st.floats(allow_nan=False, allow_infinity=False)
    | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)
states = st.builds(ClientState, numbers, numbers, st.none() | st.dictionaries(texts, values, max_size=4))


def awareness_of(text: bytes, client_id: int = 7, clock: int = 1) -> bytes:
    """An awareness update of one client, whose state is written as it stands."""
    head = protocol.write_uint(1) + protocol.write_uint(client_id) + protocol.write_uint(clock)
    return head + protocol.write_uint(len(text)) + text


# --- numbers ---


@pytest.mark.parametrize(
    ("number", "written"),
    [
        (0, "00"),
        (127, "7f"),
        (128, "8001"),
        (300, "ac02"),
        (2**32, "8080808010"),
        (LARGEST, "ffffffffffffff0f"),
    ],
)
def test_a_number_is_written_as_lib0_writes_it(number: int, written: str) -> None:
    assert protocol.write_uint(number).hex() == written
    assert protocol.read_uint(bytes.fromhex(written) + b"rest", 0) == (number, len(written) // 2)


@given(numbers, st.binary(max_size=3), st.binary(max_size=3))
def test_a_number_is_read_back_wherever_it_stands(number: int, before: bytes, after: bytes) -> None:
    written = protocol.write_uint(number)
    assert protocol.read_uint(before + written + after, len(before)) == (number, len(before) + len(written))


@given(numbers)
def test_a_number_is_written_as_pycrdt_writes_it(number: int) -> None:
    encoder = Encoder()
    encoder.write_var_uint(number)
    assert protocol.write_uint(number) == encoder.to_bytes()


@pytest.mark.parametrize("data", ["", "80", "ffffff", "8080808080808010", "ff" * 12, "80" * 100 + "00"])
def test_a_number_that_is_cut_or_over_53_bits_is_refused(data: str) -> None:
    with pytest.raises(ProtocolError):
        protocol.read_uint(bytes.fromhex(data), 0)


# --- frames ---


@given(bodies)
def test_what_is_encoded_is_decoded(body: bytes) -> None:
    assert protocol.decode(protocol.encode_step_1(body)) == Frame(MessageType.SYNC, SyncType.STEP_1, body)
    assert protocol.decode(protocol.encode_step_2(body)) == Frame(MessageType.SYNC, SyncType.STEP_2, body)
    assert protocol.decode(protocol.encode_update(body)) == Frame(MessageType.SYNC, SyncType.UPDATE, body)
    assert protocol.decode(protocol.encode_awareness(body)) == Frame(MessageType.AWARENESS, None, body)
    assert protocol.decode(protocol.encode_echo(body)) == Frame(MessageType.ECHO, None, body)


@given(st.binary(max_size=60))
def test_whatever_comes_is_decoded_or_refused_with_a_protocol_error(message: bytes) -> None:
    try:
        frame = protocol.decode(message)
    except ProtocolError as error:
        assert str(error)
    else:
        assert frame.type == protocol.read_uint(message, 0)[0]
        assert message.endswith(frame.body)
        assert (frame.sync is not None) == (frame.type == MessageType.SYNC)


@given(st.sampled_from([0, 1]), st.integers(0, 5), bodies, st.integers(-3, 3))
def test_a_length_that_is_not_the_bodys_is_refused(kind: int, step: int, body: bytes, off_by: int) -> None:
    head = bytes([kind, step] if kind == 0 else [kind])
    length = len(body) + off_by
    if length < 0:
        return
    message = head + protocol.write_uint(length) + body
    if off_by == 0 and (kind == 1 or step in SyncType.__members__.values()):
        assert protocol.decode(message).body == body
    else:
        with pytest.raises(ProtocolError):
            protocol.decode(message)


def test_a_text_message_is_refused_with_a_sentence() -> None:
    with pytest.raises(ProtocolError, match="binary"):
        protocol.decode("hello")


def test_a_type_of_another_version_is_no_error() -> None:
    assert protocol.decode(b"\x64\x01\x02") == Frame(100, None, b"\x01\x02")
    assert protocol.decode(b"\x03") == Frame(MessageType.QUERY_AWARENESS, None, b"")


def test_only_a_change_of_the_document_counts_as_an_edit() -> None:
    update = Doc({"source": Text("x")}).get_update()
    edits = {
        protocol.encode_update(update): True,
        protocol.encode_step_2(update): True,
        protocol.encode_step_2(protocol.EMPTY_UPDATE): False,
        protocol.encode_update(protocol.EMPTY_UPDATE): False,
        protocol.encode_step_1(b"\x00"): False,
        protocol.encode_awareness(b"\x00"): False,
        protocol.encode_echo(update): False,
        b"\x03": False,
    }
    assert {message: protocol.decode(message).edits for message in edits} == edits


def test_an_empty_document_answers_with_the_empty_update() -> None:
    assert Doc().get_update() == protocol.EMPTY_UPDATE
    doc = Doc({"source": Text("x")})
    assert doc.get_update(doc.get_state()) == protocol.EMPTY_UPDATE


def test_stock_clients_stay_away_after_a_refusal_and_come_back_after_the_rest() -> None:
    for_good = {code.name for code in CloseCode if 4400 <= code < 4500}
    assert for_good == {
        "BAD_MESSAGE", "NOT_AUTHENTICATED", "NO_RIGHT", "NO_DOCUMENT", "WRONG_GENERATION", "TOO_LARGE",
    }  # fmt: skip


# --- agreement with pycrdt, which jupyter-collaboration's rooms and many clients speak with ---


@given(bodies)
def test_frames_are_byte_for_byte_those_of_pycrdt(body: bytes) -> None:
    assert protocol.encode_update(body) == create_update_message(body)
    assert protocol.encode_awareness(body) == create_awareness_message(body)


def test_a_sync_message_of_pycrdt_is_a_step_1() -> None:
    doc = Doc({"source": Text("héllo")})
    assert protocol.encode_step_1(doc.get_state()) == create_sync_message(doc)
    assert protocol.decode(create_sync_message(doc)) == Frame(
        MessageType.SYNC, SyncType.STEP_1, doc.get_state()
    )


def test_pycrdts_answer_is_a_step_2() -> None:
    doc, empty = Doc({"source": Text("héllo")}), Doc()
    answer = handle_sync_message(protocol.encode_step_1(empty.get_state())[1:], doc)
    assert answer == protocol.encode_step_2(doc.get_update())
    handle_sync_message(answer[1:], empty)
    assert str(empty.get("source", type=Text)) == "héllo"


def test_the_types_have_pycrdts_numbers() -> None:
    from pycrdt import YMessageType, YSyncMessageType

    assert [YMessageType.SYNC, YMessageType.AWARENESS] == [MessageType.SYNC, MessageType.AWARENESS]
    assert [int(step) for step in YSyncMessageType] == [int(step) for step in SyncType]


NAMES = ["alice", "Zoë", "田中さん", "🦉 owl", "👩‍👩‍👧", 'a "quoted" \\ name', "\x00\u2028", ""]


@pytest.mark.parametrize("name", NAMES)
def test_a_state_that_pycrdt_writes_is_read(name: str) -> None:
    awareness = Awareness(Doc())
    awareness.set_local_state({"user": {"name": name}, "cursors": [1, None]})
    (state,) = protocol.decode_states(awareness.encode_awareness_update([awareness.client_id]))
    assert state == ClientState(awareness.client_id, 1, {"user": {"name": name}, "cursors": [1, None]})


@pytest.mark.parametrize("name", NAMES)
def test_a_state_is_written_so_that_pycrdt_reads_it(name: str) -> None:
    awareness = Awareness(Doc())
    present = [ClientState(5, 1, {"user": {"name": name}}), ClientState(LARGEST, 3, {"x": 1.5})]
    message = protocol.encode_awareness(protocol.encode_states(present))
    awareness.apply_awareness_update(read_message(message[1:]), "test")
    assert {client: awareness.states[client] for client in (5, LARGEST)} == {
        5: {"user": {"name": name}},
        LARGEST: {"x": 1.5},
    }
    awareness.apply_awareness_update(protocol.encode_states([ClientState(5, 1, None)]), "test")
    assert 5 not in awareness.states


# --- awareness ---


@given(st.lists(states, max_size=4))
def test_states_are_read_as_they_were_written(present: list[ClientState]) -> None:
    assert protocol.decode_states(protocol.encode_states(present)) == present


@given(st.lists(states, max_size=3))
def test_what_is_written_is_strict_json_in_utf_8(present: list[ClientState]) -> None:
    def no(constant: str) -> Any:
        raise AssertionError(f"JavaScript can't read {constant}")

    written = protocol.encode_states(present)
    _, at = protocol.read_uint(written, 0)
    for state in present:
        for _ in ("client", "clock"):
            _, at = protocol.read_uint(written, at)
        size, at = protocol.read_uint(written, at)
        assert json.loads(written[at : at + size].decode("utf-8"), parse_constant=no) == state.state
        at += size
    assert at == len(written)


@given(st.binary(max_size=80))
def test_whatever_comes_as_states_is_read_or_refused_with_a_protocol_error(update: bytes) -> None:
    try:
        present = protocol.decode_states(update)
    except ProtocolError:
        return
    assert protocol.decode_states(protocol.encode_states(present)) == present


@given(
    st.binary(max_size=40)
    | st.text(max_size=20).map(str.encode)
    | values.map(lambda v: json.dumps(v).encode())
)
def test_whatever_a_state_holds_is_read_or_refused_and_what_is_read_can_be_told_to_others(
    text: bytes,
) -> None:
    try:
        (state,) = protocol.decode_states(awareness_of(text))
    except ProtocolError:
        return
    assert protocol.decode_states(protocol.encode_states([state])) == [state]


def test_half_an_emoji_which_a_browser_makes_by_cutting_a_name_is_told_to_others() -> None:
    # JSON.stringify("🦉".slice(0, 1)): one client's name must not keep a document from everybody else.
    (state,) = protocol.decode_states(awareness_of(b'{"user":{"name":"\\ud83e"}}'))
    assert protocol.decode_states(protocol.encode_states([state])) == [state]
    awareness = Awareness(Doc())
    awareness.apply_awareness_update(protocol.encode_states([state]), "test")
    assert awareness.states[7] == {"user": {"name": "\ud83e"}}


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"{", id="cut"),
        pytest.param(b'{"a":1} x', id="more after it"),
        pytest.param(b"undefined", id="JavaScript"),
        pytest.param(b'{"a":NaN}', id="NaN, which JSON.parse throws at"),
        pytest.param(b'{"a":-Infinity}', id="Infinity"),
        pytest.param(b'{"a":1e999}', id="a float that becomes Infinity"),
        pytest.param(b'{"a":' + b"1" * 5000 + b"}", id="an int that Python refuses"),
        pytest.param(b'{"a":"\xff"}', id="not UTF-8"),
        pytest.param('{"a":1}'.encode("utf-16"), id="UTF-16"),
        pytest.param(b'{"a":' * 50_000, id="deep, and cut"),
        pytest.param(b'{"a":' * 900 + b"1" + b"}" * 900, id="deep"),
        pytest.param(b"[]", id="a list"),
        pytest.param(b'"x"', id="a string"),
        pytest.param(b"3", id="a number"),
        pytest.param(b"true", id="true"),
    ],
)
def test_a_state_that_is_no_json_object_is_refused(text: bytes) -> None:
    with pytest.raises(ProtocolError):
        protocol.decode_states(awareness_of(text))


@pytest.mark.parametrize(
    "update", ["", "01", "0107", "010701", "01070105", "0107010561", "02070104", "ffffffff0f"]
)
def test_states_that_are_cut_short_are_refused(update: str) -> None:
    with pytest.raises(ProtocolError):
        protocol.decode_states(bytes.fromhex(update))


def test_who_left_is_null() -> None:
    assert protocol.decode_states(awareness_of(b"null")) == [ClientState(7, 1, None)]
    assert protocol.encode_states([ClientState(7, 1, None)]) == awareness_of(b"null")
    assert protocol.decode_states(b"\x00") == []


def test_a_state_as_nested_as_real_ones_are_is_read() -> None:
    nested: dict[str, Any] = {}
    for _ in range(60):
        nested = {"a": [nested]} if len(str(nested)) % 2 else {"a": nested}
    (state,) = protocol.decode_states(awareness_of(json.dumps(nested).encode()))
    assert state.state == nested
