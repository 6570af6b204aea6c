"""Who was not let in: in the ledger, counted, and told in the log, a bounded number of lines a second."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable
from typing import Final

from meshnode.proxy.ledger import Ledger
from meshnode.runtime.proxy.refusal_log import RefusalLog

__all__ = ["Refusals"]

_log: Final = logging.getLogger("meshnode.sdk")


class Refusals:
    """``clock`` gives monotonic seconds; ``total`` counts all of them, ``kinds`` those of each kind."""

    def __init__(self, service: str, clock: Callable[[], float], ledger: Ledger) -> None:
        self._service = service
        self._clock = clock
        self._ledger = ledger
        self.kinds: Counter[str] = Counter()
        self._lines = RefusalLog(_log)
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
        entry = self._ledger.refuse(
            listener=listener,
            peer=peer,
            kind=kind,
            because=because,
            now=self._clock(),
            source=source,
            rule=rule,
            request=request,
        )
        self._lines.tell(self._service, entry)
