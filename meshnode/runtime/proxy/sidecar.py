"""One proxy: its listeners, its certificate of the moment, its live connections, and what changes them.

A changed configuration restarts only what has another address; a new certificate or root holds for new connections; a
changed decision cuts the connections that it forbids, and those only.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import random
import time
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import Any, Final

from meshnode.base.errors import ConfigError
from meshnode.base.metrics import Metrics
from meshnode.proxy.authorize import Identity
from meshnode.proxy.config import Endpoint, ProxyConfig, PublicListener, Upstream, diff
from meshnode.proxy.decision_cache import Decision, DecisionCache, SourceKey
from meshnode.proxy.issuers import Issuers
from meshnode.proxy.ledger import Ledger
from meshnode.proxy.report import ledger_counters, report_body
from meshnode.runtime.proxy.contexts import Contexts, make_contexts
from meshnode.runtime.proxy.enforcer import Enforcer
from meshnode.runtime.proxy.following import follow_certificates
from meshnode.runtime.proxy.host import Live, ProxyHost, log
from meshnode.runtime.proxy.interfaces import Authorizer, CertificateProvider, Discovery, TlsMaterial
from meshnode.runtime.proxy.listener import Listener
from meshnode.runtime.proxy.reactor import Reactor
from meshnode.runtime.tasks import cancel_and_wait, spawn

__all__ = ["Sidecar"]

#: Seconds between two looks at the deadlines.
TICK_INTERVAL: Final = 0.1


class Sidecar:
    """``first_id`` and ``id_step`` keep connection ids of several processes apart; ``shared`` lets them share ports.

    ``announce=False`` is for all processes but one: what all of them would say the same is said at DEBUG.
    """

    def __init__(
        self,
        certificates: CertificateProvider,
        authorizer: Authorizer,
        discovery: Discovery,
        *,
        clock: Callable[[], float] = time.monotonic,
        wall_clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        rng: random.Random | None = None,
        decisions: DecisionCache | None = None,
        shared: bool = False,
        announce: bool = True,
        first_id: int = 1,
        id_step: int = 1,
    ) -> None:
        self._certificates = certificates
        self._discovery = discovery
        self._clock = clock
        self._wall_clock = wall_clock
        self._rng = rng or random.Random()
        self._decisions = decisions or DecisionCache()
        self._enforcer = Enforcer(
            authorizer, self._decisions, clock, live=self._inbound_sources, enforce=self._enforce, log=log
        )
        self._shared = shared
        self._announcing = logging.INFO if announce else logging.DEBUG
        self.ledger = Ledger(first_id=first_id, id_step=id_step)
        self.config: ProxyConfig | None = None
        self._contexts: Contexts | None = None
        self._issuers = Issuers()
        self._host: ProxyHost | None = None
        self._listeners: dict[Endpoint, Listener] = {}
        self._tasks: list[asyncio.Task[None]] = []
        self._idle = asyncio.Event()

    # Life

    async def start(self, config: ProxyConfig) -> None:
        """Wait for the first certificate, then listen. Raises :class:`ConfigError`; nothing is left behind then."""
        ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        following = follow_certificates(self._certificates, self._use, ready, log)
        self._tasks.append(spawn(following, name="proxy certificates"))
        try:
            await ready
            contexts = self._contexts
            assert contexts is not None, "ready says that there are some"
            self._host = ProxyHost(
                Reactor(),
                self._enforcer.decider,
                self._discovery,
                self._clock,
                self._wall_clock,
                contexts,
                self._decisions,
                self.ledger,
                self._issuers,
                on_flow_end=self._flow_ended,
            )
            self._tasks.append(spawn(self._tick(), name="proxy deadlines"))
            self._enforcer.start()
            started = self._change(config)
        except BaseException:
            await self.stop(drain_timeout=0.0)
            raise
        # In the order of Consul's proxy.
        for listener in started:
            if isinstance(listener.settings, Upstream):
                self._say_started(listener)
        log.log(self._announcing, "Proxy loaded config and ready to serve")
        self._say_identity(contexts)
        for listener in started:
            if isinstance(listener.settings, PublicListener):
                self._say_started(listener)

    def apply(self, config: ProxyConfig) -> None:
        """Change the listeners to ``config``.

        Raises :class:`ConfigError` when one can't listen; the old configuration stays in force then.
        """
        for listener in self._change(config):
            self._say_started(listener)

    def _change(self, config: ProxyConfig) -> list[Listener]:
        """Returns the listeners that were started."""
        changes = diff(self._listening(), config)
        host = self._ready_host()
        started: dict[Endpoint, Listener] = {}
        # Where a port is used again, for something else or on other addresses, it has to be free first.
        wanted = {(item.bind.path, item.bind.port) for item in changes.start}
        freed = {bind: self._listeners.pop(bind) for bind in changes.stop if (bind.path, bind.port) in wanted}
        for listener in freed.values():
            listener.stop()
        try:
            for settings in changes.start:
                listener = Listener(host, settings, self._rng, shared=self._shared)
                listener.start()
                started[settings.bind] = listener
        except ConfigError:
            for listener in started.values():
                listener.stop()
            self._restore(freed)
            raise
        for bind in changes.stop:
            if bind not in freed:
                self._listeners.pop(bind).stop()
        for settings in changes.update:
            self._listeners[settings.bind].update(settings)
        self._listeners |= started
        if config.public is not None:
            about_requests = config.public.protocol != "tcp"
            if about_requests != self._enforcer.decider.about_requests:
                self._enforcer.decider.about_requests = about_requests
                self._decisions.invalidate()
            ages = config.public.decision_refresh, config.public.decision_max_age
            self._decisions.limit(refresh_after=ages[0], max_age=ages[1])
        self.config = config
        return list(started.values())

    def _listening(self) -> ProxyConfig:
        """The configuration that is in force: a listener may be missing after a change that failed."""
        settings = [listener.settings for listener in self._listeners.values()]
        public = next((item for item in settings if isinstance(item, PublicListener)), None)
        return ProxyConfig("", public, tuple(item for item in settings if isinstance(item, Upstream)))

    def _restore(self, freed: dict[Endpoint, Listener]) -> None:
        for bind, listener in freed.items():
            try:
                listener.start()
            except ConfigError as error:
                log.error("the old configuration can't be kept whole: %s", error)
            else:
                self._listeners[bind] = listener

    def _say_started(self, listener: Listener) -> None:
        name, address = listener.settings.name, listener.address
        shown = f"{address}->{name}" if isinstance(listener.settings, Upstream) else f"{name} listener"
        log.log(self._announcing, "%s starting on %s", shown, address)

    def _say_identity(self, contexts: Contexts) -> None:
        log.log(self._announcing, "TLS Identity: %s", contexts.identity.uri)
        log.log(self._announcing, "TLS Roots   : [%s]", " ".join(contexts.roots))

    async def stop(self, *, drain_timeout: float = 10.0) -> None:
        """Accept nobody, let connections end for ``drain_timeout`` seconds, cut what is left."""
        for listener in self._listeners.values():
            listener.stop()
        self._listeners.clear()
        host = self._host
        if host is not None and host.flows and drain_timeout > 0:
            self._idle.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(drain_timeout):
                    await self._idle.wait()
            if host.flows:
                log.warning("%d connections are cut: the proxy stops", len(host.flows))
        if host is not None:
            for flow in list(host.flows.values()):
                flow.end("the proxy stops")
        await cancel_and_wait(*self._tasks)
        await self._enforcer.close()
        self._tasks.clear()
        if host is not None:
            host.reactor.close()
            self._host = None

    def hurry(self) -> None:
        """End the draining of a ``stop`` that is under way."""
        self._idle.set()

    # Reading

    @property
    def identity(self) -> Identity:
        """Who we are to new connections, with the serial number that they see."""
        return self._ready_host().contexts.identity

    @property
    def roots(self) -> tuple[str, ...]:
        """Names of the roots that new connections are verified against."""
        return self._ready_host().contexts.roots

    def address(self, listener: str = "public") -> Endpoint:
        """Where a listener of that name is."""
        return next(item.address for item in self._listeners.values() if item.settings.name == listener)

    def handshakes(self) -> int:
        """Clients whose connection is being set up."""
        return sum(listener.waiting for listener in self._listeners.values())

    def counters(self) -> dict[str, int]:
        """What the metrics show: names as Consul's (``inbound.conns``, ``upstream.rx_bytes``), and refusals by kind.

        ``rx`` is what came from the mesh's side, ``tx`` what went there.
        """
        return {**(self._host.counters if self._host else {}), **ledger_counters(self.ledger)}

    def report(self) -> dict[str, Any]:
        """What the agent is told: the body of ``PUT /v1/agent/connect/report/:id``; empty before it runs."""
        host, config = self._host, self.config
        if host is None or config is None:
            return {}
        return report_body(
            host.contexts.identity,
            service=config.service,
            roots=host.contexts.roots,
            listeners=[(item.settings.name, str(item.address)) for item in self._listeners.values()],
            pid=os.getpid(),
            counters=self.counters(),
            ledger=self.ledger,
            decisions=self._decisions,
            now=self._clock(),
        )

    def record(self, metrics: Metrics, now: float) -> None:
        """Set each counter as a gauge ``consul.proxy.<service>.<counter>``."""
        service = self.config.service if self.config else ""
        for name, value in self.counters().items():
            metrics.set_gauge(f"consul.proxy.{service}.{name}", float(value), now)

    # Cutting

    def cut(self, connection: int, cause: str) -> bool:
        """End one live connection at once, both sides with a reset. Says whether it lived."""
        flow = self._host.flows.get(connection) if self._host else None
        if flow is None:
            return False
        log.warning("%s #%d %s is cut: %s", flow.entry.listener, connection, flow.entry.source, cause)
        flow.end(f"cut: {cause}")
        return True

    def cut_serials(self, serials: Iterable[str]) -> int:
        """End the connections whose peer showed one of these certificates, which are revoked. Returns how many."""
        entries = self.ledger.with_serials(serials)
        return sum(self.cut(entry.id, f"Certificate {entry.serial} is revoked") for entry in entries)

    def cut_distrusted(self) -> int:
        """End the connections whose peer nobody vouches for, now that a root is distrusted. Returns how many."""
        found = [(entry.id, self._issuers.why_cut(entry.issuer)) for entry in self.ledger.live()]
        return sum(self.cut(number, because) for number, because in found if because)

    async def recheck(self) -> int:
        """Ask again about every source with live connections, and cut what is denied. Returns how many were cut."""
        return await self._enforcer.recheck()

    def _inbound_sources(self) -> list[Identity]:
        known = map(self._ready_host().identity_of, self.ledger.inbound_sources())
        return [identity for identity in known if identity is not None]

    def _enforce(self, source: SourceKey, decision: Decision) -> int:
        cut, served = 0, set[int]()
        for each in self._ready_host().serving:
            ended, connections = each.enforce(source, decision)
            cut += ended
            served |= connections
        forbidden = [entry.id for entry in self.ledger.forbidden_by(source, decision)]
        return cut + sum(self.cut(number, decision.because) for number in forbidden if number not in served)

    # Following

    def expire(self, now: float) -> None:
        """Give up handshakes and connects that are late at ``now``; what has come by then came in time."""
        if self._host is not None:
            # On a busy machine nobody may have looked for longer than a time-out.
            self._host.reactor.handle_ready()
            self._host.deadlines.expire(now)
            for each in list(self._host.serving):
                each.check(now)

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(TICK_INTERVAL)
            self.expire(self._clock())

    def _use(self, material: TlsMaterial) -> None:
        before = self._contexts
        self._contexts = contexts = make_contexts(material, before)
        distrusts = self._issuers.trust(material.roots_pem, contexts.roots, material.distrusted)
        if self._host is None or before is None:
            return
        self._host.contexts = contexts
        if contexts.client is not before.client:
            self._say_identity(contexts)
        self.cut_serials(material.revoked - before.material.revoked)
        if distrusts:
            self.cut_distrusted()

    def _flow_ended(self, flow: Live) -> None:
        # The last ones may end after the proxy did.
        if self._host is None or not self._host.flows:
            self._idle.set()

    def _ready_host(self) -> ProxyHost:
        if self._host is None:
            raise ConfigError("the proxy is not running")
        return self._host
