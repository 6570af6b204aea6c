"""Registrations: the table of who may ask for them."""

from __future__ import annotations

from typing import Any

import pytest

from meshnode.acl.authorizer import ALLOW_ALL, PermissionDeniedError
from meshnode.catalog.model import Check, Node, Service
from meshnode.catalog.store import Registration
from meshnode.control.command import Register
from meshnode.control.endpoints.registration import (
    parse_registration,
    vet_deregistration,
    vet_registration,
)
from meshnode.control.machine import StateMachine
from meshnode.rpc.method import RpcError
from tests.support.state_api import Grants

ID1, ID2 = "40e4a748-2192-161a-0510-9bf59fe950b5", "8f246b77-f3e1-ff88-5b48-8ec93abf3e05"


def test_what_can_not_be_read_is_the_callers_mistake_and_named() -> None:
    with pytest.raises(RpcError, match=r"^Service\.Port: expected number, got string$"):
        parse_registration({"Node": "n", "Service": {"Port": "1"}})
    with pytest.raises(RpcError, match=r"^Node: expected string, got bytes$"):
        parse_registration({"Node": b"n"})


# Who may


def state() -> StateMachine:
    machine = StateMachine()
    web, db = Service("web", "w1"), Service("db", "d1")
    checks = (Check("n1", "node-check"), Check("n1", "web-check", service_id="w1"))
    machine.apply(1, Register(Registration(Node("n1", "10.0.0.1", ID1), web, checks), 0.0))
    machine.apply(2, Register(Registration(Node("n1", "10.0.0.1", ID1), db), 0.0))
    machine.apply(3, Register(Registration(Node("n2", "10.0.0.2", ID2)), 0.0))
    return machine


SAME: dict[str, Any] = {"Node": "n1", "Address": "10.0.0.1"}
#: What is registered -> the rights that it takes, all of them.
REGISTER: list[tuple[dict[str, Any], list[str]]] = [
    (SAME, []),
    ({**SAME, "ID": ID1}, []),
    ({**SAME, "Node": "N1"}, ["node:N1:write", "node:n1:write"]),
    ({**SAME, "Address": "10.0.0.9"}, ["node:n1:write"]),
    ({**SAME, "NodeMeta": {"a": "b"}}, ["node:n1:write"]),
    ({"Node": "n1", "SkipNodeUpdate": True}, []),
    ({"Node": "n9", "SkipNodeUpdate": True, "Address": "x"}, ["node:n9:write"]),
    ({"Node": "n9", "Address": "x"}, ["node:n9:write"]),
    ({"Node": "n9", "Address": "x", "ID": ID2}, ["node:n9:write", "node:n2:write"]),
    ({**SAME, "ID": ID2}, ["node:n1:write", "node:n2:write"]),
    ({**SAME, "Service": {"Service": "new"}}, ["service:new:write"]),
    ({**SAME, "Service": {"Service": "web", "ID": "w1"}}, ["service:web:write"]),
    ({**SAME, "Service": {"Service": "new", "ID": "W1"}}, ["service:new:write", "service:web:write"]),
    ({**SAME, "Check": {"Name": "c"}}, ["node:n1:write"]),
    ({**SAME, "Check": {"Name": "c", "ServiceID": "w1"}}, ["service:web:write"]),
    ({**SAME, "Check": {"Name": "node-check", "ServiceID": "w1"}}, ["service:web:write", "node:n1:write"]),
    ({**SAME, "Check": {"Name": "web-check", "ServiceID": "d1"}}, ["service:db:write", "service:web:write"]),
    ({**SAME, "Check": {"Name": "web-check"}}, ["service:web:write", "node:n1:write"]),
    ({**SAME, "Service": {"Service": "new"}, "Check": {"Name": "c", "ServiceID": "new"}}, ["service:new:write"]),
    ({**SAME, "Service": {"Service": "new"}, "Check": {"Name": "c", "ServiceID": "d1"}},
     ["service:new:write", "service:db:write"]),
]  # fmt: skip


@pytest.mark.parametrize(("body", "needed"), REGISTER, ids=str)
def test_a_registration_takes_exactly_these_rights(body: dict[str, Any], needed: list[str]) -> None:
    tables, wanted = state().catalog.tables, parse_registration(body)
    vet_registration(tables, wanted, ALLOW_ALL)
    vet_registration(tables, wanted, Grants.of(*needed))
    for missing in needed:
        others = [right for right in needed if right != missing]
        weaker = missing.replace(":write", ":read")
        with pytest.raises(PermissionDeniedError, match="Permission denied: "):
            vet_registration(tables, wanted, Grants.of(*others, weaker))


@pytest.mark.parametrize(
    ("check", "sentence"),
    [({"Name": "c", "Node": "n2"}, "Node 'n2' for check 'c' doesn't match register request node 'n1'"),
     ({"Name": "c", "ServiceID": "gone"}, "Unknown service 'gone' for check 'c'")],
)  # fmt: skip
def test_a_check_that_belongs_nowhere_is_refused(check: dict[str, Any], sentence: str) -> None:
    with pytest.raises(RpcError, match=rf"^{sentence}$"):
        vet_registration(
            state().catalog.tables, parse_registration({**SAME, "Check": check}), Grants.of("node:*:write")
        )


@pytest.mark.parametrize(
    ("target", "rights", "allowed"),
    [
        (("n1", "", ""), [], False),
        (("n1", "", ""), ["service:*:write", "node:n2:write", "node:n1:read"], False),
        (("n1", "", ""), ["node:n1:write"], True),
        (("n1", "w1", ""), ["node:n1:write"], True),
        (("n1", "W1", ""), ["service:web:write"], True),
        (("n1", "w1", ""), ["service:w1:write", "service:web:read"], False),
        (("n1", "", "web-check"), ["service:web:write"], True),
        (("n1", "", "web-check"), ["service:db:write"], False),
        (("n1", "", "node-check"), ["service:*:write"], False),
        (("n1", "", "node-check"), ["node:n1:write"], True),
        (("N1", "", ""), ["node:N1:write"], False),
        (("N1", "", "node-check"), ["node:N1:write"], False),
        (("N1", "", "node-check"), ["node:n1:write"], True),
        (("N1", "", ""), ["node:N1:write", "node:n1:write"], True),
    ],
)
def test_a_deregistration_takes_these_rights(
    target: tuple[str, str, str], rights: list[str], allowed: bool
) -> None:
    tables = state().catalog.tables
    vet_deregistration(tables, *target, ALLOW_ALL)
    if allowed:
        vet_deregistration(tables, *target, Grants.of(*rights))
        return
    with pytest.raises(PermissionDeniedError, match="Permission denied: "):
        vet_deregistration(tables, *target, Grants.of(*rights))


@pytest.mark.parametrize("node", ["n1", "nobody"])
def test_what_is_not_there_is_unknown_to_who_may_not_write_the_node(node: str) -> None:
    tables = state().catalog.tables
    with pytest.raises(RpcError, match=r"^Unknown service 'gone'$"):
        vet_deregistration(tables, node, "gone", "", Grants())
    with pytest.raises(RpcError, match=r"^Unknown check 'gone'$"):
        vet_deregistration(tables, node, "", "gone", Grants())
    vet_deregistration(tables, node, "gone", "", Grants.of(f"node:{node}:write"))
