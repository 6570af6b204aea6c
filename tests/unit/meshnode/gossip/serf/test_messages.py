"""Serf's messages: round trips over the whole union, bytes captured from serf 0.8.2, and bad input."""

from __future__ import annotations

import contextlib
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meshnode.base.address import Address
from meshnode.base.errors import RemoteProtocolError
from meshnode.gossip.serf.lamport import MAX_LAMPORT_TIME
from meshnode.gossip.serf.messages import (
    MAX_QUERY_TIMEOUT,
    Join,
    Leave,
    Message,
    PushPull,
    Query,
    QueryFlag,
    QueryResponse,
    Relay,
    UserEvent,
    UserEventsAt,
    parse,
    parse_ip,
    serialize,
)
from meshnode.gossip.serf.wire import pack

THEIRS = Address("127.116.222.10", 7946)
OURS = Address("127.116.222.20", 7946)

#: Bytes that serf 0.8.2-dev (Debian) sent to our nodes, and what they mean.
CAPTURED: list[tuple[str, Message]] = [
    ("0083a54c54696d6503a44e6f6465a57365726630a55072756e65c2", Leave(3, "serf0")),
    ("0182a54c54696d6502a44e6f6465a57365726631", Join(2, "serf1")),
    (
        "0384a24343c3a54c54696d6501a44e616d65a772657374617274a75061796c6f6164a77061796c6f6164",
        UserEvent(1, "restart", b"payload", True),
    ),
    (
        "048ba441646472a47f74de0aa746696c7465727392ae0092a56f75727330a57365726630b50182a445787072a42e2a7330a3546167"
        "a46b696e64a5466c61677301a24944ce4a090ffda54c54696d6501a44e616d65a568656c6c6fa75061796c6f6164a5776f726c64"
        "a4506f7274cd1f0aab52656c6179466163746f7203aa536f757263654e6f6465a57365726630a754696d656f7574ce77359400",
        Query(
            1, 0x4A090FFD, THEIRS, "serf0", "hello", 2.0, b"world",
            (bytes.fromhex("0092a56f75727330a57365726630"),
             bytes.fromhex("0182a445787072a42e2a7330a3546167a46b696e64")),
            QueryFlag.ACK, 3,
        ),
    ),
    (
        "048ba441646472a47f74de0aa746696c74657273c0a5466c61677300a24944ce46680d8da54c54696d6502a44e616d65af5f736572"
        "665f6c6973742d6b657973a75061796c6f6164a70781a34b6579a0a4506f7274cd1f0aab52656c6179466163746f7200aa536f7572"
        "63654e6f6465a57365726630a754696d656f7574ce5f5e1000",
        Query(2, 0x46680D8D, THEIRS, "serf0", "_serf_list-keys", 1.6, bytes.fromhex("0781a34b6579a0")),
    ),
    (
        "0585a5466c61677300a446726f6da57365726630a24944ce000f6e47a54c54696d6504a75061796c6f6164ac736572663020736179"
        "732070",
        QueryResponse(4, 0x0F6E47, "serf0", b"serf0 says p"),
    ),
    (
        "0585a5466c61677301a446726f6da57365726631a24944ce000f6e47a54c54696d6504a75061796c6f6164c0",
        QueryResponse(4, 0x0F6E47, "serf1", b"", QueryFlag.ACK),
    ),
    (
        "0982a8446573744164647283a24950a47f74de14a4506f7274cd1f0aa45a6f6e65a0a8446573744e616d65a56f757273300585a5466c"
        "61677301a446726f6da57365726630a24944ce000f6e47a54c54696d6504a75061796c6f6164c0",
        Relay(OURS, "ours0", serialize(QueryResponse(4, 0x0F6E47, "serf0", b"", QueryFlag.ACK))),
    ),
]  # fmt: skip


@pytest.mark.parametrize(("captured", "message"), CAPTURED, ids=lambda value: type(value).__name__)
def test_messages_are_byte_for_byte_those_of_serf(captured: str, message: Message) -> None:
    assert parse(bytes.fromhex(captured)) == message
    assert serialize(message).hex() == captured


def test_push_pull_state_of_serf_is_read_without_its_empty_slots() -> None:
    captured = bytes.fromhex(
        "0286aa4576656e744c54696d6502a64576656e7473dc0200" + "c0"
        "82a64576656e74739182a44e616d65a772657374617274a75061796c6f6164a77061796c6f6164a54c54696d6501" + "c0" * 510
        + "a54c54696d6503ab4c6566744d656d6265727391a5736572663aaa51756572794c54696d6502ac5374617475734c54696d6573"
        "82a56f7572733101a5736572663102"
    )  # fmt: skip
    assert parse(captured) == PushPull(
        ltime=3,
        status_ltimes={"ours1": 1, "serf1": 2},
        left_members=("serf:",),
        event_ltime=2,
        events=(UserEventsAt(1, (("restart", b"payload"),)),),
        query_ltime=2,
    )


names = st.text(max_size=20)
times = st.integers(0, MAX_LAMPORT_TIME)
ids = st.integers(0, 2**32 - 1)
hosts = st.ip_addresses(v=4).map(str) | st.just("2001:db8::1")
addresses = st.builds(Address, hosts, st.integers(0, 65535))
payloads = st.binary(max_size=40)
messages = st.one_of(
    st.builds(Leave, times, names, st.booleans()),
    st.builds(Join, times, names),
    st.builds(UserEvent, times, names, payloads, st.booleans()),
    st.builds(
        PushPull,
        times,
        st.dictionaries(names, times, max_size=4),
        st.lists(names, max_size=3).map(tuple),
        times,
        st.lists(
            st.builds(UserEventsAt, times, st.lists(st.tuples(names, payloads), max_size=3).map(tuple)),
            max_size=3,
        ).map(tuple),
        times,
    ),
    st.builds(
        Query,
        times,
        ids,
        addresses,
        names,
        names,
        st.integers(0, 86_400).map(float),
        payloads,
        st.lists(payloads, max_size=3).map(tuple),
        st.sampled_from([QueryFlag.NONE, QueryFlag.ACK, QueryFlag.NO_BROADCAST]),
        st.integers(0, 255),
    ),
    st.builds(QueryResponse, times, ids, names, payloads),
    st.builds(QueryResponse, times, ids, names, st.just(b""), st.just(QueryFlag.ACK)),
    st.builds(Relay, addresses, names, payloads),
)


@settings(max_examples=300, deadline=None, derandomize=True)
@given(messages)
def test_every_message_survives_the_round_trip(message: Message) -> None:
    assert parse(serialize(message)) == message


def test_any_bytes_end_in_a_message_or_in_a_remote_protocol_error() -> None:
    rng = random.Random(5)
    print("seed 5")
    valid = [bytes.fromhex(captured) for captured, _ in CAPTURED]
    for _ in range(20000):
        data = bytearray(rng.choice(valid))
        for _ in range(rng.randint(1, 4)):
            data[rng.randrange(len(data))] = rng.randrange(256)
        with contextlib.suppress(RemoteProtocolError):
            parse(bytes(data[: rng.randint(0, len(data))]))


@pytest.mark.parametrize("data", [b"", b"\x0a\x80", b"\x06\x80", b"\xff\x80"])
def test_unknown_types_are_refused(data: bytes) -> None:
    with pytest.raises(RemoteProtocolError):
        parse(data)


def test_lamport_times_are_accepted_up_to_their_limit() -> None:
    assert parse(serialize(Join(MAX_LAMPORT_TIME, "a"))) == Join(MAX_LAMPORT_TIME, "a")
    with pytest.raises(RemoteProtocolError, match="LTime"):
        parse(b"\x01" + pack({"LTime": MAX_LAMPORT_TIME + 1, "Node": "a"}))
    with pytest.raises(RemoteProtocolError, match="StatusLTimes"):
        parse(b"\x02" + pack({"StatusLTimes": {"a": MAX_LAMPORT_TIME + 1}}))


def test_the_timeout_of_a_query_is_cut_to_a_day_and_never_negative() -> None:
    for wanted, kept in (
        (MAX_QUERY_TIMEOUT, MAX_QUERY_TIMEOUT),
        (MAX_QUERY_TIMEOUT + 1, MAX_QUERY_TIMEOUT),
        (-1, 0),
    ):
        sent = serialize(Query(1, 2, OURS, "a", "q", wanted))
        assert parse(sent) == Query(1, 2, OURS, "a", "q", kept)


def test_an_ipv4_address_in_ipv6_form_is_ipv4() -> None:
    assert parse_ip(bytes(10) + b"\xff\xff\x0a\x00\x00\x01") == "10.0.0.1"
    with pytest.raises(RemoteProtocolError):
        parse_ip(b"\x0a\x00\x00")
