"""Connections to the instances of an upstream that are made before an application asks for one.

An application that connects is led on without a handshake then. Off unless ``prewarm`` is set: an instance decides, and
connects to its application, when a connection is made, so its application sees clients that say nothing yet.

A connection that waits is used once, and only as long as nothing it rests on has changed: its leaf, the roots, the
revoked leafs, our intentions; its peer is judged again at that moment. What the instance denies meanwhile it cuts. New
ones are made when one was used, never more than ``prewarm`` for an instance.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections import OrderedDict
from typing import Final, TypeAlias

from meshnode.proxy.authorize import Refusal
from meshnode.proxy.balance import Instance
from meshnode.proxy.config import Upstream
from meshnode.runtime.proxy.attempt import Attempt, Established
from meshnode.runtime.proxy.host import ProxyHost
from meshnode.runtime.proxy.reactor import READ

__all__ = ["MAX_EARLY_BYTES", "MAX_INSTANCES", "MAX_WAIT", "WarmPool"]

#: Seconds that a connection waits for an application.
MAX_WAIT: Final = 30.0
#: Instances that connections are kept for; those of the one used longest ago are closed first.
MAX_INSTANCES: Final = 64
#: Taken of an instance that speaks first, before anybody listens.
MAX_EARLY_BYTES: Final = 64 * 1024
#: Seconds between a use and the making of the next: the first bytes of whoever came go before.
FILL_PAUSE: Final = 0.005
#: Seconds that an instance has to say goodbye.
GOODBYE_TIMEOUT: Final = 1.0

_Key: TypeAlias = tuple[str, str, int]


class _Waiting:
    """One that waits; ``gone`` when it can't be used."""

    __slots__ = ("_host", "_pool", "early", "found", "generation", "gone", "key")

    def __init__(self, host: ProxyHost, pool: WarmPool, key: _Key, found: Established) -> None:
        self._host = host
        self._pool = pool
        self.key = key
        self.found = found
        self.generation = host.decisions.generation
        self.early = 0
        self.gone = False

    def start(self) -> None:
        """Say our last words of the handshake, and notice what the instance says. Raises ``OSError``."""
        self.found.end.flush()
        self._host.deadlines.add(self, MAX_WAIT, self._host.clock())
        self._host.reactor.watch(self.found.end.sock, READ, self._ready)

    def listen(self) -> bool:
        """Take what has come, for whoever will read it; says whether the connection lives."""
        try:
            count = self.found.end.receive()
        except BlockingIOError:
            return True
        except OSError:
            return False
        self.early += count
        return count > 0 and self.early <= MAX_EARLY_BYTES

    def release(self) -> None:
        """Somebody else watches it from now on."""
        self._host.deadlines.remove(self, MAX_WAIT)
        self._host.reactor.forget(self.found.end.sock)

    def leave(self) -> None:
        """Say goodbye, and close once the instance has said it too."""
        self.gone = True
        self._pool.leaving.add(self)
        self._host.deadlines.remove(self, MAX_WAIT)
        end = self.found.end
        try:
            # It says close_notify and does not wait for the peer's.
            with contextlib.suppress(ssl.SSLWantReadError):
                end.tls.unwrap()
            end.flush()
            end.sock.shutdown(socket.SHUT_WR)
        except (ssl.SSLError, OSError):
            self.close()
        else:
            self._host.deadlines.add(self, GOODBYE_TIMEOUT, self._host.clock())

    def close(self) -> None:
        """Close at once."""
        self.gone = True
        self._host.deadlines.remove(self, GOODBYE_TIMEOUT)
        self.release()
        self._pool.leaving.discard(self)
        self.found.end.sock.close()

    def time_out(self) -> None:
        """Nobody came for it, or the instance does not say goodbye."""
        if self.gone:
            self.close()
        else:
            self._pool.drop(self)

    def fault(self) -> None:
        """An error of ours."""
        self.close()
        self._pool.drop(self)

    def _ready(self, events: int) -> None:
        if self.listen():
            return
        if self.gone:
            self.close()
        else:
            self._pool.drop(self)


class WarmPool:
    """Of one upstream. Nothing is kept when its ``prewarm`` is 0."""

    def __init__(self, host: ProxyHost, settings: Upstream) -> None:
        self._host = host
        self._settings = settings
        self._waiting: OrderedDict[_Key, list[_Waiting]] = OrderedDict()
        self._attempts: dict[_Key, list[Attempt]] = {}
        self._closed = False
        self._wanted: dict[_Key, Instance] = {}
        self._timer: asyncio.TimerHandle | None = None
        #: Those that wait for the goodbye of their instance.
        self.leaving: set[_Waiting] = set()

    def __len__(self) -> int:
        """Connections that wait."""
        return sum(map(len, self._waiting.values()))

    def take(self, instance: Instance) -> Established | None:
        """A connection to ``instance`` that can be used now; it is the caller's."""
        known = self._waiting.get(_key(instance)) if self._waiting else None
        while known:
            one = known.pop(0)
            if self._holds(one):
                one.release()
                self._host.counters["upstream.prewarmed"] += 1
                return one.found
            one.leave()
        return None

    def fill(self, instance: Instance) -> None:
        """One was used: see to it that ``prewarm`` of them wait, once those who talk have had their turn."""
        if not self._settings.prewarm or self._closed:
            return
        self._wanted[_key(instance)] = instance
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(FILL_PAUSE, self._fill)

    def _fill(self) -> None:
        self._timer = None
        wanted, self._wanted = self._wanted, {}
        for key, instance in wanted.items():
            self._fill_one(key, instance)

    def _fill_one(self, key: _Key, instance: Instance) -> None:
        waiting = self._waiting.setdefault(key, [])
        self._waiting.move_to_end(key)
        self._make_room()
        for one in [one for one in waiting if not self._is_current(one)]:
            self.drop(one)
        making = self._attempts.setdefault(key, [])
        for _ in range(self._settings.prewarm - len(waiting) - len(making)):
            self._begin(key, instance, making)

    def drop(self, waiting: _Waiting) -> None:
        """Close one that waits."""
        known = self._waiting.get(waiting.key, [])
        if waiting in known:
            known.remove(waiting)
        if not waiting.gone:
            waiting.leave()

    def open(self) -> None:
        """Keep connections again after :meth:`close`."""
        self._closed = False

    def close(self) -> None:
        """Close all that wait, and make no more."""
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._wanted.clear()
        for making in self._attempts.values():
            for attempt in making:
                attempt.cancel()
        self._attempts.clear()
        for one in [*self.leaving, *(one for known in self._waiting.values() for one in known)]:
            one.close()
        self._waiting.clear()

    def _is_current(self, one: _Waiting) -> bool:
        """Whether nothing that it rests on has changed."""
        return one.found.contexts is self._host.contexts and one.generation == self._host.decisions.generation

    def _holds(self, one: _Waiting) -> bool:
        if not self._is_current(one) or not one.listen():
            return False
        found, uris = one.found, frozenset({one.found.instance.spiffe_id})
        return not isinstance(self._host.identify(found.end, uris=uris, datacenters=frozenset()), Refusal)

    def _make_room(self) -> None:
        while len(self._waiting) > MAX_INSTANCES:
            key, known = self._waiting.popitem(last=False)
            for one in known:
                one.leave()
            for attempt in self._attempts.pop(key, []):
                attempt.cancel()

    def _begin(self, key: _Key, instance: Instance, making: list[Attempt]) -> None:
        def done(found: Established | None, reason: str) -> None:
            if attempt in making:
                making.remove(attempt)
            if found is None:
                # Whoever needs the instance will find out for himself, and says why.
                self._host.counters["upstream.prewarm_failed"] += 1
            else:
                self._keep(key, found)

        attempt = Attempt(self._host, instance, timeout=self._settings.connect_timeout, on_done=done)
        making.append(attempt)
        try:
            attempt.start()
        except BaseException:
            attempt.cancel()
            making.remove(attempt)
            raise

    def _keep(self, key: _Key, found: Established) -> None:
        waiting = _Waiting(self._host, self, key, found)
        try:
            waiting.start()
        except OSError:
            self._host.counters["upstream.prewarm_failed"] += 1
            waiting.close()
            return
        self._waiting.setdefault(key, []).append(waiting)


def _key(instance: Instance) -> _Key:
    return instance.spiffe_id, instance.address, instance.port
