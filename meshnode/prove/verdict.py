"""One judgement per port, from every packet seen on it.

A port is *encrypted* only when all of its payload was recognised as TLS or sealed gossip; one readable stream
or one canary makes it *plaintext*, and anything not recognised makes it *unknown*, which counts as failed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from meshnode.prove.canary import CanarySearch
from meshnode.prove.capture import Packet
from meshnode.prove.hexdump import hexdump
from meshnode.prove.recognise import Finding, recognise_datagram, recognise_stream
from meshnode.prove.streams import Stream, reassemble

__all__ = ["PortVerdict", "judge"]

_EXCERPT_BYTES = 96


@dataclass(slots=True)
class PortVerdict:
    """What port ``port`` carried. ``judgement``: encrypted, plaintext, unknown or silent (no payload at all)."""

    port: int
    packets: int = 0
    payload_bytes: int = 0
    missing_bytes: int = 0
    findings: Counter[tuple[str, str]] = field(default_factory=Counter)
    versions: set[str] = field(default_factory=set)
    certificate_names: set[str] = field(default_factory=set)
    canaries: set[str] = field(default_factory=set)
    excerpt: str = ""
    _excerpt_rank: int = 0

    @property
    def judgement(self) -> str:
        """The verdict in one word."""
        kinds = {kind for kind, _ in self.findings}
        if self.canaries or "plaintext" in kinds:
            return "plaintext"
        if not self.payload_bytes:
            return "silent"
        return "encrypted" if kinds and kinds <= {"tls", "sealed"} and not self.missing_bytes else "unknown"

    def add(self, finding: Finding, sample: bytes) -> None:
        """Count one stream or datagram; the excerpt shown is of the worst that was seen."""
        self.findings[finding.kind, finding.detail] += 1
        if finding.version:
            self.versions.add(finding.version)
        self.certificate_names.update(finding.names)
        rank = {"tls": 1, "sealed": 1, "unknown": 2, "plaintext": 3}[finding.kind]
        if rank > self._excerpt_rank and sample:
            self.show(sample[:_EXCERPT_BYTES], 0, rank)

    def show(self, data: bytes, offset: int, rank: int) -> None:
        """Make ``data`` the excerpt."""
        self.excerpt, self._excerpt_rank = hexdump(data, offset), rank

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
            "certificate_names": sorted(self.certificate_names),
            "canaries": sorted(self.canaries),
            "excerpt": self.excerpt,
        }


def judge(
    packets: Iterable[Packet], ports: Sequence[int], canaries: Sequence[str], keys: Sequence[bytes]
) -> list[PortVerdict]:
    """Judge each of ``ports`` from ``packets``; a packet belongs to the port that either of its ends has."""
    return _Judge(ports, canaries, keys).run(packets)


class _Judge:
    def __init__(self, ports: Sequence[int], canaries: Sequence[str], keys: Sequence[bytes]) -> None:
        self._verdicts = {port: PortVerdict(port) for port in ports}
        self._search = CanarySearch(canaries)
        self._keys = keys
        self._tails: dict[int, bytes] = {}

    def run(self, packets: Iterable[Packet]) -> list[PortVerdict]:
        streams = reassemble(self._tcp_after_datagrams(packets), self._stream_data)
        for stream in streams:
            verdict = self._verdict_of(stream)
            if verdict is not None and stream.total_bytes:
                verdict.missing_bytes += stream.missing_bytes
                verdict.add(recognise_stream(stream, self._keys), bytes(stream.head[:_EXCERPT_BYTES]))
        return list(self._verdicts.values())

    def _tcp_after_datagrams(self, packets: Iterable[Packet]) -> Iterable[Packet]:
        for packet in packets:
            verdict = self._verdict_of(packet)
            if verdict is None:
                continue
            verdict.packets += 1
            verdict.payload_bytes += len(packet.payload)
            if packet.transport == "tcp":
                yield packet
            elif packet.payload:
                verdict.add(recognise_datagram(packet.payload, self._keys), packet.payload)
                found, _ = self._search.find(b"", packet.payload)
                self._leak(verdict, found, packet.payload)

    def _stream_data(self, stream: Stream, data: bytes) -> None:
        verdict = self._verdict_of(stream)
        if verdict is not None:
            tail = self._tails.get(id(stream), b"")
            found, self._tails[id(stream)] = self._search.find(tail, data)
            self._leak(verdict, found, tail + data)

    def _leak(self, verdict: PortVerdict, found: set[str], data: bytes) -> None:
        if found and not verdict.canaries:
            excerpt = self._search.excerpt(data)
            if excerpt is not None:
                verdict.show(excerpt[1], excerpt[0], 4)
        verdict.canaries |= found

    def _verdict_of(self, seen: Packet | Stream) -> PortVerdict | None:
        return self._verdicts.get(seen.destination.port) or self._verdicts.get(seen.source.port)
