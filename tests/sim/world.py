"""A network and a clock for sans-IO gossip cores.

A ``World`` holds hosts, each with one machine: a ``Memberlist`` or anything else with the same ``handle_*`` verbs.
Everything that happens is an entry in one heap, ordered by virtual time. All chance comes from one seed, so a seed
fixes the whole run: :attr:`World.trace` is a SHA-256 over every event, equal for equal seeds.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from heapq import heappop, heappush
from random import Random
from typing import Any, Protocol

from meshnode.base.address import Address
from meshnode.gossip.effects import (
    CloseStream,
    Effect,
    Log,
    Notify,
    OpenStream,
    SendPacket,
    SendStream,
    SetTimer,
    StreamId,
)

__all__ = ["Host", "Machine", "Network", "World"]

PACKET, TIMER, ACCEPT, OPENED, DATA, CLOSED, CALL = range(7)
_HEAD = struct.Struct("<dBI")


class Machine(Protocol):
    """What the world drives."""

    def handle_packet(self, data: bytes, src: Address, now: float) -> list[Effect]: ...
    def handle_timer(self, timer: Any, now: float) -> list[Effect]: ...
    def handle_stream_accepted(self, stream: StreamId, peer: Address, now: float) -> list[Effect]: ...
    def handle_stream_opened(self, stream: StreamId, now: float) -> list[Effect]: ...
    def handle_stream_data(self, stream: StreamId, data: bytes, now: float) -> list[Effect]: ...
    def handle_stream_closed(self, stream: StreamId, error: str | None, now: float) -> list[Effect]: ...


@dataclass(slots=True)
class Network:
    """Properties of every path; times are seconds, the others probabilities. Loss and duplication are UDP's."""

    min_latency: float = 0.0005
    max_latency: float = 0.005
    loss: float = 0.0
    duplication: float = 0.0


@dataclass(slots=True)
class Host:
    """One node: its machine and what the network knows of it."""

    index: int
    address: Address
    machine: Any
    up: bool = True
    side: int = 0
    """Hosts of different sides can't reach each other."""
    events: list[object] = field(default_factory=list)
    """What the machine notified."""
    logs: list[Log] = field(default_factory=list)
    streams: dict[StreamId, tuple[Host, StreamId, float]] = field(default_factory=dict)
    """Far host, far stream and latency of each open stream."""
    next_stream: int = 1


class World:
    """The heap of things to come, and the hosts they happen to."""

    def __init__(self, seed: int, network: Network | None = None, *, keep_logs: bool = False) -> None:
        self.now = 0.0
        self.rng = Random(seed)
        self.network = network or Network()
        self.hosts: dict[Address, Host] = {}
        self.packets = self.lost = self.events = 0
        self._keep_logs = keep_logs
        self._heap: list[tuple[float, int, int, Host, Any, Any]] = []
        self._serial = 0
        self._trace = hashlib.sha256()

    # ---- hosts ----

    def add(self, address: Address, machine: Machine) -> Host:
        """Connect a machine to the network."""
        host = Host(len(self.hosts), address, machine)
        self.hosts[address] = host
        return host

    def perform(self, host: Host, effects: Iterable[Effect]) -> None:
        """Run the effects that a verb of ``host.machine`` returned."""
        for effect in effects:
            kind = type(effect)
            if kind is SetTimer:
                self._push(effect.delay, TIMER, host, effect.timer, None)  # type: ignore[union-attr]
            elif kind is SendPacket:
                self._send(host, effect)  # type: ignore[arg-type]
            else:
                self._perform_rare(host, effect)

    def call(self, host: Host, verb: Callable[[float], list[Effect]]) -> None:
        """Call a verb of a machine now."""
        self.perform(host, verb(self.now))

    def at(self, delay: float, host: Host, verb: Callable[[float], list[Effect]]) -> None:
        """Call a verb of a machine after ``delay`` seconds."""
        self._push(delay, CALL, host, verb, None)

    def kill(self, host: Host) -> None:
        """Stop a host without a word."""
        host.up = False

    def split(self, hosts: Iterable[Host], side: int = 1) -> None:
        """Cut ``hosts`` off from those of other sides."""
        for host in hosts:
            host.side = side

    def heal(self) -> None:
        """End every partition."""
        for host in self.hosts.values():
            host.side = 0

    @property
    def trace(self) -> str:
        """Digest of everything that happened so far."""
        return self._trace.hexdigest()

    # ---- time ----

    def run(self, seconds: float) -> None:
        """Let ``seconds`` of virtual time pass."""
        end = self.now + seconds
        heap, trace, pack = self._heap, self._trace.update, _HEAD.pack
        while heap and heap[0][0] <= end:
            self.now, _, kind, host, first, second = heappop(heap)
            if not host.up:
                continue
            self.events += 1
            trace(pack(self.now, kind, host.index))
            machine = host.machine
            if kind == PACKET:
                trace(first)
                effects = machine.handle_packet(first, second, self.now)
            elif kind == TIMER:
                effects = machine.handle_timer(first, self.now)
            else:
                effects = self._happen(kind, host, first, second)
            self.perform(host, effects)
        self.now = end

    def run_until(self, done: Callable[[], bool], *, limit: float, step: float = 0.2) -> float:
        """Let time pass until ``done()``; returns the seconds it took. Raises after ``limit`` seconds."""
        start = self.now
        while not done():
            if self.now - start >= limit:
                raise AssertionError(f"not done after {limit} virtual seconds")
            self.run(step)
        return self.now - start

    def _push(self, delay: float, kind: int, host: Host, first: Any, second: Any) -> None:
        self._serial += 1
        heappush(self._heap, (self.now + delay, self._serial, kind, host, first, second))

    # ---- network ----

    def _latency(self) -> float:
        low = self.network.min_latency
        return low + (self.network.max_latency - low) * self.rng.random()

    def _send(self, host: Host, effect: SendPacket) -> None:
        network = self.network
        self.packets += 1
        target = self.hosts.get(effect.to)
        if target is None or not target.up or target.side != host.side:
            return
        if network.loss and self.rng.random() < network.loss:
            self.lost += 1
            return
        self._push(self._latency(), PACKET, target, effect.data, host.address)
        if network.duplication and self.rng.random() < network.duplication:
            self._push(self._latency(), PACKET, target, effect.data, host.address)

    def _perform_rare(self, host: Host, effect: Effect) -> None:
        match effect:
            case OpenStream():
                self._dial(host, effect)
            case SendStream():
                link = host.streams.get(effect.stream)
                if link is not None:
                    self._push(link[2], DATA, link[0], link[1], effect.data)
            case CloseStream():
                link = host.streams.pop(effect.stream, None)
                if link is not None:
                    self._push(link[2], CLOSED, link[0], link[1], None)
            case Log():
                if self._keep_logs:
                    host.logs.append(effect)
            case Notify():
                host.events.append(effect.event)
            case _:
                raise AssertionError(f"{effect!r} is no effect that the simulator knows")

    def _dial(self, host: Host, effect: OpenStream) -> None:
        target = self.hosts.get(effect.to)
        if target is None or not target.up or target.side != host.side:
            self._push(effect.timeout, CLOSED, host, effect.stream, "connection timed out")
            return
        latency = self._latency()
        far = StreamId(target.next_stream)
        target.next_stream += 2
        host.streams[effect.stream] = (target, far, latency)
        target.streams[far] = (host, effect.stream, latency)
        self._push(latency, ACCEPT, target, far, host.address)
        self._push(2 * latency, OPENED, host, effect.stream, None)

    def _happen(self, kind: int, host: Host, first: Any, second: Any) -> list[Effect]:
        machine = host.machine
        if kind == CALL:
            return list(first(self.now))
        if kind == CLOSED:
            host.streams.pop(first, None)
            return list(machine.handle_stream_closed(first, second, self.now))
        if first not in host.streams:
            return []
        link = host.streams[first]
        if link[0].side != host.side:
            return []
        if kind == DATA:
            return list(machine.handle_stream_data(first, second, self.now))
        if kind == ACCEPT:
            return list(machine.handle_stream_accepted(first, second, self.now))
        return list(machine.handle_stream_opened(first, self.now))
