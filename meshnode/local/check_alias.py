"""Alias checks: the worst status among the checks of a service instance and of its node, as one result.

Source: Consul 1.2.3, documentation of alias checks. Unlike there, an alias never takes itself into account, so one
that watches its own node recovers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final, Protocol

from meshnode.catalog.model import CRITICAL, PASSING, WARNING, Check
from meshnode.local.check_status import Result
from meshnode.local.check_type import AliasCheck

__all__ = ["BACKOFF_AFTER", "MAX_BACKOFF", "AliasSource", "alias_result", "backoff", "lookup_failure"]

#: Failed look-ups in a row that cost no extra wait, and the longest wait (seconds) after more of them.
BACKOFF_AFTER: Final = 3
MAX_BACKOFF: Final = 60.0


class AliasSource(Protocol):
    """Where alias checks see other checks: the agent's own, and through the servers those of other nodes."""

    def checks(self) -> Iterable[Check]:
        """The checks of this node."""

    def on_change(self, call: Callable[[], None]) -> Callable[[], None]:
        """Have ``call`` called after each change of a check of this node; returns what ends it."""

    async def node_checks(self, node: str, index: int) -> tuple[Iterable[Check], int]:
        """The checks of ``node`` once they are newer than ``index`` (or after a minute), with their own index.

        Raises ``MeshError`` or ``OSError`` when no server answers.
        """


def alias_result(alias: AliasCheck, checks: Iterable[Check], own_id: str = "") -> Result:
    """What ``alias`` says, given the checks of its node; ``own_id`` is the alias's own, when it is one of them."""
    worst = Result(PASSING, "No checks found.")
    for check in checks:
        if check.service_id not in ("", alias.service_id) or check.check_id == own_id:
            continue
        if alias.node and check.node.lower() != alias.node.lower():
            continue
        if check.status == CRITICAL:
            return Result(CRITICAL, _failing(check))
        if check.status == WARNING:
            worst = Result(WARNING, _failing(check))
        elif worst.status == PASSING:
            worst = Result(PASSING, "All checks passing.")
    return worst


def _failing(check: Check) -> str:
    return f'Aliased check "{check.name}" failing: {check.output}'


def lookup_failure(error: Exception) -> Result:
    """What an alias says when the checks of its node can't be had."""
    return Result(CRITICAL, f"Failure checking aliased node or service: {error}")


def backoff(failures: int) -> float:
    """Seconds to wait after that many failed look-ups in a row; never 0, so that nothing spins."""
    if failures <= BACKOFF_AFTER:
        return 1.0
    return min(2.0 ** min(failures - BACKOFF_AFTER, 31), MAX_BACKOFF)
