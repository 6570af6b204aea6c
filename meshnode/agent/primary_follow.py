"""Following the primary datacenter: a blocking query, asked again for a whole term whatever becomes of the link."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, TypeAlias

from meshnode.base.errors import MeshError, RemoteProtocolError
from meshnode.control.body import NANOSECONDS, Body

__all__ = ["AskPrimary", "answer_of", "blocking", "follow", "next_index"]

_log = logging.getLogger("meshnode.federation")
#: Asks a server of the primary datacenter, with the token for that. Raises :class:`MeshError`.
AskPrimary: TypeAlias = Callable[[str, Mapping[str, Any]], Awaitable[Any]]
#: Seconds that one question waits for a change: what no question blocks on is looked at again after it.
WAIT: Final = 30.0
#: Seconds between tries while the primary can't be reached: at first, and at most. They bound how long after its
#: return a copy is behind.
_RETRY: Final = (0.5, 5.0)


def blocking(index: int) -> dict[str, Any]:
    """The fields of a question that waits until the primary is past ``index``; 0: it doesn't wait."""
    return {"MinQueryIndex": index, "MaxQueryTime": int(WAIT * NANOSECONDS)} if index else {}


def answer_of(reply: Any) -> Body:
    """The struct that the primary answered with. Raises :class:`RemoteProtocolError` for anything else."""
    if not isinstance(reply, Mapping):
        raise RemoteProtocolError("the primary answered with no struct: is it of another version?")
    return reply


def next_index(reply: Body, index: int) -> int:
    """What to ask for next; from the beginning when the primary's index went back (Consul, blocking queries)."""
    found = reply.get("Index")
    return found if isinstance(found, int) and found >= index else 0


async def follow(title: str, step: Callable[[int], Awaitable[int]], rng: random.Random) -> None:
    """Call ``step`` with the index that it gave last, 0 at first, until cancelled.

    While it raises :class:`MeshError` it is tried again, from the beginning: who was away may have another state now.
    Each reason is logged once.
    """
    index, failures, told = 0, 0, ""
    while True:
        try:
            index = await step(index)
        except MeshError as error:
            if str(error) != told:
                told = str(error)
                _log.warning("%s: the copy of the primary datacenter may be old: %s", title, told)
            pause = min(_RETRY[1], _RETRY[0] * 2 ** min(failures, 5))
            index, failures = 0, failures + 1
            await asyncio.sleep(pause * rng.uniform(0.5, 1))
            continue
        if told:
            _log.info("%s: in step with the primary datacenter again", title)
        failures, told = 0, ""
