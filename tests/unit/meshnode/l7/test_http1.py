"""HTTP/1.1 on both sides: what one of them says is what the other hears, and what neither of them believes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshnode.l7.http1_client import Http1Client
from meshnode.l7.http1_server import Http1Server
from meshnode.l7.model import (
    HTTP_1_0,
    BodyReceived,
    Bounds,
    ConnectionFailed,
    Event,
    Fields,
    InterimReceived,
    MessageEnded,
    RefusalError,
    RequestHead,
    RequestReceived,
    RequestRefused,
    ResponseHead,
    ResponseReceived,
    StreamFailed,
)

NOW = 5.0


def server(**bounds: int) -> Http1Server:
    return Http1Server(Bounds(**bounds), scheme="https")


def heard(data: bytes) -> list[Event]:
    return server().receive(data, NOW)


def head_of(data: bytes) -> RequestHead:
    event = heard(data)[0]
    assert isinstance(event, RequestReceived)
    return event.head


def status_of(data: bytes) -> int:
    event = heard(data)[-1]
    assert isinstance(event, RequestRefused)
    return event.refusal.status


NAMES = st.text("abcdefghijklmnopqrstuvwxyz-", min_size=1, max_size=12).map(lambda name: f"x-{name}".encode())
VALUES = st.binary(max_size=30).map(
    lambda raw: bytes(byte for byte in raw if byte in b"\t" or 0x20 <= byte != 0x7F).strip(b" \t")
)
FIELDS = st.lists(st.tuples(NAMES, VALUES), max_size=6).map(tuple)
BODY = st.lists(st.binary(min_size=1, max_size=300), max_size=4)


def joined(events: list[Event]) -> bytes:
    return b"".join(event.data for event in events if isinstance(event, BodyReceived))


@given(FIELDS, BODY, FIELDS, st.lists(st.integers(1, 60), max_size=30))
def test_a_request_arrives_as_it_was_sent_however_it_is_cut(
    fields: Fields, body: list[bytes], trailers: Fields, cuts: list[int]
) -> None:
    client, there = Http1Client(Bounds()), server()
    head = RequestHead("POST", "https", "api:80", "/a?b=1", fields)
    number = client.begin(head, ended=False)
    for piece in body:
        client.send_body(number, piece)
    client.end(number, trailers)
    data, events = client.take_output(), []
    while data:
        size = cuts.pop() if cuts else 1000
        events += there.receive(data[:size], NOW)
        data = data[size:]
    assert events[0] == RequestReceived(1, head, ended=False)
    assert joined(events) == b"".join(body)
    assert events[-1] == MessageEnded(1, trailers)


@given(FIELDS, BODY, FIELDS)
def test_a_response_arrives_as_it_was_sent(fields: Fields, body: list[bytes], trailers: Fields) -> None:
    client, there = Http1Client(Bounds()), server()
    number = client.begin(RequestHead("GET", "https", "a", "/", ()), ended=True)
    there.receive(client.take_output(), NOW)
    there.send_interim(1, ResponseHead(103, ((b"link", b"</a>"),)))
    there.send_head(1, ResponseHead(200, fields), ended=False)
    for piece in body:
        there.send_body(1, piece)
    there.end(1, trailers)
    events = client.receive(there.take_output(), NOW)
    assert events[0] == InterimReceived(number, ResponseHead(103, ((b"link", b"</a>"),)))
    assert events[1] == ResponseReceived(number, ResponseHead(200, fields), ended=False)
    assert joined(events) == b"".join(body)
    assert events[-1] == MessageEnded(number, trailers)
    assert client.room == 1
    assert not there.finished


@given(st.binary(max_size=200))
def test_garbage_ends_in_events_and_never_in_an_exception(data: bytes) -> None:
    server().receive(data, NOW)
    server().receive(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n" + data, NOW)
    client = Http1Client(Bounds())
    client.begin(RequestHead("GET", "http", "a", "/", ()), ended=True)
    client.receive(data, NOW)
    client.receive(b"", NOW)


def test_what_is_about_the_connection_is_not_passed_on() -> None:
    head = head_of(
        b"GET / HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, X-Hop\r\nX-Hop: 1\r\nKeep-Alive: 5\r\n"
        b"TE: trailers, gzip\r\nUpgrade: h2c\r\nHTTP2-Settings: AA\r\nProxy-Authorization: Basic x\r\n"
        b"Proxy-Connection: close\r\nX-End: 2\r\n\r\n"
    )
    assert head.fields == ((b"x-end", b"2"), (b"te", b"trailers"))
    assert head.upgrade == ""


@pytest.mark.parametrize("name", [b"Content-Length", b"Host", b"Cookie", b"Authorization"])
def test_connection_can_not_take_away_what_belongs_to_the_message(name: bytes) -> None:
    assert status_of(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: " + name + b"\r\n\r\n") == 400


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a b\r\n\r\n", 400),
        (b"GET http://a/ HTTP/1.1\r\n\r\n", 400),
        (b"GET * HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (b"get / HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (b"GET http://b/ HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (b"CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n", 501),
        (b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
    ],
)
def test_a_head_that_can_not_be_passed_on_is_refused(data: bytes, status: int) -> None:
    assert status_of(data) == status


def test_a_request_that_was_sent_ahead_waits_for_the_response_before() -> None:
    there = server()
    one, two = b"GET /1 HTTP/1.1\r\nHost: a\r\n\r\n", b"GET /2 HTTP/1.1\r\nHost: a\r\n\r\n"
    assert len(there.receive(one + two, NOW)) == 1
    assert there.waiting == len(two)
    there.send_head(1, ResponseHead(204), ended=True)
    (event,) = there.resume()
    assert isinstance(event, RequestReceived)
    assert (event.stream, event.head.path) == (2, "/2")


def test_a_body_that_breaks_off_fails_its_request() -> None:
    there = server()
    there.receive(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\na", NOW)
    (event,) = there.receive(b"", NOW)
    assert isinstance(event, StreamFailed)


def test_a_client_that_has_said_everything_may_still_read() -> None:
    there = server()
    there.receive(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", NOW)
    assert there.receive(b"", NOW) == []
    assert not there.finished
    there.send_head(1, ResponseHead(200), ended=True)
    assert b"connection: close" in there.take_output()
    assert there.finished


def test_a_client_of_http_1_0_gets_no_chunks_and_no_interim_response() -> None:
    there = server()
    (event,) = there.receive(b"GET / HTTP/1.0\r\nHost: a\r\n\r\n", NOW)
    assert isinstance(event, RequestReceived)
    assert event.head.version == HTTP_1_0
    there.send_interim(1, ResponseHead(103))
    there.send_head(1, ResponseHead(200), ended=False)
    there.send_body(1, b"abc")
    there.end(1, ((b"x", b"y"),))
    data = there.take_output()
    assert b"chunked" not in data
    assert data.endswith(b"\r\n\r\nabc")
    assert there.finished


def test_a_websocket_is_bytes_both_ways_after_the_101() -> None:
    client, there = Http1Client(Bounds()), server()
    head = RequestHead("GET", "https", "a", "/ws", ((b"sec-websocket-key", b"x"),), upgrade="websocket")
    number = client.begin(head, ended=True)
    (event,) = there.receive(client.take_output() + b"early", NOW)
    assert event == RequestReceived(1, head, ended=True)
    there.send_head(1, ResponseHead(101), ended=False)
    assert there.resume() == [BodyReceived(1, b"early", 5)]
    there.send_body(1, b"hello")
    response, data = client.receive(there.take_output(), NOW)
    assert isinstance(response, ResponseReceived)
    assert response.head.status == 101
    assert data == BodyReceived(number, b"hello", 5)
    client.send_body(number, b"\x81\x00")
    assert there.receive(client.take_output(), NOW) == [BodyReceived(1, b"\x81\x00", 2)]


@pytest.mark.parametrize(
    "data",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        b"HTTP/1.1 101 Switching\r\nUpgrade: websocket\r\n\r\n",
        b"SSH-2.0-OpenSSH\r\n\r\n",
        b"",
    ],
)
def test_a_response_that_is_none_fails_its_request_with_502(data: bytes) -> None:
    client = Http1Client(Bounds())
    client.begin(RequestHead("GET", "http", "a", "/", ()), ended=True)
    event = client.receive(data, NOW)[-1]
    assert isinstance(event, StreamFailed)
    assert event.refusal.status == 502
    assert client.room == 0


def test_a_server_that_says_something_unasked_is_asked_nothing_more() -> None:
    client = Http1Client(Bounds())
    (event,) = client.receive(b"HTTP/1.1 200 OK\r\n\r\n", NOW)
    assert isinstance(event, ConnectionFailed)
    assert client.room == 0


def test_bytes_behind_a_response_end_the_use_of_the_connection() -> None:
    client = Http1Client(Bounds())
    client.begin(RequestHead("GET", "http", "a", "/", ()), ended=True)
    events = client.receive(b"HTTP/1.1 204 No\r\n\r\nHTTP/1.1 200 OK\r\n\r\n", NOW)
    assert isinstance(events[-1], MessageEnded)
    assert client.room == 0


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "GET"])
def test_a_request_that_could_have_a_body_and_has_none_says_so(method: str) -> None:
    client = Http1Client(Bounds())
    client.begin(RequestHead(method, "http", "a", "/", ()), ended=True)
    assert (b"\r\ncontent-length: 0\r\n" in client.take_output()) == (method != "GET")


@pytest.mark.parametrize("body", [b"ab", b"abcd"])
def test_a_body_that_is_not_what_its_head_said_ends_the_connection(body: bytes) -> None:
    there = server()
    there.receive(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", NOW)
    there.send_head(1, ResponseHead(200, ((b"content-length", b"3"),)), ended=False)
    with pytest.raises(RefusalError, match="the response is not what its head says: its body"):
        _send_all(there, body)
    assert there.finished
    client = Http1Client(Bounds())
    number = client.begin(RequestHead("POST", "http", "a", "/", ((b"content-length", b"3"),)), ended=False)
    with pytest.raises(RefusalError, match="the request is not what its head says: its body"):
        _send_all(client, body, number)
    assert client.finished


def _send_all(end: Http1Server | Http1Client, body: bytes, stream: int = 1) -> None:
    end.send_body(stream, body)
    end.end(stream)


@pytest.mark.parametrize("field", [(b"x", b"a\r\ny: b"), (b"x", b"a\nb"), (b"x\r\ny", b"b"), (b"x", b"\0")])
def test_no_field_can_add_a_line_to_what_is_sent(field: tuple[bytes, bytes]) -> None:
    there, client = server(), Http1Client(Bounds())
    there.receive(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", NOW)
    with pytest.raises(RefusalError):
        there.send_head(1, ResponseHead(200, (field,)), ended=True)
    with pytest.raises(RefusalError):
        client.begin(RequestHead("GET", "http", "a", "/", (field,)), ended=True)
    assert there.take_output() == client.take_output() == b""


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        (((b"content-length", b"3"), (b"content-length", b"4")), "not one number"),
        (((b"content-length", b"+3"),), "not one number"),
    ],
)
def test_a_response_from_http_2_with_two_lengths_is_not_passed_on(fields: Fields, text: str) -> None:
    there = server()
    there.receive(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", NOW)
    with pytest.raises(RefusalError, match=text):
        there.send_head(1, ResponseHead(200, fields), ended=False)


def test_a_client_that_says_close_is_told_close() -> None:
    there = server()
    there.receive(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", NOW)
    there.send_head(1, ResponseHead(200), ended=True)
    assert b"\r\nconnection: close\r\n" in there.take_output()
    assert there.finished
