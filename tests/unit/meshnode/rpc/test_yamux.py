"""A session as transcripts: bytes in, bytes and events out. The golden bytes are written from yamux ``spec.md``."""

from __future__ import annotations

import os
import random
from collections import deque

import pytest

from meshnode.base.errors import LocalProtocolError, RemoteProtocolError
from meshnode.rpc import yamux_frames as frames
from meshnode.rpc.yamux import Limits, Role, Session
from meshnode.rpc.yamux_effects import (
    DataReceived,
    Effect,
    GoAwayReceived,
    KeepAliveDue,
    PongOverdue,
    PongReceived,
    Send,
    SessionClosed,
    SetTimer,
    StreamEnded,
    StreamId,
    StreamOpened,
    StreamReset,
)
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

# -- the way of a call, in golden bytes


def test_a_call_in_golden_bytes() -> None:
    client, server = Session(Role.CLIENT), Session(Role.SERVER)
    stream, opening = client.open_stream(0.0)
    assert stream == 1
    assert sent(opening) == bytes.fromhex("00 01 0001 00000001 00000000")
    request = client.send(stream, b"ping")
    assert sent(request) == bytes.fromhex("00 00 0000 00000001 00000004 70696e67")
    assert server.handle_data(sent(opening) + sent(request), 0.0) == [
        StreamOpened(ONE),
        DataReceived(ONE, b"ping"),
    ]
    accepted = server.accept(ONE)
    assert sent(accepted) == bytes.fromhex("00 01 0002 00000001 00000000")
    answer = server.send(ONE, b"pong")
    assert client.handle_data(sent(accepted) + sent(answer), 0.0) == [DataReceived(ONE, b"pong")]
    fin = client.close(stream)
    assert sent(fin) == bytes.fromhex("00 01 0004 00000001 00000000")
    assert server.handle_data(sent(fin), 0.0) == [StreamEnded(ONE)]
    assert client.handle_data(sent(server.close(ONE)), 0.0) == [StreamEnded(ONE)]
    assert (client.stream_count, server.stream_count) == (0, 0)


def test_each_role_numbers_its_own_streams() -> None:
    client, server = Session(Role.CLIENT), Session(Role.SERVER)
    assert [client.open_stream(0.0)[0] for _ in range(3)] == [1, 3, 5]
    assert [server.open_stream(0.0)[0] for _ in range(3)] == [2, 4, 6]


def test_bytes_one_at_a_time_are_the_same_as_all_at_once() -> None:
    stream = syn(1) + data(1, b"hello") + frame(2, 1, 0, 7) + data(1, b"", frames.FIN)
    whole, split = Session(Role.SERVER), Session(Role.SERVER)
    at_once = whole.handle_data(stream, 0.0)
    one_by_one = [effect for byte in stream for effect in split.handle_data(bytes([byte]), 0.0)]
    assert sent(at_once) == sent(one_by_one) == bytes.fromhex("00 02 0002 00000000 00000007")
    merged = b"".join(effect.data for effect in one_by_one if isinstance(effect, DataReceived))
    assert merged == b"hello"
    assert events(at_once) == [StreamOpened(ONE), DataReceived(ONE, b"hello"), StreamEnded(ONE)]
    assert [e for e in events(one_by_one) if not isinstance(e, DataReceived)] == [
        StreamOpened(ONE),
        StreamEnded(ONE),
    ]


def test_a_stream_may_open_with_data_and_end_in_the_same_frame() -> None:
    session = Session(Role.SERVER)
    effects = session.handle_data(data(1, b"x", frames.SYN | frames.FIN), 0.0)
    assert effects == [StreamOpened(ONE), DataReceived(ONE, b"x"), StreamEnded(ONE)]
    assert sent(session.send(ONE, b"y")).startswith(frame(1, frames.ACK, 1, 0)), "sending accepts"


def test_half_close_leaves_the_other_way_open() -> None:
    session = client_with_stream()
    session.close(ONE)
    with pytest.raises(LocalProtocolError, match="not open for sending"):
        session.send(ONE, b"more")
    assert session.handle_data(data(1, b"late"), 0.0) == [DataReceived(ONE, b"late")]
    assert session.handle_data(frame(1, frames.FIN, 1, 0), 0.0) == [StreamEnded(ONE)]
    assert session.stream_count == 0


# -- ends


def test_a_reset_ends_both_ways_and_late_frames_are_ignored() -> None:
    session = client_with_stream()
    assert session.handle_data(frame(1, frames.RST, 1, 0), 0.0) == [StreamReset(ONE)]
    assert session.handle_data(data(1, b"late") + frame(1, 0, 1, 5) + frame(1, frames.FIN, 1, 0), 0.0) == []
    other = client_with_stream()
    assert sent(other.reset(ONE)) == frame(1, frames.RST, 1, 0)
    assert other.handle_data(data(1, b"late"), 0.0) == []
    assert other.reset(ONE) == []


def test_a_reset_in_the_middle_of_a_payload_drops_the_rest() -> None:
    session = server_with_stream()
    whole = data(1, b"abcdef")
    assert session.handle_data(whole[:15], 0.0) == [DataReceived(ONE, b"abc")]
    session.reset(ONE)
    assert session.handle_data(whole[15:] + syn(3), 0.0) == [StreamOpened(StreamId(3))]


def test_go_away_stops_new_streams_and_keeps_the_old() -> None:
    session = server_with_stream()
    assert sent(session.go_away()) == frame(3, 0, 0, 0)
    assert session.go_away() == []
    assert sent(session.handle_data(syn(3), 0.0)) == frame(1, frames.RST, 3, 0)
    assert session.handle_data(data(1, b"x"), 0.0) == [DataReceived(ONE, b"x")]
    client = client_with_stream()
    assert client.handle_data(frame(3, 0, 0, 0) * 2, 0.0) == [GoAwayReceived()]
    assert not client.can_open
    with pytest.raises(LocalProtocolError, match="going away"):
        client.open_stream(0.0)
    assert client.send(ONE, b"still")


@pytest.mark.parametrize("code", [1, 2, 77])
def test_a_go_away_with_an_error_ends_the_session(code: int) -> None:
    session = client_with_stream()
    assert str(code) in str(the_error(session.handle_data(frame(3, 0, 0, code), 0.0)))
    assert session.closed
    assert session.handle_data(b"anything", 0.0) == []
    with pytest.raises(LocalProtocolError, match="closed"):
        session.open_stream(0.0)


@pytest.mark.parametrize(
    ("received", "words"),
    [
        (b"\x01" + bytes(11), "version 1"),
        (frame(4, 0, 0, 0), "type 4"),
        (frame(2, 1, 5, 0), "stream 0"),
        (frame(3, 0, 5, 0), "stream 0"),
        (syn(0), "not the peer's"),
        (syn(2), "not the peer's"),
        (syn(1), "opened twice"),
        (frame(1, frames.ACK | frames.SYN, 3, 0), "acknowledged by the side"),
        (frame(1, frames.FIN, 1, 0) * 2, "ends twice"),
        (data(1, b"x", frames.FIN) + data(1, b"y"), "after its FIN"),
        (frame(0, 0, 1, WINDOW + 1), "a window has"),
        (frame(0, 0, 99, WINDOW + 1), "a window has"),
        (b"GET / HTTP/1.1\r\n\r\n", "version 71"),
    ],
)  # fmt: skip
def test_what_the_protocol_forbids_ends_the_session_with_a_go_away(received: bytes, words: str) -> None:
    session = server_with_stream()
    effects = session.handle_data(received, 0.0)
    error = the_error(effects)
    assert isinstance(error, RemoteProtocolError)
    assert words in str(error)
    assert sent(effects) == frame(3, 0, 0, 1)
    assert session.closed


# -- timers


def test_keep_alive_pings_and_a_pong_in_time_is_measured() -> None:
    session = Session(Role.CLIENT)
    assert session.start(0.0) == [SetTimer(30.0, KeepAliveDue())]
    effects = session.handle_timer(KeepAliveDue(), 30.0)
    assert effects == [
        Send(frame(2, 1, 0, 1)), SetTimer(10.0, PongOverdue(1)), SetTimer(30.0, KeepAliveDue()),
    ]  # fmt: skip
    assert session.handle_data(frame(2, 2, 0, 1), 30.5) == [PongReceived(0.5)]
    assert session.handle_timer(PongOverdue(1), 40.0) == [], "stale"
    assert session.handle_data(frame(2, 2, 0, 1), 41.0) == [], "nobody asked"


def test_a_peer_that_does_not_answer_a_ping_loses_the_session() -> None:
    session = Session(Role.CLIENT)
    session.handle_timer(KeepAliveDue(), 30.0)
    effects = session.handle_timer(PongOverdue(1), 40.0)
    assert "did not answer" in str(the_error(effects))
    assert sent(effects) == frame(3, 0, 0, 2)
    assert session.handle_timer(KeepAliveDue(), 60.0) == []


def test_without_an_interval_there_is_no_keep_alive() -> None:
    assert Session(Role.CLIENT, Limits(keep_alive_interval=0)).start(0.0) == []


def test_an_open_without_an_answer_ends_the_session() -> None:
    session = Session(Role.CLIENT)
    session.open_stream(0.0)
    assert not any(isinstance(effect, SessionClosed) for effect in session.handle_timer(KeepAliveDue(), 74.9))
    session.handle_data(frame(2, 2, 0, 1), 74.9)
    assert "did not accept stream 1" in str(the_error(session.handle_timer(KeepAliveDue(), 75.0)))


def test_a_close_without_an_answer_becomes_a_reset() -> None:
    session = client_with_stream()
    session.close(ONE)
    for now in (30.0, 329.9):
        assert StreamReset(ONE) not in session.handle_timer(KeepAliveDue(), now)
        session.handle_data(frame(2, 2, 0, 1) + frame(2, 2, 0, 2), now)
    effects = session.handle_timer(KeepAliveDue(), 330.0)
    assert StreamReset(ONE) in effects
    assert frame(1, frames.RST, 1, 0) in sent(effects)
    assert session.stream_count == 0


# -- together


@pytest.mark.parametrize("seed", range(5))
def test_two_sessions_carry_every_byte_over_any_fragmentation(seed: int) -> None:
    rng = random.Random(seed)
    client, server = Session(Role.CLIENT), Session(Role.SERVER)
    lines = {client: deque[bytes](), server: deque[bytes]()}
    received: dict[StreamId, bytearray] = {}
    wanted: dict[StreamId, bytes] = {}

    def run(session: Session, effects: list[Effect]) -> None:
        for effect in effects:
            match effect:
                case Send(bytes_out):
                    lines[session].append(bytes_out)
                case StreamOpened(stream):
                    received[stream] = bytearray()
                    run(session, session.accept(stream))
                case DataReceived(stream, chunk):
                    received[stream] += chunk
                    run(session, session.consumed(stream, len(chunk)))
                case StreamEnded(stream):
                    run(session, session.close(stream))

    for _ in range(20):
        stream, effects = client.open_stream(0.0)
        run(client, effects)
        wanted[stream] = rng.randbytes(rng.choice([0, 1, 1000, WINDOW, 3 * WINDOW + 17]))
        run(client, client.send(stream, wanted[stream]))
        run(client, client.close(stream))
    while any(lines.values()):
        for here, there in ((client, server), (server, client)):
            if lines[here]:
                chunk = lines[here].popleft()
                cut = rng.randint(1, len(chunk))
                if chunk[cut:]:
                    lines[here].appendleft(chunk[cut:])
                run(there, there.handle_data(chunk[:cut], 0.0))
    assert {stream: bytes(got) for stream, got in received.items()} == wanted
    assert (client.stream_count, server.stream_count, client.queued_bytes) == (0, 0, 0)


def test_any_bytes_end_in_events_or_a_protocol_error_and_memory_stays_bounded() -> None:
    seed = int(os.environ.get("MESH_FUZZ_SEED", "20260101"))
    print(f"seed {seed}")
    rng = random.Random(seed)
    for _ in range(int(os.environ.get("MESH_FUZZ_CASES", "1500"))):
        session = Session(Role.SERVER, Limits(max_streams=8, accept_backlog=4))
        for _ in range(rng.randint(1, 30)):
            kind = rng.choice([0, 0, 0, 1, 1, 2, 3, rng.randrange(256)])
            length = rng.choice([0, 1, 5, 1000, WINDOW, WINDOW + 1, 2**32 - 1])
            payload = rng.randbytes(min(length, 1000)) if kind == 0 else b""
            bytes_in = bytes([rng.choice([0] * 30 + [1])]) + frame(
                kind, rng.choice([0, 1, 2, 3, 4, 5, 8, 9, rng.randrange(2**16)]), rng.randrange(12), length, payload
            )[1:]  # fmt: skip
            effects = session.handle_data(bytes_in[: rng.randint(1, len(bytes_in))], 0.0)
            for effect in effects:
                if isinstance(effect, StreamOpened) and rng.random() < 0.5:
                    session.accept(effect.stream)
                if isinstance(effect, SessionClosed):
                    assert isinstance(effect.error, RemoteProtocolError)
            assert session.stream_count <= 8
            assert len(session._head) < 12
            assert session.queued_bytes == 0
        counted = session._streams.values()
        assert session._incoming == len(counted)
        assert session._unaccepted == sum(stream.unaccepted for stream in counted)
