"""The table of methods is whole, and each of its reads is pure."""

from __future__ import annotations

from typing import Any

import pytest

from meshnode.acl.authorizer import ALLOW_ALL
from meshnode.control.endpoints.table import METHODS
from meshnode.control.machine import StateMachine
from meshnode.control.method import Method, Moment, ReadMethod, WriteMethod
from meshnode.rpc.method import MethodTable, RpcError

#: Of Consul 1.2.3's servers, without those that need more than the state.
NAMES = {
    "Catalog.Register", "Catalog.Deregister", "Catalog.ListNodes", "Catalog.ListServices", "Catalog.ServiceNodes",
    "Catalog.NodeServices", "Health.ChecksInState", "Health.NodeChecks", "Health.ServiceChecks",
    "Health.ServiceNodes", "Session.Apply", "Session.Get", "Session.List", "Session.NodeSessions", "Txn.Apply",
    "Txn.Read", "Coordinate.Update", "Coordinate.ListNodes", "Coordinate.Node", "Internal.NodeInfo",
    "Internal.NodeDump", "KVS.Apply", "KVS.Get", "KVS.List", "KVS.ListKeys",
}  # fmt: skip
#: A body with every field that a method of these might look at, of a type that none of them takes.
WRONG: dict[str, Any] = dict.fromkeys(
    (
        "Node",
        "ServiceName",
        "State",
        "Session",
        "Key",
        "Prefix",
        "Op",
        "Ops",
        "DirEnt",
        "Coord",
        "NodeMetaFilters",
    ),
    1.5,
)


def test_every_method_on_the_state_is_there() -> None:
    assert set(METHODS) >= NAMES
    assert set(MethodTable[Any](dict.fromkeys(METHODS, print))) == set(METHODS)


@pytest.mark.parametrize("name", sorted(NAMES - {"Catalog.ListNodes", "Session.List", "Coordinate.ListNodes",
                                                 "Internal.NodeDump", "Catalog.ListServices"}))  # fmt: skip
def test_a_field_of_a_wrong_type_is_an_error_for_the_caller(name: str) -> None:
    method: Method = METHODS[name]

    def called() -> object:
        if isinstance(method, ReadMethod):
            return method.read(StateMachine(), WRONG, ALLOW_ALL)
        assert isinstance(method, WriteMethod)
        return method.plan(StateMachine(), WRONG, ALLOW_ALL, Moment(0.0, lambda: "id"))

    with pytest.raises(RpcError, match=r"must be|: expected "):
        called()


@pytest.mark.parametrize("name", sorted(name for name in NAMES if isinstance(METHODS[name], ReadMethod)))
def test_an_index_is_never_zero_and_a_read_changes_nothing(name: str) -> None:
    method, machine = METHODS[name], StateMachine()
    assert isinstance(method, ReadMethod)
    body = {"Node": "n", "ServiceName": "s", "State": "any", "Session": "x", "Key": "k", "Ops": []}
    before = b"".join(machine.snapshot())
    index, reply = method.read(machine, body, ALLOW_ALL)
    assert index >= 1
    assert method.read(machine, body, ALLOW_ALL) == (index, reply)
    assert b"".join(machine.snapshot()) == before
    assert machine.take_touched() == frozenset()
