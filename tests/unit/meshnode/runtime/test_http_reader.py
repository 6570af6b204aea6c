"""What is a request and what is refused, byte by byte, without a socket."""

from __future__ import annotations

import os
import random

import pytest

from meshnode.runtime.http_reader import Parsed, Phase, RequestReader

LIMIT = 1024
BODY_LIMIT = 100
HOST = b"Host: a\r\n"


def reader() -> RequestReader:
    return RequestReader(LIMIT, lambda path: BODY_LIMIT)


def refusals(done: list[Parsed]) -> list[int]:
    return [parsed.refusal.status for parsed in done if parsed.refusal is not None]


def head_of(size: int) -> bytes:
    start = b"GET / HTTP/1.1\r\nHost: a\r\nPadding: "
    return start + b"x" * (size - len(start) - 4) + b"\r\n\r\n"


def test_a_request_has_its_method_path_query_headers_and_body() -> None:
    (parsed,) = reader().feed(
        b"PUT /v1/kv/a%2Fb?flags=1 HTTP/1.1\r\nHost: a\r\nX-Y: z\r\nContent-Length: 2\r\n\r\nhi"
    )
    request = parsed.request
    assert (request.method, request.path, request.raw_query, request.body) == (
        "PUT",
        "/v1/kv/a/b",
        "flags=1",
        b"hi",
    )
    assert request.header(b"x-y") == "z"
    assert parsed.keep_alive
    assert not parsed.http10


def test_requests_fed_byte_by_byte_are_the_same_as_fed_at_once() -> None:
    wire = (b"PUT /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2;e=1\r\nhi\r\n0\r\nTrailer: 1\r\n\r\n"
            b"GET /y?z HTTP/1.1\r\nHost: a\r\n\r\n")  # fmt: skip
    once = reader().feed(wire)
    slow_reader = reader()
    slow = [parsed for i in range(len(wire)) for parsed in slow_reader.feed(wire[i : i + 1])]
    for a, b in zip(once, slow, strict=True):
        assert (a.request.path, a.request.body, list(a.request.headers)) == (
            b.request.path, b.request.body, list(b.request.headers))  # fmt: skip
    assert once[0].request.header(b"trailer") == ""


REFUSED = {
    "no request line": (b"nonsense\r\n\r\n", 400),
    "unknown method": (b"FROB / HTTP/1.1\r\n" + HOST + b"\r\n", 400),
    "lower-case method": (b"get / HTTP/1.1\r\n" + HOST + b"\r\n", 400),
    "HTTP/0.9": (b"GET /\r\n\r\n", 505),
    "HTTP/2.0 version": (b"GET / HTTP/2.0\r\n" + HOST + b"\r\n", 505),
    "HTTP/2 preface": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400),
    "HTTP/1.2": (b"GET / HTTP/1.2\r\n" + HOST + b"\r\n", 400),
    "space after version": (b"GET / HTTP/1.1 \r\n" + HOST + b"\r\n", 400),
    "bare LF": (b"GET / HTTP/1.1\nHost: a\n\n", 400),
    "bare CR in a value": (b"GET / HTTP/1.1\r\nHost: a\r\nA: b\rc\r\n\r\n", 400),
    "bare LF in a value": (b"GET / HTTP/1.1\r\nHost: a\r\nA: b\nB: c\r\n\r\n", 400),
    "NUL in a value": (b"GET / HTTP/1.1\r\nHost: a\r\nA: b\x00c\r\n\r\n", 400),
    "NUL in the path": (b"GET /\x00 HTTP/1.1\r\n" + HOST + b"\r\n", 400),
    "raw UTF-8 in the path": (b"GET /\xc3\xa9 HTTP/1.1\r\n" + HOST + b"\r\n", 400),
    "fragment": (b"GET /a#b HTTP/1.1\r\n" + HOST + b"\r\n", 400),
    "broken escape": (b"GET /a%zz HTTP/1.1\r\n" + HOST + b"\r\n", 400),
    "half an escape": (b"GET /a%4 HTTP/1.1\r\n" + HOST + b"\r\n", 400),
    "CONNECT": (b"CONNECT a:443 HTTP/1.1\r\n" + HOST + b"\r\n", 400),
    "other scheme": (b"GET ftp://a/ HTTP/1.1\r\n" + HOST + b"\r\n", 400),
    "folded header": (b"GET / HTTP/1.1\r\nHost: a\r\nA: b\r\n c\r\n\r\n", 400),
    "space before the colon": (b"GET / HTTP/1.1\r\nHost: a\r\nA : b\r\n\r\n", 400),
    "no name": (b"GET / HTTP/1.1\r\nHost: a\r\n: b\r\n\r\n", 400),
    "no Host": (b"GET / HTTP/1.1\r\n\r\n", 400),
    "two Hosts": (b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
    "two equal lengths": (b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\nx", 400),
    "length and chunked": (
        b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
    "chunked and length": (
        b"PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 1\r\n\r\n0\r\n\r\n", 400),
    "length with a sign": (b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: +1\r\n\r\nx", 400),
    "negative length": (b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\nx", 400),
    "list of lengths": (b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 1, 1\r\n\r\nx", 400),
    "hexadecimal length": (b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 0x1\r\n\r\nx", 400),
    "empty length": (b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length:\r\n\r\n", 400),
    "overflowing length": (b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999999999999\r\n\r\n", 400),
    "unknown coding": (b"PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 400),
    "chunked twice": (
        b"PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
    "chunked then identity": (b"PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, identity\r\n\r\n", 400),
    "chunked in HTTP/1.0": (b"PUT / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
    "chunk size overflow": (
        b"PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\n", 400),
    "chunk with bare LF": (b"PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\nx\n0\n\n", 400),
    "unknown expectation": (b"PUT / HTTP/1.1\r\nHost: a\r\nExpect: tea\r\nContent-Length: 1\r\n\r\n", 417),
    "announced body too large": (b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 101\r\n\r\n", 413),
    "chunked body too large": (
        b"PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n65\r\n" + b"x" * 101 + b"\r\n", 413),
    "TLS hello": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400),
}  # fmt: skip


@pytest.mark.parametrize(("wire", "status"), REFUSED.values(), ids=REFUSED)
@pytest.mark.parametrize("step", [1, 7, 100_000], ids=["by byte", "by seven", "at once"])
def test_what_is_no_acceptable_request_is_refused(wire: bytes, status: int, step: int) -> None:
    parser = reader()
    for start in range(0, len(wire), step):
        done = parser.feed(wire[start : start + step])
        assert not any(parsed.refusal is None for parsed in done)
        if done:
            assert refusals(done) == [status]
            return
    pytest.fail("accepted")


@pytest.mark.parametrize("step", [1, 100, 100_000])
def test_a_head_at_the_limit_is_read_and_one_byte_more_is_refused(step: int) -> None:
    for size, expected in ((LIMIT, []), (LIMIT + 1, [431])):
        parser, wire, done = reader(), head_of(size), []
        for start in range(0, len(wire), step):
            done += parser.feed(wire[start : start + step])
            if refusals(done):
                break
        assert len(done) == 1
        assert refusals(done) == expected


@pytest.mark.parametrize("cut", [1, 40, 900])
def test_the_limit_is_exact_for_a_head_that_begins_behind_another_request(cut: int) -> None:
    for size, expected in ((LIMIT, []), (LIMIT + 1, [431])):
        parser = reader()
        wire = head_of(100) + head_of(size)
        done = parser.feed(wire[: 100 + cut]) + parser.feed(wire[100 + cut :])
        assert len(done) == 2
        assert refusals(done) == expected


def test_a_head_that_never_ends_is_refused_at_the_limit() -> None:
    parser = reader()
    assert parser.feed(b"GET / HTTP/1.1\r\nA: ") == []
    fed = 0
    while not (done := parser.feed(b"x" * 64)):
        fed += 64
        assert fed <= LIMIT
    assert refusals(done) == [431]


def test_a_body_at_the_limit_is_read() -> None:
    (parsed,) = reader().feed(b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\n" + b"x" * 100)
    assert parsed.request.body == b"x" * 100


def test_pipelined_requests_do_not_count_against_each_others_heads() -> None:
    parser = reader()
    one = head_of(LIMIT - 10)
    done = parser.feed(one * 5 + one[:500]) + parser.feed(one[500:])
    assert len(done) == 6
    assert refusals(done) == []


@pytest.mark.parametrize(
    "piece", [b"1;" + b"x" * 900 + b"\r\n", b"0\r\n" + b"T: x\r\n" * 150], ids=["extension", "trailer"]
)
def test_a_body_that_brings_no_bytes_ends_in_a_refusal(piece: bytes) -> None:
    parser = reader()
    assert parser.feed(b"PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n") == []
    done: list[Parsed] = []
    for _ in range(4):
        done = parser.feed(piece)
        piece = b"T: x\r\n" * 150 if piece.startswith((b"0", b"T")) else b"x" * 900
        if done:
            break
    assert refusals(done) in ([431], [400])


def test_an_upgrade_is_ignored_and_the_next_request_is_read() -> None:
    wire = b"GET /1 HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n"
    done = reader().feed(wire * 3 + b"GET /2 HTTP/1.1\r\nHost: a\r\n\r\n")
    assert [parsed.request.path for parsed in done] == ["/1", "/1", "/1", "/2"]


@pytest.mark.parametrize(
    ("wire", "keep_alive"),
    [
        (b"GET / HTTP/1.0\r\n\r\n", False),
        (b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", True),
        (b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", True),
        (b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", False),
    ],
)
def test_the_connection_persists_as_version_and_header_say(wire: bytes, keep_alive: bool) -> None:
    (parsed,) = reader().feed(wire)
    assert parsed.keep_alive is keep_alive
    assert parsed.http10 is (b"1.0" in wire)


def test_expect_is_due_until_the_body_comes() -> None:
    parser = reader()
    parser.feed(b"PUT / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n")
    assert parser.continue_due
    assert parser.phase is Phase.BODY
    parser.feed(b"h")
    assert not parser.continue_due


def test_any_bytes_end_in_requests_or_in_one_refusal() -> None:
    cases = int(os.environ.get("MESH_FUZZ_CASES", "2000"))
    seed = random.randrange(2**32)
    print("seed", seed)
    rng = random.Random(seed)
    corpus = [wire for wire, _ in REFUSED.values()] + [
        b"GET /v1/agent/self?pretty HTTP/1.1\r\nHost: a\r\nAccept: */*\r\n\r\n",
        b"PUT /v1/kv/x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
        b"PUT /x HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc",
    ]
    for _ in range(cases):
        wire = bytearray(b"".join(rng.choices(corpus, k=rng.randint(1, 3))))
        for _ in range(rng.randint(0, 5)):
            at = rng.randint(0, len(wire))
            wire[at : at + rng.randint(0, 4)] = rng.choice(
                [b"", b"\r\n", b"\0", b"%", bytes([rng.randrange(256)])]
            )
        parser, step = reader(), rng.choice([1, 5, 50, 5000])
        for start in range(0, len(wire), step):
            done = parser.feed(bytes(wire[start : start + step]))
            assert all(parsed.refusal is None for parsed in done[:-1])
            if refusals(done):
                break
            for parsed in done:
                assert parsed.request.path[:1] in ("/", "*")
                assert len(parsed.request.body) <= BODY_LIMIT
