"""Config entries to begin with, read as the servers read them, so that a mistake in one is found at start."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from meshnode.agent import on_demand
from meshnode.base.errors import ConfigError

if TYPE_CHECKING:
    from meshnode.agent.config.checks import Findings

__all__ = ["settle_entries"]

_KEY: Final = "config_entries.bootstrap"


def settle_entries(found: Findings, *, dev: bool) -> None:
    """Refuse entries that no server would take, and two of the same kind and name."""
    settings = found.settings
    seen: set[tuple[str, str, str]] = set()
    for number, fields in enumerate(settings[_KEY]):
        try:
            entry = on_demand.config_entries.parse_entry(fields)
            fault = on_demand.config_routes.filter_fault(entry)
        except ConfigError as error:
            found.problem(_KEY, f"{_KEY}[{number}]: {error}", number)
            continue
        if (*entry.key, entry.namespace) in seen:
            fault = f"{entry.kind}/{entry.name} is there twice"
        seen.add((*entry.key, entry.namespace))
        if fault:
            found.problem(_KEY, f"{_KEY}[{number}]: {fault}", number)
    if settings[_KEY] and not (dev or settings["server"]):
        found.warnings.append(f"{_KEY} has no effect: this agent is no server")
