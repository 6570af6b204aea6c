"""The log as a stream of lines for one monitor; a slow reader loses lines and is told how many."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Final

from meshnode.runtime.logs import LogHub, parse_level

__all__ = ["log_lines"]

#: Lines that may wait for a reader (Consul's monitor: 512).
MAX_WAITING_LINES: Final = 512


async def log_lines(hub: LogHub, level: str) -> AsyncIterator[bytes]:
    """Lines of ``level`` and above, from those kept on; ends when the generator is closed."""
    queue: asyncio.Queue[str] = asyncio.Queue(MAX_WAITING_LINES)
    dropped = 0

    def offer(line: str) -> None:
        nonlocal dropped
        try:
            queue.put_nowait(line)
        except asyncio.QueueFull:
            dropped += 1

    key = hub.attach(parse_level(level), offer)
    try:
        while True:
            line = await queue.get()
            if dropped:
                line = f"{line}\n[WARN] {dropped} lines were dropped: this monitor reads too slowly"
                dropped = 0
            yield line.encode() + b"\n"
    finally:
        hub.detach(key)
