from __future__ import annotations

from random import Random

import pytest

from meshnode.base.address import Address
from meshnode.gossip.memberlist.delegate import Peer
from meshnode.gossip.memberlist.member import Member
from meshnode.gossip.memberlist.messages import State
from meshnode.gossip.memberlist.roster import Roster
from tests.unit.meshnode.gossip.memberlist.node import VERSIONS


def member(name: str, state: State = State.ALIVE) -> Member:
    return Member(Peer(name, Address("10.0.0.2", 8301), b"", VERSIONS), b"\x0a\0\0\x02", 1, state, 0.0)


def roster(count: int) -> Roster:
    roster = Roster(Random(3))
    for index in range(count):
        roster.put(member(str(index)))
    return roster


def anybody(member: Member) -> bool:
    return True


def nothing() -> None:
    pass


def test_every_member_is_probed_once_per_lap_in_an_order_that_changes() -> None:
    everyone = roster(20)
    laps = []
    for _ in range(3):
        lap = [found.name for _ in range(20) if (found := everyone.next_probe(anybody, nothing))]
        assert sorted(lap, key=int) == [str(index) for index in range(20)]
        laps.append(lap)
    assert laps[0] != laps[1] != laps[2]


def test_a_lap_without_a_fitting_member_ends() -> None:
    assert roster(5).next_probe(lambda _: False, nothing) is None
    assert roster(0).next_probe(anybody, nothing) is None


def test_reaping_happens_between_laps_and_may_empty_the_roster() -> None:
    everyone = roster(3)
    for _ in range(3):
        everyone.next_probe(anybody, nothing)
    assert everyone.next_probe(anybody, lambda: everyone.remove_where(anybody) and None) is None
    assert len(everyone) == 0


@pytest.mark.parametrize("size", [0, 1, 3, 8, 9, 100])
def test_a_sample_has_different_members_that_suit(size: int) -> None:
    everyone = roster(size)
    for _ in range(50):
        names = [found.name for found in everyone.sample(3, lambda found: found.name != "0")]
        assert len(names) == len(set(names)) == min(3, max(0, size - 1))
        assert "0" not in names


def test_samples_reach_everybody() -> None:
    everyone = roster(30)
    assert {found.name for _ in range(200) for found in everyone.sample(3, anybody)} == {
        str(i) for i in range(30)
    }


def test_replacing_a_member_keeps_one_of_it() -> None:
    everyone = roster(3)
    everyone.put(member("1", State.DEAD))
    assert len(everyone) == 3
    assert [found.name for found in everyone.remove_where(lambda found: found.gone)] == ["1"]
    assert "1" not in everyone
    assert everyone.get("1") is None
