from __future__ import annotations

import pytest

from meshnode.base.address import Address
from meshnode.base.errors import LocalProtocolError
from meshnode.gossip.effects import Level, Log
from meshnode.gossip.memberlist.messages import MAX_INCARNATION, Alive, Dead, NodeState, State, Suspect
from meshnode.gossip.memberlist.timers import SuspicionTimeout
from tests.unit.meshnode.gossip.memberlist.node import ME, VERSIONS, Node, alive, of_type, timers


def self_as_seen(incarnation: int, **changes: object) -> Alive:
    return alive("me", incarnation, addr=b"\x0a\x00\x00\x01", **{"meta": b"meta", **changes})


def test_a_node_announces_itself_at_the_start() -> None:
    node = Node()
    assert node.application.heard == [("joined", "me")]
    assert node.news() == [self_as_seen(1)]
    assert node.machine.local.address == ME


def test_an_announcement_makes_a_member_and_is_passed_on_as_it_came() -> None:
    node = Node()
    node.news()
    node.hear(alive("b", meta=b"x"))
    assert node.heard == [("joined", "b")]
    assert node.state("b") == ("ALIVE", 1)
    assert alive("b", meta=b"x") in node.news()


def test_changed_metadata_needs_a_newer_incarnation() -> None:
    node = Node()
    node.know("b")
    node.hear(alive("b", 1, meta=b"new"))
    assert node.heard == []
    node.hear(alive("b", 2, meta=b"new"))
    assert node.heard == [("updated", "b", b"new")]


def test_suspicion_is_refuted_by_a_newer_announcement_only() -> None:
    node = Node()
    node.know("b")
    node.hear(Suspect(1, "b", "c"))
    assert node.state("b") == ("SUSPECT", 1)
    node.hear(alive("b", 1))
    assert node.state("b") == ("SUSPECT", 1)
    node.hear(alive("b", 2))
    assert node.state("b") == ("ALIVE", 2)
    assert node.heard == []


@pytest.mark.parametrize("claim", [Suspect(1, "b", "c"), Dead(1, "b", "c"), Dead(1, "b", "b")], ids=str)
def test_stale_claims_and_claims_about_strangers_change_nothing(claim: Suspect | Dead) -> None:
    node = Node()
    node.hear(claim)
    assert node.state("b") is None
    node.know("b")
    node.hear(alive("b", 2))
    node.news()
    node.hear(claim)
    assert node.state("b") == ("ALIVE", 2)
    assert claim not in node.news()


def test_a_suspicion_runs_out_into_death() -> None:
    node = Node()
    node.know("b")
    ((delay, timer),) = timers(node.hear(Suspect(1, "b", "c"), now=10.0), SuspicionTimeout)
    assert delay == pytest.approx(4.0)
    assert node.machine.handle_timer(timer, 10.0 + delay - 0.1) == []
    effects = node.machine.handle_timer(timer, 10.0 + delay)
    assert of_type(effects, Log)[0].level is Level.INFO
    assert node.state("b") == ("DEAD", 1)
    assert node.heard == [("failed", "b")]
    assert Dead(1, "b", "me") in node.news()
    assert node.machine.handle_timer(timer, 99.0) == []


def test_independent_confirmations_shorten_a_suspicion_and_are_passed_on() -> None:
    node = Node()
    node.know("b", "c", "d", "e", "f")
    ((longest, first),) = timers(node.hear(Suspect(1, "b", "c"), now=0.0), SuspicionTimeout)
    assert longest == pytest.approx(24.0)
    assert timers(node.hear(Suspect(1, "b", "c"), now=1.0), SuspicionTimeout) == []
    ((shorter, second),) = timers(node.hear(Suspect(1, "b", "d"), now=1.0), SuspicionTimeout)
    assert Suspect(1, "b", "d") in node.news()
    ((shortest, third),) = timers(node.hear(Suspect(1, "b", "e"), now=2.0), SuspicionTimeout)
    assert 4.0 < shorter + 1 < longest
    assert shortest == pytest.approx(2.0)
    assert timers(node.hear(Suspect(1, "b", "f"), now=3.0), SuspicionTimeout) == []
    assert first == second == third
    node.machine.handle_timer(third, 4.0)
    assert node.state("b") == ("DEAD", 1)


def test_a_timer_of_an_earlier_suspicion_does_nothing() -> None:
    node = Node()
    node.know("b")
    ((_, stale),) = timers(node.hear(Suspect(1, "b", "c"), now=0.0), SuspicionTimeout)
    node.hear(alive("b", 2), Suspect(2, "b", "c"), now=3.0)
    assert node.machine.handle_timer(stale, 4.0) == []
    assert node.state("b") == ("SUSPECT", 2)


def test_a_departure_is_no_failure() -> None:
    node = Node()
    node.know("b")
    node.hear(Dead(1, "b", "b"))
    assert node.state("b") == ("LEFT", 1)
    assert node.heard == [("left", "b")]


@pytest.mark.parametrize("claim", [Suspect(4, "me", "b"), Dead(4, "me", "b"), Dead(4, "me", "me")], ids=str)
def test_claims_about_ourselves_are_refuted_with_a_higher_incarnation(claim: Suspect | Dead) -> None:
    node = Node()
    node.news()
    node.hear(claim)
    assert node.state("me") == ("ALIVE", 5)
    assert node.news() == [self_as_seen(5)]
    assert node.machine.health_score == 1
    assert node.machine.stats.refutations == 1
    node.hear(claim)
    assert node.state("me") == ("ALIVE", 5), "the accusation is stale now"


def test_the_highest_accusation_possible_can_be_refuted() -> None:
    node = Node()
    node.hear(Suspect(MAX_INCARNATION - 1, "me", "b"))
    assert node.state("me") == ("ALIVE", MAX_INCARNATION)


def test_our_own_old_state_with_a_higher_incarnation_is_refuted() -> None:
    node = Node()
    node.news()
    node.hear(self_as_seen(7))
    assert node.news() == [self_as_seen(8)]
    node.hear(self_as_seen(8))
    assert node.news() == [], "an echo of the refutation needs no answer"
    node.hear(self_as_seen(8, meta=b"old"))
    assert node.state("me") == ("ALIVE", 9)


def test_another_address_for_a_living_name_is_a_conflict() -> None:
    node = Node()
    node.know("b")
    effects = node.hear(alive("b", 2, addr=b"\x0a\x09\x09\x09"), alive("b", 3, addr=b"\x0a\x09\x09\x09"))
    assert node.heard == [("conflict", "b", Address("10.9.9.9", 8301))] * 2
    assert node.state("b") == ("ALIVE", 1)
    (log,) = of_type(effects, Log)
    assert "two nodes are called b" in log.message
    node.hear(self_as_seen(9, port=1))
    assert node.heard == [("conflict", "me", Address("10.0.0.1", 1))]


@pytest.mark.parametrize("gone", [Dead(3, "b", "b"), Dead(3, "b", "c")], ids=["left", "failed"])
def test_who_is_gone_here_and_announced_elsewhere_is_accused_so_that_it_speaks_up(gone: Dead) -> None:
    node = Node()
    node.know("b")
    node.hear(gone)
    node.hear(alive("b", 1))
    assert node.news()[-1:] == [gone], "what is on its way already needs no accusation"
    while node.news():
        pass
    state = node.state("b")
    node.hear(alive("b", 1), alive("b", 3))
    assert node.news() == [Suspect(3, "b", "me")]
    assert node.state("b") == state, "only a newer announcement brings it back"
    node.hear(alive("b", 4))
    assert node.state("b") == ("ALIVE", 4)


def test_a_node_that_left_may_return_under_another_address() -> None:
    node = Node()
    node.know("b")
    node.hear(Dead(1, "b", "b"), alive("b", 1, addr=b"\x0a\x09\x09\x09"))
    assert node.heard == [("left", "b"), ("joined", "b")]
    assert node.machine.member("b").address == Address("10.9.9.9", 8301)


def test_a_failed_node_moves_only_after_the_reclaim_time() -> None:
    moved = alive("b", 2, addr=b"\x0a\x09\x09\x09")
    for reclaim_time, age, state in ((0, 900.0, "DEAD"), (60, 59.0, "DEAD"), (60, 61.0, "ALIVE")):
        node = Node(dead_node_reclaim_time=reclaim_time)
        node.know("b")
        node.hear(Dead(1, "b", "c"), now=100.0)
        node.hear(moved, now=100.0 + age)
        assert node.state("b")[0] == state


@pytest.mark.parametrize("versions", [None, (0, 5, 2, 2, 5, 5), (3, 2, 2, 2, 5, 5), (1, 0, 1, 2, 5, 5)])
def test_announcements_without_sensible_versions_are_ignored(versions: tuple[int, ...] | None) -> None:
    node = Node()
    (log,) = of_type(node.hear(alive("b", versions=versions)), Log)
    assert "version" in log.message
    assert node.state("b") is None


def test_the_application_may_refuse_a_member() -> None:
    node = Node()
    node.application.alive_refusal = "it belongs to dc2"
    (log,) = of_type(node.hear(alive("b")), Log)
    assert "dc2" in log.message
    assert node.state("b") is None


def test_push_pull_only_suspects_whom_the_peer_holds_dead() -> None:
    node = Node()
    node.know("b", "c", "d")

    def seen(name: str, state: State) -> NodeState:
        known = alive(name)
        return NodeState(name, known.addr, 8301, b"", 1, state, VERSIONS)

    node.machine._membership.merge(
        [seen("b", State.DEAD), seen("c", State.LEFT), seen("d", State.SUSPECT), seen("e", State.ALIVE)], 2.0
    )
    states = [node.state(name) for name in "bcde"]
    assert states == [("SUSPECT", 1), ("LEFT", 1), ("SUSPECT", 1), ("ALIVE", 1)]
    assert Suspect(1, "b", "me") in node.news()


def test_the_dead_are_forgotten_after_the_time_we_gossip_to_them() -> None:
    node = Node(gossip_to_the_dead_time=30)
    node.know("b", "c")
    node.hear(Dead(1, "b", "a"), now=10.0)
    node.machine._membership.reap(40.0)
    assert node.state("b") == ("DEAD", 1)
    node.machine._membership.reap(40.1)
    assert node.state("b") is None
    assert node.state("c") == ("ALIVE", 1)


def test_new_metadata_is_announced_with_a_newer_incarnation() -> None:
    node = Node()
    node.news()
    node.application.meta = b"new"
    node.machine.update_meta(2.0)
    assert node.heard == [("updated", "me", b"new")]
    assert node.news() == [self_as_seen(2, meta=b"new")]


def test_metadata_has_at_most_512_bytes() -> None:
    node = Node()
    node.application.meta = bytes(512)
    node.machine.update_meta(2.0)
    node.application.meta = bytes(513)
    with pytest.raises(LocalProtocolError, match="513 bytes"):
        node.machine.update_meta(3.0)
    assert len(node.machine.local.peer.meta) == 512
    node.hear(alive("b", meta=bytes(513)))
    assert node.state("b") is None


@pytest.mark.parametrize(
    ("versions", "problem"),
    [
        ((1, 5, 2, 2, 5, 5), ""),
        ((1, 3, 3, 2, 5, 4), ""),
        ((3, 5, 3, 2, 5, 5), "me speaks protocol 2"),
        ((1, 5, 6, 2, 5, 5), "b speaks protocol 6"),
        ((1, 5, 2, 2, 4, 4), "me speaks application protocol 5"),
        ((1, 5, 2, 2, 5, 1), "b speaks application protocol 1"),
    ],
)
def test_nodes_that_could_not_understand_each_other_are_told_apart(
    versions: tuple[int, ...], problem: str
) -> None:
    node = Node()
    remote = NodeState("b", b"\x0a\0\0\x02", 8301, b"", 1, State.ALIVE, versions)  # type: ignore[arg-type]
    found = node.machine._membership.incompatibility([remote])
    assert found.startswith(problem)
    assert bool(found) is bool(problem)
