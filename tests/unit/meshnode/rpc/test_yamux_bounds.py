"""What a session bounds: windows, queues, streams and their ids."""

from __future__ import annotations

import random

import pytest

from meshnode.base.errors import LocalProtocolError, RemoteProtocolError
from meshnode.rpc import yamux_frames as frames
from meshnode.rpc.yamux import Limits, Role, Session
from meshnode.rpc.yamux_effects import DataReceived, StreamId, StreamOpened
from tests.unit.meshnode.rpc.yamux_frames import (
    ONE,
    WINDOW,
    client_with_stream,
    data,
    events,
    frame,
    sent,
    server_with_stream,
    syn,
    the_error,
)

# -- flow control


def test_a_sender_stops_at_the_window_and_goes_on_when_it_widens() -> None:
    session = client_with_stream()
    payload = random.Random(1).randbytes(WINDOW + 1000)
    first = sent(session.send(ONE, payload))
    assert len(first) == WINDOW + 4 * 12, "four frames of 64 KiB"
    assert session.queued_bytes == 1000
    second = sent(session.handle_data(frame(1, 0, 1, 600), 0.0))
    assert second == data(1, payload[WINDOW : WINDOW + 600])
    assert sent(session.close(ONE)) == b"", "FIN waits behind the queue"
    third = sent(session.handle_data(frame(1, 0, 1, 600), 0.0))
    assert third == data(1, payload[WINDOW + 600 :]) + frame(1, frames.FIN, 1, 0)
    assert session.queued_bytes == 0


def test_credit_is_given_from_half_a_window_on() -> None:
    session = server_with_stream()
    session.handle_data(data(1, bytes(WINDOW)), 0.0)
    assert session.consumed(ONE, WINDOW // 2 - 1) == []
    assert sent(session.consumed(ONE, 1)) == frame(1, 0, 1, WINDOW // 2)
    assert events(session.handle_data(data(1, bytes(WINDOW // 2)), 0.0)) != []
    assert isinstance(the_error(session.handle_data(data(1, b"x"), 0.0)), RemoteProtocolError)


def test_a_full_window_is_allowed_and_one_byte_more_is_not() -> None:
    session = server_with_stream()
    assert session.handle_data(data(1, bytes(WINDOW)), 0.0) == [DataReceived(ONE, bytes(WINDOW))]
    effects = session.handle_data(data(1, b"x"), 0.0)
    assert sent(effects) == frame(3, 0, 0, 1), "go away, protocol error"
    assert "window" in str(the_error(effects))


def test_a_window_may_reach_32_bits_and_not_pass_them() -> None:
    session = client_with_stream()
    assert session.handle_data(frame(1, 0, 1, 2**32 - 1 - WINDOW), 0.0) == []
    assert "32 bits" in str(the_error(session.handle_data(frame(1, 0, 1, 1), 0.0)))


@pytest.mark.parametrize("which", ["max_stream_queue_bytes", "max_session_queue_bytes"])
def test_the_send_queue_takes_its_bound_and_no_byte_more(which: str) -> None:
    session = client_with_stream(Limits(**{which: 100}))
    session.send(ONE, bytes(WINDOW + 100))
    with pytest.raises(LocalProtocolError, match="waiting for the peer"):
        session.send(ONE, b"x")
    assert session.queued_bytes == 100, "the refused call changed nothing"
    session.reset(ONE)
    assert session.queued_bytes == 0


# -- limits on streams


def test_the_backlog_takes_256_streams_and_resets_the_next() -> None:
    session = Session(Role.SERVER)
    opened = session.handle_data(b"".join(syn(2 * n + 1) for n in range(256)), 0.0)
    assert len(opened) == 256
    assert sent(session.handle_data(syn(513), 0.0)) == frame(1, frames.RST, 513, 0)
    session.accept(ONE)
    assert session.handle_data(syn(515), 0.0) == [StreamOpened(StreamId(515))]


def test_streams_are_bounded_even_when_accepted() -> None:
    session = Session(Role.SERVER, Limits(max_streams=3))
    for n in (1, 3, 5):
        session.handle_data(syn(n), 0.0)
        session.accept(StreamId(n))
    assert sent(session.handle_data(syn(7), 0.0)) == frame(1, frames.RST, 7, 0)
    session.reset(ONE)
    assert events(session.handle_data(syn(9), 0.0)) == [StreamOpened(StreamId(9))]


def test_our_own_opens_wait_for_the_peer_after_256() -> None:
    session = Session(Role.CLIENT)
    for _ in range(256):
        session.open_stream(0.0)
    with pytest.raises(LocalProtocolError, match="accept"):
        session.open_stream(0.0)
    session.handle_data(frame(1, frames.ACK, 1, 0), 0.0)
    assert session.can_open
    session.handle_data(frame(1, frames.RST, 3, 0), 0.0)
    assert session.open_stream(0.0)[0] == 513


def test_stream_ids_end_before_they_wrap() -> None:
    session = Session(Role.CLIENT)
    session._next_id = frames.MAX_STREAM_ID
    assert session.open_stream(0.0)[0] == frames.MAX_STREAM_ID
    with pytest.raises(LocalProtocolError, match="exhausted"):
        session.open_stream(0.0)
