"""From the application to the mesh: choose an instance, reach it, then the bytes flow.

An instance that refuses, hangs or is somebody else is set aside and the next is tried: nothing of the application's has
been read by then, so nothing is sent twice.
"""

from __future__ import annotations

import asyncio
import ipaddress
import random
import socket
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Final, cast

from meshnode.proxy.balance import Balancer, Instance
from meshnode.proxy.config import Upstream
from meshnode.proxy.decision_cache import Decision
from meshnode.runtime.proxy.attempt import Attempt, Established
from meshnode.runtime.proxy.flow import reset
from meshnode.runtime.proxy.host import ProxyHost, guarded, log
from meshnode.runtime.proxy.reactor import FAULT
from meshnode.runtime.proxy.warm import WarmPool
from meshnode.runtime.tasks import spawn

__all__ = ["INSTANCES_AGE", "TRUSTED", "Destination", "Outbound"]

#: Seconds that a list of instances is used before it is asked for again.
INSTANCES_AGE: Final = 1.0
#: What lets a connection to an instance live.
TRUSTED: Final = Decision(True, "the instance proved to be who discovery said")


class Destination:
    """Where an upstream leads: its instances as last heard of, and memory of those that failed."""

    def __init__(self, host: ProxyHost, settings: Upstream, rng: random.Random) -> None:
        self.settings = settings
        self.balancer = Balancer(rng)
        #: Connections that wait for an application.
        self.warm = WarmPool(host, settings)
        self._host = host
        self._instances: Sequence[Instance] = ()
        self._asked_at: float | None = None
        self._asking: asyncio.Task[str] | None = None
        #: Only instances are known whose agents gossip doesn't hear of.
        self._agents_lost = False

    def known(self) -> list[Instance] | None:
        """The instances to try, or ``None``: ask first."""
        now = self._host.clock()
        if self._asked_at is None or now - self._asked_at >= INSTANCES_AGE:
            return None
        return self.balancer.order(self._instances, now)

    async def ask(self) -> tuple[list[Instance], str]:
        """Ask discovery, once for all who wait; the instances to try, and why there is none."""
        if self._asking is None or self._asking.done():
            self._asking = spawn(self._refresh(), name=f"proxy discovery of {self.settings.name}")
        failure = await asyncio.shield(self._asking)
        instances = self.balancer.order(self._instances, self._host.clock())
        if instances:
            return instances, ""
        total = len(self._instances)
        return [], failure or (f"none of its {total} instances is passing" if total else "it has no instance")

    async def _refresh(self) -> str:
        try:
            found = await self._host.discovery.instances(self.settings)
            self._instances = [item for instance in found for item in await _resolved(instance)]
        except Exception as error:  # noqa: BLE001  the last list is used for as long as nobody answers
            return f"its instances can't be found out: {str(error) or type(error).__name__}"
        self._asked_at = self._host.clock()
        self._say_if_agents_are_lost()
        return ""

    def _say_if_agents_are_lost(self) -> None:
        lost = any(one.agent_lost for one in self._instances) and not any(
            one.passing for one in self._instances
        )
        if lost and not self._agents_lost:
            log.warning(
                "%s: no instance is passing: those are tried whose agents alone are not heard of",
                self.settings.name,
            )
        elif self._agents_lost and not lost:
            log.info("%s: instances are chosen by their checks again", self.settings.name)
        self._agents_lost = lost


async def _resolved(instance: Instance) -> list[Instance]:
    """An instance registered under a name is one for each of its addresses."""
    try:
        ipaddress.ip_address(instance.address)
    except ValueError:
        found = await asyncio.get_running_loop().getaddrinfo(
            instance.address, instance.port, type=socket.SOCK_STREAM
        )
        return [replace(instance, address=str(address[0])) for *_, address in found[:4]]
    return [instance]


class Outbound:
    """A client of an upstream's listener until its bytes flow."""

    __slots__ = (
        "_app",
        "_attempt",
        "_establish",
        "_failures",
        "_host",
        "_left",
        "_on_left",
        "_peer",
        "_to",
        "_trying",
    )

    def __init__(
        self,
        host: ProxyHost,
        destination: Destination,
        app: socket.socket,
        peer: str,
        on_left: Callable[[Outbound], None],
        establish: Callable[[], Callable[[], None]],
    ) -> None:
        self._establish = establish
        self._host = host
        self._to = destination
        self._app: socket.socket | None = app
        self._peer = peer
        self._on_left = on_left
        self._left: list[Instance] = []
        self._trying: Instance | None = None
        self._attempt: Attempt | None = None
        self._failures: list[str] = []

    def start(self) -> None:
        """Choose an instance, asking for the list first when it is old."""
        known = self._to.known()
        if known:
            self._left = known
            self._next()
        else:
            spawn(guarded(self, self._ask()), name=f"proxy instances of {self._to.settings.name}")

    async def _ask(self) -> None:
        self._left, failure = await self._to.ask()
        if not self._left:
            self.drop("no_instance", failure)
        elif self._app is not None:
            self._next()

    def drop(self, kind: str, reason: str) -> None:
        """Close with a reset and say why; an empty ``kind`` says nothing."""
        app, self._app = self._app, None
        if app is None:
            return
        if self._attempt is not None:
            self._attempt.cancel()
            self._attempt = None
        reset(app)
        if kind:
            own = self._host.contexts.identity.uri
            self._host.refuse(self._to.settings.name, self._peer, kind, reason, source=own)
        self._on_left(self)

    def fault(self) -> None:
        """Close it."""
        self.drop("error", FAULT)

    def _next(self) -> None:
        """Try the next instance."""
        if not self._left:
            self.drop("upstream", "; ".join(self._failures))
            return
        instance = self._trying = self._left.pop(0)
        waiting = self._to.warm.take(instance)
        if waiting is not None:
            self._established(waiting)
            return
        timeout = self._to.settings.connect_timeout
        self._attempt = Attempt(self._host, instance, timeout=timeout, on_done=self._done)
        self._attempt.start()

    def _done(self, found: Established | None, reason: str) -> None:
        self._attempt = None
        if found is not None:
            self._established(found)
        elif reason == FAULT:
            self.fault()
        else:
            self._to.balancer.failed(cast(Instance, self._trying), self._host.clock())
            self._host.counters["upstream.failed_attempts"] += 1
            self._failures.append(reason)
            self._next()

    def _established(self, found: Established) -> None:
        self._to.balancer.succeeded(found.instance)
        app, self._app = cast(socket.socket, self._app), None
        self._on_left(self)
        self._host.begin(
            "outbound",
            found.end,
            app,
            listener=self._to.settings.name,
            peer=found.where,
            identity=found.identity,
            decision=TRUSTED,
            on_end=self._establish(),
            on_first_read=found.keep_session,
        )
        self._to.warm.fill(found.instance)
