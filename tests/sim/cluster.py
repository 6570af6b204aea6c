"""Clusters of ``Memberlist`` cores in a :class:`~tests.sim.world.World`, and questions to them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Address
from random import Random

from meshnode.base.address import Address
from meshnode.gossip.effects import Effect, SetTimer
from meshnode.gossip.memberlist.codec import ip_bytes
from meshnode.gossip.memberlist.config import MemberlistConfig
from meshnode.gossip.memberlist.delegate import Peer
from meshnode.gossip.memberlist.keyring import Keyring
from meshnode.gossip.memberlist.member import Member
from meshnode.gossip.memberlist.memberlist import Memberlist
from meshnode.gossip.memberlist.messages import State
from meshnode.gossip.memberlist.timers import GossipTick, ProbeTick, PushPullTick
from tests.sim.world import Host, Network, World

__all__ = ["Cluster", "SilentDelegate"]

PORT = 8301
FIRST_HOST = int(IPv4Address("10.0.0.1"))
META = b"\xff\x82\xa4role\xa4node\xa2dc\xa3dc1"


@dataclass(slots=True)
class SilentDelegate:
    """An application without state of its own; it writes down whom it lost."""

    left: list[tuple[float, str, bool]] = field(default_factory=list)
    """When, who, and whether it was declared dead."""
    messages: list[bytes] = field(default_factory=list)

    def node_meta(self) -> bytes:
        return META

    def handle_message(self, message: bytes, now: float) -> list[Effect]:
        self.messages.append(message)
        return []

    def broadcasts(self, overhead: int, limit: int) -> list[bytes]:
        return []

    def local_state(self, joining: bool) -> bytes:
        return b""

    def merge_remote_state(self, state: bytes, joining: bool, now: float) -> list[Effect]:
        return []

    def peer_joined(self, peer: Peer, now: float) -> list[Effect]:
        return []

    def peer_left(self, peer: Peer, failed: bool, now: float) -> list[Effect]:
        self.left.append((now, peer.name, failed))
        return []

    def peer_updated(self, peer: Peer, now: float) -> list[Effect]:
        return []

    def peer_conflict(self, existing: Peer, other: Peer, now: float) -> list[Effect]:
        return []

    def refuse_merge(self, peers: Sequence[Peer]) -> str:
        return ""

    def refuse_alive(self, peer: Peer) -> str:
        return ""

    def ack_payload(self) -> bytes:
        return b""

    def ping_completed(self, peer: Peer, rtt: float, payload: bytes, now: float) -> list[Effect]:
        return []


class Cluster:
    """``size`` nodes that know each other already; more can join, some can be killed or cut off."""

    def __init__(
        self,
        size: int,
        *,
        seed: int,
        config: MemberlistConfig | None = None,
        network: Network | None = None,
        keys: Sequence[bytes] = (),
    ) -> None:
        self.world = World(seed, network)
        self.config = config or MemberlistConfig.lan()
        self.keys = keys
        self.nodes: dict[str, Host] = {}
        self._seed = seed
        everyone = [self._member(index) for index in range(size)]
        for index in range(size):
            # The order of the mapping is the order of the probes: a rotation of one shuffled list is random enough.
            if index % 64 == 0:
                self.world.rng.shuffle(everyone)
            start = self.world.rng.randrange(size)
            known = {member.name: member for member in (*everyone[start:], *everyone[:start])}
            host = self._node(index, known)
            self._arm(host)

    def _member(self, index: int) -> Member:
        address = address_of(index)
        peer = Peer(name_of(index), address, META, self.config.versions)
        return Member(peer, ip_bytes(address.host), 1, State.ALIVE, 0.0)

    def _node(self, index: int, known: dict[str, Member] | None) -> Host:
        rng = Random(f"{self._seed}/{index}")
        machine = Memberlist(
            name=name_of(index),
            address=address_of(index),
            config=self.config,
            keyring=Keyring(self.keys) if self.keys else None,
            delegate=SilentDelegate(),
            rng=rng,
            entropy=rng.randbytes,
            known=known,
        )
        host = self.world.add(address_of(index), machine)
        self.nodes[machine.name] = host
        return host

    def _arm(self, host: Host) -> None:
        """What ``start`` does, without the announcement that everybody has heard already."""
        random = self.world.rng.random
        interval = self.config.push_pull_interval
        self.world.perform(
            host,
            [
                SetTimer(self.config.probe_interval * random(), ProbeTick()),
                SetTimer(self.config.gossip_interval * random(), GossipTick()),
                SetTimer(interval * random() * max(1, len(self.nodes) // 64), PushPullTick()),
            ],
        )

    def join(self, count: int, *, through: Sequence[Host], delay: float = 0.0) -> list[Host]:
        """Start ``count`` new nodes, each joining through one of ``through``."""
        hosts = []
        for _ in range(count):
            host = self._node(len(self.nodes), None)
            seed = self.world.rng.choice(through).address
            self.world.at(delay, host, host.machine.start)
            self.world.at(
                delay,
                host,
                lambda now, m=host.machine, s=seed: m.join(1, [s], now),  # type: ignore[misc]
            )
            hosts.append(host)
        return hosts

    def pick(self, count: int) -> list[Host]:
        """``count`` different live hosts."""
        return self.world.rng.sample([host for host in self.nodes.values() if host.up], count)

    # ---- questions ----

    def knowing(self, subjects: Sequence[Host], *states: State, among: Sequence[Host] | None = None) -> float:
        """Share of (observer, subject) pairs in which the observer holds the subject to be in one of ``states``.

        A subject that the observer does not know (any more) counts as DEAD.
        """
        observers = [host for host in (among if among is not None else self.nodes.values()) if host.up]
        right = total = 0
        for observer in observers:
            member = observer.machine.member
            for subject in subjects:
                if subject is observer:
                    continue
                known = member(subject.machine.name)
                total += 1
                right += (known.state if known is not None else State.DEAD) in states
        return right / total if total else 1.0

    def false_deaths(self, since: float = 0.0, excused: Sequence[Host] = ()) -> list[tuple[float, str, str]]:
        """(when, observer, victim) of every declared death of a node that was up all the time and not excused."""
        truly_gone = {host.machine.name for host in (*self.nodes.values(), *excused) if not host.up}
        truly_gone |= {host.machine.name for host in excused}
        return [
            (when, observer, victim)
            for observer, host in self.nodes.items()
            if observer not in truly_gone
            for when, victim, failed in host.machine._delegate.left
            if failed and when >= since and victim not in truly_gone
        ]


def name_of(index: int) -> str:
    return f"node-{index}"


def address_of(index: int) -> Address:
    return Address(str(IPv4Address(FIRST_HOST + index)), PORT)
