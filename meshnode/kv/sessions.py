"""Sessions: who may hold locks. A session ends with its node, with a check that it relies on, by its TTL, or by
request; then its locks are released or their keys deleted, and nobody gets them before the lock delay is over.

Time is the one that each command carries, so every server agrees on it. TTLs are counted by the leader alone: it
renews in memory and destroys by a command (twice the TTL after the last renewal, as Consul does).
Differences from Consul 1.2.3: lock delays are part of the state, so they outlive a change of leader and a restart.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Final, TypeVar

from meshnode.base.duration import format_duration, parse_duration
from meshnode.base.errors import ConfigError
from meshnode.kv.store import Entry, KvStore, WatchKey

__all__ = [
    "BEHAVIORS",
    "DELETE",
    "MAX_LOCK_DELAY",
    "MAX_TTL",
    "MIN_TTL",
    "RELEASE",
    "TTL_MULTIPLIER",
    "LockDelays",
    "Session",
    "Sessions",
    "session_fault",
]

RELEASE: Final = "release"
DELETE: Final = "delete"
#: What happens to the keys that a session holds when it ends.
BEHAVIORS: Final = (RELEASE, DELETE)
#: Seconds; a longer lock delay is cut.
MAX_LOCK_DELAY: Final = 60.0
#: Seconds; the minimum is configurable (``session_ttl_min``).
MIN_TTL: Final = 10.0
MAX_TTL: Final = 86400.0
#: The leader ends a session this many TTLs after its last renewal.
TTL_MULTIPLIER: Final = 2


K = TypeVar("K")


@dataclass(frozen=True, slots=True)
class Session:
    """``ttl`` is as it was written (``"90s"``; empty: none), since the API shows it so; ``lock_delay`` is seconds."""

    id: str
    node: str
    name: str = ""
    checks: tuple[str, ...] = ("serfHealth",)
    lock_delay: float = 15.0
    behavior: str = RELEASE
    ttl: str = ""
    create_index: int = 0
    modify_index: int = 0

    @property
    def ttl_interval(self) -> float:
        """The TTL in seconds, 0 when there is none."""
        return parse_duration(self.ttl) if self.ttl else 0.0


def session_fault(session: Session, min_ttl: float = MIN_TTL) -> str:
    """Why this session can't be, whatever the catalog holds; ``""`` when it can. ``min_ttl`` is seconds."""
    if not session.id:
        return "Missing session ID"
    if not session.node:
        return "Must provide Node"
    if session.behavior not in {"", *BEHAVIORS}:
        return f"Invalid Behavior setting '{session.behavior}': must be one of {', '.join(BEHAVIORS)}"
    try:
        interval = session.ttl_interval
    except ConfigError as error:
        return f"Session TTL '{session.ttl}' invalid: {error}"
    if interval and not min_ttl <= interval <= MAX_TTL:
        least, most = format_duration(min_ttl), format_duration(MAX_TTL)
        return f"Invalid Session TTL '{session.ttl}', must be between [{least}={most}]"
    return ""


class LockDelays:
    """Until when (unix seconds) each key can't be locked. What is over is forgotten as time goes on."""

    def __init__(self) -> None:
        self._until: Final[dict[str, float]] = {}
        self._queue: Final[list[tuple[float, str]]] = []

    def blocks(self, key: str, at: float) -> bool:
        """Whether ``key`` can't be locked at ``at``.

        The leader's clock may have been set back since: then the delay is over rather than longer than any may be.
        """
        until = self._until.get(key, at)
        return at < until <= at + MAX_LOCK_DELAY

    def add(self, key: str, until: float) -> None:
        """Block ``key`` until then; a later end replaces an earlier one and the other way round, as in Consul."""
        until = float(until)
        self._until[key] = until
        heapq.heappush(self._queue, (until, key))

    def forget(self, at: float) -> None:
        """Drop every delay that is over at ``at``."""
        while self._queue and self._queue[0][0] <= at:
            until, key = heapq.heappop(self._queue)
            if self._until.get(key) == until:
                del self._until[key]

    def __iter__(self) -> Iterator[tuple[str, float]]:
        return iter(sorted(self._until.items()))


class Sessions:
    """The table, and the locks of ``store`` as far as sessions decide on them. Ids and names ignore case."""

    def __init__(self, store: KvStore, touched: set[WatchKey]) -> None:
        self.index = 0
        self.delays: Final = LockDelays()
        self._store = store
        self._touched = touched
        self._rows: Final[dict[str, Session]] = {}
        self._by_node: Final[dict[str, set[str]]] = {}
        self._by_check: Final[dict[tuple[str, str], set[str]]] = {}

    # Reading

    def get(self, session_id: str) -> tuple[int, Session | None]:
        """``/session/info/:uuid``."""
        return self.index or 1, self._rows.get(session_id.lower())

    def every(self) -> tuple[int, list[Session]]:
        """``/session/list``, by id."""
        return self.index or 1, [self._rows[key] for key in sorted(self._rows)]

    def of_node(self, node: str) -> tuple[int, list[Session]]:
        """``/session/node/:node``, by id."""
        return self.index or 1, [self._rows[key] for key in sorted(self._by_node.get(node.lower(), ()))]

    # Creating and ending

    def create(
        self, index: int, session: Session, *, node_exists: bool, status_of: Callable[[str], str | None]
    ) -> str:
        """Add a session; returns why not, or ``""``. ``status_of`` tells the status of a check of its node."""
        session = replace(session, behavior=session.behavior or RELEASE)
        fault = session_fault(session, min_ttl=0.0) or self._create_fault(session, node_exists, status_of)
        if not fault:
            self.load(replace(session, create_index=index, modify_index=index))
            self._moved(index, session)
        return fault

    def _create_fault(
        self, session: Session, node_exists: bool, status_of: Callable[[str], str | None]
    ) -> str:
        if session.id.lower() in self._rows:
            return f"Session ID '{session.id}' is in use"
        if not node_exists:
            return "Missing node registration"
        for check_id in session.checks:
            status = status_of(check_id)
            if status is None:
                return f"Missing check '{check_id}' registration"
            if status == "critical":
                return f"Check '{check_id}' is in {status} state"
        return ""

    def destroy(self, index: int, session_id: str, at: float) -> bool:
        """End a session and free what it holds; false when there is none. ``at`` is when the lock delays start."""
        session = self._rows.pop(session_id.lower(), None)
        if session is None:
            return False
        node = session.node.lower()
        _discard(self._by_node, node, session.id.lower())
        for check_id in session.checks:
            _discard(self._by_check, (node, check_id.lower()), session.id.lower())
        self._moved(index, session)
        self._free(index, session, at)
        return True

    def end_of_checks(self, index: int, checks: Iterable[tuple[str, str]], at: float) -> None:
        """End the sessions that rely on these (node, check id), lower case, which are critical or gone."""
        for check in checks:
            for session_id in sorted(self._by_check.get(check, ())):
                self.destroy(index, session_id, at)

    def end_of_nodes(self, index: int, nodes: Iterable[str], at: float) -> None:
        """End the sessions of these nodes (lower case), which are gone."""
        for node in nodes:
            for session_id in sorted(self._by_node.get(node, ())):
                self.destroy(index, session_id, at)

    def _free(self, index: int, session: Session, at: float) -> None:
        delay = min(session.lock_delay, MAX_LOCK_DELAY)
        self.delays.forget(at)
        for key in self._store.held_by(session.id.lower()):
            if session.behavior == DELETE:
                self._store.delete(index, key)
            else:
                entry = self._store.entries[key]
                self._store.release(index, key, entry.value, entry.flags, entry.session)
            if delay > 0:
                self.delays.add(key, at + delay)

    # Locks

    def acquire(
        self, index: int, key: str, value: bytes, flags: int, session_id: str, at: float
    ) -> Entry | str | None:
        """Lock ``key`` and put. ``None``: it is held, or its lock delay isn't over; text: the session isn't one."""
        if not session_id:
            return "missing session"
        session = self._rows.get(session_id.lower())
        if session is None:
            return f'invalid session "{session_id}"'
        if self.delays.blocks(key, at):
            return None
        return self._store.acquire(index, key, value, flags, session_id.lower())

    def release(self, index: int, key: str, value: bytes, flags: int, session_id: str) -> Entry | str | None:
        """Unlock ``key`` and put. ``None``: the session doesn't hold it; text: there is no session named."""
        if not session_id:
            return "missing session"
        return self._store.release(index, key, value, flags, session_id.lower())

    def load(self, session: Session) -> None:
        """Put back a session from a snapshot: no index moves and nothing is touched."""
        key, node = session.id.lower(), session.node.lower()
        self._rows[key] = session
        self._by_node.setdefault(node, set()).add(key)
        for check_id in session.checks:
            self._by_check.setdefault((node, check_id.lower()), set()).add(key)

    def _moved(self, index: int, session: Session) -> None:
        self.index = index
        self._touched.update(
            {("sessions",), ("session", session.id.lower()), ("sessions-of", session.node.lower())}
        )


def _discard(table: dict[K, set[str]], key: K, member: str) -> None:
    members = table.get(key)
    if members is not None:
        members.discard(member)
        if not members:
            del table[key]
