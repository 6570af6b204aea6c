"""Anti-entropy: what differs, what is sent for it, and that one full sync is enough."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from meshnode.base.errors import MeshError
from meshnode.catalog.model import (
    CRITICAL,
    PASSING,
    SERF_CHECK_ID,
    STATES,
    WARNING,
    Check,
    Node,
    Service,
    serf_check,
)
from meshnode.catalog.model import CheckDefinition as StoredDefinition
from meshnode.catalog.store import Registration
from meshnode.local.check_type import TtlCheck
from meshnode.local.definitions import CheckDefinition, ServiceDefinition
from meshnode.local.parse import parse_service
from meshnode.local.state import LocalSettings, LocalState
from meshnode.local.sync import (
    FULL_SYNC_INTERVAL,
    RETRY_INTERVAL,
    RegisterCheck,
    RegisterNode,
    RegisterService,
    RemoveCheck,
    RemoveService,
    apply,
    call_of,
    compare,
    describe,
    full_sync_delay,
    retry_delay,
    steps,
)
from meshnode.local.wire import parse_node_checks, parse_node_services
from tests.support.local_catalog import NODE, CatalogServer

TTL = TtlCheck(ttl=30.0)
DENIED = "rpc error making call: Permission denied"


def new_state(interval: float = 0.0) -> LocalState:
    return LocalState(NODE, LocalSettings(check_update_interval=interval), random.Random(1))


def check(check_id: str, service_id: str = "", **more: Any) -> CheckDefinition:
    return CheckDefinition(check_id, f"Check {check_id}", TTL, service_id=service_id, **more)


def web(**more: Any) -> ServiceDefinition:
    return ServiceDefinition("web", "web", port=80, **more)


def read(state: LocalState, server: CatalogServer) -> None:
    asked = {"Node": NODE.name}
    node, services = parse_node_services(server.call("Catalog.NodeServices", asked))
    compare(state, node, services, parse_node_checks(server.call("Health.NodeChecks", asked)))


def send(state: LocalState, server: CatalogServer) -> list[str]:
    """Send what waits; the lines for the log."""
    server.calls.clear()
    lines = []
    for step in steps(state):
        method, body = call_of(state, step, "agent-token")
        try:
            server.call(method, body)
            refusal = ""
        except MeshError as error:
            refusal = str(error)
        done = apply(state, step, refusal)
        if refusal:
            lines.append(f"{describe(step)} {'blocked' if done else 'failed'}: {refusal}")
    return lines


def full_sync(state: LocalState, server: CatalogServer) -> list[str]:
    read(state, server)
    return send(state, server)


def synced(state: LocalState) -> CatalogServer:
    server = CatalogServer()
    assert full_sync(state, server) == []
    assert not state.dirty
    server.calls.clear()
    return server


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


@pytest.mark.parametrize("sentence", ["Permission denied", "rpc error making call: ACL not found"])
def test_what_is_denied_counts_as_done_until_the_next_full_sync(sentence: str) -> None:
    state = new_state()
    state.add_service(web())
    state.add_check(check("node"), 0)
    server = CatalogServer()
    server.refuse["Catalog.Register"] = sentence
    lines = send(state, server)
    assert lines == [
        f'registration of service "web" blocked: {sentence}',
        f'registration of check "node" blocked: {sentence}',
        f'registration of node "web1" blocked: {sentence}',
    ]
    assert not state.dirty
    server.refuse.clear()
    full_sync(state, server)
    assert list(server.services()) == ["web"]


def test_a_check_brings_its_service_when_the_services_own_token_may_not() -> None:
    state = new_state()
    state.add_service(web(token="weak"))
    state.add_check(check("a", "web", token="strong"), 0)
    server = CatalogServer()
    first = next(steps(state))
    assert apply(state, first, DENIED)
    send(state, server)
    assert (list(server.services()), list(server.checks())) == (["web"], ["a"])


def test_a_denied_removal_is_tried_again_at_the_next_full_sync() -> None:
    state = new_state()
    state.add_service(web())
    state.add_check(check("node"), 0)
    server = synced(state)
    state.remove_service("web")
    state.remove_check("node")
    server.refuse["Catalog.Deregister"] = DENIED
    assert len(send(state, server)) == 2
    assert not state.dirty
    assert list(steps(state)) == []
    server.refuse.clear()
    full_sync(state, server)
    assert (server.services(), server.checks()) == ({}, {})
    assert state.service_entries == {}
    assert state.check_entries == {}


def test_what_the_catalog_does_not_know_is_removed_already() -> None:
    state = new_state()
    state.add_service(web())
    state.add_check(check("node"), 0)
    server = synced(state)
    state.remove_service("web")
    state.remove_check("node")
    for step, sentence in zip(steps(state), ("Unknown service 'web'", "Unknown check 'node'"), strict=True):
        assert apply(state, step, f"rpc error making call: {sentence}")
    assert not state.dirty
    assert (state.service_entries, state.check_entries) == ({}, {})
    assert server.calls == []


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
    ):  # fmt: skip
        state.add_service(parse_service(body))
    server = synced(state)
    assert full_sync(state, server) == []
    assert server.calls == []


def test_any_other_refusal_leaves_the_step_to_be_done() -> None:
    state = new_state()
    state.add_service(web())
    step = next(steps(state))
    assert not apply(state, step, "No cluster leader")
    assert describe(step) == 'registration of service "web"'
    assert next(steps(state)) == step


def test_what_changed_while_it_was_sent_is_sent_again() -> None:
    state = new_state()
    state.add_service(web())
    state.add_check(check("a", "web"), 0)
    step = next(steps(state))
    state.add_service(replace(web(), port=81))
    state.update_check("a", PASSING, "", 1)
    state.set_node(replace(NODE, meta={}))
    apply(state, step)
    again = next(steps(state))
    assert isinstance(again, RegisterService)
    assert (again.service.port, again.checks[0].status, again.node.meta) == (81, PASSING, {})
    assert not state.node_in_sync


def test_what_is_registered_again_while_its_removal_is_sent_comes_back() -> None:
    state = new_state()
    state.add_service(web())
    state.add_check(check("a", "web"), 0)
    server = synced(state)
    state.remove_service("web")
    removal = next(steps(state))
    assert removal == RemoveService("web", "")
    state.add_service(web())
    state.add_check(check("a", "web"), 0)
    server.call(*call_of(state, removal, ""))
    apply(state, removal)
    send(state, server)
    assert (list(server.services()), list(server.checks())) == (["web"], ["a"])


def test_a_check_that_comes_back_while_its_removal_is_sent_is_registered() -> None:
    state = new_state()
    state.add_check(check("a"), 0)
    server = synced(state)
    state.remove_check("a")
    removal = next(steps(state))
    assert removal == RemoveCheck("a", "")
    state.add_check(check("a"), 0)
    server.call(*call_of(state, removal, ""))
    apply(state, removal)
    assert [type(step) for step in steps(state)] == [RegisterCheck]


def test_a_removal_carries_the_token_of_the_check_or_else_of_its_service() -> None:
    state = new_state()
    state.add_service(web(token="service-token"))
    for definition in (check("a", "web", token="own"), check("b", "web")):
        state.add_check(definition, 0)
    server = synced(state)
    state.remove_check("a")
    state.remove_check("b")
    send(state, server)
    assert [b["Token"] for _, b in server.calls] == ["own", "service-token"]


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


IDS = st.sampled_from(["a", "B", "c"])
STATUS = st.sampled_from(STATES)
TAGS = st.sampled_from([(), ("x",), ("y", "z")])


class AntiEntropy(RuleBasedStateMachine):
    """Anything happens on both sides; one successful full sync makes the catalog equal to the local state."""

    def __init__(self) -> None:
        super().__init__()
        self.server = CatalogServer()
        self.now = 0.0
        self.state = new_state(interval=60.0)

    @rule(
        service_id=IDS,
        port=st.integers(0, 2),
        tags=TAGS,
        override=st.booleans(),
        name=IDS,
        upper=st.booleans(),
    )
    def register(self, service_id: str, port: int, tags: Any, override: bool, name: str, upper: bool) -> None:
        service_id = service_id.upper() if upper else service_id
        self.state.add_service(
            ServiceDefinition(service_id, name, port=port, tags=tags, enable_tag_override=override)
        )

    @rule(check_id=IDS, service_id=IDS | st.just(""), status=STATUS, token=st.sampled_from(["", "t"]))
    def register_check(self, check_id: str, service_id: str, status: str, token: str) -> None:
        if not service_id or self.state.service(service_id):
            self.state.add_check(check(check_id, service_id, status=status, token=token), self.now)

    @rule(service_id=IDS)
    def remove(self, service_id: str) -> None:
        if self.state.service(service_id):
            self.state.remove_service(service_id)

    @rule(check_id=IDS)
    def remove_check(self, check_id: str) -> None:
        self.state.remove_check(check_id)

    @rule(check_id=IDS, status=STATUS, output=st.sampled_from(["", "o", "p"]))
    def result(self, check_id: str, status: str, output: str) -> None:
        self.state.update_check(check_id, status, output, self.now)

    @rule(seconds=st.sampled_from([1, 20, 90]))
    def time_passes(self, seconds: int) -> None:
        self.now += seconds
        self.state.advance(self.now)

    @rule(service_id=IDS | st.just(""), on=st.booleans())
    def maintenance(self, service_id: str, on: bool) -> None:
        if not service_id or self.state.service(service_id):
            if on:
                self.state.enable_maintenance(service_id, "", "", self.now)
            else:
                self.state.disable_maintenance(service_id)

    @rule(rack=st.sampled_from(["r1", "r2"]))
    def move_node(self, rack: str) -> None:
        self.state.set_node(replace(self.state.node, meta={"rack": rack}))

    # Drift of the catalog

    @rule(
        service_id=IDS, name=IDS, port=st.integers(0, 2), tags=TAGS, override=st.booleans(),
        check_id=IDS, status=STATUS, output=st.sampled_from(["", "o"]), url=st.sampled_from(["", "http://x"]),
        with_check=st.sampled_from(["no", "of the service", "of the node"]),
    )  # fmt: skip
    def somebody_registers(
        self, service_id: str, name: str, port: int, tags: Any, override: bool, check_id: str, status: str,
        output: str, url: str, with_check: str,
    ) -> None:  # fmt: skip
        service = Service(name, service_id, port=port, tags=tags, enable_tag_override=override)
        owner = service_id if with_check == "of the service" else ""
        strange = Check(
            NODE.name, check_id, "x", status, "", output, owner, definition=StoredDefinition(http=url)
        )
        checks = () if with_check == "no" else (strange,)
        self.server.catalog.register(
            self.server.next(), Registration(replace(NODE, meta={}), service, checks)
        )

    @rule(service_id=IDS | st.just(""), check_id=IDS | st.just(""))
    def somebody_deregisters(self, service_id: str, check_id: str) -> None:
        self.server.catalog.deregister(self.server.next(), NODE.name, service_id, check_id)

    @rule()
    def the_leader_registers_its_own(self) -> None:
        own = Registration(NODE, Service("consul", "consul"), (serf_check(NODE.name, alive=True),))
        self.server.catalog.register(self.server.next(), own)

    @rule(calls=st.integers(0, 3))
    def partial_sync_that_breaks_off(self, calls: int) -> None:
        for _, step in zip(range(calls), steps(self.state), strict=False):
            self.server.call(*call_of(self.state, step, ""))
            apply(self.state, step)

    @rule(
        method=st.sampled_from(["Catalog.Register", "Catalog.Deregister"]),
        why=st.sampled_from([DENIED, "boom"]),
    )
    def sync_that_is_refused(self, method: str, why: str) -> None:
        self.server.refuse[method] = why
        full_sync(self.state, self.server)
        self.server.refuse.clear()

    @rule()
    def full_sync(self) -> None:
        assert full_sync(self.state, self.server) == []
        node = self.server.catalog.tables.nodes[NODE.name].node
        assert node.same_as(self.state.node)
        services = {s.id: s for s in self.server.services().values() if s.id != "consul"}
        assert list(services) == [s.id for s in self.state.services()]
        assert all(services[s.id].same_as(s) for s in self.state.services())
        checks = {c.check_id: c for c in self.server.checks().values() if c.check_id != SERF_CHECK_ID}
        assert list(checks) == [c.check_id for c in self.state.checks()]
        for entry in self.state.check_entries.values():
            theirs = checks[entry.check.check_id]
            if entry.deferred_until is not None:
                theirs = replace(theirs, output=entry.check.output)
            assert theirs.same_as(entry.check)
        assert not self.state.dirty
        assert list(steps(self.state)) == []
        assert all(not entry.deleted for entry in self.state.service_entries.values())

    @invariant()
    def outputs_are_held_back_for_an_interval_and_a_half_at_most(self) -> None:
        for entry in self.state.check_entries.values():
            assert entry.deferred_until is None or entry.deferred_until <= self.now + 90

    @invariant()
    def critical_checks_and_no_others_have_a_beginning(self) -> None:
        for entry in self.state.check_entries.values():
            if not entry.deleted:
                assert (entry.critical_since is not None) == (entry.check.status == CRITICAL)


AntiEntropy.TestCase.settings = settings(max_examples=150, stateful_step_count=30, deadline=None)
TestAntiEntropy = AntiEntropy.TestCase


def test_a_node_that_the_catalog_does_not_have_is_registered_with_everything() -> None:
    state = new_state()
    state.add_service(web())
    state.add_check(check("a", status=WARNING), 0)
    server = synced(state)
    server.catalog.deregister(9, NODE.name)
    full_sync(state, server)
    assert isinstance(server.catalog.tables.nodes["web1"].node, Node)
    assert (list(server.services()), server.checks()["a"].status) == (["web"], WARNING)
