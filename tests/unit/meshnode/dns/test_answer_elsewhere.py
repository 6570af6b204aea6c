"""Answers that need somebody else: recursors, the leader, other datacenters, prepared queries."""

from __future__ import annotations

from dataclasses import replace
from random import Random
from typing import Any

import pytest

from meshnode.base.address import Address
from meshnode.base.errors import MeshError
from meshnode.catalog.model import Node, ServiceAddress
from meshnode.dns.answer import Resolver
from meshnode.dns.config import DnsConfig
from meshnode.dns.effects import (
    Effect,
    ExecuteQuery,
    Fetch,
    Fetched,
    QueryOutcome,
    ResolveName,
    UnknownDatacenterError,
)
from meshnode.dns.message import parse
from meshnode.dns.query import ClientSubnet
from meshnode.dns.records import (
    CLIENT_SUBNET,
    CNAME,
    FLAG_AA,
    FLAG_RA,
    FLAG_RD,
    NXDOMAIN,
    PTR,
    REFUSED,
    SERVFAIL,
    SRV,
    A,
    Address4,
    Edns,
    Pointer,
    Record,
)
from meshnode.dns.view import PENDING, AddressLookup, NodeLookup, ServiceLookup
from tests.support.dns_state import AT, MemoryView, ask, instance, query, resolver, sample_view
from tests.unit.meshnode.dns.asking import RECURSOR, answers, shown


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
