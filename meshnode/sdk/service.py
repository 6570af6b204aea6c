"""A service of the mesh without a sidecar: its certificates, who may connect to it, and connections to others."""

from __future__ import annotations

import asyncio
import itertools
import logging
import os
import random
import ssl
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Final, cast

from meshnode.base.errors import ConfigError, MeshError
from meshnode.base.spiffe import ServiceId
from meshnode.client.agent import AgentClient
from meshnode.client.mesh import AgentAuthorizer, AgentCertificates, AgentDiscovery
from meshnode.client.reporter import Reporter
from meshnode.client.settings import ApiSettings
from meshnode.proxy.authorize import Expectation, Identity, Refusal, identify
from meshnode.proxy.decision_cache import Decision, DecisionCache
from meshnode.proxy.report import ledger_counters, report_body
from meshnode.runtime.proxy.contexts import make_contexts
from meshnode.runtime.proxy.decider import Decider
from meshnode.runtime.proxy.enforcer import Enforcer
from meshnode.runtime.proxy.host import peer_name
from meshnode.runtime.proxy.interfaces import Authorizer, CertificateProvider, Discovery
from meshnode.runtime.tasks import cancel_and_wait, spawn
from meshnode.sdk.contexts import MeshContext, is_mesh_peer
from meshnode.sdk.dialer import Dialer
from meshnode.sdk.errors import PeerUnknownError
from meshnode.sdk.live import LiveConnections
from meshnode.sdk.material import CurrentMaterial
from meshnode.sdk.refusals import Refusals
from meshnode.sdk.registration import Registration
from meshnode.sdk.server import LISTENER, MeshServer, Serve

__all__ = ["DIAL_TIMEOUT", "START_TIMEOUT", "Service", "Surroundings"]

#: Seconds to the first certificate, and for one instance to be connected to.
START_TIMEOUT: Final = 30.0
DIAL_TIMEOUT: Final = 5.0

_log: Final = logging.getLogger("meshnode.sdk")
#: Several services of one name may run in one process.
_numbers: Final = itertools.count(1)


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a service gets from its agent. Tests give their own, so that no agent has to run."""

    certificates: CertificateProvider
    authorizer: Authorizer
    discovery: Discovery


class Service:
    """``async with Service("web") as web:`` is the service ``web`` for as long as the block runs.

    ``address`` and ``token`` of the local agent; what is not given comes from ``CONSUL_HTTP_ADDR``,
    ``CONSUL_HTTP_TOKEN``, ``CONSUL_CACERT`` and so on; ``settings`` replaces all of that. The token needs
    ``service:write`` on the name. Entering the block waits for the first certificate; it raises :class:`MeshError`,
    saying what to change, when the agent is away or gives none. To be used on one event loop, but for the contexts.
    """

    def __init__(
        self,
        name: str,
        *,
        address: str | None = None,
        token: str | None = None,
        settings: ApiSettings | None = None,
        surroundings: Surroundings | None = None,
        clock: Callable[[], float] = time.monotonic,
        wall_clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        rng: random.Random | None = None,
    ) -> None:
        if not name:
            raise ConfigError("the service has no name: write Service('web')")
        self.name = name
        self._settings = settings or ApiSettings(address=address or "", token=token or "")
        self._from_environment = settings is None
        self._given = surroundings
        self._clock = clock
        self._wall_clock = wall_clock
        self._rng = rng or random.Random()
        self._client: AgentClient | None = None
        self._own_discovery: AgentDiscovery | None = None
        self._material: CurrentMaterial | None = None
        self._enforcer: Enforcer | None = None
        self._decisions = DecisionCache()
        self._dialer: Dialer | None = None
        self._registration: Registration | None = None
        self._servers: list[MeshServer] = []
        #: Connections that are cut when their source is denied.
        self.live = LiveConnections(clock)
        #: Who was not let in.
        self.refusals = Refusals(name, clock, self.live.ledger)
        self._report_id = f"{name}-native-{os.getpid()}-{next(_numbers)}"
        self._reporting: asyncio.Task[None] | None = None
        self._thread = 0
        self._loop: asyncio.AbstractEventLoop | None = None

    def __repr__(self) -> str:
        """Name and identity; nothing secret."""
        where = f" {self._material.identity.uri}" if self._material else " (not started)"
        return f"<Service {self.name}{where}>"

    # Life

    async def __aenter__(self) -> Service:
        """Start."""
        try:
            await self._start()
        except BaseException:
            await self.close()
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop."""
        await self.close()

    async def _start(self) -> None:
        if self._material is not None:
            raise ConfigError(f"the service {self.name} runs already: make another Service for another block")
        try:
            async with asyncio.timeout(START_TIMEOUT):
                surroundings = self._given or await self._agent()
                certificates, live = surroundings.certificates, self.live
                material = CurrentMaterial(
                    certificates, self.name, on_revoked=live.cut_serials, on_distrusted=live.cut_issuers
                )
                await material.start()
        except TimeoutError:
            raise MeshError(f"{self.name} got no certificate within {START_TIMEOUT:g} s") from None
        self._material = material
        self._enforcer = Enforcer(
            surroundings.authorizer,
            self._decisions,
            self._clock,
            live=self.live.identities,
            enforce=self.live.enforce,
            log=_log,
        )
        self._enforcer.start()
        self._dialer = Dialer(
            surroundings.discovery, self._judging, self._dialled, clock=self._clock, rng=self._rng
        )
        self._thread, self._loop = threading.get_ident(), asyncio.get_running_loop()
        if self._client is not None:
            reporter = Reporter(self._client, self._report_id, self._report)
            self._reporting = spawn(reporter.run(), name="sdk report")

    async def _agent(self) -> Surroundings:
        settings = self._settings.with_environment(os.environ) if self._from_environment else self._settings
        self._client = client = AgentClient(settings, rng=self._rng)
        certificates = AgentCertificates(client, self.name)
        try:
            own = make_contexts(await certificates.fetch()).identity.service
        except MeshError as error:
            raise MeshError(f"the agent gives {self.name!r} no certificate: {error}") from None
        self._own_discovery = AgentDiscovery(client, own.datacenter)
        return Surroundings(certificates, AgentAuthorizer(client, self.name), self._own_discovery)

    async def close(self) -> None:
        """End it: it is deregistered if it was registered, its servers stop, and what they serve is cut."""
        if self._registration is not None:
            await self._registration.end()
        for server in self._servers:
            server.close()
        await cancel_and_wait(self._reporting)
        self.live.cut_all(f"the service {self.name} ends")
        if self._enforcer is not None:
            await self._enforcer.close()
        if self._own_discovery is not None:
            await self._own_discovery.close()
        if self._material is not None:
            await self._material.close()
        if self._client is not None:
            await self._client.close()

    # Who we are

    @property
    def identity(self) -> Identity:
        """Our own identity, with the serial number that new peers see. Raises :class:`ConfigError` before the start."""
        return self._running.identity

    @property
    def roots(self) -> tuple[str, ...]:
        """Names of the roots that new peers are verified against."""
        return self._running.roots

    @property
    def _running(self) -> CurrentMaterial:
        if self._material is None:
            raise ConfigError(f"the service {self.name} is not running: use 'async with'")
        return self._material

    @property
    def _decider(self) -> Decider:
        if self._enforcer is None:
            raise ConfigError(f"the service {self.name} is not running: use 'async with'")
        return self._enforcer.decider

    # Contexts

    def server_context(self) -> ssl.SSLContext:
        """For a server of yours. It demands a certificate; the handshake fails unless it is a service's of this mesh.

        Whether that service *may* connect is asked with :meth:`authorize`. Renewed by itself, for every new connection;
        see :class:`~meshnode.sdk.contexts.MeshContext`.
        """
        return self._context(server=True, expected=None)

    def client_context(self, destination: str, *, datacenter: str = "") -> ssl.SSLContext:
        """For a client of yours that connects to service ``destination``; the handshake fails with anybody else.

        ``datacenter`` is ours if not given. Host names mean nothing in it: the identity counts. Renewed by itself.
        """
        own = self.identity.service
        wanted = ServiceId(own.trust_domain, datacenter or own.datacenter, destination)
        return self._context(server=False, expected=wanted)

    def _context(self, *, server: bool, expected: ServiceId | None) -> MeshContext:
        uris = frozenset({str(expected)}) if expected else frozenset()
        return self._judging(server=server, uris=uris)

    def _judging(self, *, server: bool, uris: frozenset[str]) -> MeshContext:
        current = self._running

        def judge(der: bytes | None) -> Refusal | None:
            found = identify(der, self._expected(uris), self._wall_clock())
            return found if isinstance(found, Refusal) else None

        def refused(because: str) -> None:
            if server:
                self._on_our_thread(lambda: self.refusals.tell("a client", because, kind="handshake"))

        return MeshContext.make(lambda: current.material, judge, server=server, on_refused=refused)

    # Peers

    def identify(self, ssl_object: object) -> Identity:
        """Who is on the other end: ``writer.get_extra_info("ssl_object")``, or a blocking TLS socket.

        The connection must have been made with a context of the SDK: only those verify the peer as the mesh wants it.
        Raises :class:`PeerUnknownError` for any other, and for a certificate that has expired meanwhile.
        """
        if not is_mesh_peer(ssl_object):
            raise PeerUnknownError(
                "the connection was not made with server_context() or client_context() of the service: "
                f"nothing proves who its peer is ({type(ssl_object).__name__})"
            )
        peer = cast(ssl.SSLObject, ssl_object)
        return self._running.vouched(self.identify_certificate(peer.getpeercert(binary_form=True)), peer)

    def identify_certificate(self, der: bytes | None) -> Identity:
        """The identity in a certificate whose chain *you* have verified; raises :class:`PeerUnknownError`."""
        found = identify(der, self._expected(), self._wall_clock())
        if isinstance(found, Refusal):
            raise PeerUnknownError(found.because)
        return found

    def _expected(self, uris: frozenset[str] = frozenset()) -> Expectation:
        current = self._running
        return Expectation(current.identity.service.trust_domain, uris=uris, revoked=current.material.revoked)

    def _on_our_thread(self, call: Callable[[], None]) -> None:
        """Contexts are used in any thread, and what is reported is not made for that."""
        loop = self._loop
        if loop is None or threading.get_ident() == self._thread:
            call()
        elif not loop.is_closed():
            loop.call_soon_threadsafe(call)

    def identify_chain(self, chain: Sequence[bytes]) -> Identity:
        """The identity of a chain (DER, the leaf first) that leads to a root which is trusted now.

        Raises :class:`PeerUnknownError` for any other.
        """
        self._running.verify(chain)
        return self.identify_certificate(chain[0])

    async def authorize(self, identity: Identity) -> Decision:
        """Whether ``identity`` may connect to this service, and why. Never raises for an agent that is away.

        Kept for half a minute, forgotten when an intention, a root or a revoked certificate changes; when nobody
        answers, what was said within the last five minutes holds, and then it is no.
        """
        return await self._decider.decide(identity)

    # Connections

    async def dial(
        self,
        destination: str,
        *,
        datacenter: str = "",
        prepared_query: bool = False,
        timeout: float = DIAL_TIMEOUT,
        limit: int = 2**16,
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Connect to a passing instance of ``destination`` by mutual TLS; the next is tried when one fails.

        The server has to prove that it is that service, of that datacenter (ours, if none is given), of our trust
        domain. ``timeout`` is in seconds, for each instance; at most three are tried. Raises :class:`DialError`.
        With TLS 1.3 a server that denies us does so after the handshake: the connection then ends at the first read.
        """
        if self._dialer is None:
            raise ConfigError(f"the service {self.name} is not running: use 'async with'")
        return await self._dialer.dial(
            destination, datacenter=datacenter, prepared_query=prepared_query, timeout=timeout, limit=limit
        )

    def _dialled(
        self, transport: asyncio.Transport, name: str, peer: str
    ) -> Callable[[Exception | None], None]:
        meter = transport.get_extra_info("ssl_object")
        return self.live.dialled(
            # Once more: it may have been revoked since its handshake.
            self.identify(meter),
            lambda because: transport.abort(),
            own=self.identity.uri,
            listener=name,
            peer=peer,
            meter=meter,
        )

    async def start_server(
        self, callback: Serve, host: str | Sequence[str] | None = None, port: int = 0, **options: Any
    ) -> MeshServer:
        """As :func:`asyncio.start_server`, over mutual TLS, for those that intentions allow.

        ``callback(reader, writer)`` is called once a peer is verified and may connect. A connection is cut when its
        source is denied, or its certificate revoked, later. ``options`` are those of :func:`asyncio.start_server`
        (``limit``, ``backlog``, ``ssl_handshake_timeout``, ``reuse_port``, ...), and ``max_connections`` (16384).
        """
        server = await MeshServer.start(self, self._decider, callback, host, port, options)
        self._servers = [known for known in self._servers if known.is_serving()]
        self._servers.append(server)
        return server

    # Telling

    async def _report(self) -> Mapping[str, Any]:
        """What the agent is told; see ``/v1/agent/connect/connections``."""
        current, ledger = self._running, self.live.ledger
        self.live.measure()
        kinds = self.refusals.kinds
        return report_body(
            current.identity,
            service=self.name,
            roots=current.roots,
            listeners=[
                (LISTENER, peer_name(sock.getsockname()))
                for server in self._servers
                if server.is_serving()
                for sock in server.sockets
            ],
            pid=os.getpid(),
            counters={**ledger_counters(ledger), **{f"refused.{kind}": kinds[kind] for kind in kinds}},
            ledger=ledger,
            decisions=self._decisions,
            now=self._clock(),
        )

    async def register(
        self,
        port: int,
        *,
        address: str = "",
        instance_id: str = "",
        tags: Sequence[str] = (),
        meta: Mapping[str, str] | None = None,
        check: Mapping[str, Any] | None = None,
    ) -> None:
        """Tell the agent that we serve on ``port`` and speak the mesh's TLS ourselves (``Connect.Native``).

        ``address`` is the node's if empty, ``instance_id`` the name; ``check`` a TCP check of the port every 10 s.
        Returns once others can find it; deregistered when the block ends. Raises :class:`MeshError`.
        """
        if self._client is None:
            raise ConfigError("there is no agent to register with: the surroundings were given")
        registration = Registration(self._client, self.name, instance_id or self.name)
        await registration.begin(port, address=address, tags=tags, meta=meta or {}, check=check)
        self._registration = registration
