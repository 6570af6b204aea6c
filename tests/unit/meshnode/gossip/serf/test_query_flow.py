"""Queries asked and answered by one node, message by message."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

import pytest

from meshnode.base.errors import MeshError
from meshnode.gossip.effects import Effect, Log, Notify, SetTimer
from meshnode.gossip.memberlist.keyring import Keyring
from meshnode.gossip.serf.config import SerfConfig
from meshnode.gossip.serf.events import (
    KeyringChanged,
    QueryAcked,
    QueryFinished,
    QueryReceived,
    QueryResponded,
)
from meshnode.gossip.serf.filters import serialize_filters
from meshnode.gossip.serf.messages import Query, QueryFlag, QueryResponse, Relay, parse, serialize
from meshnode.gossip.serf.payloads import (
    InternalQuery,
    KeyAnswer,
    parse_conflict_answer,
    parse_key_answer,
    serialize_key_request,
)
from meshnode.gossip.serf.queries import ApplicationQuery, QueryParams
from meshnode.gossip.serf.query_flow import QueryFlow
from meshnode.gossip.serf.state import NodeState
from meshnode.gossip.serf.timers import QueryDeadline
from tests.unit.meshnode.gossip.serf.pool import address, peer

QUERY = Query(5, 77, address(1), "a", "uptime", 2.0, b"hours")


def node(*others: str, keyring: Keyring | None = None, **config: Any) -> tuple[QueryFlow, NodeState]:
    state = NodeState("me", address(0), {"role": "web"}, SerfConfig(**config), keyring, random.Random(1))
    for index, name in enumerate(("me", *others)):
        state.members.peer_joined(peer(name, index), {})
    return QueryFlow(state), state


def events(effects: list[Effect]) -> list[object]:
    return [effect.event for effect in effects if isinstance(effect, Notify)]


def sent(state: NodeState) -> list[object]:
    messages: list[object] = [parse(item.message) for item in state.outgoing]
    state.outgoing.clear()
    return messages


def received(flow: QueryFlow, query: Query, now: float = 10.0) -> QueryReceived:
    (event,) = events(flow.received(query, now)[1])
    assert isinstance(event, QueryReceived)
    return event


# Answering


def test_a_query_is_reported_once_passed_on_once_and_answered_once() -> None:
    flow, state = node("a")
    pass_on, effects = flow.received(QUERY, 10.0)
    (event,) = events(effects)
    assert pass_on
    assert event == QueryReceived(5, 77, "uptime", b"hours", address(1), "a", 12.0, 0)
    assert flow.received(QUERY, 10.1) == (False, [])
    assert state.query_clock.time == 6
    flow.respond(event, b"42", 11.0)
    assert sent(state) == [QueryResponse(5, 77, "me", b"42")]
    with pytest.raises(MeshError, match="answered already"):
        flow.respond(event, b"42", 11.0)


def test_an_answer_after_the_deadline_is_refused() -> None:
    flow, state = node("a")
    event = received(flow, QUERY)
    with pytest.raises(MeshError, match="deadline"):
        flow.respond(event, b"", 12.1)
    flow.expire(12.1)
    with pytest.raises(MeshError, match="not open"):
        flow.respond(event, b"", 12.0)
    assert sent(state) == []


def test_an_answer_may_fill_the_limit_and_not_a_byte_more() -> None:
    limit = 200
    flow, state = node("a", max_query_response_bytes=limit)
    event = received(flow, QUERY)
    room = limit - len(serialize(QueryResponse(5, 77, "me", b"x" * 100))) + 100
    with pytest.raises(MeshError, match="201 bytes of 200"):
        flow.respond(event, b"x" * (room + 1), 11.0)
    flow.respond(event, b"x" * room, 11.0)
    assert len(sent(state)) == 1


def test_an_acknowledgement_is_sent_at_once_when_asked_for() -> None:
    flow, state = node("a")
    flow.received(replace(QUERY, flags=QueryFlag.ACK), 10.0)
    assert sent(state) == [QueryResponse(5, 77, "me", b"", QueryFlag.ACK)]


def test_a_query_that_must_not_travel_is_not_passed_on() -> None:
    flow, _ = node("a")
    assert flow.received(replace(QUERY, flags=QueryFlag.NO_BROADCAST), 10.0)[0] is False


def test_a_query_for_others_is_passed_on_and_neither_reported_nor_acknowledged() -> None:
    flow, state = node("a")
    query = replace(QUERY, flags=QueryFlag.ACK, filters=serialize_filters(["b"], {}))
    assert flow.received(query, 10.0) == (True, [])
    assert sent(state) == []


def test_a_filter_that_cannot_be_read_counts_as_not_for_us_and_is_logged() -> None:
    flow, state = node("a")
    pass_on, effects = flow.received(replace(QUERY, filters=serialize_filters([], {"role": "("})), 10.0)
    assert pass_on
    assert [type(effect) for effect in effects] == [Log]
    assert sent(state) == []


def test_answers_are_relayed_through_other_members_that_can() -> None:
    flow, state = node("a", "b", "c")
    event = received(flow, replace(QUERY, relay_factor=2))
    flow.respond(event, b"42", 11.0)
    answer = QueryResponse(5, 77, "me", b"42")
    to = [item.to for item in state.outgoing]
    assert to[0] == address(1)
    assert len(set(to[1:])) == 2
    assert address(0) not in to
    assert sent(state) == [answer, *[Relay(address(1), "a", serialize(answer))] * 2]


def test_a_pool_that_is_too_small_for_the_relay_factor_is_not_relayed_through() -> None:
    flow, state = node("a")
    flow.respond(received(flow, replace(QUERY, relay_factor=2)), b"42", 11.0)
    assert len(sent(state)) == 1


# Asking


def test_a_query_of_ours_is_answered_by_ourselves_without_the_network() -> None:
    flow, state = node("a")
    effects = flow.ask("q", b"p", QueryParams(request_ack=True), ApplicationQuery(3), 10.0)
    timer, acked, event = effects[0], *events(effects)
    assert isinstance(timer, SetTimer)
    assert timer.delay == pytest.approx(3.2)
    assert acked == QueryAcked(3, "me")
    assert isinstance(event, QueryReceived)
    assert events(flow.respond(event, b"mine", 10.1)) == [QueryResponded(3, "me", b"mine")]
    assert sent(state) == []
    (raw,) = state.queues.queries.take(0, 2000, 1)
    query = parse(raw)
    assert isinstance(query, Query)
    assert (query.source, query.source_node, query.flags) == (address(0), "me", QueryFlag.ACK)


def test_answers_are_collected_until_the_deadline() -> None:
    flow, _ = node("a", "b")
    effects = flow.ask("q", b"", QueryParams(filter_nodes=("a", "b"), timeout=2.0), ApplicationQuery(3), 10.0)
    (timer,) = effects
    assert isinstance(timer, SetTimer)
    assert isinstance(timer.timer, QueryDeadline)
    query = timer.timer
    for node_name, expected in (("a", [QueryResponded(3, "a", b"x")]), ("a", [])):
        assert (
            events(flow.response_received(QueryResponse(query.ltime, query.id, node_name, b"x"))) == expected
        )
    assert events(flow.response_received(QueryResponse(query.ltime, query.id + 1, "b", b"x"))) == []
    assert events(flow.deadline_passed(replace(query, id=query.id + 1))) == []
    assert events(flow.deadline_passed(query)) == [QueryFinished(3, 0, 1)]
    assert flow.deadline_passed(query) == []
    assert events(flow.response_received(QueryResponse(query.ltime, query.id, "b", b"x"))) == []


def test_a_query_may_fill_the_limit_and_not_a_byte_more() -> None:
    flow, state = node("a")
    flow.ask("q", b"x" * 100, QueryParams(), ApplicationQuery(1), 10.0)
    room = (
        1024 - len(state.queues.queries.take(0, 2000, 1)[0]) + 100 - 2
    )  # raw 16 has a longer head than raw 8
    flow.ask("q", b"x" * room, QueryParams(), ApplicationQuery(2), 10.0)
    with pytest.raises(MeshError, match="1024"):
        flow.ask("q", b"x" * (room + 40), QueryParams(), ApplicationQuery(3), 10.0)


# Internal queries


def internal(query: InternalQuery, payload: bytes, id_: int = 1) -> Query:
    return Query(5, id_, address(1), "a", query, 2.0, payload)


def test_a_ping_is_only_acknowledged() -> None:
    flow, state = node("a")
    flow.received(replace(internal(InternalQuery.PING, b""), flags=QueryFlag.ACK), 10.0)
    assert sent(state) == [QueryResponse(5, 1, "me", b"", QueryFlag.ACK)]


def test_an_unknown_internal_query_is_logged_and_not_reported() -> None:
    flow, state = node("a")
    (log,) = flow.received(replace(QUERY, name="_serf_future"), 10.0)[1]
    assert isinstance(log, Log)
    assert sent(state) == []


@pytest.mark.parametrize(("name", "seen"), [("b", address(2)), ("nobody", None)])
def test_a_conflict_is_answered_with_what_is_known(name: str, seen: object) -> None:
    flow, state = node("a", "b")
    flow.received(internal(InternalQuery.CONFLICT, name.encode()), 10.0)
    (response,) = sent(state)
    assert isinstance(response, QueryResponse)
    assert parse_conflict_answer(response.payload) == seen


def test_the_parties_of_a_conflict_do_not_vote() -> None:
    flow, state = node("a")
    flow.received(internal(InternalQuery.CONFLICT, b"me"), 10.0)
    assert sent(state) == []


def answer_of(state: NodeState) -> KeyAnswer:
    (response,) = sent(state)
    assert isinstance(response, QueryResponse)
    return parse_key_answer(response.payload)


def test_a_changed_keyring_is_reported_before_it_is_answered() -> None:
    ring = Keyring([b"1" * 16])
    flow, state = node("a", keyring=ring)
    effects = flow.received(internal(InternalQuery.INSTALL_KEY, serialize_key_request(b"2" * 16)), 10.0)[1]
    assert events(effects) == [KeyringChanged(1, (b"1" * 16, b"2" * 16))]
    assert answer_of(state) == KeyAnswer(True)
    effects = flow.received(internal(InternalQuery.INSTALL_KEY, serialize_key_request(b"2" * 16), 2), 10.0)[1]
    assert events(effects) == []
    assert answer_of(state) == KeyAnswer(True)


@pytest.mark.parametrize(
    ("error", "expected"), [("", KeyAnswer(True)), ("disk full", KeyAnswer(False, "disk full"))]
)
def test_the_answer_waits_for_the_keyring_to_be_saved(error: str, expected: KeyAnswer) -> None:
    flow, state = node("a", keyring=Keyring([b"1" * 16]), persists_keyring=True)
    effects = flow.received(internal(InternalQuery.INSTALL_KEY, serialize_key_request(b"2" * 16)), 10.0)[1]
    (changed,) = events(effects)
    assert isinstance(changed, KeyringChanged)
    assert sent(state) == []
    flow.keyring_saved(changed.change, error)
    assert answer_of(state) == expected
    assert flow.keyring_saved(changed.change, error) == []
    assert sent(state) == []


def test_a_listing_that_does_not_fit_is_shortened_and_says_so() -> None:
    ring = Keyring([index.to_bytes(32, "big") for index in range(1, 41)])
    flow, state = node("a", keyring=ring)
    flow.received(internal(InternalQuery.LIST_KEYS, serialize_key_request(None)), 10.0)
    raw = state.outgoing[0].message
    answer = answer_of(state)
    assert len(raw) <= 1024 < len(raw) + 45
    assert answer.result
    assert 0 < len(answer.keys) < 40
    assert answer.message == f"truncated key list response, showing first {len(answer.keys)} of 40 keys"
