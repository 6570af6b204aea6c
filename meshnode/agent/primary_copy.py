"""The leader of a secondary datacenter keeps a copy of the primary's intentions and config entries."""

from __future__ import annotations

import logging
from collections.abc import Callable

from meshnode.agent.primary_follow import AskPrimary, answer_of, blocking, next_index
from meshnode.base.errors import MeshError
from meshnode.control.machine import Refusal
from meshnode.control.replica import differences, parse_rules
from meshnode.runtime.cluster_state import ClusterState, held

__all__ = ["PrimaryCopy"]

_log = logging.getLogger("meshnode.federation")


class PrimaryCopy:
    """``ask`` asks the primary. :meth:`step` is for ``primary_follow.follow``."""

    def __init__(self, state: Callable[[], ClusterState | None], ask: AskPrimary) -> None:
        self._state = state
        self._ask = ask

    async def step(self, index: int, epoch: int) -> int:
        """Wait for a change past ``index`` and write what differs; returns the index to go on from.

        Raises :class:`MeshError`, with less written than there was, or nothing.
        """
        # Intentions are config entries too, so this wakes for both.
        entries = answer_of(await self._ask("ConfigEntry.List", {"Kind": "", **blocking(index)}))
        intentions = answer_of(await self._ask("Intention.List", {}))
        rules = parse_rules(entries, intentions)
        state = held(self._state())
        await state.barrier()
        machine = state.machine
        for command in differences(machine.config, machine.intentions, rules, epoch):
            result = await state.submit(command, epoch=epoch)
            if isinstance(result, Refusal):
                raise MeshError(f"the primary's rules were not taken over: {result.because}")
            _log.info(
                "taken over from the primary datacenter: intentions %d, config entries %d, gone %d",
                len(command.intentions),
                len(command.entries),
                len(command.gone_intentions) + len(command.gone_entries),
            )
        return next_index(entries, index)
