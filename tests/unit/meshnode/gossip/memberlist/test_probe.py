"""Transcripts of probes: what is sent, when, and what an answer or silence leads to."""

from __future__ import annotations

import pytest

from meshnode.base.address import Address
from meshnode.gossip.effects import Effect, Level, Log, Notify, OpenStream, SendPacket, SendStream
from meshnode.gossip.memberlist.codec import encode_message
from meshnode.gossip.memberlist.events import PingFinished
from meshnode.gossip.memberlist.messages import Ack, IndirectPing, Nack, Ping, Suspect, UserMessage
from meshnode.gossip.memberlist.probe import MAX_RELAYS
from meshnode.gossip.memberlist.timers import ProbeDeadline, ProbeTick, ProbeTimeout, RelayTimeout
from tests.unit.meshnode.gossip.memberlist.node import ME, VERSIONS, Node, alive, of_type, sent, timers

SOURCE = (b"\x0a\x00\x00\x01", 8301, "me")


def probed(node: Node, now: float = 10.0) -> tuple[Ping, list[Effect]]:
    """Let the probe timer fire; the ping that was sent, and all effects."""
    node.news()
    effects = node.machine.handle_timer(ProbeTick(), now)
    pings = [message for _, message in sent(effects) if isinstance(message, Ping)]
    return pings[0], effects


def address(node: Node, name: str) -> Address:
    return node.machine.member(name).address


def test_a_probe_is_a_ping_that_says_where_the_ack_should_go() -> None:
    node = Node()
    node.know("b")
    ping, effects = probed(node)
    assert ping == Ping(1, "b", *SOURCE)
    assert sent(effects) == [(address(node, "b"), ping)]
    assert timers(effects, ProbeTick) == [(1.0, ProbeTick())]
    assert timers(effects, ProbeTimeout) == [(0.5, ProbeTimeout(1))]


def test_an_ack_ends_the_probe_and_reports_the_round_trip() -> None:
    node = Node()
    node.know("b")
    probed(node, 10.0)
    assert node.hear(Ack(1, b"coordinate"), now=10.02) == []
    assert node.heard == [("pinged", "b", 0.02, b"coordinate")]
    assert node.hear(Ack(1), now=10.03) == []
    assert node.heard == []
    assert node.machine.handle_timer(ProbeTimeout(1), 10.5) == []
    probed(node, 11.0)
    assert node.state("b") == ("ALIVE", 1)


def test_nobody_to_probe_arms_the_timer_only() -> None:
    node = Node()
    node.news()
    assert timers(node.machine.handle_timer(ProbeTick(), 1.0), ProbeTick) == [(1.0, ProbeTick())]


def unanswered(node: Node) -> list[Effect]:
    """Probe ``b`` and let the direct ping time out."""
    while probed(node, 10.0)[0].node != "b":
        node.hear(Ack(node.machine._prober._seq_no), now=10.0)
    return node.machine.handle_timer(ProbeTimeout(node.machine._prober._seq_no), 10.5)


def test_silence_leads_to_indirect_pings_and_a_ping_by_tcp() -> None:
    node = Node()
    node.know("b", "c", "d", "e", "f")
    effects = unanswered(node)
    seq_no = node.machine._prober._seq_no
    asked = sent(effects)
    assert len({to for to, _ in asked}) == 3
    assert address(node, "b") not in {to for to, _ in asked}
    target = address(node, "b")
    expected = IndirectPing(seq_no, alive("b").addr, 8301, "b", True, *SOURCE)
    assert {message for _, message in asked} == {expected}
    (dial,) = of_type(effects, OpenStream)
    assert (dial.to, dial.timeout) == (target, pytest.approx(0.5))
    assert timers(effects, ProbeDeadline) == [(pytest.approx(0.5), ProbeDeadline(seq_no))]


def test_helpers_of_an_older_protocol_are_not_asked_for_nacks_and_old_targets_get_no_tcp_ping() -> None:
    node = Node()
    node.hear(alive("b", versions=(1, 2, 2, 2, 5, 5)), alive("c", versions=(1, 3, 2, 2, 5, 5)))
    effects = unanswered(node)
    ((_, message),) = sent(effects)
    assert isinstance(message, IndirectPing)
    assert not message.nack
    assert of_type(effects, OpenStream) == []


def test_tcp_pings_can_be_turned_off() -> None:
    node = Node(disable_tcp_pings=True)
    node.know("b", "c")
    assert of_type(unanswered(node), OpenStream) == []


def test_an_indirect_ack_saves_the_target_without_a_round_trip_time() -> None:
    node = Node()
    node.know("b", "c", "d")
    unanswered(node)
    seq_no = node.machine._prober._seq_no
    node.application.heard.clear()
    node.hear(Ack(seq_no), now=10.8)
    assert node.machine.handle_timer(ProbeDeadline(seq_no), 11.0) == []
    assert node.state("b") == ("ALIVE", 1)
    assert node.heard == []


def test_an_ack_by_tcp_saves_the_target_and_warns_about_udp() -> None:
    node = Node()
    node.know("b", "c")
    (dial,) = of_type(unanswered(node), OpenStream)
    seq_no = node.machine._prober._seq_no
    (written,) = of_type(node.machine.handle_stream_opened(dial.stream, 10.6), SendStream)
    assert written.data == encode_message(Ping(seq_no, "b", *SOURCE))
    effects = node.machine.handle_stream_data(dial.stream, encode_message(Ack(seq_no)), 10.7)
    (log,) = of_type(effects, Log)
    assert "b answers by TCP and not by UDP" in log.message
    node.machine.handle_timer(ProbeDeadline(seq_no), 11.0)
    assert node.state("b") == ("ALIVE", 1)


@pytest.mark.parametrize(("nacks", "score"), [(0, 3), (1, 2), (3, 0), (9, 0)])
def test_silence_everywhere_is_suspicion_and_missing_nacks_lower_our_own_health(
    nacks: int, score: int
) -> None:
    node = Node()
    node.know("b", "c", "d", "e", "f")
    unanswered(node)
    seq_no = node.machine._prober._seq_no
    for _ in range(nacks):
        node.hear(Nack(seq_no), now=10.9)
    node.machine.handle_timer(ProbeDeadline(seq_no), 11.0)
    assert node.state("b") == ("SUSPECT", 1)
    assert Suspect(1, "b", "me") in node.news()
    assert node.machine.health_score == score
    assert node.machine.stats.probes_failed == 1


def test_without_helpers_a_failed_probe_counts_once_against_us() -> None:
    node = Node()
    node.know("b")
    unanswered(node)
    node.machine.handle_timer(ProbeTick(), 11.0)
    assert node.state("b") == ("SUSPECT", 1)
    assert node.machine.health_score == 1


def test_poor_health_stretches_the_probe_and_skips_a_turn() -> None:
    node = Node()
    node.know("b", "c")
    node.machine._membership.awareness.apply(1)
    while probed(node, 10.0)[0].node != "b":
        node.hear(Ack(node.machine._prober._seq_no), now=10.0)
        node.machine._membership.awareness.apply(1)
    seq_no = node.machine._prober._seq_no
    effects = node.machine.handle_timer(ProbeTimeout(seq_no), 10.5)
    assert timers(effects, ProbeDeadline) == [(pytest.approx(1.5), ProbeDeadline(seq_no))]
    assert sent(node.machine.handle_timer(ProbeTick(), 11.0)) == []
    node.machine.handle_timer(ProbeTick(), 12.0)
    assert node.state("b") == ("SUSPECT", 1)


def test_a_suspected_node_is_told_with_the_ping() -> None:
    node = Node()
    node.know("b")
    node.hear(Suspect(1, "b", "c"))
    ping, effects = probed(node)
    assert [message for _, message in sent(effects)] == [ping, Suspect(1, "b", "me")]
    assert len(of_type(effects, SendPacket)) == 1


def test_late_and_unknown_numbers_change_nothing() -> None:
    node = Node()
    node.know("b")
    assert node.hear(Ack(99), Nack(99), now=10.0) == []
    for timer in (ProbeTimeout(99), ProbeDeadline(99), RelayTimeout(99)):
        assert node.machine.handle_timer(timer, 10.0) == []
    assert node.heard == []


# ---- answering others ----


def test_a_ping_is_acknowledged_to_its_source_with_the_applications_payload() -> None:
    node = Node()
    node.news()
    src = Address("10.0.0.9", 5000)
    assert sent(node.hear(Ping(5, "me", b"\x0a\0\0\x07", 8301, "g"), src=src)) == [
        (Address("10.0.0.7", 8301), Ack(5, b"here"))
    ]
    assert sent(node.hear(Ping(6, ""), src=src)) == [(src, Ack(6, b"here"))]


def test_a_ping_for_somebody_else_is_not_acknowledged() -> None:
    node = Node()
    (log,) = node.hear(Ping(5, "other"))
    assert isinstance(log, Log)
    assert log.level is Level.WARN
    assert "other" in log.message


def test_queued_news_rides_along_with_an_ack() -> None:
    node = Node()
    node.news()
    node.hear(alive("b"))
    node.application.outgoing = [b"event"]
    messages = [message for _, message in sent(node.hear(Ping(5, "me")))]
    assert messages == [Ack(5, b"here"), alive("b"), UserMessage(b"event")]


def relay(node: Node, *, nack: bool = True) -> int:
    node.news()
    request = IndirectPing(42, b"\x0a\0\0\x05", 8301, "b", nack, b"\x0a\0\0\x07", 8301, "g")
    ((to, ping),) = sent(node.hear(request))
    assert to == Address("10.0.0.5", 8301)
    assert isinstance(ping, Ping)
    assert ping == Ping(ping.seq_no, "b", *SOURCE)
    return ping.seq_no


def test_a_relayed_ping_passes_the_ack_back_and_no_nack_follows() -> None:
    node = Node()
    seq_no = relay(node)
    assert sent(node.hear(Ack(seq_no))) == [(Address("10.0.0.7", 8301), Ack(42))]
    assert node.machine.handle_timer(RelayTimeout(seq_no), 1.5) == []


@pytest.mark.parametrize("nack", [True, False])
def test_a_relayed_ping_without_an_answer_becomes_a_nack_if_wanted(nack: bool) -> None:
    node = Node()
    seq_no = relay(node, nack=nack)
    answer = sent(node.machine.handle_timer(RelayTimeout(seq_no), 1.5))
    assert answer == ([(Address("10.0.0.7", 8301), Nack(42))] if nack else [])
    assert sent(node.hear(Ack(seq_no))) == []


def test_relays_are_bounded() -> None:
    node = Node()
    node.news()
    request = IndirectPing(1, b"\x0a\0\0\x05", 8301, "b", False)
    answers = [bool(node.hear(request)) for _ in range(MAX_RELAYS + 1)]
    assert answers == [True] * MAX_RELAYS + [False]


def test_a_ping_on_request_reports_the_round_trip_or_silence() -> None:
    node = Node()
    node.news()
    target = Address("10.0.0.5", 8302)
    effects = node.machine.ping(8, "b.dc2", target, 1.0)
    ((to, ping),) = sent(effects)
    assert (to, ping) == (target, Ping(ping.seq_no, "b.dc2", *SOURCE))
    assert node.hear(Ack(ping.seq_no), now=1.25) == [Notify(PingFinished(8, 0.25))]
    ((_, timer),) = timers(node.machine.ping(9, "b.dc2", target, 2.0), ProbeTimeout)
    assert node.machine.handle_timer(timer, 2.5) == [Notify(PingFinished(9, None))]
    assert node.machine.address == ME
    assert node.machine.local.peer.versions == VERSIONS
