"""One judgement per port, from every packet seen on it.

A port is *encrypted* only when all of its payload was recognised as TLS, or was sealed gossip that a key opened. One
readable stream or one canary makes it *plaintext*. Anything else takes the proof away: what is not recognised, what
is missing (*unknown*), and what has the shape of sealed gossip and was not opened (*unopened*). The same per pair of
nodes and direction is in ``flows``, where TLS that both ends showed certificates for is told from other TLS.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from meshnode.base.address import Address
from meshnode.gossip.memberlist.keyring import Keyring
from meshnode.prove.authentication import mutual
from meshnode.prove.budget import Budget
from meshnode.prove.canary import CanarySearch, Tail, around
from meshnode.prove.excerpt import Excerpt
from meshnode.prove.flow import LEVELS, MAX_FLOWS, OTHERS, Flow, FlowKey, Level, flow_key
from meshnode.prove.frame import Packet
from meshnode.prove.gossip import split_label
from meshnode.prove.gzip_search import GZIP_MAGIC, Gunzip
from meshnode.prove.recognise import SAMPLE_BYTES, Finding, StreamRecogniser, recognise_datagram
from meshnode.prove.streams import Reassembly, Stream
from meshnode.prove.timeline import Timeline
from meshnode.prove.tls import TlsWalk

__all__ = ["MAX_FINDINGS", "PortVerdict", "judge"]

#: Different findings that are told apart on one port; the details of peers' making are in them.
MAX_FINDINGS: Final = 256
#: Gossip labels that are remembered for the streams that answer.
MAX_LABELS: Final = 16
_RANK: Final = {"tls": 1, "sealed": 1, "unopened": 2, "unknown": 3, "plaintext": 4}
_CANARY_RANK: Final = 5


@dataclass(slots=True)
class PortVerdict:
    """What port ``port`` carried. ``canaries`` were readable; ``sealed_canaries`` were inside frames that a key opened.

    ``judgement`` is encrypted, plaintext, unknown, unopened, or silent (no payload at all).
    """

    port: int
    packets: int = 0
    payload_bytes: int = 0
    missing_bytes: int = 0
    findings: Counter[tuple[str, str]] = field(default_factory=Counter)
    versions: set[str] = field(default_factory=set)
    ciphers: set[str] = field(default_factory=set)
    certificate_names: set[str] = field(default_factory=set)
    canaries: set[str] = field(default_factory=set)
    sealed_canaries: set[str] = field(default_factory=set)
    flows: dict[FlowKey, Flow] = field(default_factory=dict)
    excerpt: Excerpt | None = None
    _excerpt_rank: int = 0

    @property
    def kinds(self) -> frozenset[str]:
        """The kinds of what was found."""
        return frozenset(kind for kind, _ in self.findings)

    @property
    def judgement(self) -> str:
        """The verdict in one word."""
        kinds = self.kinds
        if self.canaries or "plaintext" in kinds:
            return "plaintext"
        if self.missing_bytes or "unknown" in kinds:
            return "unknown"
        if not kinds:
            return "silent"
        return "unopened" if "unopened" in kinds else "encrypted"

    def flow(self, source: Address, destination: Address) -> Flow:
        """The row of these two ends."""
        key = flow_key(self.port, source, destination)
        known = self.flows.get(key)
        if known is not None:
            return known
        if len(self.flows) >= MAX_FLOWS:
            key = FlowKey(OTHERS, OTHERS, key.direction)
        return self.flows.setdefault(key, Flow(key))

    def add(self, finding: Finding, sample: Excerpt, flow: Flow) -> None:
        """Count one stream or datagram; the excerpt shown is of the worst that was seen."""
        flow.counts[LEVELS[finding.kind]] += 1
        flow.show(sample, _RANK[finding.kind])
        key = (finding.kind, finding.detail)
        if key not in self.findings and len(self.findings) >= MAX_FINDINGS:
            key = (finding.kind, "and more of other kinds")
        self.findings[key] += 1
        if finding.names and len(self.certificate_names) < MAX_FINDINGS:
            self.certificate_names.update(finding.names)
        if finding.version:
            self.versions.add(finding.version)
            self.ciphers.update(filter(None, (finding.cipher,)))
        self.show(sample, _RANK[finding.kind])

    def show(self, excerpt: Excerpt, rank: int) -> None:
        """Make this the excerpt when it is worse than the one shown."""
        if rank > self._excerpt_rank and excerpt.data:
            self.excerpt, self._excerpt_rank = excerpt, rank

    def leak(self, canary: str, excerpt: Excerpt, flow: Flow) -> None:
        """A canary was readable."""
        self.canaries.add(canary)
        flow.canaries.add(canary)
        flow.show(excerpt, _CANARY_RANK)
        self.show(excerpt, _CANARY_RANK)

    def as_dict(self) -> dict[str, object]:
        """The verdict as JSON data."""
        return {
            "port": self.port,
            "judgement": self.judgement,
            "packets": self.packets,
            "payload_bytes": self.payload_bytes,
            "missing_bytes": self.missing_bytes,
            "findings": [{"kind": k, "detail": d, "count": n} for (k, d), n in sorted(self.findings.items())],
            "versions": sorted(self.versions),
            "ciphers": sorted(self.ciphers),
            "certificate_names": sorted(self.certificate_names),
            "canaries": sorted(self.canaries),
            "sealed_canaries": sorted(self.sealed_canaries),
            "excerpt": self.excerpt.as_dict() if self.excerpt else None,
            "flows": [flow.as_dict() for _, flow in sorted(self.flows.items())],
        }


def judge(
    captures: Iterable[Iterable[Packet]],
    ports: Sequence[int],
    canaries: Sequence[str],
    keyring: Keyring,
    timeline: Timeline | None = None,
) -> list[PortVerdict]:
    """Judge each of ``ports`` from every capture; a packet belongs to the port that either of its ends has.

    Each capture is an observation of its own: a connection that two of them saw is judged twice. ``timeline`` gets
    what was seen when.
    """
    verdicts = {port: PortVerdict(port) for port in ports}
    search = CanarySearch(canaries)
    budget, labels = Budget(), dict[bytes, None]()
    for capture in captures:
        _Observation(verdicts, search, keyring, budget, labels, timeline or Timeline()).run(capture)
    return list(verdicts.values())


class _Observation:
    """One capture."""

    def __init__(
        self,
        verdicts: dict[int, PortVerdict],
        search: CanarySearch,
        keyring: Keyring,
        budget: Budget,
        labels: dict[bytes, None],
        timeline: Timeline,
    ) -> None:
        self._verdicts = verdicts
        self.search = search
        self.keyring = keyring
        self.budget = budget
        self.labels = labels
        self._timeline = timeline

    def run(self, packets: Iterable[Packet]) -> None:
        connections = Reassembly(self._begin, self.budget)
        for packet in packets:
            verdict = self._verdict_of(packet)
            if verdict is None:
                continue
            verdict.packets += 1
            verdict.payload_bytes += len(packet.payload)
            flow = verdict.flow(packet.source, packet.destination)
            flow.packets += 1
            flow.payload_bytes += len(packet.payload)
            if packet.payload:
                self._timeline.add(verdict.port, packet.at, len(packet.payload))
            if packet.transport == "tcp":
                connections.add(packet)
                continue
            verdict.missing_bytes += packet.missing
            flow.missing_bytes += packet.missing
            if packet.payload:
                self._judge_datagram(verdict, flow, packet)
        connections.finish()

    def know_label(self, label: bytes) -> None:
        """Remember a gossip label, for the streams that answer without it."""
        if label and len(self.labels) < MAX_LABELS:
            self.labels[label] = None

    def search_content(self, verdict: PortVerdict, flow: Flow, finding: Finding, excerpt: Excerpt) -> None:
        """Canaries in what a reader gets out of it: a leak when anybody can, else a sign that it travelled sealed."""
        for content in finding.content:
            for canary, (begin, end) in self.search.find(content).items():
                if finding.kind == "sealed":
                    verdict.sealed_canaries.add(canary)
                    continue
                offset, data = around(content, begin, end)
                verdict.leak(canary, replace(excerpt, data=data, offset=offset), flow)

    def _judge_datagram(self, verdict: PortVerdict, flow: Flow, packet: Packet) -> None:
        payload = packet.payload
        ends = (packet.at, "udp", packet.source, packet.destination)
        self.know_label(split_label(payload)[0])
        finding = recognise_datagram(payload, self.keyring)
        sample = Excerpt(*ends, payload[:SAMPLE_BYTES])
        for canary, (begin, end) in self.search.find(payload).items():
            offset, data = around(payload, begin, end)
            verdict.leak(canary, Excerpt(*ends, data, offset), flow)
        for text in Gunzip().feed(payload) if GZIP_MAGIC in payload else ():
            self.search_content(verdict, flow, Finding("plaintext", "gzip", content=(text,)), sample)
        self.search_content(verdict, flow, finding, sample)
        verdict.add(finding, sample, flow)

    def _begin(self, stream: Stream) -> _StreamReader:
        verdict = self._verdict_of(stream)
        assert verdict is not None, "packets of other ports are not reassembled"
        return _StreamReader(self, verdict, stream)

    def _verdict_of(self, seen: Packet | Stream) -> PortVerdict | None:
        return self._verdicts.get(seen.destination.port) or self._verdicts.get(seen.source.port)


class _StreamReader:
    """Judges one stream as its bytes come; a :class:`meshnode.prove.streams.Reader`."""

    def __init__(self, observation: _Observation, verdict: PortVerdict, stream: Stream) -> None:
        self._observation = observation
        self._verdict = verdict
        self._stream = stream
        self.flow = verdict.flow(stream.source, stream.destination)
        self._ends = (stream.source, stream.destination)
        self._tail = Tail(observation.search)
        self._gunzip, self._expanded = Gunzip(), Tail(observation.search)
        self._at: float | None = None
        #: The records of a stream that has been judged, and whether that was as encrypted.
        self.walk: TlsWalk | None = None
        self.encrypted = False
        self._recogniser: StreamRecogniser | None = StreamRecogniser(
            opening=stream.opening,
            keyring=observation.keyring,
            labels=observation.labels.keys(),
            budget=observation.budget,
        )

    def data(self, payload: bytes, at: float) -> None:
        if self._at is None:
            self._at = at
        if self._recogniser is not None:
            self._recogniser.feed(payload)
            self._observation.know_label(self._recogniser.label)
        for canary, (offset, shown) in self._tail.find(payload).items():
            self._verdict.leak(canary, Excerpt(at, "tcp", *self._ends, shown, offset), self.flow)
        for text in self._gunzip.feed(payload):
            if not text:
                self._expanded = Tail(self._observation.search)
            for canary, (offset, shown) in self._expanded.find(text).items():
                self._verdict.leak(canary, Excerpt(at, "tcp", *self._ends, shown, offset), self.flow)

    def stray(self, payload: bytes, at: float) -> None:
        for canary, (begin, end) in self._observation.search.find(payload).items():
            offset, data = around(payload, begin, end)
            self._verdict.leak(canary, Excerpt(at, "tcp", *self._ends, data, offset), self.flow)

    def gap(self, missing: int) -> None:
        self._verdict.missing_bytes += missing
        self.flow.missing_bytes += missing
        self._tail.skip(missing)
        self._gunzip.skip()
        self._conclude()

    def end(self) -> None:
        self._conclude()

    def _conclude(self) -> None:
        recogniser, self._recogniser = self._recogniser, None
        if recogniser is None:
            return
        finding = recogniser.finish()
        if self._at is None:
            return
        sample = Excerpt(self._at, "tcp", *self._ends, recogniser.sample)
        self._observation.search_content(self._verdict, self.flow, finding, sample)
        self._verdict.add(finding, sample, self.flow)
        self.walk = recogniser.walk
        self.encrypted = LEVELS[finding.kind] is Level.ENCRYPTED
        self._authenticate()

    def _authenticate(self) -> None:
        """When both directions have been judged: did both ends show who they are?"""
        companion = self._stream.other.first_reader if self._stream.other is not None else None
        readers = [self, *((companion,) if isinstance(companion, _StreamReader) else ())]
        walks = {reader.walk.handshake.side: reader.walk for reader in readers if reader.walk is not None}
        client, server = walks.get("client"), walks.get("server")
        if client is None or server is None:
            return
        seen = mutual(client.handshake, client.first_sealed_bytes, server.handshake)
        for reader in readers:
            reader.flow.authenticate(seen.evidence, mutual=seen.mutual and reader.encrypted)
