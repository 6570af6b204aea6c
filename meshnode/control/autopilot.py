"""How the set of servers is cared for: the replicated settings, which Consul calls Autopilot's configuration.

There is no raft here: an engine keeps the log. So of Consul's settings three mean something:
``cleanup_dead_servers`` (see ``server_health.replaced``), ``last_contact_threshold`` and ``max_trailing_logs`` (see
``server_health.is_healthy``). The others are kept at Consul's defaults, and :func:`fault` says why.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from meshnode.base.duration import format_duration
from meshnode.control.watch import AUTOPILOT, WatchKey

__all__ = ["DEFAULT", "MAX_NUMBER", "AutopilotConfig", "AutopilotStore", "fault"]

#: The largest number, and the largest count of nanoseconds: those of Go's int64.
MAX_NUMBER: Final = 2**63 - 1


@dataclass(frozen=True, slots=True)
class AutopilotConfig:
    """Consul's fields with Consul's defaults; durations in seconds, an index is 0 while nobody has set anything."""

    cleanup_dead_servers: bool = True
    last_contact_threshold: float = 0.2
    max_trailing_logs: int = 250
    server_stabilization_time: float = 10.0
    redundancy_zone_tag: str = ""
    disable_upgrade_migration: bool = False
    upgrade_version_tag: str = ""
    create_index: int = 0
    modify_index: int = 0


DEFAULT: Final = AutopilotConfig()


def fault(config: AutopilotConfig) -> str:
    """Why ``config`` can't be taken: a sentence that names the field and the fix; empty when it can."""
    stabilization = DEFAULT.server_stabilization_time
    if not 0 <= config.last_contact_threshold <= MAX_NUMBER / 1e9:
        return "LastContactThreshold must not be negative: it is the longest silence of a healthy server"
    if not 0 <= config.max_trailing_logs <= MAX_NUMBER:
        return "MaxTrailingLogs must not be negative: it is how far a healthy server may be behind"
    if config.server_stabilization_time != stabilization:
        return (
            f"ServerStabilizationTime must stay {format_duration(stabilization)}: "
            "the log's engine decides who leads, so no server waits for a vote"
        )
    if config.redundancy_zone_tag:
        return "RedundancyZoneTag must stay empty: redundancy zones are only in Consul Enterprise"
    if config.disable_upgrade_migration:
        return "DisableUpgradeMigration must stay false: upgrade migration is only in Consul Enterprise"
    if config.upgrade_version_tag:
        return "UpgradeVersionTag must stay empty: upgrade migration is only in Consul Enterprise"
    return ""


class AutopilotStore:
    """The settings in the state machine, Consul's defaults until somebody sets them. Touches ``("autopilot",)``."""

    def __init__(self, touched: set[WatchKey]) -> None:
        self._touched: Final = touched
        self.config = DEFAULT

    @property
    def index(self) -> int:
        """The index of the last change; 0 when there was none."""
        return self.config.modify_index

    def set(self, index: int, config: AutopilotConfig, expected: int | None) -> bool:
        """Replace the settings; with ``expected`` only if that is the index of the last change. Says whether it did."""
        if expected is not None and expected != self.index:
            return False
        created = self.config.create_index or index
        self.config = replace(config, create_index=created, modify_index=index)
        self._touched.add(AUTOPILOT)
        return True

    def load(self, config: AutopilotConfig) -> None:
        """Take over what a snapshot has."""
        self.config = config
