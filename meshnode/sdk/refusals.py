"""Who was not let in: in the ledger, counted, and told in the log, a bounded number of lines a second."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable
from typing import Final

from meshnode.proxy.ledger import Ledger

__all__ = ["MAX_LINES", "Refusals"]

#: Lines in one second; whoever knocks on a port can't fill a disk.
MAX_LINES: Final = 50

_log: Final = logging.getLogger("meshnode.sdk")


class Refusals:
    """``clock`` gives monotonic seconds; ``total`` counts all of them, ``kinds`` those of each kind."""

    def __init__(self, service: str, clock: Callable[[], float], ledger: Ledger) -> None:
        self._service = service
        self._clock = clock
        self._ledger = ledger
        self.kinds: Counter[str] = Counter()
        self._second = -1
        self._lines = 0
        self.total = 0

    def tell(
        self,
        peer: str,
        because: str,
        *,
        kind: str,
        listener: str = "native",
        source: str = "",
        rule: str = "",
        request: str = "",
    ) -> None:
        """``peer`` is an address, or words for one; ``source`` its SPIFFE ID, if known; ``kind`` is for programs.

        ``request``: method and path, when that was refused.
        """
        self.total += 1
        self.kinds[kind] += 1
        now = self._clock()
        entry = self._ledger.refuse(
            listener=listener,
            peer=peer,
            kind=kind,
            because=because,
            now=now,
            source=source,
            rule=rule,
            request=request,
        )
        second = int(now)
        if second != self._second:
            self._second, self._lines = second, 0
        self._lines += 1
        if self._lines <= MAX_LINES:
            asked = f", {request}," if request else ""
            ruled = f" (rule {rule})" if rule and rule not in because else ""
            _log.warning(
                "%s #%d from %s%s refused: %s%s", self._service, entry.id, peer, asked, because, ruled
            )
        elif self._lines == MAX_LINES + 1:
            _log.warning("%s: more are refused in this second", self._service)
