"""Who was not let in, told in the log: a bounded number of lines a second."""

from __future__ import annotations

import logging
from typing import Final

from meshnode.proxy.ledger import Refused

__all__ = ["MAX_LINES", "RefusalLog"]

#: Lines in one second; whoever knocks on a port can't fill a disk.
MAX_LINES: Final = 50


class RefusalLog:
    """Warnings to ``logger``."""

    def __init__(self, logger: logging.Logger) -> None:
        self._logger = logger
        self._second, self._lines = -1, 0

    def tell(self, name: str, entry: Refused) -> None:
        """``name``: the listener or service that refused; the entry: by which rule, and how it is looked up."""
        second = int(entry.at)
        if second != self._second:
            self._second, self._lines = second, 0
        self._lines += 1
        if self._lines <= MAX_LINES:
            self._logger.warning(
                "%s #%d from %s%s refused: %s%s",
                *(name, entry.id, entry.peer, _asked(entry), entry.because),
                f" (rule {entry.rule})" if entry.rule and entry.rule not in entry.because else "",
            )
        elif self._lines == MAX_LINES + 1:
            self._logger.warning("%s: more are refused in this second; the counters have them all", name)


def _asked(entry: Refused) -> str:
    if entry.connection:
        return f", {entry.request or 'what it sent'} on #{entry.connection},"
    return f", {entry.request}," if entry.request else ""
