"""The vote about a name."""

from __future__ import annotations

import pytest

from meshnode.base.address import Address
from meshnode.gossip.effects import Level, Log, Notify
from meshnode.gossip.serf.conflict import NameVote
from meshnode.gossip.serf.events import NameConflictLost
from meshnode.gossip.serf.payloads import serialize_conflict_answer

HERE, THERE = Address("10.0.0.1", 8301), Address("10.0.0.2", 8301)


def voted(*seen: Address | None) -> NameVote:
    vote = NameVote("a", HERE)
    for index, address in enumerate(seen):
        vote.responded(str(index), serialize_conflict_answer("a", address, {}, 1, (1, 5, 2, 2, 5, 5)))
    return vote


@pytest.mark.parametrize(
    ("seen", "stays"),
    [
        ((HERE,), True),
        ((HERE, HERE, THERE), True),
        ((HERE, THERE), False),
        ((HERE, THERE, THERE), False),
        ((HERE, None), False),
        ((THERE,), False),
        ((), True),
    ],
)
def test_a_node_stays_with_the_majority_or_when_nobody_can_say(
    seen: tuple[Address | None, ...], stays: bool
) -> None:
    effects = voted(*seen).finished()
    lost = [effect.event for effect in effects if isinstance(effect, Notify)]
    matching = sum(address == HERE for address in seen)
    assert lost == ([] if stays else [NameConflictLost("a", matching, len(seen))])
    assert any(isinstance(effect, Log) for effect in effects)


def test_an_unreadable_vote_does_not_count() -> None:
    vote = voted(HERE)
    (log,) = vote.responded("x", b"\x06\xc1")
    assert isinstance(log, Log)
    assert log.level is Level.ERROR
    assert (vote.responses, vote.matching) == (1, 1)
