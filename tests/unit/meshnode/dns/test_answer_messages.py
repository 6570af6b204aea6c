"""The message around an answer: its size, EDNS, queries that are none, and any bytes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshnode.catalog.model import Node
from meshnode.dns.answer import Waiting
from meshnode.dns.message import parse
from meshnode.dns.query import ClientSubnet
from meshnode.dns.records import (
    AAAA,
    AXFR,
    BADVERS,
    CLIENT_SUBNET,
    CNAME,
    FLAG_TC,
    FORMERR,
    NOTIMP,
    SERVFAIL,
    SRV,
    TXT,
    TYPE_ANY,
    A,
    Edns,
    name_from_text,
)
from tests.support.dns_state import MemoryView, ask, instance, query, resolver


@pytest.mark.parametrize(
    ("config", "kind", "edns", "tcp", "count"),
    [
        ({}, A, None, False, 3),
        ({}, SRV, None, False, 3),
        ({"udp_answer_limit": 20}, A, None, False, 8),
        ({"udp_answer_limit": 5}, A, None, False, 5),
        ({}, A, Edns(512), False, 3),
        ({}, A, Edns(4096), False, 60),
        ({}, A, None, True, 60),
        ({"a_record_limit": 2}, A, None, False, 2),
        ({"a_record_limit": 7}, A, Edns(4096), False, 7),
        ({"a_record_limit": 7}, TYPE_ANY, None, True, 7),
        ({"a_record_limit": 7}, SRV, None, True, 60),
    ],
)
def test_the_limits_on_answers(
    config: dict[str, Any], kind: int, edns: Edns | None, tcp: bool, count: int
) -> None:
    message = ask(resolver(**config), query("many.service.consul", kind, edns=edns), tcp=tcp)
    assert len(message.answers) == count


@pytest.mark.parametrize("enabled", [True, False])
def test_tc_needs_enable_truncate(enabled: bool) -> None:
    message = ask(resolver(enable_truncate=enabled), query("many.service.consul", A))
    assert bool(message.flags & FLAG_TC) == enabled


def test_without_compression_names_are_sent_in_full() -> None:
    raw = query("web.service.consul", A)
    compressed = resolver().handle(raw, "", tcp=False)
    full = resolver(disable_compression=True).handle(raw, "", tcp=False)
    assert compressed is not None
    assert full is not None
    assert len(full[0]) == len(compressed[0]) + 2 * (20 - 2)
    assert parse(full[0]).answers[0].name == (b"web", b"service", b"consul")


def edit(at: int, value: int) -> Callable[[bytes], bytes]:
    return lambda data: data[:at] + bytes((value,)) + data[at + 1 :]


@pytest.mark.parametrize(
    ("change", "rcode"),
    [
        (edit(2, 0x21), NOTIMP),  # opcode NOTIFY
        (edit(35, 3), NOTIMP),  # class CH
        (edit(33, AXFR), NOTIMP),
        (edit(5, 0), FORMERR),  # no question
        (edit(5, 2), FORMERR),  # a second one that isn't there
        (edit(12, 0xC0), FORMERR),  # a pointer forward
        (lambda data: data[:20], FORMERR),
        (lambda data: data[:12], FORMERR),
    ],
)
def test_queries_that_are_none_get_a_code_and_no_answer(change: Callable[[bytes], bytes], rcode: int) -> None:
    message = ask(resolver(), change(query("web.service.consul", A)))
    assert message.rcode == rcode
    assert not message.answers


@pytest.mark.parametrize("data", [b"", bytes(11), query("web.service.consul", A, flags=0x8000)])
def test_answers_and_less_than_a_header_get_silence(data: bytes) -> None:
    assert resolver().handle(data, "", tcp=False) is None


def test_an_edns_version_that_nobody_knows_is_badvers() -> None:
    message = ask(resolver(), query("web.service.consul", A, edns=Edns(4096, version=1)))
    assert message.rcode == BADVERS
    assert message.edns == Edns(4096, version=0, rcode=1)


@pytest.mark.parametrize(
    "option",
    ["", "0001", "000121000a000000000a", "0001180a0a", "00011800 0a000000", "00021800", "00050800 0a"],
)
def test_a_client_subnet_that_is_none_is_a_format_error(option: str) -> None:
    edns = Edns(4096, options=((CLIENT_SUBNET, bytes.fromhex(option)),))
    assert ask(resolver(), query("web.service.consul", A, edns=edns)).rcode == FORMERR


@given(st.integers(0, 128), st.binary(min_size=16, max_size=16))
def test_a_client_subnet_comes_back_as_it_came(prefix: int, packed: bytes) -> None:
    data = b"\0\2" + bytes((prefix, 0)) + packed[: (prefix + 7) // 8]
    assert ClientSubnet.parse(data).serialize(0) == data


@given(
    st.binary(max_size=300)
    | st.tuples(
        st.binary(min_size=2, max_size=2),
        st.sampled_from([b"\1\0\0\1\0\0\0\0\0\0", b"\0\0\0\1\0\0\0\0\0\1"]),
        st.lists(
            st.sampled_from([b"\3web", b"\7service", b"\6consul", b"\4node", b"\5query", b"\4arpa", b"\2n1"])
            | st.binary(max_size=4),
            max_size=6,
        ).map(b"".join),
        st.sampled_from([b"\0\0\1\0\1", b"\0\0\x21\0\1", b"\0\0\xff\0\1", b"\0\0\x0c\0\1"]),
        st.binary(max_size=20) | st.just(b"\0\0\x29\4\xd0\0\0\0\0\0\0"),
    ).map(b"".join),
    st.booleans(),
)
def test_any_bytes_get_an_answer_a_code_or_silence(data: bytes, tcp: bool) -> None:
    reply = FUZZED.handle(data, "192.0.2.1", tcp=tcp)
    if reply is None:
        return
    if isinstance(reply, Waiting):
        reply.steps.close()
        return
    message = parse(reply.data)
    assert reply.data[:2] == data[:2]
    assert tcp or message.edns is not None or len(reply.data) <= 512


FUZZED = resolver()


@given(
    st.text(max_size=80),
    st.text(max_size=40),
    st.text(max_size=40),
    st.integers(),
    st.dictionaries(st.text(max_size=20), st.text(max_size=600), max_size=4),
)
def test_whatever_the_catalog_holds_every_question_is_answered(
    name: str, address: str, own: str, port: int, meta: dict[str, str]
) -> None:
    view = MemoryView()
    view.add(instance("n", address, node_meta=meta, own_address=own, port=port))
    one = view.by_service["web"][0]
    odd = Node(name, address, meta=meta)
    view.by_service["web"].append(type(one)(odd, one.service))
    for kind in (A, AAAA, SRV, TXT, TYPE_ANY, CNAME):
        for text in ("web.service.consul", "n.node.consul"):
            ask(resolver(view), query(text, kind))


def test_servfail_is_ready_for_a_query_that_has_to_be_turned_away() -> None:
    answering = resolver()
    failed = parse(answering.failure(query("www.example.com", A, ident=7)))
    assert (failed.id, failed.rcode) == (7, SERVFAIL)
    assert failed.questions[0].name == name_from_text("www.example.com")
    assert answering.failure(b"") == b""
