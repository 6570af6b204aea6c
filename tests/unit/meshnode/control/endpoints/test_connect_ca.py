"""``ConnectCA.*`` on the state: what is told, what a node may report."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from meshnode.acl.authorizer import ALLOW_ALL, PermissionDeniedError
from meshnode.catalog.model import Node, serf_check
from meshnode.catalog.store import Registration
from meshnode.connect.model import CaConfig, CaRoot, CaState, NodeTrust, Revoked, RootKey, Rotation, time_text
from meshnode.control.command import ConnectCaSet, ConnectReport, ConnectRevoke, Deregister, Register
from meshnode.control.endpoints.connect_ca import MAX_REPORTED, METHODS
from meshnode.control.machine import StateMachine
from meshnode.control.method import Moment, ReadMethod, WriteMethod
from meshnode.rpc.method import RpcError
from tests.support.state_api import Grants

ROOT = CaRoot("ab", "CA", 7, "ef", 0.0, 9.0, "pem", ("crossed",), active=True)
NEW = CaRoot("new", "CA 2", 8, "ef", 0.0, 9.0, "pem", ("crossed",))
MOMENT = Moment(100.0, str)


@pytest.fixture
def machine() -> StateMachine:
    machine = StateMachine()
    rotation = Rotation("old", "ab", "reissue", 1.0, 2.0)
    ca = CaState(CaConfig("id", leaf_cert_ttl=50.0), (ROOT,), (RootKey("ab", "SECRET"),), rotation)
    machine.apply(3, ConnectCaSet(ca, 0))
    return machine


def read(machine: StateMachine, name: str, rights: Any = ALLOW_ALL) -> tuple[int, dict[str, Any]]:
    method = METHODS[f"ConnectCA.{name}"]
    assert isinstance(method, ReadMethod)
    return method.read(machine, {}, rights)


def plan(machine: StateMachine, name: str, rights: Any = ALLOW_ALL, **body: Any) -> Any:
    method = METHODS[f"ConnectCA.{name}"]
    assert isinstance(method, WriteMethod)
    return method.plan(machine, body, rights, MOMENT)


def test_no_read_shows_the_private_key(machine: StateMachine) -> None:
    for name in ("Roots", "ConfigurationGet", "Rotation"):
        assert "SECRET" not in repr(read(machine, name))
    assert "SECRET" not in repr(machine.connect.ca)


def test_roots_are_told_with_the_revoked_leaves(machine: StateMachine) -> None:
    machine.apply(4, ConnectRevoke(Revoked("AA:01", 200.0)))
    index, reply = read(machine, "Roots", Grants.of())
    assert (index, reply["Revoked"], reply["Roots"][0]["IntermediateCerts"]) == (4, ["aa:01"], ["crossed"])
    assert reply["Distrusted"] == []


def test_a_rotation_is_told_to_operators(machine: StateMachine) -> None:
    _, reply = read(machine, "Rotation", Grants.of("operator::read"))
    assert (reply["Phase"], reply["OldRootID"], reply["Since"]) == ("reissue", "old", "1970-01-01T00:00:02Z")
    assert (reply["ActiveRoot"], reply["ActiveRootEnds"]) == ("CA", "1970-01-01T00:00:09Z")
    with pytest.raises(PermissionDeniedError):
        read(machine, "Rotation", Grants.of())


def register(machine: StateMachine, index: int, node: str, *, alive: bool) -> None:
    registered = Registration(Node(name=node, address="127.0.0.1"), None, (serf_check(node, alive=alive),))
    assert machine.apply(index, Register(registered, 1.0)) is True


def waiting_for(machine: StateMachine) -> tuple[int, list[str], list[bool]]:
    index, reply = read(machine, "Rotation")
    assert (reply["Done"], reply["Total"]) == (reply["Total"] - len(reply["Waiting"]), reply["Total"])
    return index, reply["Waiting"], [row["Alive"] for row in reply["Nodes"]]


def test_who_is_waited_for_is_who_the_catalog_says_is_alive(machine: StateMachine) -> None:
    rotation = Rotation("ab", "new", "acknowledge", 1.0, 2.0)
    machine.apply(4, ConnectCaSet(replace(machine.connect.ca, roots=(ROOT, NEW), rotation=rotation), 3))
    assert waiting_for(machine) == (4, [], [])
    for index, node in enumerate(("n1", "n2", "datacenter dc2"), 5):
        machine.apply(index, ConnectReport(NodeTrust(node, ("ab",))))
    register(machine, 8, "N1", alive=True)
    assert waiting_for(machine) == (8, ["datacenter dc2", "n1"], [True, True, False])
    register(machine, 9, "n1", alive=False)
    assert waiting_for(machine) == (9, ["datacenter dc2"], [True, False, False])
    machine.apply(10, ConnectReport(NodeTrust("datacenter dc2", ("ab", "new"))))
    assert waiting_for(machine) == (10, [], [True, False, False])
    machine.apply(11, Deregister("n1", "", "", 1.0))
    assert waiting_for(machine) == (11, [], [True, False])


def test_the_last_moment_of_the_old_root_is_told_while_leaves_are_replaced(machine: StateMachine) -> None:
    assert read(machine, "Rotation")[1]["RetiresBy"] == ""
    old = CaRoot("old", "CA", 6, "ef", 0.0, 900.0, "pem", rotated_out_at=20.0)
    machine.apply(4, ConnectCaSet(replace(machine.connect.ca, roots=(ROOT, old)), 3))
    # Two lifetimes of a leaf, which are 50 seconds here, after it was replaced.
    assert read(machine, "Rotation")[1]["RetiresBy"] == "1970-01-01T00:02:00Z"


def test_a_node_reports_for_itself(machine: StateMachine) -> None:
    rights = Grants.of("node:n1:write")
    command = plan(machine, "Report", rights, Node="n1", Roots=["b", "a"], LeafRoots=("b",))
    assert command == ConnectReport(NodeTrust("n1", ("a", "b"), ("b",)))
    with pytest.raises(PermissionDeniedError):
        plan(machine, "Report", rights, Node="n2", Roots=["a"])
    with pytest.raises(RpcError, match="Must provide Node"):
        plan(machine, "Report", Roots=["a"])


def test_the_number_of_roots_in_a_report_is_bounded(machine: StateMachine) -> None:
    many = [str(number) for number in range(MAX_REPORTED + 1)]
    plan(machine, "Report", Node="n", Roots=many[1:])
    for field in ("Roots", "LeafRoots"):
        with pytest.raises(RpcError, match="at most"):
            plan(machine, "Report", Node="n", **{field: many})


def test_a_revoked_leaf_is_remembered_for_as_long_as_it_may_live(machine: StateMachine) -> None:
    command = plan(machine, "Revoke", SerialNumber="AB:CD", Reason="lost")
    assert command == ConnectRevoke(Revoked("ab:cd", 150.0, "lost", 100.0))


def test_times_are_written_as_go_does() -> None:
    assert time_text(1_800_000_000.9) == "2027-01-15T08:00:00Z"
