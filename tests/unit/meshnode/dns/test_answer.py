"""From a query to its answer: what is found in the catalog, what is added to it, and what is absent."""

from __future__ import annotations

import ipaddress
from typing import Any

import pytest

from meshnode.base.errors import MeshError
from meshnode.catalog.model import CRITICAL, WARNING, Node, Weights
from meshnode.dns.config import SoaTimes
from meshnode.dns.effects import Effect, Forward
from meshnode.dns.names import Zone
from meshnode.dns.records import (
    AAAA,
    FLAG_AA,
    NOERROR,
    NS,
    NXDOMAIN,
    PTR,
    SOA,
    SRV,
    TXT,
    TYPE_ANY,
    A,
    Edns,
    Message,
    Record,
    StartOfAuthority,
    name_to_text,
)
from tests.support.dns_state import AT, MemoryView, ask, instance, query, resolver
from tests.unit.meshnode.dns.asking import RECURSOR, answers, shown


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


def test_a_bad_domain_is_an_error_at_the_start() -> None:
    with pytest.raises(MeshError, match="part"):
        resolver(domain="a..b")
    assert Zone("dc1", "consul").suffix((b"consul",)) == (b"consul",)


def test_a_critical_check_of_the_node_takes_its_services_out() -> None:
    view = MemoryView()
    view.add(instance("n1", "10.0.0.1", status=CRITICAL))
    assert ask(resolver(view), query("web.service.consul", SRV)).rcode == NXDOMAIN
