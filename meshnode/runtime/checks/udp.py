"""UDP checks: an empty datagram, and any answer to it passes.

Silence is critical, as Consul's documents have it: over UDP nothing else tells a service from an address where there is
none. A name is asked at all of its addresses at once, since a refusal of one says nothing about the next.
"""

from __future__ import annotations

import asyncio
import socket
from typing import Any, Final

from meshnode.local.check_status import CRITICAL, PASSING, Result, udp_output
from meshnode.local.check_type import UdpCheck, effective_timeout, split_host_port
from meshnode.runtime.checks.dial import error_words
from meshnode.runtime.tasks import cancel_and_wait, spawn

__all__ = ["MAX_ADDRESSES", "check_udp"]

#: Addresses of one name that are asked.
MAX_ADDRESSES: Final = 8


async def check_udp(check: UdpCheck) -> Result:
    """Run ``check`` once; its definition has no fault."""
    place, timeout = split_host_port(check.address), effective_timeout(check)
    assert place is not None, "a check without a fault has an address"
    try:
        async with asyncio.timeout(timeout):
            await _ask(*place)
    except TimeoutError:
        return Result(CRITICAL, f"read udp {check.address}: i/o timeout: no answer in {timeout:g} s")
    except (socket.gaierror, UnicodeError):
        return Result(CRITICAL, f"dial udp: lookup {place[0]}: no such host")
    except OSError as error:
        return Result(CRITICAL, f"read udp {check.address}: {error_words(error)}")
    return Result(PASSING, udp_output(check.address))


async def _ask(host: str, port: int) -> None:
    """Return once an answer is there; raises what the first address failed with when none gives one."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_DGRAM)
    addresses = list(dict.fromkeys((family, address) for family, _, _, _, address in found))[:MAX_ADDRESSES]
    tasks = [spawn(_exchange(family, address), name="check udp") for family, address in addresses]
    waiting = set(tasks)
    try:
        while waiting:
            done, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            if any(task.result() is None for task in done):
                return
    finally:
        await cancel_and_wait(*waiting)
    raise next((task.result() for task in tasks if task.result()), None) or OSError("no address")


async def _exchange(family: int, address: Any) -> OSError | None:
    """Ask one address; why there is no answer, or ``None``: there was one."""
    with socket.socket(family, socket.SOCK_DGRAM) as sock:
        sock.setblocking(False)
        try:
            sock.connect(address)
            sock.send(b"")
            await asyncio.get_running_loop().sock_recv(sock, 1)
        except OSError as error:
            return error
    return None
