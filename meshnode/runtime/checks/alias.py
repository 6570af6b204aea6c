"""Alias checks follow other checks: those of this node as they change, those of another one through the servers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from meshnode.base.errors import MeshError
from meshnode.local.check_alias import AliasSource, alias_result, backoff, lookup_failure
from meshnode.local.check_status import Result
from meshnode.local.check_type import AliasCheck
from meshnode.runtime.checks.clock import Clock

__all__ = ["follow_alias"]

#: Seconds between two questions when the answer to the first was no news.
IDLE_INTERVAL: Final = 1.0


async def follow_alias(
    check: AliasCheck, own_id: str, source: AliasSource, clock: Clock, report: Callable[[Result], None]
) -> None:
    """Report what ``check`` says, now and at every change; for ever. ``own_id`` is the alias's own check id."""
    if check.node:
        await _follow_node(check, own_id, source, clock, report)
    else:
        await _follow_local(check, own_id, source, report)


async def _follow_local(
    check: AliasCheck, own_id: str, source: AliasSource, report: Callable[[Result], None]
) -> None:
    changed = asyncio.Event()
    end = source.on_change(changed.set)
    last: Result | None = None
    try:
        while True:
            changed.clear()
            result = alias_result(check, source.checks(), own_id)
            # Reporting changes a local check, which wakes us up: only news may be reported.
            if result != last:
                last = result
                report(result)
            await changed.wait()
    finally:
        end()


async def _follow_node(
    check: AliasCheck, own_id: str, source: AliasSource, clock: Clock, report: Callable[[Result], None]
) -> None:
    index, failures = 0, 0
    last: Result | None = None
    while True:
        pause = 0.0
        try:
            checks, newer = await source.node_checks(check.node, index)
        except (MeshError, OSError) as error:
            failures += 1
            # One failure is a server that restarts.
            result = lookup_failure(error) if failures > 1 else last
            pause = backoff(failures)
        else:
            # From 1 on a question waits for news; with 0 it would be answered at once, again and again.
            pause = IDLE_INTERVAL if newer <= index else 0.0
            index, failures = max(newer, 1), 0
            result = alias_result(check, checks, own_id)
        if result is not None and result != last:
            last = result
            report(result)
        if pause:
            await clock.sleep(pause)
