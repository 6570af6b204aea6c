"""The whole matrix: every state known, every claim, older, equal and newer incarnations."""

from __future__ import annotations

import pytest

from meshnode.base.address import Address
from meshnode.gossip.memberlist.delegate import Peer
from meshnode.gossip.memberlist.member import Member, may_change_address, supersedes
from meshnode.gossip.memberlist.messages import State
from tests.unit.meshnode.gossip.memberlist.node import VERSIONS

ALIVE, SUSPECT, DEAD, LEFT = State
OLDER, EQUAL, NEWER = 4, 5, 6

#: (known at incarnation 5, claimed) -> does it win when its incarnation is older, equal, newer?
MATRIX = {
    (ALIVE, ALIVE): (False, False, True),
    (ALIVE, SUSPECT): (False, True, True),
    (ALIVE, DEAD): (False, True, True),
    (ALIVE, LEFT): (False, True, True),
    (SUSPECT, ALIVE): (False, False, True),
    (SUSPECT, SUSPECT): (False, False, False),
    (SUSPECT, DEAD): (False, True, True),
    (SUSPECT, LEFT): (False, True, True),
    (DEAD, ALIVE): (False, False, True),
    (DEAD, SUSPECT): (False, False, False),
    (DEAD, DEAD): (False, False, False),
    (DEAD, LEFT): (False, False, False),
    (LEFT, ALIVE): (False, False, True),
    (LEFT, SUSPECT): (False, False, False),
    (LEFT, DEAD): (False, False, False),
    (LEFT, LEFT): (False, False, False),
}


def test_the_matrix_is_whole() -> None:
    assert set(MATRIX) == {(known, claim) for known in State for claim in State}


@pytest.mark.parametrize(("known", "claim"), MATRIX, ids=lambda state: state.name.lower())
def test_a_claim_supersedes_what_is_known_as_the_matrix_says(known: State, claim: State) -> None:
    won = tuple(supersedes((known, 5), (claim, incarnation)) for incarnation in (OLDER, EQUAL, NEWER))
    assert won == MATRIX[known, claim]


@pytest.mark.parametrize("claim", State)
def test_only_an_announcement_makes_a_node_known(claim: State) -> None:
    assert supersedes(None, (claim, 1)) is (claim is ALIVE)


@pytest.mark.parametrize(
    ("state", "age", "reclaim_time", "allowed"),
    [
        (ALIVE, 999, 10, False),
        (SUSPECT, 999, 10, False),
        (LEFT, 0, 0, True),
        (DEAD, 999, 0, False),
        (DEAD, 10, 10, False),
        (DEAD, 10.1, 10, True),
    ],
)
def test_a_name_moves_only_from_nodes_that_left_or_failed_long_ago(
    state: State, age: float, reclaim_time: float, allowed: bool
) -> None:
    peer = Peer("b", Address("10.0.0.2", 8301), b"", VERSIONS)
    member = Member(peer, b"\x0a\x00\x00\x02", 1, state, 100.0)
    assert may_change_address(member, 100.0 + age, reclaim_time) is allowed
