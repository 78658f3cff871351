"""What replicas tell each other, and how a message is framed: bytes, without a bus."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tornado.websocket import WebSocketProtocol13

from jupyter_rtc_amprenta.core.errors import ConfigurationError, ProtocolError
from jupyterhub_service.yjs_bus import Kind, Message, RedisBus, decode
from jupyterhub_service.yjs_frames import Framer, frame_of
from jupyterhub_service.yjs_replicas import _packed


@given(st.sampled_from(Kind), st.text(max_size=20), st.text(max_size=20), st.integers(0, 2**40), st.binary(max_size=50))
def test_a_message_is_read_as_it_was_written(kind, replica, document_id, generation, payload):
    message = Message(kind, replica, document_id, generation, payload)
    assert decode(message.encode()) == message


@given(st.binary(max_size=60))
def test_whatever_somebody_else_publishes_is_read_or_refused(data):
    with contextlib.suppress(ProtocolError):
        decode(data)


def test_a_redis_url_that_is_none_is_told():
    with pytest.raises(ConfigurationError, match="REDIS_URL should look like"):
        RedisBus("http://x")


@pytest.mark.parametrize("size", [0, 1, 125, 126, 65535, 65536, 200_000])
def test_a_frame_is_tornados_own(size):
    written: list[bytes] = []

    class Stream:
        def write(self, data: bytes) -> None:
            written.append(data)

    tornados = WebSocketProtocol13.__new__(WebSocketProtocol13)
    tornados.mask_outgoing, tornados.stream, tornados._wire_bytes_out = False, Stream(), 0
    tornados._write_frame(True, 0x2, bytes(size))
    assert frame_of(bytes(size)) == written[0]


def test_a_frame_is_made_once_for_all_who_are_sent_it():
    framer, message = Framer(), b"to everybody"
    assert framer.frame(message) is framer.frame(message)
    assert framer.frame(b"another")[2:] == b"another"


def test_states_are_packed_into_messages_that_a_notice_can_hold():
    parts = [bytes(3000), bytes(2000), bytes(1000), bytes(9000), bytes(10)]
    assert list(map(len, _packed(parts, 5600))) == [2, 2]
    assert list(_packed([], 5600)) == []
