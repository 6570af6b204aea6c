"""Blocking queries: ``?index=`` and ``?wait=`` in, how long to wait and the ``X-Consul-*`` headers out."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Final

from meshnode.base.duration import parse_duration
from meshnode.base.errors import ConfigError
from meshnode.http.errors import HttpError
from meshnode.http.message import Headers, Request

__all__ = ["BlockingQuery", "index_headers", "parse_blocking", "refuse_conflicting_consistency"]

DEFAULT_WAIT: Final = 300.0
MAX_WAIT: Final = 600.0
#: A wait is lengthened by up to this share of itself, so that many clients do not come back at once.
JITTER_FRACTION: Final = 1 / 16
MAX_INDEX: Final = 2**64 - 1


@dataclass(frozen=True, slots=True)
class BlockingQuery:
    """``index`` is what the client has seen, 0 to answer at once; ``wait`` is in seconds, without jitter."""

    index: int
    wait: float

    def timeout(self, rng: random.Random) -> float:
        """Seconds to wait in this query."""
        return self.wait * (1 + rng.random() * JITTER_FRACTION)


def parse_blocking(request: Request) -> BlockingQuery:
    """Read ``index`` and ``wait``; raises :class:`HttpError` 400 with Consul's sentences."""
    if not request.raw_query:
        return BlockingQuery(0, DEFAULT_WAIT)
    index_text, wait_text = request.query.get("index"), request.query.get("wait")
    wait, index = 0.0, 0
    if wait_text:
        try:
            wait = parse_duration(wait_text)
        except ConfigError:
            raise HttpError(400, "Invalid wait time") from None
    if index_text:
        # Twenty digits are the longest index; the bound keeps int() from reading megabytes.
        if not (index_text.isascii() and index_text.isdigit() and len(index_text) <= 20):
            raise HttpError(400, "Invalid index")
        index = int(index_text)
        if index > MAX_INDEX:
            raise HttpError(400, "Invalid index")
    return BlockingQuery(index, min(wait, MAX_WAIT) if wait > 0 else DEFAULT_WAIT)


def refuse_conflicting_consistency(request: Request) -> None:
    """Raise :class:`HttpError` 400 when both ``?stale`` and ``?consistent`` are given."""
    if request.raw_query and "stale" in request.query and "consistent" in request.query:
        raise HttpError(400, "Cannot specify ?stale with ?consistent, conflicting semantics.")


def index_headers(
    index: int, *, known_leader: bool | None = None, last_contact: float | None = None
) -> Headers:
    """``X-Consul-Index`` (never 0: that would make a client spin) and, where known, the state of the cluster.

    ``last_contact`` is in seconds and is sent in milliseconds.
    """
    headers: list[tuple[str, str]] = [("X-Consul-Index", str(max(index, 1)))]
    if known_leader is not None:
        headers.append(("X-Consul-KnownLeader", "true" if known_leader else "false"))
    if last_contact is not None:
        headers.append(("X-Consul-LastContact", str(round(last_contact * 1000))))
    return tuple(headers)
