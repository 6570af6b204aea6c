"""Anti-entropy: what differs, what is sent for it, and that one full sync is enough."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from meshnode.catalog.model import PASSING, SERF_CHECK_ID, WARNING, Check, Node, Service, serf_check
from meshnode.catalog.store import Registration
from meshnode.local.definitions import CheckDefinition
from meshnode.local.parse import parse_service
from meshnode.local.sync import (
    FULL_SYNC_INTERVAL,
    RETRY_INTERVAL,
    RegisterNode,
    call_of,
    full_sync_delay,
    retry_delay,
    steps,
)
from tests.support.local_catalog import NODE, CatalogServer
from tests.unit.meshnode.local.syncing import check, full_sync, new_state, read, send, synced, web


def test_a_service_is_sent_with_those_of_its_checks_that_have_its_token() -> None:
    state = new_state()
    state.add_service(web(token="t1"))
    state.add_check(check("a", "web", token="t1"), 0)
    state.add_check(check("b", "web", token="t2"), 0)
    state.add_check(check("node"), 0)
    server = CatalogServer()
    full_sync(state, server)
    sent = [
        (m, b.get("Service", {}).get("ID"), [c["CheckID"] for c in b.get("Checks", [])], b["Token"])
        for m, b in server.calls
    ]
    assert sent == [
        ("Catalog.Register", "web", ["a"], "t1"),
        ("Catalog.Register", "web", ["b"], "t2"),
        ("Catalog.Register", None, ["node"], "agent-token"),
    ]
    assert [b["SkipNodeUpdate"] for _, b in server.calls] == [False, True, True]
    assert server.checks()["a"].service_tags == state.checks()[0].service_tags
    assert not state.dirty


def test_the_whole_body_of_a_registration_is_consuls() -> None:
    state = new_state()
    state.add_service(web(tags=("v1",), meta={"m": "1"}))
    state.add_check(check("a", "web", notes="n", status=PASSING), 0)
    step = next(steps(state))
    assert call_of(state, step, "k") == (
        "Catalog.Register",
        {
            "Datacenter": "dc1", "ID": NODE.id, "Node": "web1", "Address": "10.0.0.1",
            "TaggedAddresses": {"lan": "10.0.0.1"}, "NodeMeta": {"rack": "r1"}, "SkipNodeUpdate": False, "Token": "k",
            "Service": {
                "ID": "web", "Service": "web", "Tags": ["v1"], "Address": "", "Meta": {"m": "1"},
                "Port": 80, "Weights": {"Passing": 1, "Warning": 1}, "EnableTagOverride": False,
                "ProxyDestination": "", "Connect": {"Native": False, "Proxy": None}, "CreateIndex": 0, "ModifyIndex": 0,
            },
            "Checks": [{
                "Node": "web1", "CheckID": "a", "Name": "Check a", "Status": "passing", "Notes": "n", "Output": "",
                "ServiceID": "web", "ServiceName": "web", "ServiceTags": ["v1"], "Definition": {},
                "CreateIndex": 0, "ModifyIndex": 0,
            }],
        },
    )  # fmt: skip


def test_nothing_is_sent_when_nothing_differs() -> None:
    state = new_state()
    state.add_service(web())
    state.add_check(check("a", "web"), 0)
    server = synced(state)
    assert full_sync(state, server) == []
    assert server.calls == []


def test_a_node_without_services_is_registered_once() -> None:
    state = new_state()
    server = CatalogServer()
    full_sync(state, server)
    assert list(server.catalog.tables.nodes) == ["web1"]
    state.set_node(replace(NODE, meta={"rack": "r2"}))
    assert list(steps(state)) == [RegisterNode(state.node)]
    send(state, server)
    assert server.catalog.tables.nodes["web1"].node.meta == {"rack": "r2"}


def test_what_the_leader_keeps_for_a_server_is_left_alone() -> None:
    state = new_state()
    server = synced(state)
    server.catalog.register(
        9, Registration(NODE, Service("consul", "consul"), (serf_check("web1", alive=True),))
    )
    assert full_sync(state, server) == []
    assert server.calls == []
    assert (list(server.services()), list(server.checks())) == (["consul"], [SERF_CHECK_ID])


def test_what_the_catalog_has_and_we_have_not_is_removed() -> None:
    state = new_state()
    server = synced(state)
    strange = Check("web1", "strange", service_id="old")
    server.catalog.register(9, Registration(NODE, Service("old", "old"), (strange, Check("web1", "loose"))))
    read(state, server)
    assert list(state.services()) == list(state.checks()) == []
    send(state, server)
    # The check of the service went with it.
    assert [(b["ServiceID"], b["CheckID"]) for _, b in server.calls] == [("old", ""), ("", "loose")]
    assert (server.services(), server.checks()) == ({}, {})


def test_tags_of_a_service_with_tag_override_are_the_catalogs() -> None:
    state = new_state()
    state.add_service(web(tags=("ours",), enable_tag_override=True))
    state.add_check(check("a", "web"), 0)
    server = synced(state)
    theirs = replace(server.services()["web"], tags=("theirs",))
    server.catalog.register(9, Registration(NODE, theirs))
    before = state.generation
    assert full_sync(state, server) == []
    assert server.calls == []
    assert state.services()[0].tags == state.checks()[0].service_tags == ("theirs",)
    assert state.generation > before


def test_without_it_they_are_ours() -> None:
    state = new_state()
    state.add_service(web(tags=("ours",)))
    server = synced(state)
    server.catalog.register(9, Registration(NODE, replace(server.services()["web"], tags=("theirs",))))
    full_sync(state, server)
    assert server.services()["web"].tags == ("ours",)


def test_a_proxy_is_in_sync_once_it_is_registered() -> None:
    state = new_state()
    upstream = {"DestinationName": "db", "LocalBindPort": 9191, "Config": {"connect_timeout_ms": 5}}
    for body in (
        {
            "Name": "p",
            "Kind": "connect-proxy",
            "Port": 1,
            "Proxy": {"DestinationServiceName": "web", "Upstreams": [upstream]},
        },
        {
            "Name": "managed",
            "Port": 1,
            "Connect": {"Proxy": {"ExecMode": "script", "Config": {"a": {"b": [1]}}}},
        },
        {"Name": "plain", "Connect": {"Proxy": {}}},
        {"Name": "nothing-said", "Proxy": {"Config": {}, "Upstreams": []}},
    ):  # fmt: skip
        state.add_service(parse_service(body))
    server = synced(state)
    assert full_sync(state, server) == []
    assert server.calls == []


def test_an_output_that_is_held_back_is_no_difference_but_any_other_is() -> None:
    state = new_state(interval=300.0)
    state.add_check(CheckDefinition("a", "a", run=None, status=PASSING), 0)
    server = synced(state)
    state.update_check("a", PASSING, "new", 1)
    full_sync(state, server)
    assert server.calls == []
    assert state.advance(500)
    send(state, server)
    assert server.checks()["a"].output == "new"
    server.catalog.register(9, Registration(NODE, None, (replace(server.checks()["a"], output="drifted"),)))
    full_sync(state, server)
    assert server.checks()["a"].output == "new"


@pytest.mark.parametrize(("members", "scale"), [(1, 1), (128, 1), (129, 2), (256, 2), (257, 3), (8192, 7)])
def test_full_syncs_are_rarer_in_large_clusters(members: int, scale: int) -> None:
    rng = random.Random(3)
    delays = [full_sync_delay(members, rng) for _ in range(200)]
    assert all(scale * FULL_SYNC_INTERVAL <= delay <= 2 * scale * FULL_SYNC_INTERVAL for delay in delays)
    assert max(delays) - min(delays) > scale * FULL_SYNC_INTERVAL / 2


def test_a_failed_sync_is_tried_again_after_a_quarter_of_a_minute_and_some() -> None:
    rng = random.Random(3)
    assert all(RETRY_INTERVAL <= retry_delay(rng) <= 2 * RETRY_INTERVAL for _ in range(100))


def test_a_node_that_the_catalog_does_not_have_is_registered_with_everything() -> None:
    state = new_state()
    state.add_service(web())
    state.add_check(check("a", status=WARNING), 0)
    server = synced(state)
    server.catalog.deregister(9, NODE.name)
    full_sync(state, server)
    assert isinstance(server.catalog.tables.nodes["web1"].node, Node)
    assert (list(server.services()), server.checks()["a"].status) == (["web"], WARNING)
