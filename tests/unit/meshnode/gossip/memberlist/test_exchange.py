from __future__ import annotations

from dataclasses import replace

import pytest

from meshnode.base.address import Address
from meshnode.base.errors import LocalProtocolError
from meshnode.base.gossip_key import gossip_key_fingerprint
from meshnode.gossip.effects import CloseStream, Effect, Log, Notify, OpenStream, SendStream, StreamId
from meshnode.gossip.memberlist.codec import encode_message
from meshnode.gossip.memberlist.events import JoinFinished
from meshnode.gossip.memberlist.exchange import MAX_INBOUND_STREAMS
from meshnode.gossip.memberlist.messages import Ack, ErrorReply, NodeState, Ping, PushPull, State
from meshnode.gossip.memberlist.stream import (
    StreamMessage,
    StreamParser,
    encode_push_pull,
    encode_user_stream,
    seal_stream,
)
from meshnode.gossip.memberlist.timers import PushPullTick, StreamTimeout
from tests.unit.meshnode.gossip.memberlist.node import ME, VERSIONS, Node, of_type, timers

PEER = Address("10.0.0.2", 8301)
IN = StreamId(1)
THEIRS = NodeState("b", b"\x0a\0\0\x02", 8301, b"", 4, State.ALIVE, VERSIONS)
KEY, OTHER = bytes(16), bytes(32)


def read(data: bytes, *, answer: bool = False, label: bytes = b"") -> StreamMessage | None:
    return StreamParser(label=label, answer=answer, keyring=None, verify_incoming=True).feed(data)


def accept(node: Node, data: bytes) -> list[Effect]:
    node.machine.handle_stream_accepted(IN, PEER, 1.0)
    return node.machine.handle_stream_data(IN, data, 1.0)


def dial(node: Node, *seeds: Address) -> list[StreamId]:
    return [effect.stream for effect in of_type(node.machine.join(1, seeds, 1.0), OpenStream)]


def results(effects: list[Effect]) -> list[JoinFinished]:
    return [event for notice in of_type(effects, Notify) if isinstance(event := notice.event, JoinFinished)]


def test_joining_sends_our_state_and_takes_over_the_peers() -> None:
    node = Node()
    (stream,) = dial(node, PEER)
    (written,) = of_type(node.machine.handle_stream_opened(stream, 1.1), SendStream)
    ours = read(written.data)
    assert isinstance(ours, PushPull)
    assert (ours.join, [state.name for state in ours.nodes], ours.user_state) == (True, ["me"], b"state")
    effects = node.machine.handle_stream_data(stream, encode_push_pull(True, [THEIRS], b"their state"), 1.2)
    assert results(effects) == [JoinFinished(1, 1, ())]
    assert CloseStream(stream) in effects
    assert node.state("b") == ("ALIVE", 4)
    assert node.heard == [("joined", "b"), ("state", b"their state", True)]


def test_every_seed_is_tried_and_every_failure_named() -> None:
    node = Node()
    second, third = Address("10.0.0.3", 8301), Address("10.0.0.4", 8301)
    good, refused, silent = dial(node, PEER, second, third)
    node.machine.handle_stream_opened(good, 1.0)
    node.machine.handle_stream_data(good, encode_push_pull(True, [THEIRS], b""), 1.0)
    node.machine.handle_stream_closed(refused, "connection refused", 1.0)
    effects = node.machine.handle_timer(StreamTimeout(silent), 21.0)
    assert CloseStream(silent) in effects
    failures = ((second, "connection refused"), (third, "no answer in time"))
    assert results(effects) == [JoinFinished(1, 1, failures)]


def test_our_own_address_counts_as_joined_and_is_not_dialled() -> None:
    node = Node()
    effects = node.machine.join(7, [ME], 1.0)
    assert effects == [Notify(JoinFinished(7, 1, ()))]
    assert node.machine.join(8, [], 1.0) == [Notify(JoinFinished(8, 0, ()))]


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (encode_message(ErrorReply("go away")), "go away"),
        (encode_message(Ack(1)), "something else"),
        (b"\x06\xc1", "not msgpack"),
        (b"HTTP/1.1 400 Bad Request\r\n", "it speaks HTTP: name the gossip port"),
        (encode_push_pull(True, [replace(THEIRS, versions=(1, 5, 6, 2, 5, 5))], b""), "speaks protocol 6"),
    ],
)
def test_a_bad_answer_fails_the_join_with_its_reason(answer: bytes, reason: str) -> None:
    node = Node()
    (stream,) = dial(node, PEER)
    node.machine.handle_stream_opened(stream, 1.0)
    effects = node.machine.handle_stream_data(stream, answer, 1.0)
    (finished,) = results(effects)
    assert finished.joined == 0
    assert reason in finished.failures[0][1]
    assert node.state("b") is None
    assert CloseStream(stream) in effects


def test_a_stream_that_was_given_up_while_dialling_is_closed_when_it_opens() -> None:
    node = Node()
    (stream,) = dial(node, PEER)
    node.machine.handle_timer(StreamTimeout(stream), 21.0)
    assert node.machine.handle_stream_opened(stream, 22.0) == [CloseStream(stream)]


def test_a_join_request_that_still_runs_can_not_be_repeated() -> None:
    node = Node()
    dial(node, PEER)
    with pytest.raises(LocalProtocolError, match="still running"):
        dial(node, PEER)


def test_a_peer_that_hangs_up_fails_the_join() -> None:
    node = Node()
    (stream,) = dial(node, PEER)
    (finished,) = results(node.machine.handle_stream_closed(stream, None, 1.0))
    assert "closed the connection before it answered: is that its gossip port?" in finished.failures[0][1]
    assert node.machine.handle_stream_closed(stream, None, 1.0) == []


def test_a_wrong_key_fails_the_join_and_names_both_sides_fix() -> None:
    node = Node(keys=[KEY])
    (stream,) = dial(node, PEER)
    node.machine.handle_stream_opened(stream, 1.0)
    other = Node(keys=[OTHER]).machine.keyring
    assert other is not None
    sealed = seal_stream(encode_push_pull(True, [THEIRS], b""), other, bytes(12), b"")
    (finished,) = results(node.machine.handle_stream_data(stream, sealed, 1.0))
    reason = finished.failures[0][1]
    assert gossip_key_fingerprint(KEY) in reason
    assert "check `encrypt` there and here" in reason


def test_the_application_may_refuse_a_merge() -> None:
    node = Node()
    node.application.merge_refusal = "they are of dc2"
    (stream,) = dial(node, PEER)
    node.machine.handle_stream_opened(stream, 1.0)
    effects = node.machine.handle_stream_data(stream, encode_push_pull(True, [THEIRS], b"x"), 1.0)
    assert results(effects)[0].failures == ((PEER, "they are of dc2"),)
    assert node.heard == []


def test_an_accepted_push_pull_is_answered_closed_and_merged() -> None:
    node = Node()
    effects = accept(node, encode_push_pull(True, [THEIRS], b"their state"))
    (written,) = of_type(effects, SendStream)
    answer = read(written.data, answer=True)
    assert isinstance(answer, PushPull)
    assert answer.join is True
    assert [state.name for state in answer.nodes] == ["me"]
    assert effects.index(written) < effects.index(CloseStream(IN))
    assert node.heard == [("joined", "b"), ("state", b"their state", True)]


def test_an_accepted_ping_and_user_message_are_served() -> None:
    node = Node()
    effects = accept(node, encode_message(Ping(3, "me")))
    assert effects == [SendStream(IN, encode_message(Ack(3))), CloseStream(IN)]
    assert accept(node, encode_message(Ping(3, "other"))) == [CloseStream(IN)]
    assert accept(node, encode_user_stream(b"hello")) == [CloseStream(IN)]
    assert node.heard == [("message", b"hello")]


def test_a_broken_stream_is_answered_with_the_reason_and_closed() -> None:
    node = Node()
    effects = accept(node, b"\x06\xc1")
    (written,) = of_type(effects, SendStream)
    reply = read(written.data, answer=True)
    assert isinstance(reply, ErrorReply)
    assert "not msgpack" in reply.error
    assert CloseStream(IN) in effects
    (log,) = of_type(effects, Log)
    assert str(PEER) in log.message
    assert node.machine.stats.refused == {"malformed": 1}
    assert node.machine.handle_stream_data(IN, b"more", 1.0) == []


def test_labels_open_the_streams_that_we_dial_and_not_our_answers() -> None:
    node = Node(label="pool")
    (stream,) = dial(node, PEER)
    (written,) = of_type(node.machine.handle_stream_opened(stream, 1.0), SendStream)
    assert written.data.startswith(b"\xf4\x04pool\x06")
    (answer,) = of_type(accept(node, b"\xf4\x04pool" + encode_message(Ping(3, "me"))), SendStream)
    assert answer.data == encode_message(Ack(3))
    refused = accept(node, encode_message(Ping(3, "me")))
    assert "label" in of_type(refused, Log)[0].message


def test_sealed_nodes_understand_each_other_by_stream() -> None:
    node, peer = Node(keys=[KEY], label="pool"), Node(keys=[KEY], label="pool")
    (stream,) = dial(node, PEER)
    (written,) = of_type(node.machine.handle_stream_opened(stream, 1.0), SendStream)
    assert b"me" not in written.data
    (answer,) = of_type(accept(peer, written.data), SendStream)
    assert results(node.machine.handle_stream_data(stream, answer.data, 1.0)) == [JoinFinished(1, 1, ())]


def test_unanswered_streams_end_with_their_time() -> None:
    node = Node()
    effects = node.machine.handle_stream_accepted(IN, PEER, 1.0)
    assert timers(effects, StreamTimeout) == [(10.0, StreamTimeout(IN))]
    assert node.machine.handle_timer(StreamTimeout(IN), 11.0) == [CloseStream(IN)]
    assert node.machine.handle_timer(StreamTimeout(IN), 12.0) == []


def test_accepted_streams_are_bounded_and_places_become_free_again() -> None:
    node = Node()
    streams = [StreamId(2 * index + 1) for index in range(MAX_INBOUND_STREAMS + 1)]
    effects = [node.machine.handle_stream_accepted(stream, PEER, 1.0) for stream in streams]
    assert all(of_type(batch, CloseStream) == [] for batch in effects[:-1])
    assert of_type(effects[-1], CloseStream) == [CloseStream(streams[-1])]
    node.machine.handle_stream_closed(streams[0], None, 1.0)
    assert of_type(node.machine.handle_stream_accepted(streams[-1], PEER, 1.0), CloseStream) == []


def test_streams_that_we_dial_have_even_numbers() -> None:
    node = Node()
    streams = dial(node, PEER, Address("10.0.0.3", 8301))
    assert all(stream % 2 == 0 for stream in streams)
    assert len(set(streams)) == 2


def test_push_pull_goes_to_a_live_member_now_and_then() -> None:
    node = Node()
    assert of_type(node.machine.handle_timer(PushPullTick(), 1.0), OpenStream) == []
    node.know("b")
    effects = node.machine.handle_timer(PushPullTick(), 2.0)
    (opened,) = of_type(effects, OpenStream)
    assert opened.to == node.machine.member("b").address
    assert timers(effects, PushPullTick) == [(30.0, PushPullTick())]
    (written,) = of_type(node.machine.handle_stream_opened(opened.stream, 2.0), SendStream)
    state = read(written.data)
    assert isinstance(state, PushPull)
    assert not state.join
    (log,) = of_type(node.machine.handle_stream_closed(opened.stream, "reset", 2.0), Log)
    assert "reset" in log.message
