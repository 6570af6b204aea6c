"""Answers that are used again: order, limits, and what fits."""

from __future__ import annotations

from collections import Counter
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshnode.dns.message import encode_question, encode_record, parse, suffix_offsets
from meshnode.dns.records import (
    CNAME,
    FLAG_TC,
    A,
    Address4,
    Message,
    Pointer,
    Question,
    Record,
    ServiceTarget,
    Text,
)
from meshnode.dns.template import Choice, Encoded, Template

NAME = (b"web", b"service", b"consul")
QUESTION = encode_question(Question(NAME, A))
KNOWN = suffix_offsets(NAME)


def encoded(*records: Record) -> Encoded:
    size = sum(len(encode_record(record, None)) for record in records)
    return Encoded(b"".join(encode_record(record, KNOWN) for record in records), size, len(records))


def address(number: int) -> Choice:
    return Choice(encoded(Record(NAME, 0, Address4(number.to_bytes(4, "big")))))


def service(number: int, target: int | None = None, text_bytes: int = 0) -> Choice:
    name = (b"n%d" % (number if target is None else target), b"consul")
    extra = encoded(Record(name, 0, Address4(bytes(4))))
    extras = (extra, encoded(Record(name, 0, Text((b"x" * text_bytes,))))) if text_bytes else (extra,)
    return Choice(encoded(Record(NAME, 0, ServiceTarget(1, 1, number, name))), extras)


def render(template: Template, rng: Random | None = None) -> Message:
    data = template.render(b"\x12\x34", rng or Random(1))
    message = parse(data)
    assert message.id == 0x1234
    return message


def numbers(message: Message) -> list[int]:
    return [int.from_bytes(r.data.packed, "big") for r in message.answers if isinstance(r.data, Address4)]


def test_each_of_three_addresses_is_first_a_third_of_the_time() -> None:
    template = Template(0x8400, QUESTION, [address(i) for i in range(3)])
    rng = Random(7)
    first = Counter(numbers(render(template, rng))[0] for _ in range(3000))
    assert set(first) == {0, 1, 2}
    assert all(850 < count < 1150 for count in first.values())


def test_an_order_that_matters_is_kept() -> None:
    template = Template(0x8400, QUESTION, [address(i) for i in range(9)], shuffle=False, udp_limit=4)
    assert numbers(render(template)) == [0, 1, 2, 3]


def test_every_address_gets_its_turn_under_a_limit() -> None:
    template = Template(0x8400, QUESTION, [address(i) for i in range(20)], udp_limit=3)
    rng = Random(3)
    seen = {number for _ in range(200) for number in numbers(render(template, rng))}
    assert seen == set(range(20))


@pytest.mark.parametrize(("truncate", "flag"), [(True, FLAG_TC), (False, 0)])
def test_the_udp_limit_truncates_and_says_so_when_asked_to(truncate: bool, flag: int) -> None:
    message = render(
        Template(0x8400, QUESTION, [address(i) for i in range(4)], udp_limit=3, truncate=truncate)
    )
    assert len(message.answers) == 3
    assert message.flags & FLAG_TC == flag


def test_the_record_limit_is_no_truncation() -> None:
    message = render(
        Template(0x8400, QUESTION, [address(i) for i in range(4)], record_limit=3, truncate=True)
    )
    assert len(message.answers) == 3
    assert not message.flags & FLAG_TC


def test_answers_are_cut_at_the_size_that_they_have_uncompressed() -> None:
    one = address(1).answer.size
    room = 12 + len(QUESTION) + 5 * one
    choices = [address(i) for i in range(9)]
    assert len(render(Template(0, QUESTION, choices, max_bytes=room)).answers) == 5
    assert len(render(Template(0, QUESTION, choices, max_bytes=room - 1)).answers) == 4


def test_what_is_added_goes_with_its_answer_and_is_sent_once() -> None:
    choices = [service(1, target=1), service(2, target=1), service(3, target=3)]
    message = render(Template(0, QUESTION, choices))
    assert len(message.answers) == 3
    assert sorted(record.name[0] for record in message.additional) == [b"n1", b"n3"]
    alone = render(Template(0, QUESTION, choices, udp_limit=1))
    assert [r.name for r in alone.additional] == [
        r.data.target for r in alone.answers if isinstance(r.data, ServiceTarget)
    ]


def test_what_is_shared_is_counted_once_towards_the_size() -> None:
    choices = [service(1, target=1), service(2, target=1)]
    room = 12 + len(QUESTION) + 2 * choices[0].answer.size + choices[0].extras[0].size
    assert len(render(Template(0, QUESTION, choices, max_bytes=room)).answers) == 2
    assert len(render(Template(0, QUESTION, choices, max_bytes=room - 1)).answers) == 1


def test_an_answer_too_long_with_what_is_added_goes_without() -> None:
    message = render(Template(0, QUESTION, [service(1, text_bytes=250)], max_bytes=200, truncate=True))
    assert len(message.answers) == 1
    assert not message.additional
    assert not message.flags & FLAG_TC


def test_an_answer_that_fits_in_no_way_is_left_out_and_tc_is_set_in_any_case() -> None:
    message = render(Template(0, QUESTION, [address(1)], max_bytes=12 + len(QUESTION) + 10))
    assert not message.answers
    assert message.flags & FLAG_TC


def test_a_cname_stands_alone_and_is_drawn_as_often_as_an_address() -> None:
    alias = Choice(encoded(Record(NAME, 0, Pointer(CNAME, (b"x",))), Record((b"x",), 0, Address4(bytes(4)))))
    template = Template(0, QUESTION, [address(1), address(2)], aliases=[alias])
    rng = Random(5)
    kinds = Counter(isinstance(render(template, rng).answers[0].data, Pointer) for _ in range(900))
    assert 240 < kinds[True] < 360
    drawn = [render(template, rng).answers for _ in range(50)]
    assert {isinstance(answers[0].data, Pointer) for answers in drawn} == {True, False}
    assert {len(answers) for answers in drawn} == {2}
    assert {type(answers[1].data) for answers in drawn} == {Address4}


@given(
    st.lists(st.builds(service, st.integers(0, 50), st.integers(0, 9), st.integers(0, 200)), max_size=30),
    st.integers(100, 4096),
    st.integers(1, 40),
    st.booleans(),
    st.integers(),
)
def test_no_message_is_longer_than_allowed_and_tc_is_set_exactly_when_it_is_cut(
    choices: list[Choice], max_bytes: int, limit: int, truncate: bool, seed: int
) -> None:
    template = Template(0, QUESTION, choices, max_bytes=max_bytes, udp_limit=limit, truncate=truncate)
    data = template.render(b"\0\0", Random(seed))
    message = parse(data)
    assert len(data) <= max_bytes
    assert len(message.answers) <= min(limit, len(choices))
    cut = len(message.answers) < len(choices)
    assert bool(message.flags & FLAG_TC) == (cut and (truncate or not message.answers))
