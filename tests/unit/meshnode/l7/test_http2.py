"""HTTP/2 on both sides, and against the ``h2`` library used by hand where a peer misbehaves."""

from __future__ import annotations

import pytest
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.events import ConnectionTerminated
from h2.events import ResponseReceived as RawResponse
from hypothesis import given
from hypothesis import strategies as st

from meshnode.l7.flood import CONTROL, RESETS
from meshnode.l7.http2 import Http2Client, Http2Server
from meshnode.l7.model import (
    BodyReceived,
    Bounds,
    ConnectionFailed,
    Event,
    Fields,
    InterimReceived,
    MessageEnded,
    PeerLeaving,
    RequestHead,
    RequestReceived,
    RequestRefused,
    ResponseHead,
    ResponseReceived,
    StreamFailed,
)
from tests.unit.meshnode.l7.test_http1 import BODY, FIELDS, joined

NOW = 5.0


def pair() -> tuple[Http2Client, Http2Server]:
    client, server = Http2Client(Bounds()), Http2Server(Bounds(), scheme="https")
    client.start()
    server.start()
    server.receive(client.take_output(), NOW)
    client.receive(server.take_output(), NOW)
    server.receive(client.take_output(), NOW)
    return client, server


class Attacker:
    """h2 without its own checks, in front of a server of ours."""

    def __init__(self, bounds: Bounds | None = None) -> None:
        self.h2 = H2Connection(
            H2Configuration(
                client_side=True, validate_outbound_headers=False, normalize_outbound_headers=False
            )
        )
        self.h2.initiate_connection()
        self.server = Http2Server(bounds or Bounds(), scheme="http")
        self.server.start()
        self.flush()

    def flush(self, now: float = NOW) -> list[Event]:
        """What the server makes of it; its answers are read."""
        events = self.server.receive(self.h2.data_to_send(), now)
        self.raw = self.h2.receive_data(self.server.take_output())
        return events

    def ask(self, *pairs: tuple[str, str], ended: bool = True, **pseudo: str) -> int:
        """Send a request's head; ``pseudo`` replaces what it says of method, scheme, authority and path."""
        stream = self.h2.get_next_available_stream_id()
        first = {"method": "GET", "scheme": "http", "authority": "a", "path": "/"} | pseudo
        head = [(f":{name}", value) for name, value in first.items() if value]
        self.h2.send_headers(stream, [*head, *pairs], end_stream=ended)
        return stream


@given(FIELDS, BODY, FIELDS)
def test_both_messages_arrive_as_they_were_sent(fields: Fields, body: list[bytes], trailers: Fields) -> None:
    client, server = pair()
    head = RequestHead("POST", "https", "api:80", "/a?b=1", fields, "HTTP/2")
    number = client.begin(head, ended=False)
    for piece in body:
        client.send_body(number, piece)
    client.end(number, trailers)
    events = server.receive(client.take_output(), NOW)
    assert events[0] == RequestReceived(number, head, ended=False)
    assert joined(events) == b"".join(body)
    assert events[-1] == MessageEnded(number, trailers)
    server.send_interim(number, ResponseHead(103))
    server.send_head(number, ResponseHead(200, fields), ended=False)
    for piece in body:
        server.send_body(number, piece)
    server.end(number, trailers)
    events = client.receive(server.take_output(), NOW)
    assert events[:2] == [
        InterimReceived(number, ResponseHead(103)),
        ResponseReceived(number, ResponseHead(200, fields), ended=False),
    ]
    assert joined(events) == b"".join(body)
    assert events[-1] == MessageEnded(number, trailers)


@given(st.binary(max_size=200))
def test_garbage_ends_in_events_and_never_in_an_exception(data: bytes) -> None:
    client, server = pair()
    server.receive(data, NOW)
    client.begin(RequestHead("GET", "http", "a", "/", ()), ended=True)
    client.receive(data, NOW)


def test_pieces_of_cookies_become_one_field() -> None:
    attacker = Attacker()
    attacker.ask(("cookie", "a=1"), ("x", "y"), ("cookie", "b=2"))
    event = next(event for event in attacker.flush() if isinstance(event, RequestReceived))
    assert event.head.fields == ((b"x", b"y"), (b"cookie", b"a=1; b=2"))


@pytest.mark.parametrize(
    ("pseudo", "pairs"),
    [
        ({"path": "a"}, ()),
        ({"path": "/a b"}, ()),
        ({"path": "/a#b"}, ()),
        ({"authority": "u@a"}, ()),
        ({"authority": ""}, ()),
        ({"authority": "a"}, (("host", "b"),)),
        ({"path": "*"}, ()),
        ({"method": "get"}, ()),
        ({"scheme": "https://b/?"}, ()),
        ({}, (("content-length", "0"), ("content-length", "0"))),
        ({"method": "CONNECT"}, ()),
        ({"method": "GET / HTTP/1.1"}, ()),
        ({}, (("Upper", "a"),)),
        ({}, (("connection", "close"),)),
        ({}, (("transfer-encoding", "chunked"),)),
        ({}, (("x", "a\r\nb: c"),)),
        ({}, (("x", "a\x00"),)),
        ({}, (("x y", "a"),)),
        ({}, (("te", "gzip"),)),
    ],
)
def test_a_head_that_http_1_1_would_read_differently_is_not_passed_on(
    pseudo: dict[str, str], pairs: tuple[tuple[str, str], ...]
) -> None:
    attacker = Attacker()
    attacker.ask(*pairs, **pseudo)
    events = attacker.flush()
    assert not any(isinstance(event, RequestReceived) for event in events)
    assert any(
        isinstance(event, RequestRefused | ConnectionFailed | StreamFailed) for event in events
    ) or any(type(event).__name__ in {"StreamReset", "ConnectionTerminated"} for event in attacker.raw)


def test_a_body_longer_than_its_content_length_is_not_passed_on() -> None:
    attacker = Attacker()
    stream = attacker.ask(("content-length", "1"), ended=False)
    attacker.flush()
    attacker.h2.send_data(stream, b"abc", end_stream=True)
    events = attacker.flush()
    assert not any(isinstance(event, MessageEnded) for event in events)


def test_a_long_head_is_refused_with_431_and_the_connection_goes_on() -> None:
    attacker = Attacker(Bounds(max_head_bytes=1000))
    attacker.ask(("x", "a" * 1000))
    (event,) = [event for event in attacker.flush() if isinstance(event, RequestRefused)]
    assert event.refusal.status == 431
    attacker.ask()
    assert any(isinstance(event, RequestReceived) for event in attacker.flush())


def test_too_many_fields_are_refused_with_431() -> None:
    attacker = Attacker(Bounds(max_fields=3))
    attacker.ask(*[(f"x{number}", "a") for number in range(4)])
    (event,) = [event for event in attacker.flush() if isinstance(event, RequestRefused)]
    assert event.refusal.status == 431


def flooded(attacker: Attacker, events: list[Event]) -> bool:
    ended = [event for event in attacker.raw if isinstance(event, ConnectionTerminated)]
    if not any(isinstance(event, ConnectionFailed) for event in events):
        return False
    assert [event.error_code for event in ended] == [ErrorCodes.ENHANCE_YOUR_CALM]
    assert attacker.server.finished
    return True


def test_resets_in_masses_end_the_connection_and_as_many_as_a_browser_makes_do_not() -> None:
    attacker, most = Attacker(), RESETS[0]
    for number in range(most + 1):
        stream = attacker.ask(ended=False)
        attacker.h2.reset_stream(stream)
        assert flooded(attacker, attacker.flush()) == (number == most)


def test_resets_spread_over_time_do_no_harm() -> None:
    attacker = Attacker()
    for number in range(3 * RESETS[0]):
        attacker.h2.reset_stream(attacker.ask(ended=False))
        assert not flooded(attacker, attacker.flush(NOW + number * RESETS[1] / (RESETS[0] - 1)))


def test_pings_in_masses_end_the_connection() -> None:
    attacker, most = Attacker(), CONTROL[0]
    for _ in range(most + 10):
        attacker.h2.ping(b"12345678")
    assert flooded(attacker, attacker.flush())


def test_empty_pieces_of_body_in_masses_end_the_connection() -> None:
    attacker, most = Attacker(), CONTROL[0]
    stream = attacker.ask(ended=False)
    for _ in range(most + 10):
        attacker.h2.send_data(stream, b"")
    assert flooded(attacker, attacker.flush())


def test_who_leaves_finishes_what_is_under_way_and_takes_nothing_new() -> None:
    attacker = Attacker()
    stream = attacker.ask()
    attacker.flush()
    attacker.server.leave()
    attacker.h2.receive_data(b"")
    late = attacker.ask()
    attacker.server.receive(attacker.h2.data_to_send(), NOW)
    assert not attacker.server.finished
    attacker.server.send_head(stream, ResponseHead(200), ended=True)
    assert attacker.server.finished
    assert late != stream


def test_a_server_that_leaves_gets_no_further_request_and_answers_the_last_one() -> None:
    client, server = pair()
    number = client.begin(RequestHead("GET", "http", "a", "/", ()), ended=True)
    server.receive(client.take_output(), NOW)
    server.leave()
    assert PeerLeaving(number) in client.receive(server.take_output(), NOW)
    assert client.room == 0
    server.send_head(number, ResponseHead(200), ended=False)
    server.send_body(number, b"abc")
    server.end(number)
    events = client.receive(server.take_output(), NOW)
    assert joined(events) == b"abc"
    assert events[-1] == MessageEnded(number)
    assert client.finished


def test_flow_control_stops_a_sender_until_what_it_sent_was_passed_on() -> None:
    client, server = pair()
    number = client.begin(RequestHead("POST", "http", "a", "/", ()), ended=False)
    window = client.window(number)
    assert window == Bounds().max_waiting_bytes
    client.send_body(number, b"x" * window)
    assert client.window(number) == 0
    events = server.receive(client.take_output(), NOW)
    for event in events:
        if isinstance(event, BodyReceived):
            server.consumed(number, event.weight)
    client.receive(server.take_output(), NOW)
    assert client.window(number) > 0


def test_no_more_requests_at_once_than_the_bound() -> None:
    attacker = Attacker(Bounds(max_streams=2))
    assert attacker.h2.remote_settings.max_concurrent_streams == 2
    assert not any(isinstance(event, RawResponse) for event in attacker.raw)


def test_a_client_that_says_goodbye_gets_what_it_has_asked_for() -> None:
    client = Attacker()
    stream = client.ask()
    goaway = bytes((0, 0, 8, 7, 0, 0, 0, 0, 0)) + bytes(8)
    events = client.server.receive(client.h2.data_to_send() + goaway, NOW)
    assert any(isinstance(event, RequestReceived) for event in events)
    assert not client.server.finished
    client.server.send_head(stream, ResponseHead(204), ended=True)
    assert client.server.finished
