"""``Session.Apply`` as other servers and agents call it."""

from __future__ import annotations

from typing import Any

import pytest

from meshnode.acl.authorizer import ALLOW_ALL
from meshnode.control.command import Command, SessionCreate, SessionDestroy
from meshnode.control.endpoints.session import METHODS, session_fields
from meshnode.control.machine import Refusal, StateMachine
from meshnode.control.method import Moment, WriteMethod
from meshnode.kv.sessions import Session
from meshnode.rpc.method import RpcError

APPLY = METHODS["Session.Apply"]
assert isinstance(APPLY, WriteMethod)
PLAN, REPLY = APPLY.plan, APPLY.reply


def plan(operation: str, **session: Any) -> Command:
    return PLAN(StateMachine(), {"Op": operation, "Session": session}, ALLOW_ALL, Moment(5.0, lambda: "new"))


def test_a_new_session_has_an_id_of_the_leaders_and_consuls_defaults() -> None:
    assert plan("create", ID="mine", Node="n1") == SessionCreate(Session("new", "n1"))
    assert plan("create", Node="n1", Checks=[], LockDelay=0, Behavior="", TTL="", Name="x") == SessionCreate(
        Session("new", "n1", "x", (), 0.0)
    )
    assert plan("create", Node="n1", LockDelay="5s") == SessionCreate(Session("new", "n1", lock_delay=5.0))


def test_ending_a_session_carries_the_leaders_time() -> None:
    assert plan("destroy", ID="s") == SessionDestroy("s", 5.0)


@pytest.mark.parametrize(
    ("operation", "session", "sentence"),
    [("create", {}, "Must provide Node"), ("destroy", {}, "Must provide ID"),
     ("renew", {"ID": "s"}, 'Invalid session operation "renew": use one of create, destroy'),
     ("create", {"Node": "n1", "TTL": "1s"}, "Invalid Session TTL '1s'"),
     ("create", {"Node": "n1", "LockDelay": True}, "LockDelay must be a number")],
)  # fmt: skip
def test_what_cannot_be_is_refused(operation: str, session: dict[str, Any], sentence: str) -> None:
    with pytest.raises(RpcError, match=rf"^{sentence}"):
        plan(operation, **session)


def test_the_caller_hears_the_id_or_why_not() -> None:
    assert REPLY(StateMachine(), "new") == "new"
    assert REPLY(StateMachine(), True) == ""
    with pytest.raises(RpcError, match=r"^Missing node registration$"):
        REPLY(StateMachine(), Refusal("Missing node registration"))


def test_a_lock_delay_is_shown_in_nanoseconds() -> None:
    assert session_fields(Session("s", "n1", lock_delay=0.1))["LockDelay"] == 100_000_000
