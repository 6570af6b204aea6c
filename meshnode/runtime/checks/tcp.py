"""TCP checks: a connection that is made passes, and is closed at once."""

from __future__ import annotations

from meshnode.local.check_status import CRITICAL, PASSING, Result, tcp_output
from meshnode.local.check_type import TcpCheck, effective_timeout, split_host_port
from meshnode.runtime.checks.dial import DialError, dial

__all__ = ["check_tcp"]


async def check_tcp(check: TcpCheck) -> Result:
    """Run ``check`` once; its definition has no fault."""
    place = split_host_port(check.address)
    assert place is not None, "a check without a fault has an address"
    try:
        (await dial(*place, effective_timeout(check))).close()
    except DialError as error:
        return Result(CRITICAL, str(error))
    return Result(PASSING, tcp_output(check.address))
