from __future__ import annotations

import pytest

from meshnode.base.address import Address
from meshnode.base.errors import LocalProtocolError
from meshnode.base.gossip_key import gossip_key_fingerprint
from meshnode.gossip.effects import Log, Notify, SendPacket
from meshnode.gossip.memberlist.codec import encode_message
from meshnode.gossip.memberlist.complaints import QUIET_INTERVAL
from meshnode.gossip.memberlist.events import LeaveFinished
from meshnode.gossip.memberlist.keyring import Keyring
from meshnode.gossip.memberlist.messages import Dead, Ping, Suspect, UserMessage
from meshnode.gossip.memberlist.packet import (
    add_crc,
    add_label,
    compress,
    join_compound,
    open_packet,
    split_messages,
)
from meshnode.gossip.memberlist.timers import GossipTick, LeaveTimeout, ProbeTick, PushPullTick
from tests.unit.meshnode.gossip.memberlist.node import Node, alive, of_type, sent, timers

SRC = Address("10.0.0.5", 8301)
KEY, OTHER = bytes(16), bytes(32)
NONCE = bytes(12)


def gossip(node: Node, now: float = 1.0) -> list[SendPacket]:
    return of_type(node.machine.handle_timer(GossipTick(), now), SendPacket)


def test_the_start_arms_each_periodic_timer_once_within_its_interval() -> None:
    effects = Node().started
    for kind, interval in ((ProbeTick, 1.0), (GossipTick, 0.2), (PushPullTick, 30.0)):
        ((delay, _),) = timers(effects, kind)
        assert 0 <= delay < interval


def test_an_interval_of_zero_turns_its_activity_off() -> None:
    effects = Node(probe_interval=0, gossip_interval=0, push_pull_interval=0).started
    assert [kind for kind in (ProbeTick, GossipTick, PushPullTick) if timers(effects, kind)] == []


def test_news_goes_to_three_random_members_in_one_packet_each() -> None:
    node = Node()
    node.know(*"abcdefgh")
    packets = gossip(node)
    assert len({packet.to for packet in packets}) == 3
    assert all(len(split_messages(open_packet(packet.data, b"", None, True))) == 9 for packet in packets)
    assert all(packet.data[0] == 12 for packet in packets), "peers of protocol 5 get a checksum"


def test_packets_stay_within_the_configured_size() -> None:
    for options in ({}, {"keys": [KEY]}, {"keys": [KEY], "label": "pool"}, {"label": "pool"}):
        node = Node(**options)  # type: ignore[arg-type]
        for index in range(60):
            node.machine._membership.claim_alive(alive(f"node-{index}", meta=bytes(50)), None, 1.0)
        sizes = [len(packet.data) for _ in range(20) for packet in gossip(node)]
        assert max(sizes) <= 1400
        assert max(sizes) > 1200


def test_the_newly_dead_are_gossiped_to_for_a_while_and_those_who_left_are_not() -> None:
    node = Node(gossip_to_the_dead_time=30)
    node.know("a", "b")
    node.hear(Dead(1, "a", "x"), Dead(1, "b", "b"), now=10.0)
    dead = node.machine.member("a").address
    assert [packet.to for packet in gossip(node, 40.0)] == [dead]
    assert gossip(node, 40.1) == []


def test_the_applications_news_is_gossiped_after_ours() -> None:
    node = Node()
    node.know("a")
    node.news()
    node.application.outgoing = [b"event"]
    ((_, message),) = sent(gossip(node))
    assert message == UserMessage(b"event")


def test_user_messages_are_delivered_and_sent() -> None:
    node = Node()
    node.hear(UserMessage(b"hello"))
    assert node.heard == [("message", b"hello")]
    assert sent(node.machine.send_user(SRC, b"hi", 1.0)) == [(SRC, UserMessage(b"hi"))]
    node.know("b")
    peer = node.machine.member("b").peer
    ((to, message),) = sent(node.machine.send_user(peer, b"hi", 1.0))
    assert (to, message) == (peer.address, UserMessage(b"hi"))


def test_every_wrapping_of_a_packet_is_understood() -> None:
    node = Node(keys=[KEY], label="pool")
    ring = Keyring([KEY])
    inner = join_compound([encode_message(alive("b")), encode_message(UserMessage(b"x"))])
    for version in (0, 1):
        sealed = ring.seal(add_crc(compress(inner)), NONCE, b"pool", version)
        node.machine.handle_packet(add_label(sealed, b"pool"), SRC, 1.0)
    assert node.heard == [("joined", "b"), ("message", b"x"), ("message", b"x")]
    assert not node.machine.stats.refused


def test_what_we_send_is_sealed_with_the_primary_key_and_labelled() -> None:
    node = Node(keys=[KEY], label="pool")
    (effect,) = of_type(node.machine.send_user(SRC, b"hi", 1.0), SendPacket)
    assert open_packet(effect.data, b"pool", Keyring([KEY]), True) == b"\x08hi"


def test_compression_is_used_when_configured_and_when_it_helps() -> None:
    node = Node(compress_packets=True)
    for message, kind in ((bytes(500), 9), (b"hi", 8)):
        (effect,) = of_type(node.machine.send_user(SRC, message, 1.0), SendPacket)
        assert effect.data[0] == kind
        assert split_messages(effect.data) == [b"\x08" + message]


# ---- refusals ----


def refusal(node: Node, data: bytes, now: float = 1.0) -> str:
    members = node.machine.members()
    effects = node.machine.handle_packet(data, SRC, now)
    assert node.machine.members() == members
    assert all(isinstance(effect, Log) for effect in effects)
    return effects[0].message if effects and isinstance(effects[0], Log) else ""


def test_a_packet_under_another_key_names_the_source_and_our_fingerprints() -> None:
    node = Node(keys=[KEY])
    message = refusal(node, Keyring([OTHER]).seal(encode_message(alive("b")), NONCE, b""))
    assert str(SRC) in message
    assert f"installed: {gossip_key_fingerprint(KEY)}" in message
    assert "check `encrypt` there and here" in message
    assert node.machine.stats.refused == {"key": 1}


def test_plaintext_is_refused_where_encryption_is_required() -> None:
    node = Node(keys=[KEY])
    assert "encryption is required" in refusal(node, encode_message(alive("b")))
    assert node.machine.stats.refused == {"plaintext": 1}


def test_sealed_packets_without_a_key_here_say_so() -> None:
    node = Node()
    assert "no key" in refusal(node, Keyring([OTHER]).seal(encode_message(alive("b")), NONCE, b""))
    assert node.machine.stats.refused == {"sealed": 1}


def test_refusals_are_logged_once_per_quiet_interval_and_source_but_always_counted() -> None:
    node = Node()
    messages = [refusal(node, b"\x63junk", 1.0 + index) for index in range(5)]
    assert [bool(message) for message in messages] == [True, False, False, False, False]
    assert refusal(node, b"\x63junk", 1.0 + QUIET_INTERVAL)
    assert node.machine.stats.refused == {"malformed": 6}


def test_a_bad_part_of_a_packet_does_not_spoil_the_others() -> None:
    node = Node()
    parts = [b"\x63junk", encode_message(alive("b")), b"\x04\xc1", encode_message(UserMessage(b"x"))]
    node.machine.handle_packet(join_compound(parts), SRC, 1.0)
    assert node.heard == [("joined", "b"), ("message", b"x")]
    assert node.machine.stats.refused == {"malformed": 2}


def test_encryption_is_rolled_out_in_a_running_cluster_in_three_steps() -> None:
    old, new = Node(), Node(keys=[KEY], verify_incoming=False, verify_outgoing=False)
    ping = encode_message(Ping(1, "me"))

    def exchange(a: Node, b: Node) -> bool:
        (effect,) = of_type(a.machine.send_user(SRC, b"hi", 1.0), SendPacket)
        b.machine.handle_packet(effect.data, SRC, 1.0)
        return b.heard == [("message", b"hi")]

    assert exchange(old, new)
    assert exchange(new, old)
    new.machine.set_verification(incoming=False, outgoing=True)
    assert not exchange(new, old)
    assert exchange(old, new)
    new.machine.set_verification(incoming=True, outgoing=True)
    assert new.machine.verification == (True, True)
    assert not exchange(old, new)
    assert of_type(new.machine.handle_packet(ping, SRC, 99.0), Log)


# ---- leaving, stopping ----


def test_leaving_is_announced_gossiped_and_then_finished() -> None:
    node = Node()
    node.know("b")
    node.news()
    effects = node.machine.leave(5.0)
    assert timers(effects, LeaveTimeout) == [(5.0, LeaveTimeout())]
    assert node.heard == [("left", "me")]
    told, finished = 0, False
    for step in range(20):
        effects = node.machine.handle_timer(GossipTick(), 5.0 + step / 5)
        told += sum(message == Dead(1, "me", "me") for _, message in sent(effects))
        if Notify(LeaveFinished()) in effects:
            finished = True
            break
    assert finished
    assert told == 4
    assert node.machine.handle_timer(LeaveTimeout(), 10.0) == []
    assert node.machine.leave(11.0) == []


def test_leaving_waits_a_bounded_time() -> None:
    node = Node()
    node.know("b")
    node.machine.leave(5.0)
    assert node.machine.handle_timer(LeaveTimeout(), 10.0) == [Notify(LeaveFinished())]


def test_leaving_alone_is_finished_at_once() -> None:
    assert Notify(LeaveFinished()) in Node().machine.leave(5.0)


def test_who_left_does_not_come_back_by_an_old_announcement_or_refute_its_end() -> None:
    node = Node()
    node.know("b")
    node.machine.leave(5.0)
    node.hear(alive("me", 9, addr=b"\x0a\0\0\x01", meta=b"meta"), Suspect(9, "me", "b"), Dead(9, "me", "b"))
    assert node.state("me") == ("LEFT", 1)
    assert node.machine.stats.refutations == 0
    assert node.machine.update_meta(6.0) == []


def test_after_shutdown_nothing_has_an_effect() -> None:
    node = Node()
    node.machine.shutdown()
    assert node.hear(alive("b"), Ping(1, "me")) == []
    assert node.machine.handle_timer(ProbeTick(), 2.0) == []
    assert node.state("b") is None


def test_a_timer_of_somebody_else_is_our_own_mistake() -> None:
    with pytest.raises(LocalProtocolError, match="no timer of memberlist"):
        Node().machine.handle_timer("tick", 1.0)


def test_views_count_the_living() -> None:
    node = Node()
    node.know("a", "b", "c")
    node.hear(Dead(1, "a", "x"), Suspect(1, "b", "x"))
    machine = node.machine
    assert machine.num_nodes == 4
    assert {member.name: member.state.name for member in machine.members()} == {
        "me": "ALIVE",
        "a": "DEAD",
        "b": "SUSPECT",
        "c": "ALIVE",
    }
    assert machine.health_score == 0
    assert machine.stats.packets_in == 5


def test_asking_for_ourselves_before_the_start_is_our_own_mistake() -> None:
    with pytest.raises(LocalProtocolError, match="not started"):
        _ = Node(started=False).machine.local
