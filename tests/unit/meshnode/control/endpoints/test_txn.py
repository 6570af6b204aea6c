"""``Txn.*`` as other servers and agents call them."""

from __future__ import annotations

from typing import Any

import pytest

from meshnode.acl.authorizer import ALLOW_ALL
from meshnode.control.command import Txn
from meshnode.control.endpoints.txn import METHODS, parse_operations
from meshnode.control.machine import StateMachine
from meshnode.control.method import Moment, ReadMethod, WriteMethod
from meshnode.kv.txn import TxnOp
from meshnode.rpc.method import RpcError

SET = {
    "KV": {
        "Verb": "set",
        "DirEnt": {"Key": "a", "Value": b"\xff", "Flags": 3, "ModifyIndex": 4, "Session": "s"},
    }
}


def test_operations_are_read_from_consuls_structs() -> None:
    assert parse_operations({"Ops": [SET]}) == (TxnOp("set", "a", b"\xff", 3, 4, "s"),)
    assert parse_operations({}) == ()


@pytest.mark.parametrize(
    ("ops", "sentence"),
    [([{}], "operation 0 of the transaction is on nothing: only KV is known"),
     ([SET, {"Node": {}, "KV": None}], "operation 1 of the transaction is on Node: only KV"),
     ([{"KV": {"Verb": 1}}], "operation 0 of the transaction: Verb must be text"),
     ([{"KV": {"Verb": "set", "DirEnt": {"Flags": "1"}}}], "operation 0 of the transaction: Flags must be a number"),
     ("x", "Ops must be a list of structs")],
)  # fmt: skip
def test_an_operation_of_another_shape_is_named(ops: Any, sentence: str) -> None:
    with pytest.raises(RpcError, match=rf"^{sentence}"):
        parse_operations({"Ops": ops})


def test_a_write_is_one_command_and_a_read_refuses_to_write() -> None:
    apply, read = METHODS["Txn.Apply"], METHODS["Txn.Read"]
    assert isinstance(apply, WriteMethod)
    assert isinstance(read, ReadMethod)
    command = apply.plan(StateMachine(), {"Ops": [SET]}, ALLOW_ALL, Moment(5.0, lambda: "id"))
    assert command == Txn((TxnOp("set", "a", b"\xff", 3, 4, "s"),), 5.0)
    with pytest.raises(RpcError, match=r"^Transaction contains write operations"):
        read.read(StateMachine(), {"Ops": [SET]}, ALLOW_ALL)
    assert read.watches({}) == ()
