"""TCP payload in order: per connection and direction, with retransmissions dropped and gaps counted (RFC 9293 3.4).

A gap is what a later segment skipped, or what the other end acknowledged and the capture doesn't hold. The first
copy of a byte counts. Memory is bounded: by :class:`Budget` for segments that wait, by ``MAX_CONNECTIONS`` otherwise.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, Protocol

from meshnode.base.address import Address
from meshnode.prove.budget import Budget
from meshnode.prove.frame import Packet

__all__ = ["MAX_CONNECTIONS", "MAX_WAITING_SEGMENTS", "Reader", "Reassembly", "Stream"]

#: Segments of one stream that may wait for one that is missing before the gap is given up.
MAX_WAITING_SEGMENTS: Final = 256
#: Connections that are followed at a time; the oldest is judged as it is when there is one more.
MAX_CONNECTIONS: Final = 8192
_FIN, _SYN, _RST, _ACK = 0x01, 0x02, 0x04, 0x10
_WRAP, _HALF = 1 << 32, 1 << 31


class Reader(Protocol):
    """Takes what one stream carries."""

    def data(self, payload: bytes, at: float) -> None:
        """The next bytes in order."""

    def stray(self, payload: bytes, at: float) -> None:
        """Bytes from before the first one that the stream was joined at: in no order."""

    def gap(self, missing: int) -> None:
        """Bytes are missing here."""

    def end(self) -> None:
        """Nothing follows."""


@dataclass(slots=True)
class Stream:
    """One direction of one TCP connection.

    ``opening`` says that its first byte was, or would be, captured; ``begun`` that a SYN of either side was.
    """

    source: Address
    destination: Address
    opening: bool = False
    begun: bool = False
    total_bytes: int = 0
    missing_bytes: int = 0
    next_sequence: int | None = None
    ended: bool = False
    reader: Reader | None = None
    #: The reader that was made for it, also after its end.
    first_reader: Reader | None = None
    #: The other direction, as long as the connection is followed.
    other: Stream | None = field(default=None, repr=False)
    _waiting: dict[int, Packet] = field(default_factory=dict)
    _fin: int | None = None
    _acknowledged: tuple[int, int, int] | None = None

    def open(self, sequence: int) -> None:
        """Its SYN: the first byte has the number after ``sequence``."""
        self.opening = True
        self.next_sequence = (sequence + 1) % _WRAP

    def acknowledge(self, number: int) -> None:
        """The other end has everything before ``number``."""
        if self._acknowledged is None:
            self._acknowledged = (number, number, 0)
            return
        first, last, steps = self._acknowledged
        if 0 < (number - last) % _WRAP < _HALF:
            self._acknowledged = (first, number, steps + 1)

    def add(self, packet: Packet, budget: Budget) -> None:
        """Take one segment that is no SYN, or the payload that came with one."""
        sequence = packet.sequence
        if packet.flags & _FIN:
            self._fin = (sequence + len(packet.payload) + packet.missing) % _WRAP
        if packet.payload or packet.missing:
            if self.next_sequence is None:
                self.next_sequence = sequence
            ahead = (sequence - self.next_sequence) % _WRAP
            if 0 < ahead < _HALF:
                self._wait(packet, budget)
            else:
                self._take(packet)
            if self._waiting:
                self._drain(budget)
        if self._fin is not None and self.next_sequence in (None, self._fin) and not self._waiting:
            self.finish(budget)

    def finish(self, budget: Budget) -> None:
        """Nothing more comes: count what is missing and end."""
        if self.ended:
            return
        while self._waiting:
            self._skip_gap(budget)
        self._miss(self.unseen())
        self.ended = True
        if self.reader is not None:
            self.reader.end()
            self.reader = None

    def unseen(self) -> int:
        """Bytes that the other end acknowledged and nobody captured; SYN and FIN are acknowledged like bytes."""
        if self._acknowledged is None:
            return 0
        first, last, steps = self._acknowledged
        if self.next_sequence is None:
            advance = (last - first) % _WRAP
            # One step may be late word of bytes that were sent before the capture began.
            sure = steps > (0 if self.begun else 1)
            return advance if sure and 2 < advance < _HALF else 0
        behind = (last - self.next_sequence) % _WRAP
        return behind if 1 < behind < _HALF else 0

    def _wait(self, packet: Packet, budget: Budget) -> None:
        known = self._waiting.get(packet.sequence)
        if known is not None:
            if len(known.payload) >= len(packet.payload):
                return
            budget.give_back(len(known.payload))
            del self._waiting[packet.sequence]
        while self._waiting and (
            len(self._waiting) >= MAX_WAITING_SEGMENTS or len(packet.payload) > budget.left
        ):
            self._skip_gap(budget)
        if not self._waiting and len(packet.payload) > budget.left:
            assert self.next_sequence is not None
            self._miss((packet.sequence - self.next_sequence) % _WRAP)
            self._take(packet)
            return
        budget.take(len(packet.payload))
        self._waiting[packet.sequence] = packet

    def _drain(self, budget: Budget) -> None:
        """Take every waiting segment that is not ahead any more."""
        assert self.next_sequence is not None
        while True:
            packet = self._waiting.pop(self.next_sequence, None)
            if packet is None:
                start = self.next_sequence
                stale = [number for number in self._waiting if (number - start) % _WRAP >= _HALF]
                if not stale:
                    return
                packet = self._waiting.pop(stale[0])
            budget.give_back(len(packet.payload))
            self._take(packet)

    def _skip_gap(self, budget: Budget) -> None:
        """Give up on what is missing before the earliest waiting segment."""
        assert self.next_sequence is not None
        start = self.next_sequence
        earliest = min(self._waiting, key=lambda number: (number - start) % _WRAP)
        self._miss((earliest - start) % _WRAP)
        self._drain(budget)

    def _take(self, packet: Packet) -> None:
        """Deliver a segment that is not ahead: all of it, the part that is new, or nothing."""
        assert self.next_sequence is not None
        known = (self.next_sequence - packet.sequence) % _WRAP
        before = known - self.total_bytes - self.missing_bytes
        if before > 0 and not self.opening and self.reader is not None:
            # From before the byte that the stream was joined at: nobody has looked at it.
            self.reader.stray(packet.payload[:before], packet.at)
        length = len(packet.payload) + packet.missing
        if known >= length:
            return
        fresh = packet.payload[known:]
        if fresh:
            self.next_sequence = (self.next_sequence + len(fresh)) % _WRAP
            self.total_bytes += len(fresh)
            if self.reader is not None:
                self.reader.data(fresh, packet.at)
        if packet.missing:
            self._miss(min(packet.missing, length - known))

    def _miss(self, count: int) -> None:
        if count:
            self.missing_bytes += count
            if self.next_sequence is not None:
                self.next_sequence = (self.next_sequence + count) % _WRAP
            if self.reader is not None:
                self.reader.gap(count)


_Key = tuple[Address, Address]


class Reassembly:
    """The connections of one capture. ``begin`` makes the reader of a new stream when its first byte comes."""

    def __init__(self, begin: Callable[[Stream], Reader], budget: Budget | None = None) -> None:
        self._begin = begin
        self._budget = budget or Budget()
        self._streams: dict[_Key, tuple[Stream, Stream]] = {}

    def add(self, packet: Packet) -> None:
        """Take one TCP packet."""
        key = (packet.source, packet.destination)
        pair = self._streams.get(key)
        if pair is None or (packet.flags & _SYN and _is_another(pair[0], packet.sequence)):
            pair = self._new(key)
        stream, other = pair
        if packet.flags & _ACK and not packet.flags & _RST:
            other.acknowledge(packet.acknowledged)
        if packet.flags & _SYN:
            stream.begun = other.begun = True
            if stream.next_sequence is None:
                stream.open(packet.sequence)
            packet = packet._replace(sequence=(packet.sequence + 1) % _WRAP)
        if stream.ended:
            start = stream.next_sequence
            if not packet.payload or start is None or (packet.sequence - start) % _WRAP >= _HALF:
                return
            # Bytes after the end and no SYN: the port pair is used again.
            stream = self._new(key)[0]
        if packet.flags & _RST:
            stream.finish(self._budget)
            return
        if stream.reader is None and (packet.payload or packet.missing):
            stream.reader = stream.first_reader = self._begin(stream)
        if packet.payload or packet.missing or packet.flags & _FIN:
            stream.add(packet, self._budget)

    def finish(self) -> None:
        """The capture ends."""
        while self._streams:
            self._forget(next(iter(self._streams)))

    def _new(self, key: _Key) -> tuple[Stream, Stream]:
        self._forget(key)
        if len(self._streams) >= 2 * MAX_CONNECTIONS:
            over = (known for known, pair in self._streams.items() if pair[0].ended and pair[1].ended)
            self._forget(next(over, next(iter(self._streams))))
        forth, back = Stream(*key), Stream(key[1], key[0])
        forth.other, back.other = back, forth
        self._streams[key] = (forth, back)
        self._streams[key[1], key[0]] = (back, forth)
        return forth, back

    def _forget(self, key: _Key) -> None:
        pair = self._streams.pop(key, None)
        self._streams.pop((key[1], key[0]), None)
        for stream in pair or ():
            if stream.reader is None and not stream.ended and stream.unseen():
                stream.reader = stream.first_reader = self._begin(stream)
            stream.finish(self._budget)
        for stream in pair or ():
            stream.other = None


def _is_another(stream: Stream, sequence: int) -> bool:
    """Whether a SYN with this number begins another connection than the stream's."""
    if stream.next_sequence is None:
        return stream.ended
    first = stream.next_sequence - stream.total_bytes - stream.missing_bytes
    return (first - 1 - sequence) % _WRAP != 0
