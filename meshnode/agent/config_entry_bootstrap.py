"""The config entries that a cluster begins with: the leader writes those that aren't there."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

from meshnode.config_entries.model import SERVICE_INTENTIONS, ConfigEntry
from meshnode.config_entries.parse import entry_fields
from meshnode.control.command import Command, ConfigEntrySet
from meshnode.control.config_entry_intentions import intentions_entry, replacing
from meshnode.control.machine import Refusal, StateMachine
from meshnode.control.method import Moment
from meshnode.runtime.cluster_state import ClusterState

__all__ = ["bootstrap_entries"]

_log = logging.getLogger("meshnode.config_entries")


async def bootstrap_entries(
    state: ClusterState, entries: Sequence[ConfigEntry], epoch: int, moment: Callable[[], Moment]
) -> None:
    """Write the entries of which there is none with the kind and name; what others say about them waits for those.

    One that doesn't fit to the others is logged and left out. Raises ``LogError``: then it is to be called again.
    """
    waiting = list(entries)
    while waiting:
        refused: list[tuple[ConfigEntry, str]] = []
        for entry in waiting:
            if _is_there(state.machine, entry):
                continue
            result = await state.submit(_command(state.machine, entry, moment()), epoch=epoch)
            if isinstance(result, Refusal):
                refused.append((entry, result.because))
            else:
                _log.info("config entry written: %s/%s", entry.kind, entry.name)
        if len(refused) == len(waiting):
            for entry, because in refused:
                _log.error(
                    "config_entries.bootstrap: %s/%s was not written: %s", entry.kind, entry.name, because
                )
            return
        waiting = [entry for entry, _ in refused]


def _is_there(machine: StateMachine, entry: ConfigEntry) -> bool:
    if entry.kind == SERVICE_INTENTIONS:
        return intentions_entry(machine.intentions, entry.name, entry.namespace) is not None
    return machine.config.entries.get(*entry.key) is not None


def _command(machine: StateMachine, entry: ConfigEntry, moment: Moment) -> Command:
    """Under the condition that there is still none: who wrote one meanwhile wins."""
    if entry.kind == SERVICE_INTENTIONS:
        return replacing(machine.intentions, entry, moment, 0)
    return ConfigEntrySet(entry_fields(entry), 0)
