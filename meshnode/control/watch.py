"""Who waits for what: blocking queries register the watch keys of what they read, writes tell which keys they touched.

=======================  ======================================================================
watch key                touched by
=======================  ======================================================================
``("nodes",)``           a node that comes, changes or goes
``("node", name)``       the same, or a service or check on that node
``("services",)``        an instance that comes, changes or goes
``("service", name)``    the same for that service, or its node, or a check that counts for it
``("connect", name)``    the same for its Connect endpoints
``("gateways",)``        an instance of a terminating gateway, with its node and checks; while there are any, the
                         first and the last instance of each service
``("checks", state)``    a check that enters, leaves or changes in that state; ``any``: every check
``("key", key)``         that key
``("kv", prefix)``       any key under the prefix
``("sessions",)``        a session that comes or goes
``("session", id)``      that session
``("sessions-of", n)``   a session of that node
``("coordinates",)``     any coordinate
``("coordinate", n)``    that node's
``("acl",)``             any token, policy or role
``("queries",)``         any prepared query
``("autopilot",)``       the settings of Autopilot
``("intentions",)``      any intention; see ``intentions.store`` for those of one service
``("config-entries",)``  any config entry; see ``config_entries.store`` for one
``("connect-roots",)``   any root of Connect, or a revoked leaf
``("connect-config",)``  the settings of Connect's CA
``("connect-trust",)``   what a node trusts, or a step of a rotation
=======================  ======================================================================

Writes touch two keys that nobody registers: ``("tree", prefix)``, every key under it, and ``EVERYTHING``, after a
restore. A waiter may be woken for nothing (it reads again and sees that its index didn't move), never left asleep. Keys
and prefixes of the key/value store are found by the lengths of the registered prefixes: a write costs one look-up for
each distinct length, whatever the number of waiters.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

__all__ = [
    "EVERYTHING",
    "WatchKey",
    "WatchTable",
    "check_state",
    "connect",
    "coordinate",
    "key",
    "node",
    "prefix",
    "service",
    "session",
    "sessions_of",
]

WatchKey = tuple[str, ...]

NODES: Final[WatchKey] = ("nodes",)
SERVICES: Final[WatchKey] = ("services",)
GATEWAYS: Final[WatchKey] = ("gateways",)
SESSIONS: Final[WatchKey] = ("sessions",)
COORDINATES: Final[WatchKey] = ("coordinates",)
QUERIES: Final[WatchKey] = ("queries",)
AUTOPILOT: Final[WatchKey] = ("autopilot",)
#: Touched when the whole state was replaced.
EVERYTHING: Final[WatchKey] = ("everything",)


def node(name: str) -> WatchKey:
    """For the reads of one node. One that is asked for by id needs ``NODES`` as well."""
    return ("node", name.lower())


def service(name: str) -> WatchKey:
    """For the instances of a service and their checks."""
    return ("service", name.lower())


def connect(name: str) -> WatchKey:
    """For the Connect endpoints of a service."""
    return ("connect", name.lower())


def check_state(state: str) -> WatchKey:
    """For the checks in a state, or ``any``."""
    return ("checks", state)


def key(name: str) -> WatchKey:
    """For one key."""
    return ("key", name)


def prefix(text: str) -> WatchKey:
    """For a list of entries or keys."""
    return ("kv", text)


def session(session_id: str) -> WatchKey:
    """For one session."""
    return ("session", session_id.lower())


def sessions_of(name: str) -> WatchKey:
    """For the sessions of a node."""
    return ("sessions-of", name.lower())


def coordinate(name: str) -> WatchKey:
    """For the coordinates of a node."""
    return ("coordinate", name.lower())


class WatchTable:
    """Waiters and the keys that they wait for. A waiter stays registered until it is removed."""

    def __init__(self) -> None:
        self._keys: Final[dict[int, tuple[WatchKey, ...]]] = {}
        self._waiters: Final[dict[WatchKey, set[int]]] = {}
        self._prefix_lengths: Final[dict[int, int]] = {}  # length -> how many distinct prefixes have it
        self._next = 1

    def __len__(self) -> int:
        return len(self._keys)

    def register(self, keys: Iterable[WatchKey]) -> int:
        """Add a waiter; returns its id. To be done before the read, or in the same step of the event loop."""
        waiter, self._next = self._next, self._next + 1
        self._keys[waiter] = tuple(dict.fromkeys(keys))
        for watched in self._keys[waiter]:
            waiters = self._waiters.get(watched)
            if waiters is None:
                waiters = self._waiters[watched] = set()
                if watched[0] == "kv":
                    length = len(watched[1])
                    self._prefix_lengths[length] = self._prefix_lengths.get(length, 0) + 1
            waiters.add(waiter)
        return waiter

    def remove(self, waiter: int) -> None:
        """Forget a waiter; one that isn't there is forgotten already."""
        for watched in self._keys.pop(waiter, ()):
            waiters = self._waiters[watched]
            waiters.discard(waiter)
            if waiters:
                continue
            del self._waiters[watched]
            if watched[0] == "kv":
                length = len(watched[1])
                self._prefix_lengths[length] -= 1
                if not self._prefix_lengths[length]:
                    del self._prefix_lengths[length]

    def touched(self, keys: Iterable[WatchKey]) -> set[int]:
        """The ids of the waiters whose reads may have changed."""
        woken: set[int] = set()
        if not self._keys:
            return woken
        for watched in keys:
            if watched[0] == "tree":
                self._fell(watched[1], woken)
            elif watched == EVERYTHING:
                woken.update(self._keys)
            else:
                woken.update(self._waiters.get(watched, ()))
                if watched[0] == "key":
                    self._reach(watched[1], woken)
        return woken

    def _reach(self, changed: str, woken: set[int]) -> None:
        for length in self._prefix_lengths:
            if length <= len(changed) and (waiters := self._waiters.get(("kv", changed[:length]))):
                woken.update(waiters)

    def _fell(self, tree: str, woken: set[int]) -> None:
        for watched, waiters in self._waiters.items():
            if (watched[0] in {"kv", "key"} and watched[1].startswith(tree)) or (
                watched[0] == "kv" and tree.startswith(watched[1])
            ):
                woken.update(waiters)
