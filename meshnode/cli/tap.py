"""``tap``: a relay in front of an agent that keeps what passes, where nobody may capture packets."""

from __future__ import annotations

import asyncio
import os
import signal
from typing import Final

from meshnode.base.address import parse_ip_address
from meshnode.base.errors import ConfigError, MeshError
from meshnode.base.goflags import FlagSet
from meshnode.cli.prove import port_list
from meshnode.runtime.tap import Tap

__all__ = ["run"]

_MIB: Final = 1 << 20
_DESCRIPTION: Final = """
Listens at the address that others know an agent by and passes everything on to where the agent listens; what passes is
kept as a capture that prove judges. It needs no privilege, and is weaker evidence than packets, which prove says: what
the agent says past its tap isn't in it. Ends with Ctrl-C, SIGTERM or after -seconds.

  meshnode agent -bind=10.0.0.2 -advertise=10.0.0.1 ...
  meshnode tap -listen=10.0.0.1 -to=10.0.0.2 server1.pcapng
"""


def run(args: list[str]) -> int:
    """0 when it was ended, 1 (raised) when it can't listen or write, 3 when the file was full before that."""
    flags = FlagSet("tap", "Usage: meshnode tap [options] FILE", _DESCRIPTION)
    listen = flags.string("listen", "Address that others use: advertise_addr.", placeholder="address")
    target = flags.string("to", "Address that the agent listens at: bind_addr.", placeholder="address")
    ports = flags.string("ports", "Ports to relay.", default="8300,8301", placeholder="list")
    datagrams = flags.string("udp-ports", "Those with datagrams, too.", default="8301", placeholder="list")
    seconds = flags.integer("seconds", "End after so long; 0 never.", minimum=0, maximum=86400)
    size = flags.integer("max-mib", "Longest file.", default=256, minimum=1, maximum=1 << 20)
    parsed = flags.parse(args)
    if len(parsed.positionals) != 1:
        raise ConfigError("tap: name the one file to write")
    shown, bound = parse_ip_address(parsed[listen], "-listen"), parse_ip_address(parsed[target], "-to")
    if shown == bound:
        raise ConfigError("-to: it is -listen's own address: the agent has to listen at another one")
    wanted, also = port_list(parsed[ports], "-ports"), port_list(parsed[datagrams], "-udp-ports")
    name = parsed.positionals[0]
    try:
        # Readable for who made it: what passes may be in clear.
        file = os.fdopen(os.open(name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb")
    except OSError as error:
        raise MeshError(f"can't write {name}: {error.strerror}") from None
    with file:
        tap = Tap(shown, bound, wanted, also, file, max_bytes=parsed[size] * _MIB)
        asyncio.run(_until_ended(tap, parsed[seconds], f"{shown} to {bound}"))
    if tap.full:
        print(
            f"{name} has its {parsed[size]} MiB: what followed was passed on and not kept. It proves nothing."
        )
        return 3
    print(f"Kept in {name}: judge it with meshnode prove")
    return 0


async def _until_ended(tap: Tap, seconds: int, what: str) -> None:
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, ended.set)
    try:
        await tap.start()
        print(f"Relaying {what}; end it with Ctrl-C.", flush=True)
        async with asyncio.timeout(seconds or None):
            await ended.wait()
    except TimeoutError:
        pass
    finally:
        tap.close()
