from __future__ import annotations

from meshnode.gossip.memberlist.awareness import Awareness


def test_the_score_stays_between_healthy_and_its_limit() -> None:
    awareness = Awareness(8)
    awareness.apply(-5)
    assert awareness.score == 0
    awareness.apply(100)
    assert awareness.score == 7
    awareness.apply(-1)
    assert awareness.score == 6


def test_timeouts_stretch_with_the_score() -> None:
    awareness = Awareness(8)
    assert awareness.scale(1.5) == 1.5
    awareness.apply(2)
    assert awareness.scale(1.5) == 4.5
