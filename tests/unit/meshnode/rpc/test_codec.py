"""Golden bytes follow go-msgpack: struct fields sorted by name, old spec (raw16 after fixraw, no str8, no bin)."""

from __future__ import annotations

import os
import random
import tracemalloc

import msgpack
import pytest

from meshnode.base.errors import LocalProtocolError, RemoteProtocolError
from meshnode.rpc import codec
from meshnode.rpc.codec import (
    Request,
    RequestParser,
    Response,
    ResponseParser,
    serialize_request,
    serialize_response,
    with_text_keys,
)

GOLDEN_REQUEST = bytes.fromhex(
    "82"  # map of 2
    "a3 536571 01"  # Seq: 1
    "ad 536572766963654d6574686f64"  # ServiceMethod:
    "ad 5374617475732e4c6561646572"  # Status.Leader
    "81 aa 44617461 63656e746572 a3 646331"  # {Datacenter: dc1}
)
#: Without its body.
HEADER = GOLDEN_REQUEST[:34]
GOLDEN_RESPONSE = bytes.fromhex(
    "83"
    "a5 4572726f72 a0"  # Error: ""
    "a3 536571 01"
    "ad 536572766963654d6574686f64"
    "ad 5374617475732e4c6561646572"
    "ad 31302e302e302e313a38333030"  # "10.0.0.1:8300"
)
GOLDEN_ERROR = bytes.fromhex(
    "83 a5 4572726f72 a9 4e6f206c6561646572 a3 536571 cd0100"
    "ad 536572766963654d6574686f64 a7 4b56532e476574 80"  # body: struct{}{}
)


def test_a_request_in_golden_bytes() -> None:
    assert serialize_request(Request("Status.Leader", 1, {"Datacenter": "dc1"})) == GOLDEN_REQUEST
    assert RequestParser().feed(GOLDEN_REQUEST) == [Request("Status.Leader", 1, {b"Datacenter": b"dc1"})]


def test_a_response_in_golden_bytes() -> None:
    assert serialize_response(Response("Status.Leader", 1, "", "10.0.0.1:8300")) == GOLDEN_RESPONSE
    assert ResponseParser().feed(GOLDEN_RESPONSE) == [Response("Status.Leader", 1, "", b"10.0.0.1:8300")]


def test_an_error_has_the_empty_map_as_its_body() -> None:
    assert serialize_response(Response("KVS.Get", 256, "No leader", {"ignored": 1})) == GOLDEN_ERROR
    assert ResponseParser().feed(GOLDEN_ERROR) == [Response("KVS.Get", 256, "No leader", {})]


def test_text_uses_the_old_spec() -> None:
    packed = serialize_request(Request("A.B", 0, ["x" * 32, b"y" * 200]))
    assert packed.endswith(b"\x92\xda\x00\x20" + b"x" * 32 + b"\xda\x00\xc8" + b"y" * 200)


def test_headers_of_other_writers_are_read() -> None:
    header = {"Unknown": [1, {"deep": 2}], "ServiceMethod": "A.B", "Seq": 2**64 - 1}
    for bin_type in (False, True):
        data = msgpack.packb(header, use_bin_type=bin_type) + msgpack.packb(None)
        assert RequestParser().feed(data) == [Request("A.B", 2**64 - 1, None)]


@pytest.mark.parametrize(
    "body", [None, True, 0, -5, 2**63, 1.25, b"raw", [1, [2]], {b"k": {b"n": [b"\x00\xff"]}}]
)
def test_bodies_come_back_as_they_went(body: object) -> None:
    assert RequestParser().feed(serialize_request(Request("A.B", 3, body))) == [Request("A.B", 3, body)]
    assert ResponseParser().feed(serialize_response(Response("A.B", 3, "", body))) == [
        Response("A.B", 3, "", body)
    ]


def test_requests_may_be_split_and_joined_anywhere() -> None:
    stream = b"".join(serialize_request(Request("A.B", n, {"n": n, "pad": "x" * n})) for n in range(40))
    rng = random.Random(3)
    for size in (1, 7, len(stream)):
        parser, got, position = RequestParser(), [], 0
        while position < len(stream):
            step = rng.randint(1, size)
            got += parser.feed(stream[position : position + step])
            position += step
        assert [request.seq for request in got] == list(range(40))
        assert parser.buffered_bytes == 0


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"\x01", "a header is a map"),
        (b"\xc1", "0xc1"),
        (msgpack.packb({"ServiceMethod": 5}) + b"\xc0", "ServiceMethod is text"),
        (msgpack.packb({"Seq": -1}) + b"\xc0", "Seq is an unsigned number"),
        (msgpack.packb({"Seq": True}) + b"\xc0", "Seq is an unsigned number"),
        (msgpack.packb({"Seq": 1.0}) + b"\xc0", "Seq is an unsigned number"),
        (msgpack.packb({5: 1}) + b"\xc0", "int is not allowed for map key"),
        (HEADER + b"\x91" * 2000 + b"\xc0", "msgpack"),
        (b"\xdb\xff\xff\xff\xff", "longer than 65536"),
        (b"\xde\x00\x40", "values"),
        (b"GET / HTTP/1.1\r\n\r\n", "a header is a map"),
    ],
)  # fmt: skip
def test_what_is_no_net_rpc_is_the_peers_fault(data: bytes, words: str) -> None:
    with pytest.raises(RemoteProtocolError, match=words):
        RequestParser().feed(data)


def test_a_body_of_the_bound_is_taken_and_one_byte_more_is_refused_when_declared() -> None:
    header = HEADER
    parser = RequestParser(max_body_bytes=1000)
    assert parser.feed(header + b"\xda" + (997).to_bytes(2, "big") + bytes(997))[0].body == bytes(997)
    with pytest.raises(RemoteProtocolError, match="longer than 1000 bytes"):
        RequestParser(max_body_bytes=1000).feed(header + b"\xda" + (998).to_bytes(2, "big"))
    with pytest.raises(RemoteProtocolError, match=str(codec.MAX_BODY_BYTES)):
        RequestParser().feed(header + b"\xdb" + (codec.MAX_BODY_BYTES - 4).to_bytes(4, "big"))
    assert RequestParser().feed(header + b"\xdb" + (codec.MAX_BODY_BYTES - 5).to_bytes(4, "big")) == []


def test_a_header_of_the_bound_is_taken_and_one_byte_more_is_refused() -> None:
    def header(padding: int) -> bytes:
        fields = {"ServiceMethod": "A.B", "Seq": 1, "Pad": bytes(padding)}
        return bytes(msgpack.packb(fields, use_bin_type=False))

    room = codec.MAX_HEADER_BYTES - len(header(70000)) + 70000 + 2  # raw16 instead of raw32
    assert len(header(room)) == codec.MAX_HEADER_BYTES
    assert RequestParser().feed(header(room) + b"\xc0") == [Request("A.B", 1, None)]
    with pytest.raises(RemoteProtocolError, match="longer than 65536 bytes"):
        RequestParser().feed(header(room + 1))


def test_a_small_body_can_not_unfold_into_many_values() -> None:
    bomb = HEADER + b"\xdd" + (codec.MAX_BODY_VALUES).to_bytes(4, "big")
    with pytest.raises(RemoteProtocolError, match="values"):
        RequestParser().feed(bomb + b"\x80" * 100)
    nested = HEADER + b"\xdc\xff\xff" + (b"\xdc\xff\xff" + b"\x80" * 65535) * 20
    tracemalloc.start()
    with pytest.raises(RemoteProtocolError, match="values"):
        RequestParser().feed(nested)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8 * len(nested), "refused before it was built"


def test_a_body_of_ours_that_can_not_be_sent_is_our_fault() -> None:
    with pytest.raises(LocalProtocolError, match="can't be written"):
        serialize_request(Request("A.B", 1, object()))
    with pytest.raises(LocalProtocolError, match="can't be written"):
        serialize_request(Request("A.B", 1, 2**64))
    with pytest.raises(LocalProtocolError, match="over the bound"):
        serialize_request(Request("A.B", 1, bytes(codec.MAX_BODY_BYTES)))
    assert len(serialize_request(Request("A.B", 1, bytes(codec.MAX_BODY_BYTES - 5)))) > codec.MAX_BODY_BYTES


def test_error_texts_are_cut_when_sent() -> None:
    (response,) = ResponseParser().feed(serialize_response(Response("A.B", 1, "x" * 9000, None)))
    assert response.error == "x" * codec.MAX_ERROR_BYTES


def test_text_that_is_no_utf8_survives_the_way_back() -> None:
    assert serialize_request(Request("A.B", 1, "\udcff")).endswith(b"\xa1\xff")


def test_keys_become_text_and_values_stay_raw() -> None:
    assert with_text_keys({b"K": [{b"V": b"\xff"}], b"\xff": 1}) == {"K": [{"V": b"\xff"}], "\ufffd": 1}


def test_any_bytes_end_in_requests_or_a_protocol_error() -> None:
    seed = int(os.environ.get("MESH_FUZZ_SEED", "20260102"))
    print(f"seed {seed}")
    rng = random.Random(seed)
    for _ in range(int(os.environ.get("MESH_FUZZ_CASES", "3000"))):
        data = bytearray(rng.choice([GOLDEN_REQUEST, GOLDEN_RESPONSE, rng.randbytes(40)]) * rng.randint(1, 3))
        for _ in range(rng.randint(0, 4)):
            data[rng.randrange(len(data))] = rng.randrange(256)
        parser: RequestParser | ResponseParser = RequestParser() if rng.random() < 0.5 else ResponseParser()
        try:
            cut = rng.randrange(len(data))
            parser.feed(bytes(data[:cut]))
            parser.feed(bytes(data[cut:]))
        except RemoteProtocolError:
            continue
        assert parser.buffered_bytes <= len(data)
