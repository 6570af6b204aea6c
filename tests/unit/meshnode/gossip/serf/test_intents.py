"""Intents about nodes that are not known yet."""

from __future__ import annotations

from meshnode.gossip.serf.intents import MAX_INTENTS, Intent, IntentKind, RecentIntents


def test_only_a_newer_intent_is_news() -> None:
    intents = RecentIntents()
    assert intents.record("a", IntentKind.JOIN, 5, 1.0)
    assert not intents.record("a", IntentKind.LEAVE, 5, 2.0)
    assert not intents.record("a", IntentKind.LEAVE, 4, 2.0)
    assert intents.of("a") == Intent(IntentKind.JOIN, 5, 1.0)
    assert intents.record("a", IntentKind.LEAVE, 6, 3.0)
    assert intents.of("a") == Intent(IntentKind.LEAVE, 6, 3.0)
    assert intents.of("b") is None


def test_intents_expire() -> None:
    intents = RecentIntents()
    intents.record("old", IntentKind.JOIN, 1, 0.0)
    intents.record("new", IntentKind.JOIN, 1, 5.0)
    intents.expire(10.0, 10.0)
    assert len(intents) == 2
    intents.expire(10.0, 10.1)
    assert (intents.of("old"), len(intents)) == (None, 1)


def test_at_the_limit_the_oldest_gives_way() -> None:
    intents = RecentIntents()
    for index in range(MAX_INTENTS):
        intents.record(str(index), IntentKind.JOIN, 1, 0.0)
    assert intents.of("0") is not None
    intents.record("one more", IntentKind.JOIN, 1, 0.0)
    assert len(intents) == MAX_INTENTS
    assert intents.of("0") is None
    assert intents.of("1") is not None
