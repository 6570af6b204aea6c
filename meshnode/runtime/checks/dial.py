"""TCP connections by name or address, over both families; errors read as Go's do, since people match on them.

The first family that the resolver names has a head start (RFC 8305, as Go's dialer does it), and each address of a
family gets its share of the time, so that one that is silent doesn't hide the next.
"""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
from typing import Any, Final

from meshnode.base.errors import MeshError
from meshnode.runtime.tasks import cancel_and_wait, spawn

__all__ = ["DialError", "DialTimeoutError", "dial", "error_words", "open_stream"]

#: Seconds after which the other family is tried too.
FALLBACK_DELAY: Final = 0.3
#: What an address gets of the time at least, while there is that much.
MIN_SHARE: Final = 2.0

_Endpoint = tuple[int, Any]


class DialError(MeshError):
    """No connection; the text is Go's: ``dial tcp 127.0.0.1:80: connect: connection refused``."""


class DialTimeoutError(DialError):
    """No connection in time."""


def error_words(error: OSError) -> str:
    """The reason as Go writes it: the system's words in lower case."""
    if isinstance(error, TimeoutError):
        return "i/o timeout"
    if isinstance(error, ConnectionResetError):
        # asyncio raises it without the system's number.
        return "connection reset by peer"
    return os.strerror(error.errno).lower() if error.errno else str(error) or type(error).__name__


async def dial(host: str, port: int, timeout: float) -> socket.socket:
    """A connected, non-blocking socket, which is the caller's to close. Raises :class:`DialError`."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + timeout
    try:
        async with asyncio.timeout(timeout):
            endpoints = await _resolve(host, port)
    except TimeoutError:
        raise DialTimeoutError(f"dial tcp: lookup {host}: i/o timeout") from None
    except (OSError, UnicodeError):
        raise DialError(f"dial tcp: lookup {host}: no such host") from None
    first = [endpoint for endpoint in endpoints if endpoint[0] == endpoints[0][0]]
    other = [endpoint for endpoint in endpoints if endpoint[0] != endpoints[0][0]]
    outcome = await _race(first, other, deadline) if other else await _in_turn(first, deadline)
    if isinstance(outcome, DialError):
        raise outcome
    return outcome


async def open_stream(
    host: str, port: int, timeout: float, context: ssl.SSLContext | None = None, server_name: str = ""
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A connection as streams; with ``context`` after a handshake that asks for ``server_name``, empty: ``host``.

    ``timeout`` bounds the connection alone. Raises :class:`DialError`, ``ssl.SSLError`` and ``OSError``.
    """
    sock = await dial(host, port, timeout)
    try:
        return await asyncio.open_connection(
            sock=sock, ssl=context, server_hostname=(server_name or host) if context else None
        )
    except BaseException:
        sock.close()
        raise


async def _resolve(host: str, port: int) -> list[_Endpoint]:
    for family in (socket.AF_INET, socket.AF_INET6):
        try:
            socket.inet_pton(family, host)
        except (OSError, ValueError):
            continue
        return [(family, (host, port))]
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    if not found:
        raise OSError("no address")
    return [(family, address) for family, _, _, _, address in found]


async def _race(first: list[_Endpoint], other: list[_Endpoint], deadline: float) -> socket.socket | DialError:
    tasks = [spawn(_in_turn(first, deadline), name="check dial")]
    winner: socket.socket | None = None
    try:
        await asyncio.wait(tasks, timeout=FALLBACK_DELAY)
        if not (tasks[0].done() and isinstance(tasks[0].result(), socket.socket)):
            tasks.append(spawn(_in_turn(other, deadline), name="check dial"))
        waiting = set(tasks)
        while waiting and winner is None:
            done, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            winner = next((made for task in done if isinstance(made := task.result(), socket.socket)), None)
        return winner or tasks[0].result()
    finally:
        await cancel_and_wait(*(task for task in tasks if not task.done()))
        for task in tasks:
            made = None if task.cancelled() else task.result()
            if isinstance(made, socket.socket) and made is not winner:
                made.close()


async def _in_turn(endpoints: list[_Endpoint], deadline: float) -> socket.socket | DialError:
    """The first connection that can be made; failing that, why the first address has none."""
    loop = asyncio.get_running_loop()
    problem: DialError | None = None
    for number, (family, address) in enumerate(endpoints):
        left = deadline - loop.time()
        share = min(max(left / (len(endpoints) - number), MIN_SHARE), left)
        shown = f"[{address[0]}]:{address[1]}" if family == socket.AF_INET6 else f"{address[0]}:{address[1]}"
        try:
            return await _connect(family, address, share)
        except TimeoutError:
            problem = problem or DialTimeoutError(f"dial tcp {shown}: i/o timeout")
        except OSError as error:
            problem = problem or DialError(f"dial tcp {shown}: connect: {error_words(error)}")
    assert problem is not None, "there is an address"
    return problem


async def _connect(family: int, address: Any, timeout: float) -> socket.socket:
    made = socket.socket(family, socket.SOCK_STREAM)
    try:
        made.setblocking(False)
        async with asyncio.timeout(timeout):
            await asyncio.get_running_loop().sock_connect(made, address)
    except BaseException:
        made.close()
        raise
    return made
