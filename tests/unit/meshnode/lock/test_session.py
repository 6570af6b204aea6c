from __future__ import annotations

import json

import pytest

from meshnode.lock.calls import Call, LockError, Pause, Reply
from meshnode.lock.session import close_session, keep_session, open_session


def test_a_session_is_opened_with_name_behavior_and_ttl() -> None:
    steps = open_session("Lock", "release")
    call = next(steps)
    assert isinstance(call, Call)
    assert (call.method, call.path) == ("PUT", "/v1/session/create")
    assert json.loads(call.body or b"") == {"Name": "Lock", "Behavior": "release", "TTL": "15s"}
    with pytest.raises(StopIteration) as ended:
        steps.send(Reply(0.0, 200, body=b'{"ID":"s1"}'))
    assert ended.value.value == "s1"


def test_a_session_of_another_node_names_it_and_its_checks() -> None:
    call = next(open_session("Lock", "delete", 30.0, node="n9", checks=()))
    assert isinstance(call, Call)
    assert json.loads(call.body or b"") == {
        "Name": "Lock", "Behavior": "delete", "TTL": "30s", "Node": "n9", "Checks": [],
    }  # fmt: skip


@pytest.mark.parametrize("body", [b"", b"null", b"[]", b'{"ID":""}', b'{"ID":5}'])
def test_an_answer_without_an_id_is_an_error(body: bytes) -> None:
    steps = open_session("Lock", "release")
    next(steps)
    with pytest.raises(LockError, match="the answer has no ID"):
        steps.send(Reply(0.0, 200, body=body))


def test_it_is_renewed_every_half_ttl_and_every_second_while_that_fails() -> None:
    steps = keep_session("s1", now=0.0)
    assert next(steps) == Pause(7.5)
    renewal = steps.send(Reply(7.5))
    assert renewal == Call("PUT", "/v1/session/renew/s1")
    assert steps.send(Reply(7.5, 200)) == Pause(7.5)
    for second in range(15, 23):
        assert steps.send(Reply(float(second))) == renewal
        assert steps.send(Reply(float(second), 500, reason="No cluster leader")) == Pause(1.0)
    assert steps.send(Reply(23.0)) == renewal
    with pytest.raises(StopIteration) as ended:
        steps.send(Reply(23.0, 0, reason="refused"))
    assert ended.value.value == "session s1 was not renewed for 15s: refused"


def test_a_session_that_is_gone_is_lost_at_once() -> None:
    steps = keep_session("s1", now=0.0, interval=5.0)
    assert next(steps) == Pause(5.0)
    steps.send(Reply(5.0))
    with pytest.raises(StopIteration) as ended:
        steps.send(Reply(5.0, 404, reason="Unexpected response code: 404 (Session id 's1' not found)"))
    assert "session s1 is gone" in ended.value.value


def test_it_is_closed() -> None:
    steps = close_session("s1")
    assert next(steps) == Call("PUT", "/v1/session/destroy/s1")
    with pytest.raises(LockError, match="failed to destroy session: refused"):
        steps.send(Reply(0.0, reason="refused"))
