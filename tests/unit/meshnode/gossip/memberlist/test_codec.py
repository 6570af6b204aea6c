from __future__ import annotations

import msgpack
import pytest

from meshnode.base.errors import RemoteProtocolError
from meshnode.gossip.memberlist.codec import MAX_ERROR_BYTES, decode_message, encode_message, ip_text, pack
from meshnode.gossip.memberlist.messages import (
    MAX_INCARNATION,
    MAX_META_BYTES,
    MAX_NAME_BYTES,
    Ack,
    Alive,
    Dead,
    ErrorReply,
    IndirectPing,
    Message,
    Nack,
    Ping,
    Suspect,
    UserMessage,
)
from meshnode.gossip.memberlist.packet import open_packet, split_messages
from tests.unit.meshnode.gossip.memberlist import captured

LOCALHOST = bytes((127, 0, 0, 1))
GOAT = (LOCALHOST, 17012, "goat")
EVERY_MESSAGE: list[Message] = [
    Ping(7, "b"),
    Ping(2**32 - 1, "b", *GOAT),
    Ping(1, ""),
    IndirectPing(9, bytes(16), 8301, "c", True, *GOAT),
    IndirectPing(9, LOCALHOST, 0, "c", False),
    Ack(7),
    Ack(7, b"coordinate"),
    Nack(7),
    Suspect(3, "b", "a"),
    Alive(3, "b", LOCALHOST, 8301, b"m" * MAX_META_BYTES, (1, 5, 2, 2, 5, 5)),
    Alive(MAX_INCARNATION, "ü" * (MAX_NAME_BYTES // 2), bytes(16), 8301, b"", None),
    Dead(3, "b", "b"),
    UserMessage(b""),
    UserMessage(b"\x00\xff"),
    ErrorReply("no"),
]


@pytest.mark.parametrize("message", EVERY_MESSAGE, ids=lambda message: type(message).__name__)
def test_a_message_survives_the_wire(message: Message) -> None:
    assert decode_message(encode_message(message)) == message


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (captured.PING, Ping(1, "py", *GOAT)),
        (captured.INDIRECT_PING, IndirectPing(6, LOCALHOST, 17022, "ibex", True, *GOAT)),
        (captured.NACK, Nack(6)),
        (captured.CRC_SUSPECT[5:], Suspect(1, "ibex", "goat")),
        (captured.CRC_DEAD[5:], Dead(1, "ibex", "goat")),
        (captured.ACK, Ack(3, captured.ACK[13 : 13 + 0x82])),
    ],
    ids=["ping", "indirect ping", "nack", "suspect", "dead", "ack"],
)
def test_what_serf_sends_is_read_and_written_byte_for_byte(raw: bytes, message: Message) -> None:
    assert decode_message(raw) == message
    assert encode_message(message) == raw


def test_an_announcement_that_serf_compressed_is_read() -> None:
    parts = split_messages(open_packet(captured.CRC_COMPRESSED, b"", None, True))
    announcement = next(part for part in parts if part[0] == 4)
    message = decode_message(announcement)
    assert isinstance(message, Alive)
    assert (message.addr, message.versions) == (LOCALHOST, (1, 5, 2, 2, 5, 5))
    assert encode_message(message) == announcement


def test_strings_travel_in_the_old_msgpack_dialect() -> None:
    encoded = encode_message(Alive(1, "n" * 100, LOCALHOST, 1, b"m" * 200, None))
    assert b"\xda\x00\x64nnn" in encoded, "raw16, since go-msgpack of 2019 knows no str8"
    assert b"\xda\x00\xc8mmm" in encoded


def test_unknown_fields_nil_fields_and_trailing_bytes_are_ignored() -> None:
    fields = {"SeqNo": 3, "Node": None, "Later": [1, {"a": 2}]}
    assert decode_message(b"\x00" + pack(fields) + b"rest") == Ping(3, "")


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (b"", "empty"),
        (b"\x06\x80", "does not belong"),
        (b"\x63\x80", "unknown"),
        (b"\x00", "not msgpack"),
        (b"\x00\xc1", "not msgpack"),
        (b"\x00\x93\x01\x02\x03", "map expected"),
        (b"\x00" + b"\x91" * 5000, "not msgpack"),
        (b"\x00" + pack({"SeqNo": -1}), "SeqNo"),
        (b"\x00" + pack({"SeqNo": 2**32}), "SeqNo"),
        (b"\x00" + pack({"SeqNo": True}), "SeqNo"),
        (b"\x00" + pack({"SeqNo": 1, "SourceAddr": b"123"}), "SourceAddr"),
        (b"\x01" + pack({"SeqNo": 1, "Target": b""}), "Target"),
        (b"\x01" + pack({"SeqNo": 1, "Target": LOCALHOST, "Port": 65536}), "Port"),
        (b"\x01" + pack({"SeqNo": 1, "Target": LOCALHOST, "Nack": 1}), "Nack"),
        (b"\x03" + pack({"Incarnation": 1, "Node": "b"}), "From"),
        (b"\x03" + pack({"Incarnation": 1, "Node": b"\xff", "From": "a"}), "UTF-8"),
        (b"\x04" + pack({"Incarnation": 1, "Node": "b", "Addr": b"12345"}), "Addr"),
        (b"\x04" + pack({"Incarnation": 1, "Node": "b", "Addr": LOCALHOST, "Vsn": "x" * 3 and 7}), "Vsn"),
        (b"\x03" + pack({"Incarnation": 1, "Node": "a\nb", "From": "a"}), "can't be shown"),
        (b"\x05" + pack({"Incarnation": 1, "Node": "", "From": "a"}), "Node"),
    ],
)
def test_what_breaks_the_rules_is_a_remote_error(raw: bytes, reason: str) -> None:
    with pytest.raises(RemoteProtocolError, match=reason):
        decode_message(raw)


@pytest.mark.parametrize(
    ("field", "fits"),
    [("Node", "n" * MAX_NAME_BYTES), ("Meta", b"m" * MAX_META_BYTES), ("Incarnation", MAX_INCARNATION)],
)
def test_bounds_hold_at_the_limit_and_one_past_it(field: str, fits: str | bytes | int) -> None:
    fields: dict[str, object] = {"Incarnation": 1, "Node": "b", "Addr": LOCALHOST, "Port": 1}
    decode_message(b"\x04" + pack({**fields, field: fits}))
    over = fits + 1 if isinstance(fits, int) else fits + fits[:1]
    with pytest.raises(RemoteProtocolError, match=field):
        decode_message(b"\x04" + pack({**fields, field: over}))


def test_the_error_of_a_peer_is_one_short_line() -> None:
    message = decode_message(b"\x0d" + pack({"Error": "a\nb\x1b[31m" + "x" * 5000}))
    assert isinstance(message, ErrorReply)
    assert message.error.startswith("a b [31mxxx")
    assert len(message.error) == MAX_ERROR_BYTES


def test_versions_are_read_from_bytes_and_from_a_list() -> None:
    fields = {"Incarnation": 1, "Node": "b", "Addr": LOCALHOST, "Port": 1}
    for versions in (bytes((1, 5, 2, 2, 5, 4)), [1, 5, 2, 2, 5, 4]):
        message = decode_message(b"\x04" + msgpack.packb({**fields, "Vsn": versions}))
        assert isinstance(message, Alive)
        assert message.versions == (1, 5, 2, 2, 5, 4)
    short = decode_message(b"\x04" + pack({**fields, "Vsn": b"\x01\x05\x02"}))
    assert isinstance(short, Alive)
    assert short.versions is None


def test_an_ipv4_address_in_16_bytes_is_shown_as_ipv4() -> None:
    assert ip_text(bytes(10) + b"\xff\xff\x0a\x00\x00\x01") == "10.0.0.1"
    with pytest.raises(RemoteProtocolError, match="5 bytes"):
        ip_text(b"12345")
