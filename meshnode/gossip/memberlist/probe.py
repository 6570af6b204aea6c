"""Failure detection: one member at a time is pinged, then pinged through others and by TCP, then suspected.

SWIM 3.1 and 4.3 with Lifeguard: the health score stretches the time that a probe may take, and helpers say ``nack``
when they tried in vain, so that a prober learns whether the fault may be its own.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from meshnode.base.address import Address
from meshnode.gossip.effects import Level
from meshnode.gossip.memberlist import packet
from meshnode.gossip.memberlist.codec import encode_message, ip_bytes, ip_text
from meshnode.gossip.memberlist.config import MemberlistConfig
from meshnode.gossip.memberlist.delegate import Delegate
from meshnode.gossip.memberlist.events import PingFinished
from meshnode.gossip.memberlist.member import Member
from meshnode.gossip.memberlist.membership import ROUNDING, Membership
from meshnode.gossip.memberlist.messages import Ack, IndirectPing, Nack, Ping, State, Suspect
from meshnode.gossip.memberlist.outbox import Outbox
from meshnode.gossip.memberlist.roster import Roster
from meshnode.gossip.memberlist.timers import ProbeDeadline, ProbeTick, ProbeTimeout, RelayTimeout

__all__ = ["Prober"]

NACK_PROTOCOL = 4
TCP_PING_PROTOCOL = 3
MAX_RELAYS = 4096
"""Pings that we run for others at a time; more are not answered."""
_TICK = ProbeTick()

OpenPing = Callable[[Member, Ping, float], None]
"""Ping a member by stream within so many seconds."""


@dataclass(slots=True)
class _Probe:
    target: Member
    seq_no: int
    sent_at: float
    deadline: float
    direct: bool = True
    acked: bool = False
    nacks_expected: int = 0
    nacks: int = 0


@dataclass(frozen=True, slots=True)
class _Relay:
    seq_no: int
    to: Address
    nack: bool


@dataclass(frozen=True, slots=True)
class _Request:
    request: int
    sent_at: float


class Prober:
    """Probes members in turn and answers the probes of others."""

    def __init__(
        self,
        config: MemberlistConfig,
        membership: Membership,
        roster: Roster,
        outbox: Outbox,
        delegate: Delegate,
        open_ping: OpenPing,
    ) -> None:
        self._config = config
        self._membership = membership
        self._roster = roster
        self._out = outbox
        self._delegate = delegate
        self._open_ping = open_ping
        self._name = membership.name
        self._source = (ip_bytes(membership.address.host), membership.address.port, membership.name)
        self._seq_no = 0
        self._probe: _Probe | None = None
        self._relays: dict[int, _Relay] = {}
        self._requests: dict[int, _Request] = {}

    def _next(self) -> int:
        self._seq_no = (self._seq_no + 1) & 0xFFFFFFFF
        return self._seq_no

    # ---- our own probes ----

    def tick(self, now: float) -> None:
        """Finish a probe that is due and start the next one; a probe that still runs skips its turn."""
        self._out.arm(self._config.probe_interval, _TICK)
        running = self._probe
        if running is not None:
            if not running.acked and now < running.deadline - ROUNDING:
                return
            self._finish(running, now)
        target = self._roster.next_probe(self._wants_probe, lambda: self._membership.reap(now))
        if target is not None:
            self._start(target, now)

    def _wants_probe(self, member: Member) -> bool:
        return member.state <= State.SUSPECT and member.peer.name != self._name

    def _start(self, target: Member, now: float) -> None:
        seq_no = self._next()
        ping = encode_message(Ping(seq_no, target.name, *self._source))
        budget = self._membership.awareness.scale(self._config.probe_interval)
        self._probe = _Probe(target, seq_no, now, now + budget)
        self._out.stats.probes += 1
        self._out.arm(self._config.probe_timeout, ProbeTimeout(seq_no))
        if target.state is State.ALIVE:
            self._out.send(target.address, ping, target.peer)
            return
        # The suspected node learns of it first, with the chance to refute (Lifeguard's buddy system).
        suspect = encode_message(Suspect(target.incarnation, target.name, self._name))
        self._out.send_packet(target.address, packet.join_compound((ping, suspect)), target.peer)

    def timed_out(self, timer: ProbeTimeout) -> None:
        """The direct ping had its time: ask others, and try TCP."""
        request = self._requests.pop(timer.seq_no, None)
        if request is not None:
            self._out.notify(PingFinished(request.request, None))
            return
        probe = self._probe
        if probe is None or probe.seq_no != timer.seq_no or probe.acked:
            return
        probe.direct = False
        target = probe.target
        helpers = self._roster.sample(
            self._config.indirect_checks,
            lambda member: member.state is State.ALIVE and member.name not in (self._name, target.name),
        )
        for helper in helpers:
            nack = helper.peer.versions[1] >= NACK_PROTOCOL
            probe.nacks_expected += nack
            message = IndirectPing(
                probe.seq_no, target.addr, target.address.port, target.name, nack, *self._source
            )
            self._out.send(helper.address, encode_message(message), helper.peer)
        budget = probe.deadline - (probe.sent_at + self._config.probe_timeout)
        if not self._config.disable_tcp_pings and target.peer.versions[1] >= TCP_PING_PROTOCOL and budget > 0:
            self._open_ping(target, Ping(probe.seq_no, target.name, *self._source), budget)
        self._out.arm(max(budget, 0.0), ProbeDeadline(probe.seq_no))

    def deadline_passed(self, timer: ProbeDeadline, now: float) -> None:
        """The whole probe had its time."""
        if self._probe is not None and self._probe.seq_no == timer.seq_no:
            self._finish(self._probe, now)

    def _finish(self, probe: _Probe, now: float) -> None:
        self._probe = None
        if probe.acked:
            return
        missing = probe.nacks_expected - probe.nacks
        self._membership.awareness.apply(max(missing, 0) if probe.nacks_expected else 1)
        self._out.stats.probes_failed += 1
        target = probe.target
        self._out.log(Level.INFO, f"suspecting {target.name}: no ack from {target.address}")
        self._membership.claim_suspect(Suspect(target.incarnation, target.name, self._name), None, now)

    def _succeed(self, probe: _Probe) -> None:
        probe.acked = True
        self._membership.awareness.apply(-1)

    def answered_by_stream(self, seq_no: int) -> None:
        """The TCP ping of probe ``seq_no`` was acknowledged."""
        probe = self._probe
        if probe is not None and probe.seq_no == seq_no and not probe.acked:
            self._succeed(probe)
            self._out.complain(
                f"no UDP {probe.target.name}",
                f"{probe.target.name} answers by TCP and not by UDP: let UDP pass between {self._membership.address} "
                f"and {probe.target.address}",
            )

    def ping(self, request: int, name: str, address: Address, now: float) -> None:
        """Ping once and report it; :class:`PingFinished` says the round trip time."""
        seq_no = self._next()
        self._requests[seq_no] = _Request(request, now)
        self._out.arm(self._config.probe_timeout, ProbeTimeout(seq_no))
        self._out.send(address, encode_message(Ping(seq_no, name, *self._source)))

    # ---- packets ----

    def handle_ack(self, ack: Ack, now: float) -> None:
        """A ping of ours, for ourselves or for somebody else, was answered."""
        probe = self._probe
        if probe is not None and probe.seq_no == ack.seq_no:
            if not probe.acked:
                self._succeed(probe)
                if probe.direct:
                    rtt = now - probe.sent_at
                    self._out.effects += self._delegate.ping_completed(
                        probe.target.peer, rtt, ack.payload, now
                    )
            return
        relay = self._relays.pop(ack.seq_no, None)
        if relay is not None:
            self._out.send(relay.to, encode_message(Ack(relay.seq_no)))
            return
        request = self._requests.pop(ack.seq_no, None)
        if request is not None:
            self._out.notify(PingFinished(request.request, now - request.sent_at))

    def handle_nack(self, nack: Nack) -> None:
        """A helper tried our target in vain."""
        probe = self._probe
        if probe is not None and probe.seq_no == nack.seq_no and not probe.acked:
            probe.nacks += 1

    def handle_ping(self, ping: Ping, src: Address) -> None:
        """Somebody wants to know whether we are there."""
        if ping.node and ping.node != self._name:
            self._out.complain(
                f"misdirected {src.host}", f"a ping from {src} is for {ping.node}, this is {self._name}"
            )
            return
        self._out.send(_reply_to(ping, src), encode_message(Ack(ping.seq_no, self._delegate.ack_payload())))

    def handle_indirect_ping(self, request: IndirectPing, src: Address) -> None:
        """Somebody asks us to ping for them."""
        if len(self._relays) >= MAX_RELAYS:
            return
        seq_no = self._next()
        self._relays[seq_no] = _Relay(request.seq_no, _reply_to(request, src), request.nack)
        target = Address(ip_text(request.target), request.port or self._membership.address.port)
        self._out.arm(self._config.probe_timeout, RelayTimeout(seq_no))
        self._out.send(target, encode_message(Ping(seq_no, request.node, *self._source)))

    def relay_timed_out(self, timer: RelayTimeout) -> None:
        """The target of a relayed ping kept silent."""
        relay = self._relays.pop(timer.seq_no, None)
        if relay is not None and relay.nack:
            self._out.send(relay.to, encode_message(Nack(relay.seq_no)))


def _reply_to(ping: Ping | IndirectPing, src: Address) -> Address:
    if ping.source_addr and ping.source_port:
        return Address(ip_text(ping.source_addr), ping.source_port)
    return src
