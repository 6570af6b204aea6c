"""TCP payload in order: per connection and direction, with retransmissions dropped and gaps counted (RFC 9293 3.4).

A stream keeps at most ``MAX_STREAM_BYTES``; canaries are looked for in all of it as it passes, so the bound
limits memory and not what is searched.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Final

from meshnode.base.address import Address
from meshnode.prove.capture import Packet

__all__ = ["Stream", "reassemble"]

#: Head of a stream that is kept for recognition: hellos and certificates fit many times over.
MAX_STREAM_BYTES: Final = 256 * 1024
#: Segments that may wait for one that is missing before the gap is given up.
MAX_WAITING_SEGMENTS: Final = 256
_SYN: Final = 0x02
_WRAP: Final = 1 << 32


@dataclass(slots=True)
class Stream:
    """One direction of one TCP connection. ``opening`` says that its first byte was captured."""

    source: Address
    destination: Address
    opening: bool = False
    head: bytearray = field(default_factory=bytearray)
    total_bytes: int = 0
    missing_bytes: int = 0
    _next: int | None = None
    _waiting: dict[int, bytes] = field(default_factory=dict)

    def add(self, packet: Packet, sink: Callable[[Stream, bytes], None]) -> None:
        """Take one segment; in-order payload goes to ``sink`` and, up to the bound, to ``head``."""
        if packet.flags & _SYN:
            self.opening = True
            self._next = (packet.sequence + 1) % _WRAP
            return
        if not packet.payload:
            return
        if self._next is None:
            self._next = packet.sequence
        ahead = (packet.sequence - self._next) % _WRAP
        if ahead >= _WRAP // 2:
            overlap = _WRAP - ahead
            if overlap < len(packet.payload):
                self._deliver(packet.payload[overlap:], sink)
        elif ahead == 0:
            self._deliver(packet.payload, sink)
        else:
            self._waiting.setdefault(packet.sequence, packet.payload)
            if len(self._waiting) > MAX_WAITING_SEGMENTS:
                self.skip_gap(sink)
        self._drain(sink)

    def skip_gap(self, sink: Callable[[Stream, bytes], None]) -> None:
        """Give up on what is missing before the earliest waiting segment."""
        while self._waiting and self._next is not None:
            start = self._next
            earliest = min(self._waiting, key=lambda sequence: (sequence - start) % _WRAP)
            self.missing_bytes += (earliest - start) % _WRAP
            self._next = earliest
            self._drain(sink)

    def _drain(self, sink: Callable[[Stream, bytes], None]) -> None:
        while self._next is not None and self._next in self._waiting:
            self._deliver(self._waiting.pop(self._next), sink)

    def _deliver(self, payload: bytes, sink: Callable[[Stream, bytes], None]) -> None:
        assert self._next is not None
        self._next = (self._next + len(payload)) % _WRAP
        self.total_bytes += len(payload)
        if len(self.head) < MAX_STREAM_BYTES:
            self.head += payload[: MAX_STREAM_BYTES - len(self.head)]
        sink(self, payload)


def reassemble(packets: Iterable[Packet], sink: Callable[[Stream, bytes], None]) -> list[Stream]:
    """Put every TCP packet into its stream; ``sink`` sees all payload in order, however long the stream."""
    live: dict[tuple[Address, Address], Stream] = {}
    finished: list[Stream] = []
    for packet in packets:
        if packet.transport != "tcp":
            continue
        key = (packet.source, packet.destination)
        stream = live.get(key)
        if stream is not None and packet.flags & _SYN and stream.total_bytes:
            # The port pair is used again: what came before was another connection.
            finished.append(stream)
            stream = None
        if stream is None:
            stream = live[key] = Stream(packet.source, packet.destination)
        stream.add(packet, sink)
    finished.extend(live.values())
    for stream in finished:
        stream.skip_gap(sink)
    return finished
