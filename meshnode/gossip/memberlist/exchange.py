"""TCP streams: push/pull in both roles, joins, pings that UDP failed to answer, user messages.

Who dials sends first and reads one message; who accepts reads one message and answers it. Either way the stream is
closed after that, after its time, or at the first wrong byte.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import Enum, auto

from meshnode.base.address import Address
from meshnode.base.errors import LocalProtocolError, RemoteProtocolError
from meshnode.gossip.effects import CloseStream, Level, OpenStream, SendStream, StreamId
from meshnode.gossip.memberlist.codec import encode_message, ip_text
from meshnode.gossip.memberlist.config import MemberlistConfig
from meshnode.gossip.memberlist.delegate import Delegate, Peer
from meshnode.gossip.memberlist.events import JoinFinished
from meshnode.gossip.memberlist.member import Member
from meshnode.gossip.memberlist.membership import Membership
from meshnode.gossip.memberlist.messages import (
    Ack,
    ErrorReply,
    NodeState,
    Ping,
    PushPull,
    State,
    UserMessage,
)
from meshnode.gossip.memberlist.outbox import Outbox
from meshnode.gossip.memberlist.packet import PacketRefusedError, Refusal
from meshnode.gossip.memberlist.roster import Roster
from meshnode.gossip.memberlist.stream import (
    StreamMessage,
    StreamParser,
    encode_push_pull,
)
from meshnode.gossip.memberlist.timers import StreamTimeout

__all__ = ["MAX_INBOUND_STREAMS", "Exchange"]

MAX_INBOUND_STREAMS = 128
"""Accepted streams at a time (memberlist's maxPushPullRequests); more are closed at once."""


class _Purpose(Enum):
    ANSWER = auto()
    """We accepted the stream."""
    JOIN = auto()
    SYNC = auto()
    PING = auto()


@dataclass(slots=True)
class _Session:
    purpose: _Purpose
    peer: Address
    parser: StreamParser | None = None
    request: int = 0
    """Join request or number of the ping."""
    body: bytes = b""


@dataclass(slots=True)
class _Join:
    waiting: int
    joined: int = 0
    failures: list[tuple[Address, str]] = field(default_factory=list)


class Exchange:
    """All streams of one node."""

    def __init__(
        self,
        config: MemberlistConfig,
        membership: Membership,
        roster: Roster,
        outbox: Outbox,
        delegate: Delegate,
        ping_answered: Callable[[int], None],
    ) -> None:
        self.verify_incoming = config.verify_incoming
        self._config = config
        self._membership = membership
        self._roster = roster
        self._out = outbox
        self._delegate = delegate
        self._ping_answered = ping_answered
        self._sessions: dict[StreamId, _Session] = {}
        self._joins: dict[int, _Join] = {}
        self._accepted = 0
        self._next_stream = 0

    # ---- dialling ----

    def join(self, request: int, seeds: Sequence[Address]) -> None:
        """Push/pull with every seed at once; :class:`JoinFinished` follows. Our own address counts as joined."""
        if request in self._joins:
            raise LocalProtocolError(f"join request {request} is still running")
        others = [seed for seed in dict.fromkeys(seeds) if seed != self._membership.address]
        join = _Join(waiting=len(others), joined=int(len(others) < len(set(seeds))))
        self._joins[request] = join
        for seed in others:
            self._open(_Session(_Purpose.JOIN, seed, self._parser(answer=True), request))
        self._finish_join(request)

    def sync(self) -> None:
        """Push/pull with a random live member."""
        name = self._membership.name
        for member in self._roster.sample(1, lambda m: m.state is State.ALIVE and m.peer.name != name):
            self._open(_Session(_Purpose.SYNC, member.address, self._parser(answer=True)))

    def ping(self, target: Member, ping: Ping, timeout: float) -> None:
        """Ping ``target`` by stream within ``timeout`` seconds."""
        body = encode_message(ping)
        self._open(
            _Session(_Purpose.PING, target.address, self._parser(answer=True), ping.seq_no, body), timeout
        )

    def _open(self, session: _Session, timeout: float | None = None) -> None:
        self._next_stream += 2
        stream = StreamId(self._next_stream)
        self._sessions[stream] = session
        self._out.stats.streams_out += 1
        dial = self._config.tcp_timeout if timeout is None else timeout
        self._out.effects.append(OpenStream(stream, session.peer, dial))
        self._out.arm(2 * dial if timeout is None else timeout, StreamTimeout(stream))

    def opened(self, stream: StreamId) -> None:
        """The connection is there: send our side."""
        session = self._sessions.get(stream)
        if session is None:
            # Given up while it was being dialled.
            self._out.effects.append(CloseStream(stream))
            return
        match session.purpose:
            case _Purpose.JOIN | _Purpose.SYNC:
                body = self._state(session.purpose is _Purpose.JOIN)
            case _:
                body = session.body
        self._out.effects.append(SendStream(stream, self._out.wrap_stream(body, dialled=True)))

    # ---- accepting ----

    def accepted(self, stream: StreamId, peer: Address) -> None:
        """A peer connected."""
        if self._accepted >= MAX_INBOUND_STREAMS:
            self._out.complain(
                "streams", f"closed a stream from {peer}: {MAX_INBOUND_STREAMS} are open already"
            )
            self._out.effects.append(CloseStream(stream))
            return
        self._accepted += 1
        self._out.stats.streams_in += 1
        self._sessions[stream] = _Session(_Purpose.ANSWER, peer, self._parser(answer=False))
        self._out.arm(self._config.tcp_timeout, StreamTimeout(stream))

    def _parser(self, *, answer: bool) -> StreamParser:
        return StreamParser(
            label=self._out.label,
            answer=answer,
            keyring=self._out.keyring,
            verify_incoming=self.verify_incoming,
        )

    # ---- bytes ----

    def received(self, stream: StreamId, data: bytes, now: float) -> None:
        """Bytes arrived."""
        session = self._sessions.get(stream)
        if session is None or session.parser is None:
            return
        try:
            message = session.parser.feed(data)
        except RemoteProtocolError as error:
            self._refuse(stream, session, error)
            return
        if message is None:
            return
        if session.purpose is _Purpose.ANSWER:
            self._answer(stream, session, message, now)
        else:
            self._close(stream)
            self._use_answer(session, message, now)

    def closed(self, stream: StreamId, error: str | None) -> None:
        """The connection failed (``error``) or the peer closed it (``None``)."""
        session = self._forget(stream)
        if session is not None:
            self._fail(session, error or "closed the connection before it answered: is that its gossip port?")

    def timed_out(self, timer: StreamTimeout) -> None:
        """The stream had its time."""
        session = self._sessions.get(timer.stream)
        if session is not None:
            self._close(timer.stream)
            self._fail(session, "no answer in time")

    def _close(self, stream: StreamId) -> None:
        self._forget(stream)
        self._out.effects.append(CloseStream(stream))

    def _forget(self, stream: StreamId) -> _Session | None:
        session = self._sessions.pop(stream, None)
        if session is not None and session.purpose is _Purpose.ANSWER:
            self._accepted -= 1
        return session

    def _refuse(self, stream: StreamId, session: _Session, error: RemoteProtocolError) -> None:
        refusal = error.refusal if isinstance(error, PacketRefusedError) else Refusal.MALFORMED
        self._out.stats.refused[refusal] += 1
        if session.purpose is _Purpose.ANSWER:
            self._out.complain(
                f"{refusal} {session.peer.host}", explain("a stream", session.peer, refusal, str(error))
            )
            reply = encode_message(ErrorReply(str(error)))
            self._out.effects.append(SendStream(stream, self._out.wrap_stream(reply, dialled=False)))
        self._close(stream)
        self._fail(session, explain("its answer", session.peer, refusal, str(error)))

    # ---- messages ----

    def _answer(self, stream: StreamId, session: _Session, message: StreamMessage, now: float) -> None:
        match message:
            case PushPull():
                reply = self._out.wrap_stream(self._state(message.join), dialled=False)
                self._out.effects.append(SendStream(stream, reply))
                self._close(stream)
                problem = self._merge(message, message.join, now)
                if problem:
                    self._out.complain(
                        f"merge {session.peer.host}", f"refused the state of {session.peer}: {problem}"
                    )
            case Ping():
                if not message.node or message.node == self._membership.name:
                    reply = self._out.wrap_stream(encode_message(Ack(message.seq_no)), dialled=False)
                    self._out.effects.append(SendStream(stream, reply))
                self._close(stream)
            case UserMessage():
                self._close(stream)
                self._out.effects += self._delegate.handle_message(message.body, now)
            case Ack() | ErrorReply():
                self._close(stream)

    def _use_answer(self, session: _Session, message: StreamMessage, now: float) -> None:
        if isinstance(message, ErrorReply):
            self._fail(session, f"it refused: {message.error}")
        elif session.purpose is _Purpose.PING:
            if isinstance(message, Ack) and message.seq_no == session.request:
                self._ping_answered(message.seq_no)
        elif not isinstance(message, PushPull):
            self._fail(session, "it answered with something else than its state")
        else:
            problem = self._merge(message, session.purpose is _Purpose.JOIN, now)
            if problem:
                self._fail(session, problem)
            elif session.purpose is _Purpose.JOIN:
                self._joins[session.request].joined += 1
                self._joins[session.request].waiting -= 1
                self._finish_join(session.request)

    def _fail(self, session: _Session, reason: str) -> None:
        match session.purpose:
            case _Purpose.JOIN:
                join = self._joins[session.request]
                join.waiting -= 1
                join.failures.append((session.peer, reason))
                self._finish_join(session.request)
            case _Purpose.SYNC:
                self._out.log(Level.WARN, f"push/pull with {session.peer} failed: {reason}")
            case _Purpose.ANSWER | _Purpose.PING:
                pass

    def _finish_join(self, request: int) -> None:
        join = self._joins[request]
        if join.waiting <= 0:
            del self._joins[request]
            self._out.notify(JoinFinished(request, join.joined, tuple(join.failures)))

    def _state(self, join: bool) -> bytes:
        nodes = [member.to_node_state() for member in self._roster]
        return encode_push_pull(join, nodes, self._delegate.local_state(join))

    def _merge(self, remote: PushPull, join: bool, now: float) -> str:
        problem = self._membership.incompatibility(remote.nodes)
        if not problem and join:
            peers = [peer for node in remote.nodes if (peer := _peer(node)) is not None]
            problem = self._delegate.refuse_merge(peers)
        if problem:
            return problem
        self._membership.merge(remote.nodes, now)
        if remote.user_state:
            self._out.effects += self._delegate.merge_remote_state(remote.user_state, join, now)
        return ""


def _peer(node: NodeState) -> Peer | None:
    if node.versions is None:
        return None
    return Peer(node.name, Address(ip_text(node.addr), node.port), node.meta, node.versions)


def explain(what: str, source: Address, refusal: Refusal, reason: str) -> str:
    """A sentence for the log: what was refused, from where, why, and what to change."""
    match refusal:
        case Refusal.KEY:
            return f"{what} from {source} can't be decrypted: {reason}: check `encrypt` there and here"
        case Refusal.PLAINTEXT:
            return f"{what} from {source} is refused: {reason}: set `encrypt` there, or encrypt_verify_incoming here"
        case _:
            return f"{what} from {source} is refused: {reason}"
