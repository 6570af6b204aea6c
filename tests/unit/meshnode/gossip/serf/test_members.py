"""Members, as memberlist's news and Serf's intents make them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshnode.gossip.serf.events import MemberFailed, MemberJoined, MemberLeft, MemberReaped, MemberUpdated
from meshnode.gossip.serf.member import Status
from meshnode.gossip.serf.members import LeaveOutcome, MemberTable
from tests.unit.meshnode.gossip.serf.pool import peer

HOUR = 3600.0


def table(*names: str) -> MemberTable:
    members = MemberTable("me")
    for index, name in enumerate(("me", *names)):
        members.peer_joined(peer(name, index), {})
    return members


def leave(
    members: MemberTable, name: str, ltime: int, *, prune: bool = False, staying: bool = True
) -> LeaveOutcome:
    return members.leave_intent(name, ltime, prune=prune, staying=staying, now=0.0)


def status(members: MemberTable, name: str) -> Status | None:
    member = members.get(name)
    return member.status if member else None


def test_a_node_that_dies_without_an_intent_failed_and_with_one_left() -> None:
    members = table("a", "b")
    assert isinstance(members.peer_left("a", True, 1.0)[0], MemberFailed)
    assert leave(members, "b", 3).rebroadcast
    assert status(members, "b") is Status.LEAVING
    assert isinstance(members.peer_left("b", True, 1.0)[0], MemberLeft)
    assert (status(members, "a"), status(members, "b")) == (Status.FAILED, Status.LEFT)


def test_a_goodbye_that_overtakes_the_intent_is_still_a_leave() -> None:
    members = table("a")
    assert isinstance(members.peer_left("a", False, 1.0)[0], MemberLeft)
    outcome = leave(members, "a", 2)
    assert (outcome.rebroadcast, outcome.events, status(members, "a")) == (True, (), Status.LEFT)


def test_a_member_that_is_gone_is_not_lost_twice() -> None:
    members = table("a")
    members.peer_left("a", True, 1.0)
    assert members.peer_left("a", False, 2.0) == ()
    assert members.peer_left("nobody", True, 2.0) == ()
    assert status(members, "a") is Status.FAILED


def test_an_old_intent_changes_nothing_and_travels_no_further() -> None:
    members = table("a")
    assert members.join_intent("a", 5, 0.0)
    assert not members.join_intent("a", 5, 0.0)
    assert leave(members, "a", 5) == LeaveOutcome(False)
    assert status(members, "a") is Status.ALIVE


def test_a_newer_join_takes_a_leave_back() -> None:
    members = table("a")
    leave(members, "a", 3)
    assert members.join_intent("a", 4, 0.0)
    assert status(members, "a") is Status.ALIVE


def test_two_successive_leaves_are_passed_on_once_each() -> None:
    members = table("a")
    assert [leave(members, "a", ltime).rebroadcast for ltime in (3, 4, 3, 4)] == [True, True, False, False]


def test_intents_that_came_before_the_node_take_effect_when_it_comes() -> None:
    members = table()
    assert leave(members, "a", 7).rebroadcast
    assert not leave(members, "a", 7).rebroadcast
    (event,) = members.peer_joined(peer("a", 1), {})
    assert isinstance(event, MemberJoined)
    assert status(members, "a") is Status.LEAVING
    assert members.status_ltimes() == {"me": 0, "a": 7}
    members.join_intent("b", 9, 0.0)
    members.peer_joined(peer("b", 2), {})
    assert (status(members, "b"), members.status_ltimes()["b"]) == (Status.ALIVE, 9)


def test_a_leave_of_our_own_name_is_refuted_while_we_stay() -> None:
    members = table()
    assert leave(members, "me", 3).refute
    assert (status(members, "me"), members.status_ltimes()) == (Status.ALIVE, {"me": 0})
    assert leave(members, "me", 3, staying=False) == LeaveOutcome(True)
    assert status(members, "me") is Status.LEAVING


def listed(members: MemberTable, name: str, ltime: int, *, staying: bool = True) -> LeaveOutcome:
    return members.listed_as_left(name, ltime, staying=staying, now=0.0)


@pytest.mark.parametrize(
    ("before", "ltime", "after", "ltime_after"),
    [
        (Status.ALIVE, 4, Status.ALIVE, 5),
        (Status.ALIVE, 5, Status.ALIVE, 5),  # the peer has heard of the same join, and not of its node yet
        (Status.ALIVE, 6, Status.LEAVING, 5),
        (Status.ALIVE, 9, Status.LEAVING, 8),
        (Status.LEAVING, 9, Status.LEAVING, 5),
        (Status.LEFT, 9, Status.LEFT, 5),
        (Status.FAILED, 4, Status.FAILED, 5),
        (Status.FAILED, 5, Status.LEFT, 5),
        (Status.FAILED, 9, Status.LEFT, 8),
    ],
)
def test_a_member_that_a_peer_lists_as_left(
    before: Status, ltime: int, after: Status, ltime_after: int
) -> None:
    members = table("a")
    members.join_intent("a", 4 if before in (Status.LEAVING, Status.LEFT) else 5, 0.0)
    if before in (Status.LEAVING, Status.LEFT):
        leave(members, "a", 5)
    if before in (Status.LEFT, Status.FAILED):
        members.peer_left("a", True, 1.0)
    assert status(members, "a") is before
    outcome = listed(members, "a", ltime)
    assert (status(members, "a"), members.status_ltimes()["a"]) == (after, ltime_after)
    assert [type(event) for event in outcome.events] == [MemberLeft] * (before is not after is Status.LEFT)
    assert (outcome.rebroadcast, outcome.refute) == (False, False)


@given(st.integers(0, 6), st.integers(0, 6), st.booleans())
def test_a_join_that_is_as_new_as_the_list_of_a_peer_brings_a_member_back(
    own: int, ltime: int, known: bool
) -> None:
    members = table("a") if known else table()
    members.join_intent("a", own, 0.0)
    listed(members, "a", ltime)
    members.peer_joined(peer("a", 1), {})
    members.join_intent("a", max(own + 1, ltime), 0.0)
    assert status(members, "a") is Status.ALIVE


def test_a_node_that_is_listed_as_left_itself_says_that_it_is_here() -> None:
    members = table()
    members.join_intent("me", 5, 0.0)
    assert [listed(members, "me", ltime).refute for ltime in (4, 5, 6)] == [False, True, True]
    assert status(members, "me") is Status.ALIVE


def test_force_leave_turns_failed_into_left() -> None:
    members = table("a")
    members.peer_left("a", True, 1.0)
    (event,) = leave(members, "a", 2).events
    assert isinstance(event, MemberLeft)
    assert members.with_status(Status.FAILED) == []


def test_prune_erases_the_gone_at_once_and_the_leaving_later_unless_they_return() -> None:
    members = table("a", "b", "c")
    members.peer_left("a", True, 1.0)
    events = leave(members, "a", 2, prune=True).events
    assert [type(event) for event in events] == [MemberLeft, MemberReaped]
    assert members.get("a") is None
    assert leave(members, "b", 3, prune=True).prune_later
    assert leave(members, "c", 3, prune=True).prune_later
    members.join_intent("c", 4, 0.0)
    members.peer_left("b", True, 5.0)
    assert isinstance(members.erase_departed("b", 3)[0], MemberReaped)
    assert members.erase_departed("c", 3) == ()
    members.peer_left("c", True, 6.0)
    assert members.erase_departed("c", 3) == ()  # it failed after it had come back
    assert members.erase_departed("b", 3) == ()
    assert {member.name for member in members} == {"me", "c"}


def test_this_node_is_never_erased() -> None:
    members = table()
    leave(members, "me", 3, prune=True, staying=False)
    members.peer_left("me", False, 1.0)
    assert members.erase_departed("me", 3) == ()
    assert members.reap(1.0, 1.0, 1.0, 100 * HOUR) == []


def test_the_failed_are_reaped_after_reconnect_timeout_and_the_left_after_tombstone_timeout() -> None:
    members = table("failed", "left", "back")
    leave(members, "left", 2)
    for name in ("failed", "left", "back"):
        members.peer_left(name, True, 0.0)
    members.peer_joined(peer("back", 3), {})

    def reaped(now: float) -> list[str]:
        return [event.members[0].name for event in members.reap(72 * HOUR, 24 * HOUR, 300.0, now)]

    assert [reaped(24 * HOUR), reaped(24 * HOUR + 1), reaped(72 * HOUR), reaped(72 * HOUR + 1)] == [
        [], ["left"], [], ["failed"],
    ]  # fmt: skip
    assert {member.name for member in members} == {"me", "back"}


def test_an_update_changes_tags_and_address_but_not_the_status() -> None:
    members = table("a")
    leave(members, "a", 2)
    (event,) = members.peer_updated(peer("a", 9), {"k": "v"})
    assert isinstance(event, MemberUpdated)
    member = members.get("a")
    assert member is not None
    assert (member.tags, member.address, member.status) == ({"k": "v"}, peer("a", 9).address, Status.LEAVING)
    assert members.peer_updated(peer("nobody", 5), {}) == ()


def test_who_is_present_and_who_would_hear_a_broadcast() -> None:
    members = table("a")
    assert (members.num_present(), members.has_alive_others()) == (2, True)
    leave(members, "a", 2)
    assert (members.num_present(), members.has_alive_others()) == (2, False)
    members.peer_left("a", True, 1.0)
    assert (members.num_present(), len(members)) == (1, 2)
