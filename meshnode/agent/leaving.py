"""Leaving the pools in Consul's order."""

from __future__ import annotations

import asyncio
import logging
from typing import Final

from meshnode.agent.pool import Pool

__all__ = ["LEAVE_TIMEOUT", "leave_pools"]

_log = logging.getLogger("meshnode.agent")
#: Seconds that a leave may take (Consul's gracefulTimeout).
LEAVE_TIMEOUT: Final = 15.0


async def leave_pools(wan: Pool | None, lan: Pool, drain_time: float) -> bool:
    """Leave the WAN pool, then the LAN pool; whether that was done in time.

    Then calls that still come may end, for ``drain_time`` seconds: by now clients ask another server (Consul).
    """
    _log.info("Gracefully leaving the cluster")
    try:
        async with asyncio.timeout(LEAVE_TIMEOUT):
            for pool in filter(None, (wan, lan)):
                if not await pool.shell.leave(LEAVE_TIMEOUT):
                    _log.warning("the %s pool did not hear of our leave in time", pool.title)
            if drain_time > 0 and len(lan.members) > 1:
                _log.info("Waiting %gs to drain RPC traffic", drain_time)
                await asyncio.sleep(drain_time)
    except TimeoutError:
        _log.warning("Timeout on graceful leave after %gs", LEAVE_TIMEOUT)
        return False
    _log.info("Graceful leave complete")
    return True
