"""Tuning of the membership protocol: one frozen object, checked when it is made.

The profiles and their figures are memberlist's own (``lan``, ``wan``, ``local``), which Consul and Serf use unchanged.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from meshnode.base.errors import ConfigError

__all__ = ["MAX_LABEL_BYTES", "PROTOCOL_MAX", "PROTOCOL_MIN", "MemberlistConfig"]

PROTOCOL_MIN = 1
"""Lowest protocol version that we understand (advertised; we speak 2 and up)."""
PROTOCOL_MAX = 5
SPEAKABLE_PROTOCOLS = range(2, PROTOCOL_MAX + 1)
MAX_LABEL_BYTES = 255
"""A label's length travels in one byte."""
MIN_UDP_BUFFER_BYTES, MAX_UDP_BUFFER_BYTES = 576, 65_507


@dataclass(frozen=True, slots=True, kw_only=True)
class MemberlistConfig:
    """How one node takes part in the protocol. Durations are seconds.

    Raises :class:`ConfigError` naming the first field that can't be used. A zero interval turns its activity off.
    """

    protocol_version: int = 2
    delegate_versions: tuple[int, int, int] = (2, 5, 5)
    """Application protocol that we announce: min, max, current (Serf: 2, 5, 5)."""
    probe_interval: float = 1.0
    probe_timeout: float = 0.5
    indirect_checks: int = 3
    disable_tcp_pings: bool = False
    awareness_max_multiplier: int = 8
    suspicion_mult: int = 4
    suspicion_max_timeout_mult: int = 6
    gossip_interval: float = 0.2
    gossip_nodes: int = 3
    gossip_to_the_dead_time: float = 30.0
    retransmit_mult: int = 4
    push_pull_interval: float = 30.0
    tcp_timeout: float = 10.0
    leave_timeout: float = 5.0
    """How long a departure waits for its broadcast to be sent out."""
    udp_buffer_size: int = 1400
    dead_node_reclaim_time: float = 0.0
    """Age after which a failed node's name may return with another address; 0 forbids it (left nodes always may)."""
    verify_incoming: bool = True
    verify_outgoing: bool = True
    label: str = ""
    compress_packets: bool = False
    compress_streams: bool = False
    """LZW on what we send: off, since it costs more time in Python than a LAN saves. We read it always."""

    def __post_init__(self) -> None:
        """Check every field."""
        self._check_versions()
        for key in ("probe_timeout", "tcp_timeout", "leave_timeout"):
            self._require(key, 0 < getattr(self, key) < math.inf, "a number of seconds above 0")
        for key in (
            "probe_interval",
            "gossip_interval",
            "push_pull_interval",
            "gossip_to_the_dead_time",
            "dead_node_reclaim_time",
        ):
            self._require(key, 0 <= getattr(self, key) < math.inf, "a number of seconds, 0 or more")
        if self.probe_interval:
            self._require(
                "probe_timeout",
                self.probe_timeout <= self.probe_interval,
                "at most probe_interval (both in seconds)",
            )
        for key in ("indirect_checks", "gossip_nodes"):
            self._require(key, 0 <= getattr(self, key) <= 64, "a count from 0 to 64")
        for key in (
            "awareness_max_multiplier",
            "suspicion_mult",
            "suspicion_max_timeout_mult",
            "retransmit_mult",
        ):
            self._require(key, 1 <= getattr(self, key) <= 100, "a factor from 1 to 100")
        self._require(
            "udp_buffer_size",
            MIN_UDP_BUFFER_BYTES <= self.udp_buffer_size <= MAX_UDP_BUFFER_BYTES,
            f"bytes from {MIN_UDP_BUFFER_BYTES} to {MAX_UDP_BUFFER_BYTES}",
        )
        self._require(
            "label", len(self.label.encode()) <= MAX_LABEL_BYTES, f"at most {MAX_LABEL_BYTES} bytes of text"
        )

    def _check_versions(self) -> None:
        accepted = f"a version from {SPEAKABLE_PROTOCOLS.start} to {PROTOCOL_MAX}"
        self._require("protocol_version", self.protocol_version in SPEAKABLE_PROTOCOLS, accepted)
        low, high, current = self.delegate_versions
        self._require(
            "delegate_versions",
            0 <= low <= current <= high <= 255,
            "min, max and current with min <= current <= max",
        )

    def _require(self, key: str, fine: bool, accepted: str) -> None:
        if not fine:
            raise ConfigError(f"{key}: {getattr(self, key)!r} can't be used: write {accepted}", key=key)

    @property
    def versions(self) -> tuple[int, int, int, int, int, int]:
        """What we announce: protocol min, max, current and delegate min, max, current."""
        return (PROTOCOL_MIN, PROTOCOL_MAX, self.protocol_version, *self.delegate_versions)

    @classmethod
    def lan(cls, **changes: object) -> MemberlistConfig:
        """Profile for nodes of one data centre."""
        return _build(cls, {}, changes)

    @classmethod
    def wan(cls, **changes: object) -> MemberlistConfig:
        """Profile for nodes far apart."""
        return _build(cls, WAN, changes)

    @classmethod
    def local(cls, **changes: object) -> MemberlistConfig:
        """Profile for nodes on one machine."""
        return _build(cls, LOCAL, changes)


WAN: dict[str, object] = {
    "tcp_timeout": 30.0,
    "suspicion_mult": 6,
    "push_pull_interval": 60.0,
    "probe_timeout": 3.0,
    "probe_interval": 5.0,
    "gossip_nodes": 4,
    "gossip_interval": 0.5,
    "gossip_to_the_dead_time": 60.0,
}
LOCAL: dict[str, object] = {
    "tcp_timeout": 1.0,
    "indirect_checks": 1,
    "retransmit_mult": 2,
    "suspicion_mult": 3,
    "push_pull_interval": 15.0,
    "probe_timeout": 0.2,
    "gossip_interval": 0.1,
    "gossip_to_the_dead_time": 15.0,
}


def _build(
    cls: type[MemberlistConfig], profile: dict[str, object], changes: dict[str, object]
) -> MemberlistConfig:
    return cls(**{**profile, **changes})  # type: ignore[arg-type]  # checked field by field in __post_init__
