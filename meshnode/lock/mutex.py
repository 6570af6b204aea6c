"""One holder at a time: the session that has acquired ``key`` holds the lock.

The protocol is the one that Consul's API package documents (https://pkg.go.dev/github.com/hashicorp/consul/api#Lock):
the entry has the flags ``MUTEX_FLAGS``, so that a semaphore on the same key is noticed.
"""

from __future__ import annotations

from typing import Final

from meshnode.base.duration import format_duration
from meshnode.lock.calls import Call, LockError, Pair, Pause, Steps, kv_path, parse_pairs

__all__ = ["MONITOR_RETRY_INTERVAL", "MUTEX_FLAGS", "WAIT_INTERVAL", "Mutex", "blocking"]

MUTEX_FLAGS: Final = 0x2DDCCBC058A50C18
#: Seconds that one blocking read waits for the holder to let go.
WAIT_INTERVAL: Final = 15.0
#: Seconds between attempts while a lock delay keeps everybody out.
LOCK_DELAY_RETRY_INTERVAL: Final = 5.0
#: Seconds between attempts when the holder can't read whether it still holds.
MONITOR_RETRY_INTERVAL: Final = 1.0


class Mutex:
    """The lock at ``key`` for ``session``. Every method is a machine of its own; run one at a time."""

    def __init__(self, key: str, session: str) -> None:
        self.key = key
        self.session = session

    def acquire(self, now: float, timeout: float | None) -> Steps[bool]:
        """True: the lock is ours. False: ``timeout`` seconds are over. Raises :class:`LockError`."""
        deadline = None if timeout is None else now + timeout
        index = 0
        while True:
            left = WAIT_INTERVAL if deadline is None else deadline - now
            if left <= 0:
                return False
            pair, index, now = yield from self._read(index, min(left, WAIT_INTERVAL))
            if pair is not None and pair.session:
                if pair.session == self.session:
                    return True
                if index == 0:
                    raise LockError("failed to read lock: the answer has no X-Consul-Index to wait on")
                continue
            reply = yield self._put("acquire")
            if reply.expect("failed to acquire lock").is_true:
                return True
            # Somebody was faster, or a lock delay is in the way: only for a delay there is nothing to wait on.
            pair, index, now = yield from self._read(0, 0.0)
            if pair is None or not pair.session:
                left = LOCK_DELAY_RETRY_INTERVAL if deadline is None else deadline - now
                now = (yield Pause(max(0.0, min(left, LOCK_DELAY_RETRY_INTERVAL)))).now
                index = 0

    def monitor(self, retries: int) -> Steps[str]:
        """Watch the held lock; returns, once it is lost, the reason. ``retries``: failed reads in a row to bear."""
        index, left = 0, retries
        while True:
            reply = yield Call(
                "GET", kv_path(self.key), (("consistent", ""), *blocking(index, WAIT_INTERVAL))
            )
            if reply.is_passing_trouble and left > 0:
                left, index = left - 1, 0
                yield Pause(MONITOR_RETRY_INTERVAL)
                continue
            try:
                pairs = parse_pairs(reply, "failed to read lock")
            except LockError as error:
                return str(error)
            if not pairs or pairs[0].session != self.session:
                return f"the lock {self.key} is not held by session {self.session} any more"
            if reply.index == 0 or reply.index < index:
                yield Pause(MONITOR_RETRY_INTERVAL)
            index, left = (reply.index if reply.index >= index else 0), retries

    def release(self) -> Steps[None]:
        """Let go of the lock; raises :class:`LockError`, also when it was not ours."""
        reply = yield self._put("release")
        if not reply.expect("failed to release lock").is_true:
            raise LockError(f"failed to release lock: {self.key} is not held by session {self.session}")

    def clean_up(self) -> Steps[bool]:
        """Delete the entry unless somebody holds or takes the lock; whether it is gone. Raises :class:`LockError`."""
        pair, _, _ = yield from self._read(0, 0.0)
        if pair is None:
            return True
        if pair.session:
            return False
        reply = yield Call("DELETE", kv_path(self.key), (("cas", str(pair.modify_index)),))
        return reply.expect("failed to remove lock entry").is_true

    def _read(self, index: int, wait: float) -> Steps[tuple[Pair | None, int, float]]:
        reply = yield Call("GET", kv_path(self.key), blocking(index, wait))
        pairs = parse_pairs(reply, "failed to read lock")
        if not pairs:
            return None, reply.index, reply.now
        if pairs[0].flags != MUTEX_FLAGS:
            raise LockError(f"existing key does not match lock use: {self.key} is used for something else")
        return pairs[0], reply.index, reply.now

    def _put(self, verb: str) -> Call:
        return Call("PUT", kv_path(self.key), (("flags", str(MUTEX_FLAGS)), (verb, self.session)), b"")


def blocking(index: int, wait: float) -> tuple[tuple[str, str], ...]:
    """Query parameters that wait up to ``wait`` seconds for a change after ``index``; none for index 0."""
    return (("index", str(index)), ("wait", format_duration(wait))) if index and wait > 0 else ()
