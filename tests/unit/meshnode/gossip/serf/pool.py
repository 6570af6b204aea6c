"""A simulated pool of Serf nodes for unit tests: virtual time, one seed, no sockets."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any, TypeVar

from meshnode.base.address import Address
from meshnode.gossip.effects import Effect
from meshnode.gossip.memberlist.config import MemberlistConfig
from meshnode.gossip.memberlist.delegate import Peer
from meshnode.gossip.memberlist.keyring import Keyring
from meshnode.gossip.serf.config import SerfConfig
from meshnode.gossip.serf.events import JoinFinished
from meshnode.gossip.serf.serf import Serf
from meshnode.gossip.serf.snapshot import Snapshot
from meshnode.gossip.serf.tags import serialize_tags
from tests.sim.world import Host, World

E = TypeVar("E")

SEED = 20240117
VERSIONS = (1, 5, 2, 2, 5, 5)


def address(index: int) -> Address:
    return Address(f"10.0.0.{index + 1}", 8301)


def peer(name: str, index: int, tags: dict[str, str] | None = None) -> Peer:
    return Peer(name, address(index), serialize_tags(tags or {}), VERSIONS)


class SimPool:
    """Nodes ``node0``, ``node1``... joined through ``node0``."""

    def __init__(self, size: int, *, seed: int = SEED, key: bytes | None = None, **options: Any) -> None:
        print(f"seed {seed}")
        self.seed = seed
        self.world = World(seed, keep_logs=True)
        self.hosts: list[Host] = []
        for _ in range(size):
            self.add(key=key, **options)
        for host in self.hosts[1:]:
            self.join(host)
        self.until(lambda: all(self.alive(host) == self.names for host in self.hosts), limit=30)

    @property
    def names(self) -> set[str]:
        return {host.machine.name for host in self.hosts}

    def add(
        self,
        *,
        name: str = "",
        key: bytes | None = None,
        config: SerfConfig | None = None,
        previous: Snapshot | None = None,
        index: int | None = None,
        **options: Any,
    ) -> Host:
        index = len(self.hosts) if index is None else index
        rng = random.Random(self.seed * 1000 + index)
        serf = Serf(
            name=name or f"node{index}",
            address=address(index),
            tags=options.pop("tags", {"index": str(index)}),
            config=config or SerfConfig(memberlist=MemberlistConfig.lan()),
            keyring=Keyring([key]) if key else None,
            rng=rng,
            entropy=rng.randbytes,
            **options,
        )
        host = self.world.add(address(index), serf)
        self.hosts.append(host)
        self.call(host, lambda now: serf.start(now, previous))
        return host

    def join(self, host: Host, *, ignore_old: bool = True, through: int = 0) -> JoinFinished:
        self.call(host, lambda now: host.machine.join(7, [self.hosts[through].address], ignore_old, now))
        self.until(lambda: bool(self.events(host, JoinFinished)), limit=30)
        return self.events(host, JoinFinished)[-1]

    def call(self, host: Host, verb: Callable[[float], list[Effect]]) -> None:
        self.world.call(host, verb)

    def until(self, done: Callable[[], bool], *, limit: float = 60.0) -> float:
        return self.world.run_until(done, limit=limit, step=0.1)

    def run(self, seconds: float) -> None:
        self.world.run(seconds)

    def events(self, host: Host, kind: type[E]) -> list[E]:
        return [event for event in host.events if isinstance(event, kind)]

    def status(self, host: Host, name: str) -> str | None:
        member = host.machine.member(name)
        return str(member.status) if member else None

    def alive(self, host: Host) -> set[str]:
        return {member.name for member in host.machine.members() if str(member.status) == "alive"}

    def logs(self, host: Host) -> str:
        return "\n".join(log.message for log in host.logs)
