"""From a query to its answer: what is found, what is added, what is kept, what is asked of others, and bad queries."""

from __future__ import annotations

import ipaddress
from dataclasses import replace
from random import Random
from typing import Any

import pytest

from meshnode.base.address import Address
from meshnode.base.errors import MeshError
from meshnode.catalog.model import CRITICAL, WARNING, Node, ServiceAddress, Weights
from meshnode.dns.answer import Resolver
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
    CLIENT_SUBNET,
    CNAME,
    FLAG_AA,
    FLAG_RA,
    FLAG_RD,
    NOERROR,
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
    Edns,
    Message,
    Pointer,
    Record,
    StartOfAuthority,
    name_to_text,
)
from meshnode.dns.view import PENDING, AddressLookup, NodeLookup, ServiceLookup
from tests.support.dns_state import AT, MemoryView, ask, instance, query, resolver, sample_view
from tests.unit.meshnode.dns.asking import answers, shown

RECURSOR = Address("192.0.2.53", 53)


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


@pytest.mark.parametrize(
    ("on", "name", "address", "port"),
    [
        (True, "web.service.dc2.consul", "203.0.113.9", 8443),
        (False, "web.service.dc2.consul", "10.0.0.7", 80),
        (True, "web.service.consul", "10.0.0.7", 80),
    ],
)
def test_a_service_of_another_datacenter_is_found_at_its_own_wan_address(
    on: bool, name: str, address: str, port: int
) -> None:
    ways = {"wan": ServiceAddress("203.0.113.9", 8443), "lan": ServiceAddress("10.0.0.8", 81)}
    view = MemoryView()
    one = instance("n", "10.0.0.1", own_address="10.0.0.7", port=80)
    one = replace(one, service=replace(one.service, tagged_addresses=ways))
    view.add(one)
    asking = resolver(view, translate_wan_addrs=on)
    assert answers(ask(asking, query(name, A), Fetched([one]))) == [address]
    found = ask(asking, query(name, SRV), Fetched([one]))
    assert [record.data.port for record in found.answers] == [port]
    assert answers(replace(found, answers=found.additional[:1])) == [address]


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
