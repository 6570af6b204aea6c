"""Serf's settings, checked once. Durations are seconds; the defaults are Consul's LAN profile where it differs."""

from __future__ import annotations

from dataclasses import dataclass, field

from meshnode.base.errors import ConfigError
from meshnode.gossip.memberlist.config import MemberlistConfig

__all__ = ["MAX_USER_EVENT_BYTES", "PROTOCOL_MAX", "PROTOCOL_MIN", "SerfConfig"]

PROTOCOL_MIN = 2
PROTOCOL_MAX = 5
#: A user event larger than this is refused whatever is configured (Serf's sane limit: 9 KiB).
MAX_USER_EVENT_BYTES = 9 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class SerfConfig:
    """How one node takes part in Serf; raises :class:`ConfigError` naming a field that can't be used."""

    memberlist: MemberlistConfig = field(default_factory=MemberlistConfig)
    protocol_version: int = PROTOCOL_MAX
    #: How long a leave waits for its broadcast to be sent often enough.
    broadcast_timeout: float = 5.0
    #: How long a node that left stays up to answer probes while the news spreads.
    leave_propagate_delay: float = 1.0
    reap_interval: float = 15.0
    recent_intent_timeout: float = 300.0
    reconnect_interval: float = 30.0
    #: After this a failed member is forgotten and no longer dialled.
    reconnect_timeout: float = 72 * 3600.0
    #: After this a member that left is forgotten.
    tombstone_timeout: float = 24 * 3600.0
    #: Lamport times of which events and queries are remembered to deliver each once.
    event_buffer_size: int = 512
    query_buffer_size: int = 512
    max_queue_depth: int = 4096
    query_timeout_mult: int = 16
    max_query_bytes: int = 1024
    max_query_response_bytes: int = 1024
    max_user_event_bytes: int = 512
    resolves_name_conflicts: bool = True
    coordinates: bool = True
    #: The shell saves the keyring and reports back; a requester hears of success only then.
    persists_keyring: bool = False
    #: Emit ``SnapshotLine`` events, the clock at this interval.
    writes_snapshot: bool = False
    snapshot_interval: float = 0.5
    rejoin_after_leave: bool = False

    def __post_init__(self) -> None:
        """Check every field that has a range."""
        ranges = {
            "protocol_version": (PROTOCOL_MIN, PROTOCOL_MAX),
            "event_buffer_size": (1, 65536),
            "query_buffer_size": (1, 65536),
            "max_queue_depth": (1, 1 << 20),
            "query_timeout_mult": (1, 1000),
            "max_query_bytes": (64, 65536),
            "max_query_response_bytes": (64, 65536),
            "max_user_event_bytes": (1, MAX_USER_EVENT_BYTES),
            "reap_interval": (0.001, float("inf")),
            "reconnect_interval": (0.001, float("inf")),
            "snapshot_interval": (0.001, float("inf")),
            "reconnect_timeout": (0, float("inf")),
            "tombstone_timeout": (0, float("inf")),
            "recent_intent_timeout": (0, float("inf")),
            "broadcast_timeout": (0, float("inf")),
            "leave_propagate_delay": (0, float("inf")),
        }
        for key, (low, high) in ranges.items():
            value = getattr(self, key)
            if not low <= value <= high:
                raise ConfigError(
                    f"{key}: {value!r} can't be used: write a number from {low} to {high}", key=key
                )
