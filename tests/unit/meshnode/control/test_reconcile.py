"""What the leader writes into the catalog about gossip's members."""

from __future__ import annotations

import random
from collections.abc import Sequence

import pytest

from meshnode.catalog.model import CRITICAL, PASSING, SERF_CHECK_ID, Check, Node, Service
from meshnode.catalog.store import Registration
from meshnode.control.command import Deregister, Register
from meshnode.control.machine import StateMachine
from meshnode.control.reconcile import CONSUL_SERVICE, MemberView, reconcile

AT = 1_700_000_000.0


def member(
    name: str, *, alive: bool = True, left: bool = False, port: int = 0, address: str = ""
) -> MemberView:
    number = sum(map(ord, name))
    return MemberView(
        name, address or f"10.0.0.{number % 250}", f"00000000-0000-4000-8000-{number:012d}",
        alive, left, port, {"lan": "10.0.0.1"},
    )  # fmt: skip


def settled(machine: StateMachine, members: Sequence[MemberView], own: str = "s1") -> int:
    """Carry out what the leader writes; returns how many commands that were."""
    commands = reconcile(machine.catalog, members, own, "dc1", AT, 1)
    for command in commands:
        assert machine.apply(machine.last_index + 1, command) is True
    return len(commands)


def statuses(machine: StateMachine) -> dict[str, str]:
    return {
        row.node.name: row.checks[SERF_CHECK_ID.lower()].status
        for row in machine.catalog.tables.rows()
        if SERF_CHECK_ID.lower() in row.checks
    }


def test_members_come_with_their_health_and_servers_with_their_service() -> None:
    machine = StateMachine()
    settled(machine, [member("s1", port=8300), member("c1"), member("c2", alive=False)])
    assert statuses(machine) == {"s1": PASSING, "c1": PASSING, "c2": CRITICAL}
    services = {row.node.name: sorted(row.services) for row in machine.catalog.tables.rows()}
    assert services == {"s1": [CONSUL_SERVICE], "c1": [], "c2": []}
    assert machine.catalog.tables.nodes["s1"].services[CONSUL_SERVICE].port == 8300


def test_a_second_look_writes_nothing() -> None:
    machine = StateMachine()
    members = [member("s1", port=8300), member("c1"), member("c2", alive=False)]
    assert settled(machine, members) == 3
    assert settled(machine, members) == 0


def test_who_left_and_who_was_forgotten_is_removed_but_never_ourselves() -> None:
    machine = StateMachine()
    settled(machine, [member("s1", port=8300), member("c1"), member("c2")])
    settled(machine, [member("s1", alive=False, left=True), member("c1", alive=False, left=True)])
    assert set(statuses(machine)) == {"s1"}


def test_a_node_that_gossip_has_not_heard_of_yet_stays_with_its_services() -> None:
    machine = StateMachine()
    settled(machine, [member("s1", port=8300), member("C1"), member("c2")])
    commands = reconcile(
        machine.catalog, [member("s1", port=8300)], "s1", "dc1", AT, 1, forget=lambda name: name == "c1"
    )
    assert commands == [Deregister("C1", "", "", AT, 1)]


def test_nodes_that_gossip_never_knew_are_left_alone() -> None:
    machine = StateMachine()
    external = Registration(Node("printer", "192.0.2.9"), None, (Check("printer", "ping", status=PASSING),))
    machine.apply(1, Register(external, AT))
    settled(machine, [member("s1", port=8300)])
    assert "printer" in machine.catalog.tables.nodes


def test_what_the_agent_said_of_its_node_stays() -> None:
    machine = StateMachine()
    known = member("c1")
    node = Node(
        "c1", known.address, known.node_id, "dc1", {"lan": "10.0.0.1", "wan": "203.0.113.1"}, {"rack": "a"}
    )
    machine.apply(1, Register(Registration(node, Service("web")), AT))
    settled(machine, [known])
    row = machine.catalog.tables.nodes["c1"]
    assert (dict(row.node.meta), row.node.tagged_addresses["wan"], sorted(row.services)) == (
        {"rack": "a"}, "203.0.113.1", ["web"],
    )  # fmt: skip


def test_a_node_that_came_back_with_another_address_is_updated() -> None:
    machine = StateMachine()
    settled(machine, [member("c1")])
    settled(machine, [member("c1", address="10.9.9.9")])
    assert machine.catalog.tables.nodes["c1"].node.address == "10.9.9.9"


@pytest.mark.parametrize("seed", range(20))
def test_after_any_history_of_members_the_catalog_agrees_with_gossip(seed: int) -> None:
    print("seed", seed)
    rng, machine = random.Random(seed), StateMachine()
    for _ in range(30):
        members = [member("s1", port=8300)]
        for number in range(1, 6):
            fate = rng.choice(["alive", "failed", "left", "forgotten"])
            if fate != "forgotten":
                members.append(member(f"c{number}", alive=fate == "alive", left=fate == "left"))
        settled(machine, members)
        expected = {m.name: PASSING if m.alive else CRITICAL for m in members if not m.left}
        assert statuses(machine) == expected
        assert settled(machine, members) == 0
