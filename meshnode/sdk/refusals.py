"""Who was not let in: counted, and told in the log, a bounded number of lines a second."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Final

__all__ = ["MAX_LINES", "Refusals"]

#: Lines in one second; whoever knocks on a port can't fill a disk.
MAX_LINES: Final = 50

_log: Final = logging.getLogger("meshnode.sdk")


class Refusals:
    """``clock`` gives monotonic seconds; ``total`` counts all of them."""

    def __init__(self, service: str, clock: Callable[[], float]) -> None:
        self._service = service
        self._clock = clock
        self._second = -1
        self._lines = 0
        self.total = 0

    def tell(self, peer: str, because: str) -> None:
        """``peer`` is an address, or an identity."""
        self.total += 1
        second = int(self._clock())
        if second != self._second:
            self._second, self._lines = second, 0
        self._lines += 1
        if self._lines <= MAX_LINES:
            _log.warning("%s: %s refused: %s", self._service, peer, because)
        elif self._lines == MAX_LINES + 1:
            _log.warning("%s: more are refused in this second", self._service)
