"""Anti-entropy as a machine of any changes, refusals and syncs in any order: a full sync ends in sync."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from meshnode.catalog.model import CRITICAL, SERF_CHECK_ID, STATES, Check, Service, serf_check
from meshnode.catalog.model import CheckDefinition as StoredDefinition
from meshnode.catalog.store import Registration
from meshnode.local.definitions import ServiceDefinition
from meshnode.local.sync import apply, call_of, steps
from tests.support.local_catalog import NODE, CatalogServer
from tests.unit.meshnode.local.syncing import DENIED, check, full_sync, new_state

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
