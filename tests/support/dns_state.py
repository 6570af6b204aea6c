"""A DNS view over plain dictionaries, and the cluster that the DNS tests ask about."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from random import Random
from typing import Any

from meshnode.catalog.model import CRITICAL, WARNING, Check, Instance, Node, Service, Weights
from meshnode.dns.answer import Reply, Resolver, Waiting
from meshnode.dns.config import DnsConfig
from meshnode.dns.effects import Effect
from meshnode.dns.message import parse, serialize
from meshnode.dns.records import FLAG_RD, Edns, Message, Question, name_from_text
from meshnode.dns.view import (
    PENDING,
    AddressLookup,
    Lookup,
    NodeLookup,
    Owner,
    Pending,
    ServerName,
    ServiceLookup,
)

__all__ = ["AT", "MemoryView", "ask", "instance", "query", "resolver", "sample_view"]

#: The wall clock of the tests.
AT = 1_700_000_000.0


class MemoryView:
    """Everything of ``dc1`` in memory; other datacenters are pending. ``index`` is the generation of it all."""

    def __init__(self) -> None:
        self.index = 1
        self.nodes: dict[str, Node] = {}
        self.by_service: dict[str, list[Instance]] = {}
        self.by_connect: dict[str, list[Instance]] = {}
        self.server_names: list[ServerName] = []
        self.reads = 0

    def add(self, *instances: Instance) -> None:
        self.index += 1
        for one in instances:
            self.nodes[one.node.name.lower()] = one.node
            self.by_service.setdefault(one.service.name, []).append(one)
            if one.service.connect_name:
                self.by_connect.setdefault(one.service.connect_name, []).append(one)

    def add_node(self, node: Node) -> None:
        self.index += 1
        self.nodes[node.name.lower()] = node

    def generation(self, lookup: Lookup) -> int:
        return self.index

    def node(self, lookup: NodeLookup) -> Node | Pending | None:
        self.reads += 1
        return PENDING if lookup.datacenter != "dc1" else self.nodes.get(lookup.name)

    def instances(self, lookup: ServiceLookup) -> Sequence[Instance] | Pending:
        self.reads += 1
        if lookup.datacenter != "dc1":
            return PENDING
        found = (self.by_connect if lookup.connect else self.by_service).get(lookup.name, [])
        return [i for i in found if not lookup.tag or lookup.tag in {t.lower() for t in i.service.tags}]

    def owner(self, lookup: AddressLookup) -> Owner | Pending:
        self.reads += 1
        for node in self.nodes.values():
            if node.address == lookup.address:
                return node
        every = (one for instances in self.by_service.values() for one in instances)
        return next((one for one in every if one.service.address == lookup.address), None)

    def servers(self) -> Sequence[ServerName]:
        return self.server_names


def instance(
    node: str,
    address: str,
    service: str = "web",
    *,
    status: str = "passing",
    node_meta: dict[str, str] | None = None,
    own_address: str = "",
    **service_fields: Any,
) -> Instance:
    at = Node(node, address, meta=node_meta or {}, datacenter="dc1")
    checks = () if status == "passing" else (Check(node, "c", status=status),)
    return Instance(at, Service(service, address=own_address, **service_fields), checks)


def sample_view() -> MemoryView:
    """A cluster with something of every kind in it."""
    view = MemoryView()
    view.server_names = [ServerName("server1", "10.0.0.9")]
    view.add_node(Node("server1", "10.0.0.9", datacenter="dc1"))
    view.add_node(
        Node("Alpha.Rack1", "10.0.0.1", meta={"role": "db", "rfc1035-spf": "v=spf1"}, datacenter="dc1")
    )
    view.add_node(Node("six", "2001:db8::6", datacenter="dc1"))
    view.add_node(Node("outer", "host.example.com", datacenter="dc1"))
    view.add(
        instance("n1", "10.0.0.11", tags=("Primary", "v1.2"), port=80, weights=Weights(10, 3)),
        instance("n2", "10.0.0.12", tags=("v1.2",), port=8080, status=WARNING, weights=Weights(10, 3)),
        instance("n3", "10.0.0.13", port=80, status=CRITICAL),
        instance("n1", "10.0.0.11", "own", own_address="192.0.2.7", port=99),
        instance("n2", "10.0.0.12", "named", own_address="db.example.org", port=5432),
        instance("n1", "10.0.0.11", "web-proxy", kind="connect-proxy", proxy_destination="web", port=20000),
        instance("n3", "10.0.0.13", "down", status=CRITICAL),
        *(instance(f"m{i}", f"10.1.0.{i}", "many", port=80, node_meta={"n": str(i)}) for i in range(1, 61)),
    )
    return view


def resolver(view: MemoryView | None = None, seed: int = 1, **config: Any) -> Resolver:
    return Resolver(DnsConfig(**config), view or sample_view(), Random(seed), lambda: AT)


def query(
    name: str, kind: int, *, ident: int = 0x1234, edns: Edns | None = None, flags: int = FLAG_RD
) -> bytes:
    return serialize(Message(ident, flags, (Question(name_from_text(name), kind),), edns=edns))


def ask(
    answering: Resolver,
    data: bytes,
    *outcomes: Any,
    tcp: bool = False,
    effects: list[Effect[Any]] | None = None,
) -> Message:
    """The answer, read again; ``outcomes`` are sent in order for the effects, which are put into ``effects``."""
    reply = answering.handle(data, "127.0.0.1", tcp=tcp)
    waiting = iter(outcomes)
    while isinstance(reply, Waiting):
        steps, effect = reply
        if effects is not None:
            effects.append(effect)
        outcome = next(waiting)
        try:
            if isinstance(outcome, Exception):
                reply = Waiting(steps, steps.throw(outcome))
            else:
                reply = Waiting(steps, steps.send(outcome))
        except StopIteration as done:
            reply = done.value
    assert isinstance(reply, Reply)
    assert reply.data[:2] == data[:2]
    (flags,) = struct.unpack_from("!H", reply.data, 2)
    assert flags & 0x8000
    return parse(reply.data)
