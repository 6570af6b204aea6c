"""Up to ``limit`` holders at a time: who they are stands in the body of ``<prefix>/.lock``, written by check-and-set.

Each contender has an entry ``<prefix>/<session>`` that its session holds, so everybody sees when a holder has died.
The protocol is the one that Consul documents (https://www.consul.io/docs/guides/semaphore.html); every entry has the
flags ``SEMAPHORE_FLAGS``.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Final

from meshnode.lock.calls import Call, LockError, Pair, Pause, Reply, Steps, kv_path, parse_pairs
from meshnode.lock.mutex import MONITOR_RETRY_INTERVAL, WAIT_INTERVAL, blocking

__all__ = ["LOCK_NAME", "SEMAPHORE_FLAGS", "Semaphore"]

SEMAPHORE_FLAGS: Final = 0xE0F69A2BAA414DE0
#: The entry under the prefix that holds the count.
LOCK_NAME: Final = ".lock"


@dataclass(frozen=True, slots=True)
class _Count:
    """``index`` is the modify index of the entry, 0: there is none yet. Dead holders are left out."""

    limit: int
    holders: frozenset[str]
    index: int

    def serialize(self, holders: frozenset[str]) -> bytes:
        """The body of the entry with other holders."""
        record = {"Limit": self.limit, "Holders": dict.fromkeys(sorted(holders), True)}
        return json.dumps(record, separators=(",", ":")).encode()


class Semaphore:
    """One of ``limit`` places under ``prefix``, for ``session``. Every method is a machine; run one at a time."""

    def __init__(self, prefix: str, session: str, limit: int) -> None:
        self.prefix = prefix.rstrip("/")
        self.key = f"{self.prefix}/{LOCK_NAME}"
        self.session = session
        self.limit = limit

    def acquire(self, now: float, timeout: float | None) -> Steps[bool]:
        """True: a place is ours. False: ``timeout`` seconds are over. Raises :class:`LockError`."""
        deadline = None if timeout is None else now + timeout
        query = (("flags", str(SEMAPHORE_FLAGS)), ("acquire", self.session))
        reply = yield Call("PUT", kv_path(f"{self.prefix}/{self.session}"), query, b"")
        if not reply.expect("failed to make contender entry").is_true:
            raise LockError(f"failed to make contender entry: {self.prefix}/{self.session} is locked")
        index = 0
        now = reply.now
        while True:
            left = WAIT_INTERVAL if deadline is None else deadline - now
            if left <= 0:
                return False
            reply, count = yield from self._read(index, min(left, WAIT_INTERVAL))
            index, now = reply.index, reply.now
            if self.session in count.holders:
                return True
            if len(count.holders) >= self.limit:
                if index == 0:
                    raise LockError("failed to read semaphore: the answer has no X-Consul-Index to wait on")
                continue
            reply = yield self._write(count, count.holders | {self.session})
            if reply.expect("failed to update lock").is_true:
                return True
            index, now = 0, reply.now

    def monitor(self, retries: int) -> Steps[str]:
        """Watch the place; returns, once it is lost, the reason. ``retries``: failed reads in a row to bear."""
        index, left = 0, retries
        while True:
            query = (("recurse", ""), ("consistent", ""), *blocking(index, WAIT_INTERVAL))
            reply = yield Call("GET", kv_path(self.prefix + "/"), query)
            if reply.is_passing_trouble and left > 0:
                left, index = left - 1, 0
                yield Pause(MONITOR_RETRY_INTERVAL)
                continue
            try:
                count = self._count(parse_pairs(reply, "failed to read semaphore"))
            except LockError as error:
                return str(error)
            if self.session not in count.holders:
                return f"session {self.session} is no holder of the semaphore {self.prefix} any more"
            if reply.index == 0 or reply.index < index:
                yield Pause(MONITOR_RETRY_INTERVAL)
            index, left = (reply.index if reply.index >= index else 0), retries

    def release(self) -> Steps[None]:
        """Give the place back and remove our contender entry; raises :class:`LockError`."""
        while True:
            _, count = yield from self._read(0, 0.0)
            if self.session not in count.holders:
                break
            reply = yield self._write(count, count.holders - {self.session})
            if reply.expect("failed to update lock").is_true:
                break
        reply = yield Call("DELETE", kv_path(f"{self.prefix}/{self.session}"))
        reply.expect("failed to remove contender entry")

    def clean_up(self) -> Steps[bool]:
        """Delete the count unless somebody holds a place; whether it is gone. Raises :class:`LockError`."""
        _, count = yield from self._read(0, 0.0)
        if count.index == 0:
            return True
        if count.holders:
            return False
        reply = yield Call("DELETE", kv_path(self.key), (("cas", str(count.index)),))
        return reply.expect("failed to remove semaphore entry").is_true

    def _read(self, index: int, wait: float) -> Steps[tuple[Reply, _Count]]:
        query = (("recurse", ""), *blocking(index, wait))
        reply = yield Call("GET", kv_path(self.prefix + "/"), query)
        return reply, self._count(parse_pairs(reply, "failed to read semaphore"))

    def _write(self, count: _Count, holders: frozenset[str]) -> Call:
        query = (("flags", str(SEMAPHORE_FLAGS)), ("cas", str(count.index)))
        return Call("PUT", kv_path(self.key), query, count.serialize(holders))

    def _count(self, pairs: list[Pair]) -> _Count:
        alive = {pair.session for pair in pairs if pair.session and pair.key != self.key}
        found = next((pair for pair in pairs if pair.key == self.key), None)
        if found is None:
            return _Count(self.limit, frozenset(), 0)
        if found.flags != SEMAPHORE_FLAGS:
            raise LockError(
                f"existing key does not match semaphore use: {self.key} is used for something else"
            )
        limit, holders = _parse_count(found)
        if limit != self.limit:
            raise LockError(
                f"semaphore limit conflict (lock: {limit}, local: {self.limit}): every contender for "
                f"{self.prefix} has to ask for the same number"
            )
        return _Count(limit, frozenset(holders & alive), found.modify_index)


def _parse_count(pair: Pair) -> tuple[int, set[str]]:
    try:
        record: Any = json.loads(pair.value)
        limit = record["Limit"]
        holders = {str(name) for name, holds in (record.get("Holders") or {}).items() if holds}
        if not isinstance(limit, int):
            raise TypeError("Limit")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise LockError(f"failed to read semaphore: {pair.key} does not hold a count of holders") from None
    return limit, holders
