"""The codec: golden bytes, every value there and back, bounds, and bytes that are no message."""

from __future__ import annotations

import struct

import dns.message
import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshnode.base.errors import MeshError, RemoteProtocolError
from meshnode.dns.message import MAX_POINTERS, encode_record, parse, serialize, suffix_offsets
from meshnode.dns.records import (
    CNAME,
    NS,
    PTR,
    SRV,
    A,
    Address4,
    Address6,
    Edns,
    Message,
    Name,
    Opaque,
    Pointer,
    Question,
    Record,
    ServiceTarget,
    StartOfAuthority,
    Text,
    name_from_text,
    name_to_text,
)

WEB = (b"web", b"service", b"consul")

labels = st.binary(min_size=1, max_size=20)
names = st.lists(labels, max_size=6).map(tuple)
u16 = st.integers(0, 0xFFFF)
u32 = st.integers(0, 0xFFFFFFFF)
data = st.one_of(
    st.builds(Address4, st.binary(min_size=4, max_size=4)),
    st.builds(Address6, st.binary(min_size=16, max_size=16)),
    st.builds(Pointer, st.sampled_from([NS, CNAME, PTR]), names),
    st.builds(ServiceTarget, u16, u16, u16, names),
    st.builds(Text, st.lists(st.binary(max_size=255), max_size=3).map(tuple)),
    st.builds(StartOfAuthority, names, names, u32, u32, u32, u32, u32),
    st.builds(Opaque, st.integers(60, 200), st.binary(max_size=30)),
    st.builds(Opaque, u16.filter(lambda kind: kind != 41), st.binary(max_size=30), st.integers(2, 0xFFFF)),
)
records = st.builds(Record, names, u32, data)
sections = st.lists(records, max_size=4).map(tuple)
options = st.lists(st.tuples(u16, st.binary(max_size=30)), max_size=3).map(tuple)
edns = st.builds(Edns, u16, st.integers(0, 255), st.integers(0, 255), u16, options)
messages = st.builds(
    Message,
    u16,
    u16,
    st.lists(st.builds(Question, names, u16, u16), max_size=2).map(tuple),
    sections,
    sections,
    sections,
    st.none() | edns,
)


@given(messages, st.booleans())
def test_every_message_is_read_as_it_was_written(message: Message, compress: bool) -> None:
    assert parse(serialize(message, compress=compress)) == message


@given(st.binary(max_size=600))
def test_any_bytes_are_a_message_or_a_protocol_error(data: bytes) -> None:
    try:
        parse(data)
    except RemoteProtocolError:
        return


@given(messages, st.data())
def test_a_message_with_some_bytes_changed_is_a_message_or_a_protocol_error(
    message: Message, draw: st.DataObject
) -> None:
    raw = bytearray(serialize(message))
    for _ in range(draw.draw(st.integers(1, 4))):
        raw[draw.draw(st.integers(0, len(raw) - 1))] = draw.draw(st.integers(0, 255))
    try:
        parse(bytes(raw))
    except RemoteProtocolError:
        return


def test_a_query_has_the_bytes_of_rfc_1035() -> None:
    query = Message(0xBEEF, 0x0100, (Question(WEB, SRV),), edns=Edns(1232))
    assert serialize(query) == bytes.fromhex(
        "beef 0100 0001 0000 0000 0001"
        "03776562 0773657276696365 06636f6e73756c 00 0021 0001"
        "00 0029 04d0 00000000 0000"
    )


def test_names_are_compressed_against_all_before_them_but_srv_targets_are_not() -> None:
    target = (b"n1", b"node", b"consul")
    answer = Message(
        1,
        0x8400,
        (Question(WEB, SRV),),
        (Record(WEB, 5, ServiceTarget(1, 2, 80, target)),),
        (Record((b"consul",), 0, Pointer(NS, target)),),
        (Record(target, 5, Address4(b"\x0a\0\0\1")),),
    )
    assert serialize(answer) == bytes.fromhex(
        "0001 8400 0001 0001 0001 0001"
        "03776562 0773657276696365 06636f6e73756c 00 0021 0001"
        "c00c 0021 0001 00000005 0016 0001 0002 0050 026e31 046e6f6465 06636f6e73756c 00"
        "c018 0002 0001 00000000 000a 026e31 046e6f6465 c018"
        "c052 0001 0001 00000005 0004 0a000001"
    )


def test_a_record_compressed_against_the_question_alone_is_good_at_any_place() -> None:
    record = Record((b"n1", *WEB[1:]), 0, Address4(bytes(4)))
    known = suffix_offsets(WEB)
    assert encode_record(record, known)[:5] == b"\x02n1\xc0\x10"
    assert known == suffix_offsets(WEB)


def test_names_of_another_case_are_not_compressed_into_this_one() -> None:
    record = Record((b"WEB", b"service", b"consul"), 0, Address4(bytes(4)))
    assert encode_record(record, suffix_offsets(WEB))[:6] == b"\x03WEB\xc0\x10"


def header(questions: int = 1, answers: int = 0, additional: int = 0) -> bytes:
    return struct.pack("!HHHHHH", 1, 0, questions, answers, 0, additional)


def test_a_name_of_255_bytes_is_read_and_one_of_256_is_not() -> None:
    longest = (b"\x3f" + b"a" * 63) * 3 + b"\x3d" + b"b" * 61 + b"\0"
    assert len(longest) == 255
    assert parse(header() + longest + bytes(4)).questions[0].name[3] == b"b" * 61
    over = (b"\x3f" + b"a" * 63) * 3 + b"\x3e" + b"b" * 62 + b"\0"
    with pytest.raises(RemoteProtocolError, match="255 bytes"):
        parse(header() + over + bytes(4))


@pytest.mark.parametrize("pointer", [b"\xc0\x0c", b"\xc0\x0e", b"\xff\xff"])
def test_pointers_to_themselves_and_forward_are_refused(pointer: bytes) -> None:
    with pytest.raises(RemoteProtocolError, match=r"forward"):
        parse(header() + pointer + bytes(40))


def test_a_pointer_may_not_lead_forward_again_after_one_that_led_back() -> None:
    first = b"\0" + struct.pack("!HHIH", 99, 1, 0, 3) + b"\xc0\x19\0"
    with pytest.raises(RemoteProtocolError, match="forward"):
        parse(header(0, 2) + first + b"\xc0\x17" + struct.pack("!HHIH", 99, 1, 0, 0))


def chain(pointers: int) -> bytes:
    """An answer whose name goes through ``pointers`` pointers, that are inside the data of the one before."""
    steps = b"".join(struct.pack("!H", 0xC000 | at) for at in range(23, 23 + 2 * (pointers - 2), 2))
    first = b"\0" + struct.pack("!HHIH", 99, 1, 0, 2 + len(steps)) + b"\xc0\x0c" + steps
    last = 12 + len(first) - 2
    return header(0, 2) + first + struct.pack("!HHHIH", 0xC000 | last, 99, 1, 0, 0)


def test_as_many_pointers_as_labels_are_followed_and_no_more() -> None:
    assert parse(chain(MAX_POINTERS)).answers[1].name == ()
    with pytest.raises(RemoteProtocolError, match="pointers"):
        parse(chain(MAX_POINTERS + 1))


def test_the_number_of_records_is_bounded_before_they_are_read() -> None:
    root = b"\0" + bytes(4)
    assert len(parse(header(3) + root * 3, max_records=3).questions) == 3
    with pytest.raises(RemoteProtocolError, match="4 records"):
        parse(header(4) + root * 4, max_records=3)


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"\x40" + bytes(10), "unknown kind"),
        (b"\x05abc", "ends at byte"),
        (b"\xc0", "ends at byte"),
        (b"", "ends at byte"),
    ],
)
def test_names_that_are_none_are_refused(body: bytes, reason: str) -> None:
    with pytest.raises(RemoteProtocolError, match=reason):
        parse(header() + body)


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        (1, bytes(3)),
        (28, bytes(17)),
        (33, bytes(6)),
        (5, b"\0\0"),
        (16, b"\x05ab"),
        (6, b"\0\0" + bytes(19)),
        (6, b"\0\0" + bytes(21)),
    ],
)
def test_data_of_the_wrong_length_is_refused(kind: int, body: bytes) -> None:
    record = b"\0" + struct.pack("!HHIH", kind, 1, 0, len(body)) + body
    with pytest.raises(RemoteProtocolError):
        parse(header(0, 1) + record)


def test_a_second_opt_record_and_one_among_the_answers_are_refused() -> None:
    opt = b"\0" + struct.pack("!HHIH", 41, 512, 0, 0)
    assert parse(header(0, 0, 1) + opt).edns == Edns(512)
    for wrong in (header(0, 0, 2) + opt * 2, header(0, 1) + opt):
        with pytest.raises(RemoteProtocolError, match="OPT"):
            parse(wrong)


def test_the_worst_message_of_64_kilobytes_is_refused_by_its_counts() -> None:
    worst = struct.pack("!HHHHHH", 1, 0, 0xFFFF, 0xFFFF, 0xFFFF, 0xFFFF) + bytes(65000)
    with pytest.raises(RemoteProtocolError, match="records"):
        parse(worst)


@pytest.mark.parametrize(
    ("text", "name"),
    [("web.service.consul.", WEB), ("web.service.consul", WEB), (".", ()), ("", ()), ("ü", ("ü".encode(),))],
)
def test_text_becomes_a_name(text: str, name: Name) -> None:
    assert name_from_text(text) == name


@pytest.mark.parametrize("text", ["a..b", ".a", "a" * 64, ".".join(["a" * 63] * 4)])
def test_text_that_is_no_name_is_refused(text: str) -> None:
    with pytest.raises(MeshError):
        name_from_text(text)


def test_a_name_as_text_shows_bytes_that_are_no_text() -> None:
    assert name_to_text((b"a.b", b"\x00c", b"d")) == "a\\046b.\\000c.d."
    assert name_to_text(()) == "."


def test_dnspython_reads_what_we_write_and_the_other_way_round() -> None:
    soa = StartOfAuthority((b"ns", b"consul"), (b"hostmaster", b"consul"), 1, 2, 3, 4, 5)
    ours = Message(
        7,
        0x8580,
        (Question(WEB, A),),
        (
            Record(WEB, 1, Address4(b"\x0a\0\0\1")),
            Record(WEB, 1, Address6(b"\x20\1" + bytes(14))),
            Record(WEB, 1, Pointer(CNAME, (b"x", *WEB))),
            Record(WEB, 1, ServiceTarget(1, 2, 3, (b"n", *WEB))),
            Record(WEB, 1, Text((b"a=b", b"c"))),
        ),
        (Record((b"consul",), 1, soa), Record((b"consul",), 1, Pointer(NS, (b"n", *WEB)))),
        (),
        Edns(1232, options=((8, bytes.fromhex("0001180a000000"[:14])),)),
    )
    theirs = dns.message.from_wire(serialize(ours))
    assert [rrset.to_text() for rrset in theirs.answer] == [
        "web.service.consul. 1 IN A 10.0.0.1",
        "web.service.consul. 1 IN AAAA 2001::",
        "web.service.consul. 1 IN CNAME x.web.service.consul.",
        "web.service.consul. 1 IN SRV 1 2 3 n.web.service.consul.",
        'web.service.consul. 1 IN TXT "a=b" "c"',
    ]
    assert theirs.authority[0].to_text() == "consul. 1 IN SOA ns.consul. hostmaster.consul. 1 2 3 4 5"
    assert parse(theirs.to_wire()) == ours
