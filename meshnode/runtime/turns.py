"""Long work in short steps: one step in a turn of the event loop, whoever does the work."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator

__all__ = ["Turns"]


class Turns:
    """Shared by all who have such work. The others wait in line, so that a turn stays short however many there are."""

    def __init__(self) -> None:
        self._line = asyncio.Lock()

    async def each(self, steps: Iterator[bytes]) -> AsyncIterator[bytes]:
        """What each step gives. The next one is begun only when it is asked for."""
        while True:
            async with self._line:
                done = next(steps, None)
                await asyncio.sleep(0)
            if done is None:
                return
            yield done
