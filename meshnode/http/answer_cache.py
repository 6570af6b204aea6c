"""Rendered answers, kept until what they show changes.

An answer is entered with the watch keys of the read that it shows, so it goes with the first write that could change
it, in the same step that applies the write: nobody ever sees an answer older than the state.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, Protocol

from meshnode.control.watch import WatchKey
from meshnode.http.effects import ReadServer
from meshnode.http.message import Response

__all__ = ["MAX_ANSWERS", "MAX_ANSWER_BYTES", "AnswerCache", "Watching"]

MAX_ANSWERS: Final = 1024
#: Longer answers are rendered each time.
MAX_ANSWER_BYTES: Final = 256 * 1024


class Watching(Protocol):
    """Who tells of changes."""

    def watch(self, keys: Iterable[WatchKey], wake: Callable[[], None]) -> int:
        """Have ``wake`` called at the next change of ``keys``; returns what ``unwatch`` takes."""

    def unwatch(self, waiter: int) -> None:
        """Forget that."""


class AnswerCache:
    """``watches_of`` gives what a read depends on; ``valid`` is asked each time: may memory be answered from at all?"""

    def __init__(
        self,
        watching: Watching,
        watches_of: Callable[[ReadServer], tuple[WatchKey, ...]],
        valid: Callable[[], bool],
    ) -> None:
        self._watching = watching
        self._watches_of = watches_of
        self._valid = valid
        self._kept: Final[dict[object, tuple[Response, int]]] = {}

    def get(self, key: object) -> Response | None:
        """The answer that is kept under ``key``."""
        kept = self._kept.get(key)
        return kept[0] if kept is not None and self._valid() else None

    def keep(self, key: object, answer: Response, query: ReadServer, reply: Mapping[str, Any]) -> None:
        """Keep ``answer`` to ``query`` if it is short and came from memory: its reply says so."""
        if not reply.get("FromMemory") or len(answer.body) > MAX_ANSWER_BYTES:
            return
        if key in self._kept:
            self._drop(key)
        if len(self._kept) >= MAX_ANSWERS:
            oldest = next(iter(self._kept))
            self._watching.unwatch(self._kept.pop(oldest)[1])
        waiter = self._watching.watch(self._watches_of(query), lambda: self._drop(key))
        self._kept[key] = answer, waiter

    def _drop(self, key: object) -> None:
        kept = self._kept.pop(key, None)
        if kept is not None:
            self._watching.unwatch(kept[1])
