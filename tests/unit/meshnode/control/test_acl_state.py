"""Access control inside the state machine: results of its commands, stale leaders, and snapshots."""

from __future__ import annotations

import struct
import zlib
from typing import Any

import msgpack
import pytest

from meshnode.acl.model import ANONYMOUS_ACCESSOR, GLOBAL_MANAGEMENT, Policy, Role, ServiceIdentity, Token
from meshnode.acl.store import AclStore
from meshnode.base.errors import RemoteProtocolError
from meshnode.control.command import (
    AclBootstrap,
    AclPolicyDelete,
    AclPolicySet,
    AclReapTokens,
    AclRoleDelete,
    AclRoleSet,
    AclTokenDelete,
    AclTokenSet,
    Command,
    KvPut,
    Lead,
)
from meshnode.control.machine import Refusal, StateMachine
from meshnode.control.shape import Shape
from meshnode.control.watch import EVERYTHING

POLICY = Policy("p1", "reader", "d", 'key "a" { policy = "read" }', ("dc1",))
ROLE = Role("r1", "role", "d", ("p1",), (ServiceIdentity("web", ("dc1",)),))
TOKEN = Token("a1", "s1", "d", ("p1",), ("r1",), (ServiceIdentity("db"),), True, 1.5, 100.0)
#: Each command with its result.
HISTORY: list[tuple[Command, Any]] = [
    (AclBootstrap("b1", "bs1", 1.5), "b1"),
    (AclBootstrap("b2", "bs2", 1.5), Refusal("ACL bootstrap no longer allowed (reset index: 1)")),
    (AclBootstrap("b2", "bs2", 1.5, 1), "b2"),
    (AclPolicySet(POLICY, create=True), "p1"),
    (AclPolicySet(POLICY, create=True), Refusal('Invalid Policy: ID "p1" is already in use')),
    (AclRoleSet(ROLE, create=True), "r1"),
    (AclRoleSet(Role("r2", "role"), create=True), Refusal('Invalid Role: A Role with Name "role" already exists')),
    (AclTokenSet(TOKEN, create=True), "a1"),
    (AclTokenSet(Token("a1", "x"), create=False), Refusal("Changing a tokens SecretID is not permitted")),
    (AclTokenSet(Token("a2", "s2", legacy_type="client", rules='key "" { policy = "list" }'), create=True), "a2"),
    (AclTokenDelete("gone"), True),
    (AclTokenDelete(ANONYMOUS_ACCESSOR), Refusal("Delete operation not permitted on the anonymous token")),
    (AclPolicyDelete("gone"), True),
    (AclPolicyDelete(GLOBAL_MANAGEMENT.id),
     Refusal("Delete operation not permitted on the builtin global-management policy")),
    (AclRoleDelete("gone"), True),
    (AclReapTokens(99.0), True),
]  # fmt: skip


@pytest.fixture
def machine() -> StateMachine:
    machine = StateMachine()
    for index, (command, result) in enumerate(HISTORY, 1):
        assert machine.apply(index, command) == result
    return machine


def rows(store: AclStore) -> tuple[Any, ...]:
    return store.tokens(), store.policies(), store.roles(), store.index, store.bootstrap_index


def test_the_rows_have_the_indexes_of_their_commands(machine: StateMachine) -> None:
    token, policy, role = machine.acl.token("a1"), machine.acl.policy("p1"), machine.acl.role("r1")
    assert token is not None
    assert policy is not None
    assert role is not None
    assert (policy.create_index, role.create_index, token.create_index) == (4, 6, 8)
    assert (machine.acl.index, machine.acl.bootstrap_index) == (10, 3)
    assert ("acl",) in machine.take_touched()


def test_a_stale_leader_reaps_nothing(machine: StateMachine) -> None:
    machine.apply(20, Lead("server1", 5))
    stale = machine.apply(21, AclReapTokens(1000.0, 4))
    assert isinstance(stale, Refusal)
    assert machine.acl.token("a1") is not None
    assert machine.apply(22, AclReapTokens(1000.0, 5)) is True
    assert machine.acl.token("a1") is None


def test_a_snapshot_has_every_table(machine: StateMachine) -> None:
    data = b"".join(machine.snapshot())
    copy = StateMachine()
    copy.restore(data)
    assert rows(copy.acl) == rows(machine.acl)
    assert b"".join(copy.snapshot()) == data
    assert copy.acl.token_by_secret("s1") == machine.acl.token("a1")
    assert copy.acl.rules_of("p1") == machine.acl.rules_of("p1")
    assert copy.acl.next_expiration() == 100.0
    assert EVERYTHING in copy.take_touched()


def test_the_built_in_rows_are_in_it_once_they_differ(machine: StateMachine) -> None:
    assert machine.apply(
        20, AclTokenSet(Token(ANONYMOUS_ACCESSOR, "anonymous", policies=("p1",)), create=False)
    )
    changed = Policy(GLOBAL_MANAGEMENT.id, "everything", rules=GLOBAL_MANAGEMENT.rules)
    assert machine.apply(21, AclPolicySet(changed, create=False)) == GLOBAL_MANAGEMENT.id
    copy = StateMachine()
    copy.restore(b"".join(machine.snapshot()))
    assert rows(copy.acl) == rows(machine.acl)
    assert copy.acl.policy_named("global-management") is None


def test_a_restore_forgets_what_was_there(machine: StateMachine) -> None:
    empty = b"".join(StateMachine().snapshot())
    machine.restore(empty)
    assert rows(machine.acl) == rows(AclStore(set()))


def frame(section: str, body: Any) -> bytes:
    data: bytes = msgpack.packb([section, body])
    return struct.pack(">II", len(data), zlib.crc32(data)) + data


def test_a_snapshot_from_before_access_control_is_still_read() -> None:
    old = frame("meshnode-state", [1, [7, 0, "", 0, 0, 0, 0, 0, 0, 0]]) + frame("end", [0])
    machine = StateMachine()
    machine.apply(1, AclTokenSet(Token("a", "s"), create=True))
    machine.restore(old)
    assert (machine.last_index, rows(machine.acl)) == (7, rows(AclStore(set())))


@pytest.mark.parametrize(
    ("section", "row", "because"),
    [
        ("acl-policies", Shape(Policy).pack(Policy("p", "n", rules="x")), "ACL policy that can't be read: Rules:1:2"),
        ("acl-policies", ["p"], "Policy is written as"),
        ("acl-tokens", ["a", 7], "Token.secret_id is a int"),
        ("acl-roles", ["r", "n", "", "p1"], "Role.policies is a str"),
        ("acl-indexes", ["last", "x"], "pair of the wrong types"),
    ],
)  # fmt: skip
def test_a_snapshot_with_a_bad_row_is_refused_and_the_state_stays(
    machine: StateMachine, section: str, row: Any, because: str
) -> None:
    before = rows(machine.acl)
    head = frame("meshnode-state", [1, [7, 0, "", 0, 0, 0, 0, 0, 0, 0]])
    with pytest.raises(RemoteProtocolError, match=because):
        machine.restore(head + frame(section, [row]) + frame("end", [1]))
    assert rows(machine.acl) == before


def test_the_history_ends_in_the_same_bytes_whatever_else_is_in_the_log() -> None:
    one, other = StateMachine(), StateMachine()
    for index, (command, _) in enumerate(HISTORY, 1):
        for machine in (one, other):
            machine.apply(index, command)
        other.acl.resolved["cache"] = None  # type: ignore[assignment]
    one.apply(50, KvPut("k", b""))
    other.apply(50, KvPut("k", b""))
    assert b"".join(one.snapshot()) == b"".join(other.snapshot())
