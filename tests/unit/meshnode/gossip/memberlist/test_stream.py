from __future__ import annotations

import pytest

from meshnode.base.errors import RemoteProtocolError
from meshnode.gossip.memberlist.codec import encode_message, node_state_fields, pack
from meshnode.gossip.memberlist.keyring import Keyring
from meshnode.gossip.memberlist.messages import Ack, ErrorReply, NodeState, Ping, PushPull, State, UserMessage
from meshnode.gossip.memberlist.packet import PacketRefusedError, Refusal, add_label, compress
from meshnode.gossip.memberlist.stream import (
    MAX_MAP_BYTES,
    MAX_NODES,
    MAX_STATE_BYTES,
    MAX_STREAM_BYTES,
    MAX_USER_MESSAGE_BYTES,
    StreamMessage,
    StreamParser,
    encode_push_pull,
    encode_user_stream,
    seal_stream,
)
from tests.unit.meshnode.gossip.memberlist import captured
from tests.unit.meshnode.gossip.memberlist.node import VERSIONS

RING = Keyring([captured.KEY])
NONCE = bytes(12)
NODES = tuple(
    NodeState(f"n{state}", b"\x0a\0\0\x01", 8301, b"meta", 3, state, VERSIONS if state else None)
    for state in State
)
BODIES: list[tuple[bytes, StreamMessage]] = [
    (encode_push_pull(True, NODES, b"user state"), PushPull(True, NODES, b"user state")),
    (encode_push_pull(False, (), b""), PushPull(False, (), b"")),
    (encode_user_stream(b"x" * 300), UserMessage(b"x" * 300)),
    (encode_user_stream(b""), UserMessage(b"")),
    (encode_message(Ping(1, "b")), Ping(1, "b")),
    (encode_message(Ack(1)), Ack(1)),
    (encode_message(ErrorReply("no")), ErrorReply("no")),
]


def parser(label: bytes = b"", *, answer: bool = False, keyring: Keyring | None = None) -> StreamParser:
    return StreamParser(label=label, answer=answer, keyring=keyring, verify_incoming=True)


@pytest.mark.parametrize("chunk", [1, 7, 100_000])
@pytest.mark.parametrize("keyring", [None, RING], ids=["plain", "sealed"])
@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("label", [b"", b"pool"])
@pytest.mark.parametrize(("body", "message"), BODIES, ids=lambda value: type(value).__name__)
def test_every_message_is_read_in_any_chunks_and_wrapping(
    body: bytes, message: StreamMessage, label: bytes, compressed: bool, keyring: Keyring | None, chunk: int
) -> None:
    wrapped = compress(body) if compressed else body
    if keyring:
        wrapped = seal_stream(wrapped, keyring, NONCE, label)
    for answer, data in ((False, add_label(wrapped, label)), (True, wrapped)):
        reader = parser(label, answer=answer, keyring=keyring)
        results = [reader.feed(data[start : start + chunk]) for start in range(0, len(data), chunk)]
        assert results[-1] == message
        assert results[:-1] == [None] * (len(results) - 1)


@pytest.mark.parametrize(
    ("raw", "keyring"),
    [(captured.PUSH_PULL, None), (captured.SEALED_PUSH_PULL, RING)],
    ids=["plain", "sealed"],
)
def test_the_state_that_serf_sends_is_read(raw: bytes, keyring: Keyring | None) -> None:
    message = parser(keyring=keyring).feed(raw)
    assert isinstance(message, PushPull)
    assert "goat" in {node.name for node in message.nodes}
    assert all(node.versions == VERSIONS for node in message.nodes)
    assert b"EventLTime" in message.user_state


def test_state_is_written_as_serf_writes_it() -> None:
    message = parser().feed(captured.PUSH_PULL)
    assert isinstance(message, PushPull)
    assert compress(encode_push_pull(message.join, message.nodes, message.user_state)) == captured.PUSH_PULL


def test_a_padded_seal_is_read_too() -> None:
    body = encode_user_stream(b"old")
    assert parser(keyring=RING).feed(seal_stream(body, RING, NONCE, b"", version=0)) == UserMessage(b"old")


def refusal(reader: StreamParser, data: bytes) -> Refusal:
    with pytest.raises(PacketRefusedError) as caught:
        reader.feed(data)
    return caught.value.refusal


def test_seals_and_labels_are_demanded_as_on_packets() -> None:
    body = encode_message(Ping(1, "b"))
    sealed = seal_stream(body, RING, NONCE, b"")
    assert refusal(parser(keyring=RING), body) is Refusal.PLAINTEXT
    assert refusal(parser(), sealed) is Refusal.SEALED
    assert refusal(parser(keyring=Keyring([bytes(32)])), sealed) is Refusal.KEY
    assert refusal(parser(b"pool"), body) is Refusal.LABEL
    assert refusal(parser(), add_label(body, b"pool")) is Refusal.LABEL
    assert refusal(parser(), b"\xf4\x00") is Refusal.MALFORMED
    lax = StreamParser(label=b"", answer=False, keyring=RING, verify_incoming=False)
    assert lax.feed(body) == Ping(1, "b")


def header(**fields: object) -> bytes:
    return b"\x06" + pack({"Join": False, "Nodes": 0, "UserStateLen": 0, **fields})


@pytest.mark.parametrize(
    ("fits", "over"),
    [
        (header(Nodes=MAX_NODES), header(Nodes=MAX_NODES + 1)),
        (header(UserStateLen=MAX_STATE_BYTES), header(UserStateLen=MAX_STATE_BYTES + 1)),
        (
            b"\x08" + pack({"UserMsgLen": MAX_USER_MESSAGE_BYTES}),
            b"\x08" + pack({"UserMsgLen": MAX_USER_MESSAGE_BYTES + 1}),
        ),
        (b"\x0a" + MAX_STATE_BYTES.to_bytes(4, "big"), b"\x0a" + (MAX_STATE_BYTES + 1).to_bytes(4, "big")),
        (
            b"\x06\x81\xdb" + bytes((0, 1, 0, 0)) + bytes(MAX_MAP_BYTES - 6),
            b"\x06\x81\xdb\0\1\0\0" + bytes(MAX_MAP_BYTES - 5),
        ),
        (b"\x06\xde\x00\x40", b"\x06\xde\x00\x41"),
    ],
    ids=["nodes", "user state", "user message", "sealed payload", "map", "fields"],
)
def test_lengths_are_checked_before_anything_is_buffered(fits: bytes, over: bytes) -> None:
    keyring = RING if fits[0] == 10 else None
    assert parser(keyring=keyring).feed(fits) is None
    with pytest.raises(RemoteProtocolError):
        parser(keyring=keyring).feed(over)


def test_a_stream_ends_at_its_limit() -> None:
    assert MAX_STREAM_BYTES == 2 * MAX_STATE_BYTES
    megabyte = bytes(1024 * 1024)
    reader = parser()
    reader.feed(header(UserStateLen=MAX_STATE_BYTES, Nodes=1))
    reader._received = MAX_STREAM_BYTES - len(megabyte)
    with pytest.raises(RemoteProtocolError, match=f"more than {MAX_STREAM_BYTES} bytes"):
        reader.feed(megabyte + b"x")


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"\x03" + pack({}), "type 3"),
        (b"\x07\x00", "type 7"),
        (b"\x06\x93\x01\x02\x03", "map expected"),
        (b"\x06\xc1", "not msgpack"),
        (header(Nodes=1) + pack([1]), "map expected"),
        (header(Nodes=1) + pack({**node_state_fields(NODES[0]), "State": 4}), "State"),
        (header(Nodes=1) + pack({**node_state_fields(NODES[0]), "Addr": b"1"}), "Addr"),
        (b"\x09" + pack({"Algo": 0, "Buf": b"junk"}), "compressed"),
        (b"\x09" + pack({"Algo": 9}), "algorithm"),
        (compress(compress(encode_user_stream(b"x"))), "type 9"),
        (compress(header(Nodes=1)), "before it is complete"),
        (compress(header(UserStateLen=1)), "before it is complete"),
    ],
)
def test_what_breaks_the_rules_is_a_remote_error(body: bytes, reason: str) -> None:
    with pytest.raises(RemoteProtocolError, match=reason):
        parser().feed(body)
    with pytest.raises(RemoteProtocolError):
        parser(keyring=RING).feed(seal_stream(body, RING, NONCE, b""))


def test_an_empty_seal_is_a_remote_error() -> None:
    with pytest.raises(RemoteProtocolError, match="empty"):
        parser(keyring=RING).feed(seal_stream(b"", RING, NONCE, b""))


def test_bytes_after_the_message_are_ignored() -> None:
    reader = parser()
    assert reader.feed(encode_message(Ack(1)) + b"more") == Ack(1)
    assert reader.feed(b"and more") is None
