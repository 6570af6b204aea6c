"""One proxy: its listeners, its certificate of the moment, its live connections, and what changes them.

A changed configuration restarts only what has another address; a new certificate or root holds for new connections; a
changed decision cuts the connections that it forbids, and those only.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import Final

from meshnode.base.errors import ConfigError
from meshnode.base.metrics import Metrics
from meshnode.proxy.authorize import Identity
from meshnode.proxy.config import Endpoint, ProxyConfig, diff
from meshnode.proxy.decision_cache import Decision, DecisionCache, SourceKey
from meshnode.proxy.ledger import Direction, Ledger
from meshnode.runtime.proxy.contexts import Contexts, make_contexts
from meshnode.runtime.proxy.flow import Flow
from meshnode.runtime.proxy.host import ProxyHost, log
from meshnode.runtime.proxy.interfaces import Authorizer, CertificateProvider, Discovery
from meshnode.runtime.proxy.listener import Listener
from meshnode.runtime.proxy.reactor import Reactor
from meshnode.runtime.tasks import cancel_and_wait, spawn

__all__ = ["Sidecar"]

#: Seconds between two looks at the deadlines.
TICK_INTERVAL: Final = 0.1
#: Seconds until a broken subscription is tried again.
RETRY_INTERVAL: Final = 1.0
#: Sources asked about at once after a change.
_MAX_QUESTIONS: Final = 64


class Sidecar:
    """``first_id`` and ``id_step`` keep connection ids of several processes apart; ``shared`` lets them share ports."""

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
        first_id: int = 1,
        id_step: int = 1,
    ) -> None:
        self._certificates = certificates
        self._authorizer = authorizer
        self._discovery = discovery
        self._clock = clock
        self._wall_clock = wall_clock
        self._rng = rng or random.Random()
        self._decisions = decisions or DecisionCache()
        self._shared = shared
        self.ledger = Ledger(first_id=first_id, id_step=id_step)
        self.config: ProxyConfig | None = None
        self._host: ProxyHost | None = None
        self._listeners: dict[Endpoint, Listener] = {}
        self._tasks: list[asyncio.Task[None]] = []
        self._idle = asyncio.Event()
        #: The sources of live connections are being asked about again.
        self._rechecking = asyncio.Lock()

    # Life

    async def start(self, config: ProxyConfig) -> None:
        """Wait for the first certificate, then listen. Raises :class:`ConfigError`; nothing is left behind then."""
        ready: asyncio.Future[Contexts] = asyncio.get_running_loop().create_future()
        self._tasks.append(spawn(self._follow_certificates(ready), name="proxy certificates"))
        try:
            contexts = await ready
            self._host = ProxyHost(
                Reactor(),
                self._authorizer,
                self._discovery,
                self._clock,
                self._wall_clock,
                contexts,
                self._decisions,
                self.ledger,
                on_flow_end=self._flow_ended,
            )
            self._tasks.append(spawn(self._tick(), name="proxy deadlines"))
            self._tasks.append(spawn(self._follow_decisions(), name="proxy decisions"))
            self.apply(config)
        except BaseException:
            await self.stop(drain_timeout=0.0)
            raise

    def apply(self, config: ProxyConfig) -> None:
        """Change the listeners to ``config``. Raises :class:`ConfigError` when one can't listen."""
        changes = diff(self.config, config)
        host = self._ready_host()
        started: dict[Endpoint, Listener] = {}
        free = [bind for bind in changes.stop if bind in {item.bind for item in changes.start}]
        for bind in free:
            self._listeners.pop(bind).stop()
        try:
            for settings in changes.start:
                listener = Listener(host, settings, self._rng, shared=self._shared)
                listener.start()
                started[settings.bind] = listener
        except ConfigError:
            for listener in started.values():
                listener.stop()
            raise
        for bind in changes.stop:
            if bind not in free:
                self._listeners.pop(bind).stop()
        for settings in changes.update:
            self._listeners[settings.bind].update(settings)
        for bind, listener in started.items():
            self._listeners[bind] = listener
            log.info("%s starting on %s", listener.settings.name, listener.address)
        self.config = config

    async def stop(self, *, drain_timeout: float = 10.0) -> None:
        """Accept nobody, let connections end for ``drain_timeout`` seconds, cut what is left."""
        for listener in self._listeners.values():
            listener.stop()
        self._listeners.clear()
        host = self._host
        if host is not None and host.flows and drain_timeout > 0:
            self._idle.clear()
            try:
                await asyncio.wait_for(self._idle.wait(), drain_timeout)
            except TimeoutError:
                log.warning("%d connections are cut: the proxy stops", len(host.flows))
        if host is not None:
            for flow in list(host.flows.values()):
                flow.end("the proxy stops")
        await cancel_and_wait(*self._tasks)
        self._tasks.clear()
        if host is not None:
            host.reactor.close()
            self._host = None

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
        found = dict(self._host.counters) if self._host else {}
        directions: tuple[tuple[str, Direction], ...] = (("inbound", "inbound"), ("upstream", "outbound"))
        for name, direction in directions:
            totals = self.ledger.totals(direction)
            found[f"{name}.conns"] = totals.opened - totals.closed
            found[f"{name}.conns_total"] = totals.opened
            found[f"{name}.rx_bytes"] = totals.received
            found[f"{name}.tx_bytes"] = totals.sent
        return found

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
        return sum(self.cut(entry.id, f"certificate {entry.serial} is revoked") for entry in entries)

    async def recheck(self) -> int:
        """Ask again about every source with live connections, and cut what is denied. Returns how many were cut.

        When nobody answers about a source its connections go on: they were allowed, and new ones are refused in time.
        """
        self._decisions.invalidate()
        async with self._rechecking:
            generation = self._decisions.generation
            limit = asyncio.Semaphore(_MAX_QUESTIONS)
            sources = self.ledger.inbound_sources()
            answers = await asyncio.gather(*(self._ask(source, limit) for source in sources))
            now = self._clock()
            decided: dict[SourceKey, Decision] = {}
            for source, decision in zip(sources, answers, strict=True):
                if decision is not None:
                    decided[source] = decision
                    self._decisions.store(source, decision, now, generation)
            return sum(
                self.cut(entry.id, because) for entry, because in self.ledger.forbidden_by(decided.get)
            )

    async def _ask(self, source: SourceKey, limit: asyncio.Semaphore) -> Decision | None:
        identity = self._ready_host().identity_of(source)
        if identity is None:
            return None
        async with limit:
            try:
                return await self._authorizer.decide(identity)
            except Exception as error:  # noqa: BLE001  whatever went wrong, it says nothing about the source
                log.warning("connections of %s go on: nobody could be asked: %s", source[0], error)
                return None

    # Following

    def expire(self, now: float) -> None:
        """Give up handshakes and connects that are late at ``now``."""
        if self._host is not None:
            self._host.deadlines.expire(now)

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(TICK_INTERVAL)
            self.expire(self._clock())

    async def _follow_certificates(self, ready: asyncio.Future[Contexts]) -> None:
        while True:
            try:
                async for material in self._certificates.watch():
                    try:
                        contexts = make_contexts(material)
                    except ConfigError as error:
                        if not ready.done():
                            ready.set_exception(error)
                            return
                        log.error("the new certificate is not used, the old one stays: %s", error)
                        continue
                    log.info("TLS Identity: %s", contexts.identity.uri)
                    log.info("TLS Roots   : [%s]", ", ".join(contexts.roots))
                    if not ready.done():
                        ready.set_result(contexts)
                    elif self._host is not None:
                        self._host.contexts = contexts
            except Exception as error:  # noqa: BLE001  the provider is another's code; what we have goes on
                log.warning("certificates are not followed for %g s: %s", RETRY_INTERVAL, error)
            await asyncio.sleep(RETRY_INTERVAL)

    async def _follow_decisions(self) -> None:
        while True:
            try:
                async for _ in self._authorizer.changes():
                    await self.recheck()
            except Exception as error:  # noqa: BLE001  the authorizer is another's code; cached decisions grow old
                log.warning("decisions are not followed for %g s: %s", RETRY_INTERVAL, error)
            await asyncio.sleep(RETRY_INTERVAL)
            # What changed meanwhile was not told.
            await self.recheck()

    def _flow_ended(self, flow: Flow) -> None:
        if not self._ready_host().flows:
            self._idle.set()

    def _ready_host(self) -> ProxyHost:
        if self._host is None:
            raise ConfigError("the proxy is not running")
        return self._host
