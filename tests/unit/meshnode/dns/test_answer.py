"""From a query to its answer: what is found, what is added, what is kept, what is asked of others, and bad queries."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshnode.base.address import Address
from meshnode.base.errors import MeshError
from meshnode.catalog.model import CRITICAL, WARNING, Node, Weights
from meshnode.dns.answer import MAX_KEPT_ANSWERS, Resolver, Waiting
from meshnode.dns.config import DnsConfig, SoaTimes
from meshnode.dns.effects import (
    Effect,
    ExecuteQuery,
    Fetch,
    Fetched,
    Forward,
    QueryOutcome,
    ResolveName,
    UnknownDatacenterError,
)
from meshnode.dns.message import parse
from meshnode.dns.names import Zone
from meshnode.dns.query import ClientSubnet
from meshnode.dns.records import (
    AAAA,
    AXFR,
    BADVERS,
    CLIENT_SUBNET,
    CNAME,
    FLAG_AA,
    FLAG_RA,
    FLAG_RD,
    FLAG_TC,
    FORMERR,
    NOERROR,
    NOTIMP,
    NS,
    NXDOMAIN,
    PTR,
    REFUSED,
    SERVFAIL,
    SOA,
    SRV,
    TXT,
    TYPE_ANY,
    A,
    Address4,
    Address6,
    Edns,
    Message,
    Pointer,
    Record,
    ServiceTarget,
    StartOfAuthority,
    Text,
    name_from_text,
    name_to_text,
)
from meshnode.dns.view import PENDING, AddressLookup, NodeLookup, ServiceLookup
from tests.support.dns_state import AT, MemoryView, ask, instance, query, resolver, sample_view

RECURSOR = Address("192.0.2.53", 53)


def shown(record: Record) -> str:
    match record.data:
        case Address4(packed) | Address6(packed):
            return str(ipaddress.ip_address(packed))
        case Pointer(_, target):
            return name_to_text(target)
        case ServiceTarget(priority, weight, port, target):
            return f"{priority} {weight} {port} {name_to_text(target)}"
        case Text(strings):
            return b"|".join(strings).decode()
        case _:
            return "?"


def answers(message: Message) -> list[str]:
    return sorted(map(shown, message.answers))


def additional(message: Message) -> list[tuple[str, str]]:
    return sorted((name_to_text(record.name), shown(record)) for record in message.additional)


def test_an_srv_answer_to_the_byte() -> None:
    view = MemoryView()
    view.add(instance("n1", "10.0.0.1", port=80))
    reply = resolver(view).handle(query("web.service.consul", SRV), "", tcp=False)
    assert reply is not None
    assert reply[0] == bytes.fromhex(
        "1234 8500 0001 0001 0000 0001"
        "03776562 0773657276696365 06636f6e73756c 00 0021 0001"
        "c00c 0021 0001 00000000 001a 0001 0001 0050 026e31 046e6f6465 03646331 06636f6e73756c 00"
        "026e31 046e6f6465 03646331 c018 0001 0001 00000000 0004 0a000001"
    )


def test_answers_are_in_the_case_of_the_question() -> None:
    message = ask(resolver(), query("WEB.Service.CONSUL", SRV))
    assert {record.name for record in message.answers} == {(b"WEB", b"Service", b"CONSUL")}
    assert [name for name, _ in additional(message)] == ["n1.node.dc1.CONSUL.", "n2.node.dc1.CONSUL."]


def test_the_alternate_domain_answers_in_itself() -> None:
    message = ask(resolver(alt_domain="alt.example."), query("web.service.alt.example", SRV))
    assert answers(message) == ["1 10 80 n1.node.dc1.alt.example.", "1 3 8080 n2.node.dc1.alt.example."]


def test_critical_instances_are_left_out_and_with_only_passing_warning_ones_too() -> None:
    assert answers(ask(resolver(), query("web.service.consul", A))) == ["10.0.0.11", "10.0.0.12"]
    assert answers(ask(resolver(only_passing=True), query("web.service.consul", A))) == ["10.0.0.11"]


@pytest.mark.parametrize(
    ("status", "weights", "weight"),
    [
        ("passing", Weights(10, 3), 10),
        (WARNING, Weights(10, 3), 3),
        (WARNING, Weights(10, 0), 0),
        ("passing", Weights(70000, 1), 65535),
        ("passing", Weights(-5, 1), 0),
    ],
)
def test_srv_weights_follow_the_checks(status: str, weights: Weights, weight: int) -> None:
    view = MemoryView()
    view.add(instance("n1", "10.0.0.1", status=status, weights=weights))
    assert answers(ask(resolver(view), query("web.service.consul", SRV))) == [
        f"1 {weight} 0 n1.node.dc1.consul."
    ]


def test_one_address_on_several_ports_is_one_a_record_and_several_srv_records() -> None:
    view = MemoryView()
    view.add(*(instance("n1", "10.0.0.1", id=str(port), port=port) for port in (80, 81, 81)))
    assert answers(ask(resolver(view), query("web.service.consul", A))) == ["10.0.0.1"]
    message = ask(resolver(view), query("web.service.consul", SRV))
    assert len(message.answers) == 2
    assert additional(message) == [("n1.node.dc1.consul.", "10.0.0.1")]


def test_a_node_whose_name_is_no_dns_name_is_reached_by_its_address() -> None:
    view = MemoryView()
    view.add(instance("x" * 70, "10.0.0.1", port=80))
    message = ask(resolver(view), query("web.service.consul", SRV))
    assert answers(message) == ["1 1 80 0a000001.addr.dc1.consul."]
    assert additional(message) == [("0a000001.addr.dc1.consul.", "10.0.0.1")]


def test_metadata_is_added_to_addresses_and_services_unless_told_not_to() -> None:
    found = ask(resolver(), query("alpha.rack1.node.consul", A))
    assert [text for _, text in additional(found)] == ["role=db", "v=spf1"]
    assert len(ask(resolver(), query("many.service.consul", SRV)).additional) == 6
    assert not ask(resolver(node_meta_txt=False), query("alpha.rack1.node.consul", A)).additional
    assert len(ask(resolver(node_meta_txt=False), query("many.service.consul", SRV)).additional) == 3
    still = ask(resolver(node_meta_txt=False), query("alpha.rack1.node.consul", TXT))
    assert answers(still) == ["role=db", "v=spf1"]


@pytest.mark.parametrize(
    ("meta", "text"),
    [
        ({"a": "b=c"}, "a=b=c"),
        ({"a=b": "c"}, "a`=b=c"),
        ({" a ": " b "}, "` a` = b "),
        ({"a`": "`b"}, "a``=``b"),
        ({"rfc1035-x": "as it is"}, "as it is"),
        ({"k": "v" * 300}, "k=" + "v" * 253 + "|" + "v" * 47),
    ],
)
def test_metadata_is_written_as_rfc_1464_says(meta: dict[str, str], text: str) -> None:
    view = MemoryView()
    view.add_node(Node("n1", "10.0.0.1", meta=meta))
    assert answers(ask(resolver(view), query("n1.node.consul", TXT, edns=Edns(4096)))) == [text]


@pytest.mark.parametrize(
    ("name", "kind", "ttl"),
    [
        ("n1.node.consul", A, 11),
        ("7f000001.addr.consul", A, 11),
        ("web.service.consul", A, 30),
        ("web.service.consul", SRV, 30),
        ("WEB.service.consul", A, 30),
        ("web-proxy.service.consul", A, 20),
        ("web.connect.consul", A, 30),
        ("own.service.consul", A, 5),
        ("1.0.0.10.in-addr.arpa", PTR, 0),
    ],
)
def test_ttls_are_those_of_the_longest_rule_that_fits(name: str, kind: int, ttl: int) -> None:
    rules = {"*": 5.0, "web*": 10.0, "web-*": 20.9, "web": 30.0}
    message = ask(resolver(node_ttl=11.5, service_ttl=rules), query(name, kind))
    assert {record.ttl for record in (*message.answers, *message.additional)} == {ttl}


@pytest.mark.parametrize(
    ("name", "kind", "rcode"),
    [
        ("nope.node.consul", A, NXDOMAIN),
        ("nope.node.consul", SRV, NXDOMAIN),
        ("nope.service.consul", A, NXDOMAIN),
        ("down.service.consul", A, NXDOMAIN),
        ("wrong.web.service.consul", A, NXDOMAIN),
        ("x.y.z.consul", A, NXDOMAIN),
        ("n1.node.consul", AAAA, NOERROR),
        ("n1.node.consul", SRV, NOERROR),
        ("web.service.consul", TXT, NOERROR),
        ("7f000001.addr.consul", AAAA, NOERROR),
        ("service.consul", A, NOERROR),
        ("consul", A, NOERROR),
        ("web.service.consul", SOA, NOERROR),
        ("web.service.consul", NS, NOERROR),
    ],
)
def test_nothing_is_absent_or_empty_and_the_soa_says_for_how_long(name: str, kind: int, rcode: int) -> None:
    message = ask(resolver(soa=SoaTimes(1, 2, 3, 4)), query(name, kind))
    assert (message.rcode, message.answers) == (rcode, ())
    soa = StartOfAuthority((b"ns", b"consul"), (b"hostmaster", b"consul"), int(AT), 1, 2, 3, 4)
    assert message.authority == (Record((b"consul",), 4, soa),)
    assert message.flags & FLAG_AA


def test_the_domain_has_its_servers_and_its_soa() -> None:
    message = ask(resolver(), query("Consul", SOA))
    assert len(message.answers) == 1
    assert [shown(record) for record in message.authority] == ["server1.node.dc1.Consul."]
    assert additional(message) == [("server1.node.dc1.Consul.", "10.0.0.9")]
    message = ask(resolver(), query("consul", NS))
    assert answers(message) == ["server1.node.dc1.consul."]
    assert additional(message) == [("server1.node.dc1.consul.", "10.0.0.9")]
    assert len(ask(resolver(), query("consul", TYPE_ANY)).answers) == 2


def test_reverse_names_find_nodes_first_then_services_then_the_recursors() -> None:
    assert answers(ask(resolver(), query("11.0.0.10.in-addr.arpa", PTR))) == ["n1.node.dc1.consul."]
    assert answers(ask(resolver(), query("7.2.0.192.in-addr.arpa", PTR))) == ["own.service.dc1.consul."]
    six = ipaddress.ip_address("2001:db8::6").reverse_pointer
    assert answers(ask(resolver(), query(six, PTR))) == ["six.node.dc1.consul."]
    assert ask(resolver(), query("9.9.9.9.in-addr.arpa", PTR)).rcode == NXDOMAIN
    effects: list[Effect[Any]] = []
    raw = query("9.9.9.9.in-addr.arpa", PTR)
    ask(resolver(recursors=(RECURSOR,)), raw, None, effects=effects)
    assert effects == [Forward(raw, tcp=False)]


@pytest.mark.parametrize(
    ("recursors", "flags"), [((), FLAG_AA | FLAG_RD), ((RECURSOR,), FLAG_AA | FLAG_RD | FLAG_RA)]
)
def test_ra_is_set_with_recursors_and_rd_is_repeated(recursors: tuple[Address, ...], flags: int) -> None:
    answering = resolver(recursors=recursors)
    message = ask(answering, query("web.service.consul", A))
    assert message.flags & (FLAG_AA | FLAG_RD | FLAG_RA) == flags
    assert not ask(answering, query("web.service.consul", A, flags=0)).flags & FLAG_RD


def test_other_names_are_refused_without_recursors_and_failed_when_none_answers() -> None:
    raw = query("www.example.com", A)
    assert ask(resolver(), raw).rcode == REFUSED
    assert not ask(resolver(), raw).flags & FLAG_AA
    answering = resolver(recursors=(RECURSOR,))
    assert ask(answering, raw, None).rcode == SERVFAIL
    assert ask(answering, raw, MeshError("no")).rcode == SERVFAIL
    given_back = raw[:2] + b"\x81\x80" + raw[4:]
    assert ask(answering, raw, given_back) == parse(given_back)


def test_a_host_name_is_a_cname_and_followed_through_the_recursors_once() -> None:
    raw = query("outer.node.consul", A)
    assert answers(ask(resolver(), raw)) == ["host.example.com."]
    effects: list[Effect[Any]] = []
    target = (b"host", b"example", b"com")
    theirs = (*(Record(target, 60, Address4(bytes((10, 9, 9, i)))) for i in range(9)),)
    message = ask(resolver(recursors=(RECURSOR,)), raw, theirs, effects=effects)
    assert effects == [ResolveName(target, A)]
    assert len(message.answers) == 1 + 5
    assert message.answers[0].data == Pointer(CNAME, target)
    assert [r.name for r in message.answers[1:]] == [target] * 5
    alone = ask(resolver(recursors=(RECURSOR,)), query("outer.node.consul", CNAME))
    assert answers(alone) == ["host.example.com."]


def test_a_host_name_of_ours_is_followed_inside_and_a_loop_ends() -> None:
    view = sample_view()
    view.add(
        instance("n1", "10.0.0.11", "front", own_address="web.service.consul"),
        instance("n1", "10.0.0.11", "loop", own_address="loop.service.consul"),
    )
    assert answers(ask(resolver(view), query("front.service.consul", A))) == [
        "10.0.0.11",
        "10.0.0.12",
        "web.service.consul.",
    ]
    assert set(answers(ask(resolver(view), query("loop.service.consul", A)))) == {"loop.service.consul."}


def test_what_a_cname_of_ours_brings_along_is_drawn_anew_each_time() -> None:
    view = sample_view()
    view.add(instance("n1", "10.0.0.11", "front", own_address="many.service.consul"))
    answering = resolver(view)
    seen: set[str] = set()
    for _ in range(40):
        message = ask(answering, query("front.service.consul", A))
        assert len(message.answers) == 1 + 5
        seen.update(map(shown, message.answers))
    assert len(seen) > 50


def test_other_datacenters_are_fetched_and_what_is_fetched_is_not_kept() -> None:
    answering = resolver(max_stale=10.0)
    lookup = ServiceLookup("web", "green", "dc2")
    for _ in range(2):
        effects: list[Effect[Any]] = []
        outcome = Fetched([instance("far", "172.16.0.1", port=1)], staleness=9.0)
        message = ask(answering, query("green.web.service.DC2.consul", SRV), outcome, effects=effects)
        assert effects == [Fetch(lookup, allow_stale=True)]
        assert answers(message) == ["1 1 1 far.node.dc2.consul."]


def test_an_answer_that_is_too_stale_is_asked_of_the_leader_and_counted() -> None:
    counted: list[str] = []
    answering = Resolver(DnsConfig(max_stale=5.0), sample_view(), Random(1), lambda: AT, counted.append)
    effects: list[Effect[Any]] = []
    stale, fresh = Fetched(None, 6.0), Fetched(Node("far", "172.16.0.1"), 0.0)
    message = ask(answering, query("far.node.dc2.consul", A), stale, fresh, effects=effects)
    lookup = NodeLookup("far", "dc2")
    assert effects == [Fetch(lookup, allow_stale=True), Fetch(lookup, allow_stale=False)]
    assert answers(message) == ["172.16.0.1"]
    assert counted == []
    answering = Resolver(DnsConfig(), sample_view(), Random(1), lambda: AT, counted.append)
    ask(answering, query("far.node.dc2.consul", A), stale)
    assert counted == ["consul.dns.stale_queries"]


def test_without_allow_stale_the_leader_is_asked_at_once() -> None:
    effects: list[Effect[Any]] = []
    ask(resolver(allow_stale=False), query("far.node.dc2.consul", A), Fetched(None, 99.0), effects=effects)
    assert effects == [Fetch(NodeLookup("far", "dc2"), allow_stale=False)]


@pytest.mark.parametrize(
    ("error", "rcode"),
    [(MeshError("no leader"), SERVFAIL), (UnknownDatacenterError("no path to datacenter"), NXDOMAIN)],
)
def test_a_lookup_that_fails_is_servfail_and_an_unknown_datacenter_is_absent(
    error: MeshError, rcode: int
) -> None:
    assert ask(resolver(), query("far.node.dc2.consul", A), error).rcode == rcode


def test_wan_addresses_are_for_other_datacenters() -> None:
    far = Node("far", "172.16.0.1", tagged_addresses={"wan": "198.51.100.5"})
    view = sample_view()
    view.add_node(far)
    answering = resolver(view, translate_wan_addrs=True)
    assert answers(ask(answering, query("far.node.dc2.consul", A), Fetched(far))) == ["198.51.100.5"]
    assert answers(ask(answering, query("far.node.consul", A))) == ["172.16.0.1"]


SUBNET = ClientSubnet(1, 24, "198.51.100.0")


@pytest.mark.parametrize(
    ("edns", "source"),
    [(None, "127.0.0.1"), (Edns(4096, options=((CLIENT_SUBNET, SUBNET.serialize(0)),)), "198.51.100.0")],
)
def test_a_prepared_query_is_executed_for_the_client_or_its_subnet(edns: Edns | None, source: str) -> None:
    effects: list[Effect[Any]] = []
    found = [instance(f"n{i}", f"10.0.0.{9 - i}") for i in range(1, 4)]
    outcome = QueryOutcome(found, "dc3", "web", ttl=7.9, by_source=True)
    message = ask(resolver(), query("Geo.query.dc2.consul", A, edns=edns), outcome, effects=effects)
    assert effects == [ExecuteQuery("geo", "dc2", 0, source)]
    assert [shown(record) for record in message.answers] == ["10.0.0.8", "10.0.0.7", "10.0.0.6"]
    assert {record.ttl for record in message.answers} == {7}
    if message.edns is not None:
        assert message.edns.options == ((CLIENT_SUBNET, SUBNET.serialize(24)),)


def test_a_prepared_query_without_a_ttl_has_that_of_its_service_and_names_its_datacenter() -> None:
    outcome = QueryOutcome([instance("n1", "10.0.0.1")], "dc3", "web")
    message = ask(resolver(service_ttl={"web": 9.0}), query("geo.query.consul", SRV), outcome)
    assert answers(message) == ["1 1 0 n1.node.dc3.consul."]
    assert message.answers[0].ttl == 9


@pytest.mark.parametrize("outcome", [None, QueryOutcome((), "dc1")])
def test_a_prepared_query_that_is_not_there_or_finds_nothing_is_absent(outcome: QueryOutcome | None) -> None:
    assert ask(resolver(), query("geo.query.consul", A), outcome).rcode == NXDOMAIN


def test_answers_are_kept_until_the_generation_moves() -> None:
    view = sample_view()
    answering = resolver(view)
    raw = query("own.service.consul", A)
    first = ask(answering, raw)
    reads = view.reads
    assert ask(answering, raw) == first
    assert ask(answering, query("own.service.consul", A, ident=9)).answers == first.answers
    assert view.reads == reads
    view.add(instance("n2", "10.0.0.12", "own", own_address="192.0.2.8"))
    assert answers(ask(answering, raw)) == ["192.0.2.7", "192.0.2.8"]


def test_a_question_in_another_case_or_with_other_edns_is_answered_from_the_same_records() -> None:
    view = sample_view()
    answering = resolver(view)
    ask(answering, query("many.service.consul", SRV))
    reads = view.reads
    message = ask(answering, query("MANY.service.Consul", SRV, edns=Edns(4096)))
    assert {record.name for record in message.answers} == {(b"MANY", b"service", b"Consul")}
    assert len(message.answers) > 8
    assert len(ask(answering, query("many.service.consul", SRV), tcp=True).answers) == 60
    assert view.reads == reads
    view.index += 1
    ask(answering, query("MANY.service.Consul", SRV, edns=Edns(4096)))
    assert view.reads == reads + 1


def test_the_records_that_are_kept_are_bounded_in_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("meshnode.dns.answer.MAX_KEPT_RECORDS", 150)
    view = sample_view()
    answering = resolver(view)
    for name in ("many.service", "many.service.dc1", "many.service.dc1.dc"):
        assert len(ask(answering, query(f"{name}.consul", A), tcp=True).answers) == 60
        assert answering._weight <= 150
    assert len(answering._contents) == 2
    reads = view.reads
    ask(answering, query("many.service.dc1.consul", A), tcp=True)
    assert view.reads == reads
    ask(answering, query("many.service.consul", A), tcp=True)
    assert view.reads == reads + 1
    monkeypatch.setattr("meshnode.dns.answer.MAX_KEPT_RECORDS", 60)
    view.index += 1
    ask(answering, query("many.service.consul", A), tcp=True)
    assert not answering._contents.keys() & {((b"many", b"service", b"consul"), A)}


def test_options_that_are_new_each_time_do_not_fill_what_is_kept() -> None:
    answering = resolver()
    for number in range(5):
        cookie = Edns(1232, options=((10, bytes(7) + bytes((number,))),))
        assert ask(answering, query("web.service.consul", A, edns=cookie)).answers
    assert [len(kept) for kept in answering._kept] == [0, 0]


def test_a_kept_answer_still_changes_its_order() -> None:
    answering = resolver()
    seen = {tuple(map(shown, ask(answering, query("web.service.consul", A)).answers)) for _ in range(50)}
    assert seen == {("10.0.0.11", "10.0.0.12"), ("10.0.0.12", "10.0.0.11")}


def test_a_view_that_says_so_has_nothing_kept() -> None:
    view = sample_view()
    view.generation = lambda lookup: -1  # type: ignore[method-assign]
    answering = resolver(view)
    for reads in (1, 2):
        ask(answering, query("own.service.consul", A))
        assert view.reads == reads


def test_the_answers_that_are_kept_are_bounded_and_udp_and_tcp_have_their_own() -> None:
    answering = resolver()
    for number in range(MAX_KEPT_ANSWERS + 1):
        ask(answering, query(f"{number:08x}.addr.consul", A))
        answering.handle(query("n1.node.consul", A, edns=Edns(number)), "", tcp=False)
    assert [len(kept) for kept in answering._kept] == [MAX_KEPT_ANSWERS, 0]
    assert len(answering._contents) == 1
    assert len(ask(answering, query("many.service.consul", A)).answers) == 3
    assert len(ask(answering, query("many.service.consul", A), tcp=True).answers) == 60


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


def test_a_bad_domain_is_an_error_at_the_start() -> None:
    with pytest.raises(MeshError, match="part"):
        resolver(domain="a..b")
    assert Zone("dc1", "consul").suffix((b"consul",)) == (b"consul",)


def test_a_critical_check_of_the_node_takes_its_services_out() -> None:
    view = MemoryView()
    view.add(instance("n1", "10.0.0.1", status=CRITICAL))
    assert ask(resolver(view), query("web.service.consul", SRV)).rcode == NXDOMAIN


def test_the_owner_of_an_address_is_asked_of_a_server_when_it_is_not_in_memory() -> None:
    view = sample_view()
    view.owner = lambda lookup: PENDING  # type: ignore[method-assign]
    effects: list[Effect[Any]] = []
    message = ask(
        resolver(view),
        query("8.0.0.10.in-addr.arpa", PTR),
        Fetched(instance("n1", "10.0.0.1", "db")),
        effects=effects,
    )
    assert effects == [Fetch(AddressLookup("10.0.0.8"), allow_stale=True)]
    assert answers(message) == ["db.service.dc1.consul."]
