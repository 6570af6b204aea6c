"""Mutated messages through both parsers: they end in events; what passes the gate is the same request to h11."""

from __future__ import annotations

import os
import random

from meshnode.base.errors import MeshError
from meshnode.l7.gate import RequestGate
from meshnode.l7.http1_client import Http1Client
from meshnode.l7.http1_server import Http1Server
from meshnode.l7.http2 import Http2Client, Http2Server
from meshnode.l7.model import Bounds, RequestHead, RequestRefused
from meshnode.l7.target import normal_path
from tests.support.smuggling import by_gate, by_h11

SEED = int(os.environ.get("MESH_FUZZ_SEED", "7"))
CASES = int(os.environ.get("MESH_FUZZ_CASES", "1500"))
REQUESTS = (
    b"GET /a/../b?c HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello",
    b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5;a=b\r\nhello\r\n0\r\nX: y\r\n\r\n",
)
RESPONSES = (
    b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
    b"HTTP/1.1 103 Early\r\nLink: a\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n",
)
PIECES = (
    b"\r\n",
    b"\n",
    b"\r",
    b"\0",
    b" ",
    b"\t",
    b":",
    b";",
    b"0\r\n",
    b"Content-Length: 3\r\n",
    b"chunked",
    b"\xff",
)


def mutated(data: bytes, rng: random.Random) -> bytes:
    found = bytearray(data)
    for _ in range(rng.randint(1, 3)):
        place = rng.randrange(len(found) + 1)
        match rng.randrange(4):
            case 0:
                found[place:place] = rng.choice(PIECES)
            case 1:
                del found[place : place + rng.randint(1, 4)]
            case 2 if place < len(found):
                found[place] = rng.randrange(256)
            case _:
                end = min(len(found), place + rng.randint(1, 30))
                found[place:place] = found[place:end]
    return bytes(found)


def test_what_is_read_of_mutated_requests_is_what_h11_reads() -> None:
    rng = random.Random(SEED)
    for _ in range(CASES):
        data = mutated(rng.choice(REQUESTS), rng)
        gate = RequestGate(Bounds())
        gate.receive(data)
        try:
            found = by_gate(gate.read())
        except MeshError:
            continue
        if gate.done:
            theirs = by_h11(data[: len(data) - gate.waiting])
            if theirs is None:
                events = Http1Server(Bounds(), scheme="http").receive(data, 0.0)
                assert isinstance(events[-1], RequestRefused), f"seed {SEED}: {data!r}"
            else:
                assert found == theirs, f"seed {SEED}: {data!r}"


def test_mutated_messages_end_in_events() -> None:
    rng = random.Random(SEED)
    for _ in range(CASES):
        server, client = Http1Server(Bounds(), scheme="http"), Http1Client(Bounds())
        client.begin(RequestHead("GET", "http", "a", "/", ()), ended=True)
        asked, answered = mutated(rng.choice(REQUESTS), rng), mutated(rng.choice(RESPONSES), rng)
        cut = rng.randrange(len(asked) + 1)
        server.receive(asked[:cut], 0.0)
        if asked[cut:]:
            server.receive(asked[cut:], 0.0)
        server.receive(b"", 0.0)
        client.receive(answered, 0.0)
        client.receive(b"", 0.0)


def test_mutated_frames_end_in_events() -> None:
    rng = random.Random(SEED)
    client = Http2Client(Bounds())
    client.start()
    number = client.begin(RequestHead("POST", "http", "a", "/", ((b"x", b"y" * 50),), "HTTP/2"), ended=False)
    client.send_body(number, b"hello")
    client.end(number, ((b"z", b"1"),))
    asked = client.take_output()
    for _ in range(CASES // 5):
        server = Http2Server(Bounds(), scheme="http")
        server.start()
        server.receive(asked[:24] + mutated(asked[24:], rng), 0.0)
        server.take_output()


def test_mutated_paths_are_refused_or_normal() -> None:
    rng = random.Random(SEED)
    for _ in range(CASES):
        path = mutated(b"/a/%2e%2E/b//c;d?e=%2f", rng).decode("latin-1")
        try:
            found = normal_path(path)
        except MeshError:
            continue
        assert normal_path(found) == found
        assert not {"..", "."} & set(found.partition("?")[0].split("/"))
