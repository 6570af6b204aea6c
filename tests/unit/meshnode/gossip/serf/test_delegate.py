"""What Serf does when memberlist calls."""

from __future__ import annotations

import random
from typing import Any

import pytest

from meshnode.base.address import Address
from meshnode.gossip.effects import Effect, Level, Log, Notify, SetTimer
from meshnode.gossip.memberlist.delegate import Peer
from meshnode.gossip.serf.config import SerfConfig
from meshnode.gossip.serf.coordinate import Coordinate, serialize_ping
from meshnode.gossip.serf.delegate import SerfDelegate
from meshnode.gossip.serf.events import MemberJoined, MemberReaped, UserEventReceived
from meshnode.gossip.serf.member import Status
from meshnode.gossip.serf.messages import (
    Join,
    Leave,
    PushPull,
    QueryResponse,
    Relay,
    UserEvent,
    UserEventsAt,
    parse,
    serialize,
)
from meshnode.gossip.serf.query_flow import QueryFlow
from meshnode.gossip.serf.state import NodeState
from meshnode.gossip.serf.tags import serialize_tags
from meshnode.gossip.serf.timers import PruneDue
from tests.unit.meshnode.gossip.serf.pool import VERSIONS, address, peer


def node(*others: str, refuse: str = "", **config: Any) -> tuple[SerfDelegate, NodeState]:
    state = NodeState("me", address(0), {"role": "web"}, SerfConfig(**config), None, random.Random(1))
    delegate = SerfDelegate(
        state, QueryFlow(state), lambda name, _address, _tags: refuse and f"{name}: {refuse}"
    )
    for index, name in enumerate(("me", *others)):
        delegate.peer_joined(peer(name, index), 0.0)
    return delegate, state


def events(effects: list[Effect]) -> list[object]:
    return [effect.event for effect in effects if isinstance(effect, Notify)]


def queued(state: NodeState) -> list[object]:
    """What waits to be gossiped; the queues are empty afterwards."""
    waiting = state.queues.take(2, 10_000, 1)
    while state.queues.take(2, 10_000, 1):
        pass
    return [parse(message) for message in waiting]


@pytest.mark.parametrize("message", [b"", b"\x00", b"\x63\x80", b"\x02\x80", b"\x04\x81\xa2ID\xa1x"])
def test_a_message_that_cannot_be_used_is_logged_and_changes_nothing(message: bytes) -> None:
    delegate, state = node()
    (log,) = delegate.handle_message(message, 1.0)
    assert isinstance(log, Log)
    assert log.level is Level.WARN
    assert queued(state) == []


def test_news_is_passed_on_as_it_came_and_old_news_is_not() -> None:
    delegate, state = node("a")
    for message in (Join(4, "a"), Leave(5, "a"), UserEvent(3, "e", b"x", True)):
        raw = serialize(message)
        delegate.handle_message(raw, 1.0)
        assert queued(state) == [message]
        delegate.handle_message(raw, 1.0)
        assert queued(state) == []
    assert (state.clock.time, state.event_clock.time) == (6, 4)


def test_a_leave_intent_about_this_node_is_answered_by_a_newer_join() -> None:
    delegate, state = node("a")
    delegate.handle_message(serialize(Leave(9, "me")), 1.0)
    assert queued(state) == [Join(10, "me")]
    assert state.members.status_ltimes()["me"] == 10


def test_a_prune_of_a_member_that_is_still_here_waits_for_it_to_leave() -> None:
    delegate, _ = node("a", broadcast_timeout=5.0, leave_propagate_delay=3.0)
    assert delegate.handle_message(serialize(Leave(2, "a", prune=True)), 1.0) == [
        SetTimer(8.0, PruneDue("a", 2))
    ]


def test_a_prune_of_a_failed_member_erases_it_with_its_coordinate() -> None:
    delegate, state = node("a")
    assert state.coordinates is not None
    delegate.ping_completed(peer("a", 1), 0.01, serialize_ping(Coordinate()), 1.0)
    assert state.coordinates.of("a") is not None
    delegate.peer_left(peer("a", 1), True, 2.0)
    effects = delegate.handle_message(serialize(Leave(2, "a", prune=True)), 3.0)
    assert any(isinstance(event, MemberReaped) for event in events(effects))
    assert state.coordinates.of("a") is None


def test_push_pull_state_tells_status_times_the_left_and_recent_events() -> None:
    delegate, state = node("a", "b")
    state.members.join_intent("a", 3, 0.0)
    delegate.peer_left(peer("b", 2), False, 0.0)
    delegate.handle_message(serialize(UserEvent(3, "e", b"x")), 1.0)
    state.clock.witness(6)
    assert parse(delegate.local_state(False)) == PushPull(
        7, {"me": 0, "a": 3, "b": 0}, ("b",), 4, (UserEventsAt(3, (("e", b"x"),)),), 1
    )


def test_a_peers_state_brings_clocks_intents_and_events() -> None:
    delegate, state = node("a", "b")
    remote = PushPull(10, {"a": 4, "b": 5}, ("b",), 6, (UserEventsAt(5, (("e", b""), ("f", b""))),), 8)
    effects = delegate.merge_remote_state(serialize(remote), False, 1.0)
    assert events(effects) == [UserEventReceived(5, "e", b"", False), UserEventReceived(5, "f", b"", False)]
    assert (state.clock.time, state.event_clock.time, state.query_clock.time) == (10, 6, 8)
    assert state.members.status_ltimes() == {"me": 0, "a": 4, "b": 4}
    member = state.members.get("b")
    assert member is not None
    assert member.status is Status.LEAVING
    assert events(delegate.merge_remote_state(serialize(remote), False, 1.0)) == []


def test_what_a_peers_state_tells_of_a_leave_hides_no_later_prune_and_no_join() -> None:
    (one, first), (other, second) = node("a"), node("a")
    for delegate, state in ((one, first), (other, second)):
        delegate.peer_left(peer("a", 1), True, 1.0)
        state.members.leave_intent("a", 5, prune=False, staying=True, now=1.0)
    for _ in range(3):  # what one makes of it must not be more than what the other began with
        one.merge_remote_state(other.local_state(False), False, 2.0)
        other.merge_remote_state(one.local_state(False), False, 2.0)
    one.handle_message(serialize(Leave(6, "a", prune=True)), 3.0)
    assert first.members.get("a") is None
    one.merge_remote_state(other.local_state(False), False, 4.0)
    one.handle_message(serialize(Join(6, "a")), 5.0)
    one.peer_joined(peer("a", 1), 5.0)
    returned = first.members.get("a")
    assert returned is not None
    assert returned.status is Status.ALIVE


def test_a_join_that_ignores_the_past_delivers_no_event_of_it() -> None:
    remote = serialize(PushPull(1, {}, (), 6, (UserEventsAt(5, (("e", b""),)),), 1))
    delegate, state = node()
    state.joins_ignoring_past.add(1)
    assert events(delegate.merge_remote_state(remote, True, 1.0)) == []
    delegate, state = node()
    state.joins_ignoring_past.add(1)
    assert len(events(delegate.merge_remote_state(remote, False, 1.0))) == 1


@pytest.mark.parametrize("state", [b"", b"\x02", b"\x02\x90", serialize(Join(1, "a"))])
def test_a_peers_state_that_cannot_be_used_is_logged(state: bytes) -> None:
    delegate, _ = node()
    (log,) = delegate.merge_remote_state(state, False, 1.0)
    assert isinstance(log, Log)


def test_a_relayed_message_goes_on_to_members_only() -> None:
    delegate, state = node("a")
    inner = serialize(QueryResponse(1, 2, "b", b"x"))
    delegate.handle_message(serialize(Relay(address(1), "a", inner)), 1.0)
    assert [(item.to, item.node, item.message) for item in state.outgoing] == [(address(1), "a", inner)]
    state.outgoing.clear()
    for relay in (Relay(address(9), "a", inner), Relay(address(1), "b", inner), Relay(address(1), "a", b"")):
        (log,) = delegate.handle_message(serialize(relay), 1.0)
        assert isinstance(log, Log)
    assert state.outgoing == []


def test_the_agent_can_refuse_a_node_and_with_it_a_merge_but_never_this_node() -> None:
    delegate, _ = node(refuse="other datacenter")
    assert delegate.refuse_alive(peer("a", 1)) == "a: other datacenter"
    assert delegate.refuse_merge([peer("me", 0), peer("b", 2)]) == "b: other datacenter"
    assert delegate.refuse_alive(peer("me", 0)) == ""
    assert delegate.refuse_alive(peer("me", 5)) != ""


def test_a_node_with_unreadable_tags_is_refused() -> None:
    delegate, _ = node()
    assert "tags" in delegate.refuse_alive(Peer("a", address(1), b"\xff\x90", VERSIONS))
    assert delegate.refuse_alive(peer("a", 1)) == ""


def test_the_tags_are_the_metadata_and_members_have_those_of_theirs() -> None:
    delegate, state = node()
    assert delegate.node_meta() == serialize_tags({"role": "web"})
    (event,) = events(delegate.peer_joined(peer("a", 1, {"k": "v"}), 1.0))
    assert isinstance(event, MemberJoined)
    assert event.members[0].tags == {"k": "v"}
    delegate.peer_updated(peer("a", 1, {"k": "w"}), 1.0)
    member = state.members.get("a")
    assert member is not None
    assert member.tags == {"k": "w"}


def test_pings_teach_coordinates_and_bad_payloads_do_not() -> None:
    delegate, state = node("a")
    before = state.coordinates.own if state.coordinates else None
    assert delegate.ping_completed(peer("a", 1), 0.01, b"", 1.0) == []
    (log,) = delegate.ping_completed(peer("a", 1), 0.01, b"\x07", 1.0)
    assert isinstance(log, Log)
    assert state.coordinates is not None
    assert state.coordinates.own == before
    delegate.ping_completed(peer("a", 1), 0.01, serialize_ping(Coordinate()), 1.0)
    assert state.coordinates.own != before
    assert delegate.ack_payload() == serialize_ping(state.coordinates.own)


def test_without_coordinates_pings_carry_nothing() -> None:
    delegate, _ = node("a", coordinates=False)
    assert delegate.ack_payload() == b""
    assert delegate.ping_completed(peer("a", 1), 0.01, serialize_ping(Coordinate()), 1.0) == []


def test_a_conflict_over_another_name_is_only_logged() -> None:
    delegate, state = node("a")
    (log,) = delegate.peer_conflict(peer("a", 1), peer("a", 7), 1.0)
    assert isinstance(log, Log)
    assert queued(state) == []


def test_a_conflict_over_this_name_asks_the_others_once_at_a_time() -> None:
    delegate, state = node("a")
    first = delegate.peer_conflict(peer("me", 0), Peer("me", Address("10.9.9.9", 1), b"", VERSIONS), 1.0)
    second = delegate.peer_conflict(peer("me", 0), Peer("me", Address("10.9.9.9", 1), b"", VERSIONS), 1.1)
    assert any(isinstance(effect, SetTimer) for effect in first)
    assert not any(isinstance(effect, SetTimer) for effect in second)
    assert len(queued(state)) == 1
