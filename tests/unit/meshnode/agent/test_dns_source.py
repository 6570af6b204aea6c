"""What DNS hears from a server: the answers of a server's own methods are read, and anything else is its mistake."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, cast

import pytest

from meshnode.agent.dns_source import DnsSource
from meshnode.agent.pool import Pool
from meshnode.base.errors import MeshError, RemoteProtocolError
from meshnode.catalog.model import PASSING, Check, Instance, Node, Service
from meshnode.catalog.store import Registration
from meshnode.catalog.wire import instance_fields
from meshnode.control.command import Register
from meshnode.dns.effects import Effect, ExecuteQuery, Fetch, Fetched, QueryOutcome, UnknownDatacenterError
from meshnode.dns.view import AddressLookup, Lookup, NodeLookup, ServiceLookup
from tests.support.local_catalog import NODE, CatalogServer

WEB = Service("web", "web1", tags=("v1",), address="10.0.0.9", port=80)
ALIVE = Check(NODE.name, "alive", status=PASSING)


class Server:
    """A client agent's way to a server that answers with ``answer(method, body)``."""

    def __init__(self, answer: Callable[[str, Mapping[str, Any]], Any]) -> None:
        self.answer = answer
        nobody = cast(Pool, None)
        self.source = DnsSource(
            None, nobody, self.call, datacenter="dc1", token=lambda: "secret", allow_stale=lambda: True
        )

    async def call(self, method: str, body: Mapping[str, Any], datacenter: str) -> Any:
        return self.answer(method, body)

    def perform(self, effect: Effect[Any]) -> Any:
        return asyncio.run(self.source.perform(effect))


def registered() -> CatalogServer:
    server = CatalogServer()
    server.machine.apply(server.next(), Register(Registration(NODE, WEB, (ALIVE,)), 0.0))
    return server


def without_indexes(found: Any) -> Any:
    if isinstance(found, Node | Service | Check):
        return replace(found, create_index=0, modify_index=0)
    if isinstance(found, Instance):
        checks = tuple(map(without_indexes, found.checks))
        return Instance(without_indexes(found.node), without_indexes(found.service), checks)
    return [without_indexes(one) for one in found] if isinstance(found, list) else found


@pytest.mark.parametrize(
    ("lookup", "found"),
    [
        (ServiceLookup("web", "v1", "dc1"), [Instance(NODE, WEB, (ALIVE,))]),
        (ServiceLookup("web", "v2", "dc1"), []),
        (ServiceLookup("web", "", "dc1", connect=True), []),
        (NodeLookup(NODE.name, "dc1"), NODE),
        (NodeLookup("nobody", "dc1"), None),
        (AddressLookup(NODE.address), replace(NODE, datacenter="")),
        (AddressLookup(WEB.address), Instance(replace(NODE, datacenter=""), WEB)),
        (AddressLookup("10.9.9.9"), None),
    ],
)
def test_what_a_server_has_is_found(lookup: Lookup, found: Any) -> None:
    server = registered()
    fetched = Server(server.call).perform(Fetch(lookup, allow_stale=False))
    assert without_indexes(fetched.value) == found
    assert {(body["Token"], body["AllowStale"]) for _, body in server.calls} == {("secret", False)}


def test_an_answer_says_how_old_it_may_be() -> None:
    reply = {"Nodes": None, "LastContact": 1_500_000_000}
    lookup = ServiceLookup("web", "", "dc1")
    assert Server(lambda *_: reply).perform(Fetch(lookup, allow_stale=True)) == Fetched([], 1.5)


@pytest.mark.parametrize(
    ("dns", "ttl"),
    [({"DNS": {"TTL": "10s"}}, 10.0), ({"DNS": {"TTL": "soon"}}, None), ({"DNS": None}, None), ({}, None)],
)
def test_a_query_has_its_instances_and_its_time_to_live(dns: dict[str, Any], ttl: float | None) -> None:
    instance = Instance(NODE, WEB, (ALIVE,))
    reply = {"Nodes": [instance_fields(instance)], "Service": "web", "Datacenter": "dc2", **dns}
    outcome = Server(lambda *_: reply).perform(ExecuteQuery("q", "dc1", 0, ""))
    assert outcome == QueryOutcome([instance], "dc2", "web", ttl)


WRONG: list[Any] = [None, [], {"Nodes": 1}, {"Nodes": [1]}, {"Nodes": [{"Service": {"Port": "x"}}]}]


@pytest.mark.parametrize("reply", WRONG)
def test_an_answer_of_another_shape_is_the_servers_mistake(reply: Any) -> None:
    server = Server(lambda *_: reply)
    for effect in (Fetch(ServiceLookup("web", "", "dc1"), allow_stale=True), ExecuteQuery("q", "dc1", 0, "")):
        with pytest.raises(RemoteProtocolError, match=r"^the server's answer can't be read: "):
            server.perform(effect)


def refusing(sentence: str) -> Server:
    server = registered()
    server.refuse = dict.fromkeys(("Catalog.ListNodes", "PreparedQuery.Execute"), sentence)
    return Server(server.call)


def test_what_a_server_refuses_is_told_apart() -> None:
    with pytest.raises(UnknownDatacenterError):
        refusing("No path to datacenter").perform(Fetch(NodeLookup("n", "dc9"), allow_stale=True))
    with pytest.raises(MeshError, match="No cluster leader"):
        refusing("No cluster leader").perform(Fetch(NodeLookup("n", "dc1"), allow_stale=True))
    assert refusing("Query not found").perform(ExecuteQuery("q", "dc1", 0, "")) is None
