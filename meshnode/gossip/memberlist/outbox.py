"""Everything that leaves: effects in order, packets with news riding along, sealed and labelled as configured."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from meshnode.base.address import Address
from meshnode.gossip.effects import Effect, Level, Log, Notify, SendPacket, SetTimer
from meshnode.gossip.memberlist import packet
from meshnode.gossip.memberlist.broadcast import BroadcastQueue
from meshnode.gossip.memberlist.complaints import Complaints
from meshnode.gossip.memberlist.config import MemberlistConfig
from meshnode.gossip.memberlist.delegate import Delegate, Peer
from meshnode.gossip.memberlist.keyring import NONCE_BYTES, SEALED_OVERHEAD, Keyring
from meshnode.gossip.memberlist.roster import Roster
from meshnode.gossip.memberlist.stream import seal_stream

__all__ = ["Outbox", "Stats"]

CRC_PROTOCOL = 5
"""First protocol whose speakers read checksums."""
CRC_OVERHEAD = 5
USER_TYPE = b"\x08"


@dataclass(slots=True)
class Stats:
    """Counters since the start."""

    packets_in: int = 0
    packets_out: int = 0
    bytes_in: int = 0
    bytes_out: int = 0
    streams_in: int = 0
    streams_out: int = 0
    probes: int = 0
    probes_failed: int = 0
    refutations: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    """Refused packets and streams by reason (:class:`~meshnode.gossip.memberlist.packet.Refusal`)."""


class Outbox:
    """Collects the effects of one input; the parts of the machine share it."""

    def __init__(
        self,
        config: MemberlistConfig,
        keyring: Keyring | None,
        delegate: Delegate,
        roster: Roster,
        entropy: Callable[[int], bytes],
    ) -> None:
        self.effects: list[Effect] = []
        self.now = 0.0
        """Time of the input that is being handled."""
        self.complaints = Complaints()
        self.queue = BroadcastQueue(config.retransmit_mult)
        self.stats = Stats()
        self.keyring = keyring
        self.verify_outgoing = config.verify_outgoing
        self.label = config.label.encode()
        self._config = config
        self._delegate = delegate
        self._roster = roster
        self._entropy = entropy
        self._room = config.udp_buffer_size - packet.COMPOUND_OVERHEAD - packet.label_overhead(config.label)

    def drain(self) -> list[Effect]:
        """The effects so far; the outbox is empty afterwards."""
        effects, self.effects = self.effects, []
        return effects

    def arm(self, delay: float, timer: object) -> None:
        """Ask for ``timer`` after ``delay`` seconds."""
        self.effects.append(SetTimer(delay, timer))

    def log(self, level: Level, message: str) -> None:
        """Write a log line."""
        self.effects.append(Log(level, message))

    def complain(self, about: str, message: str) -> None:
        """Warn, at most once per :data:`~meshnode.gossip.memberlist.complaints.QUIET_INTERVAL` for one ``about``."""
        if self.complaints.may_speak(about, self.now):
            self.effects.append(Log(Level.WARN, message))

    def notify(self, event: object) -> None:
        """Report an event to the layer above."""
        self.effects.append(Notify(event))

    # ---- packets ----

    def send(self, to: Address, message: bytes, peer: Peer | None = None) -> None:
        """Send one message, with as much queued news as fits beside it."""
        news = self.gather(self._free() - len(message) - packet.PART_OVERHEAD)
        if news:
            message = packet.join_compound((message, *news[: packet.MAX_COMPOUND_PARTS - 1]))
        self.send_packet(to, message, peer)

    def send_news(self, to: Address, peer: Peer) -> bool:
        """Send as much queued news as fits in one packet; false when there is none."""
        news = self.gather(self._free())
        if not news:
            return False
        for start in range(0, len(news), packet.MAX_COMPOUND_PARTS):
            batch = news[start : start + packet.MAX_COMPOUND_PARTS]
            self.send_packet(to, batch[0] if len(batch) == 1 else packet.join_compound(batch), peer)
        return True

    def send_packet(self, to: Address, payload: bytes, peer: Peer | None = None) -> None:
        """Send a payload as it is, inside compression, CRC, seal and label where they apply."""
        if self._config.compress_packets:
            payload = min(payload, packet.compress(payload), key=len)
        if self.keyring and self.verify_outgoing:
            payload = self.keyring.seal(payload, self._entropy(NONCE_BYTES), self.label)
        elif peer is not None and peer.versions[1] >= CRC_PROTOCOL:
            payload = packet.add_crc(payload)
        if self.label:
            payload = packet.add_label(payload, self.label)
        self.stats.packets_out += 1
        self.stats.bytes_out += len(payload)
        self.effects.append(SendPacket(to, payload))

    def gather(self, room: int) -> list[bytes]:
        """Queued news for one packet, ours first, then the application's."""
        overhead = packet.PART_OVERHEAD
        queue = self.queue
        news = queue.take(overhead, room, len(self._roster)) if queue else []
        room -= sum(map(len, news)) + overhead * len(news)
        if room > overhead + 1:
            news.extend(USER_TYPE + message for message in self._delegate.broadcasts(overhead + 1, room))
        return news

    def _free(self) -> int:
        sealed = bool(self.keyring) and self.verify_outgoing
        return self._room - (SEALED_OVERHEAD if sealed else CRC_OVERHEAD)

    # ---- streams ----

    def wrap_stream(self, body: bytes, *, dialled: bool) -> bytes:
        """What to write on a stream for one message; the side that dialled opens with the label."""
        if self._config.compress_streams:
            body = min(body, packet.compress(body), key=len)
        if self.keyring and self.verify_outgoing:
            body = seal_stream(body, self.keyring, self._entropy(NONCE_BYTES), self.label)
        return packet.add_label(body, self.label) if dialled else body
