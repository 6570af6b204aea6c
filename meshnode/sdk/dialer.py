"""Connections to the instances of other services, nearest and healthiest first."""

from __future__ import annotations

import asyncio
import random
import ssl
from collections import OrderedDict
from collections.abc import Callable
from typing import Final, Protocol, TypeAlias

from meshnode.base.errors import MeshError
from meshnode.proxy.balance import Balancer, Instance
from meshnode.proxy.config import DestinationType, Endpoint, Upstream
from meshnode.runtime.proxy.host import handshake_failure
from meshnode.runtime.proxy.interfaces import Discovery
from meshnode.sdk.contexts import MeshContext
from meshnode.sdk.errors import DialError

__all__ = ["MAX_DESTINATIONS", "Dialer", "Enter", "MakeContext"]

#: Destinations, and identities of instances, that are remembered.
MAX_DESTINATIONS: Final = 1024
MAX_CONTEXTS: Final = 256
#: Told of each connection that is made: transport, name of the upstream, address of the instance. What it returns is
#: called at the end of the connection, with what broke it. Raises :class:`MeshError` when it must not be used.
Enter: TypeAlias = Callable[[asyncio.Transport, str, str], Callable[[Exception | None], None]]

#: An upstream says where it listens; nothing listens here.
_NOWHERE: Final = Endpoint("127.0.0.1", 0)


class MakeContext(Protocol):
    """A context that renews itself; ``uris`` are the identities that will do."""

    def __call__(self, *, server: bool, uris: frozenset[str]) -> MeshContext:
        """Make it."""
        ...


class _Dialled(asyncio.StreamReaderProtocol):
    """What :func:`asyncio.open_connection` uses, and tells the end of the connection."""

    _ended: Callable[[Exception | None], None] | None = None
    _lost: tuple[Exception | None] | None = None

    def follow(self, ended: Callable[[Exception | None], None]) -> None:
        """Call ``ended`` at the end, which may have been already."""
        if self._lost is not None:
            ended(*self._lost)
        else:
            self._ended = ended

    def connection_lost(self, exc: Exception | None) -> None:
        """It is over."""
        super().connection_lost(exc)
        self._lost = (exc,)
        ended, self._ended = self._ended, None
        if ended is not None:
            ended(exc)


class Dialer:
    """``clock`` gives monotonic seconds."""

    def __init__(
        self,
        discovery: Discovery,
        make_context: MakeContext,
        enter: Enter,
        *,
        clock: Callable[[], float],
        rng: random.Random,
    ) -> None:
        self._discovery = discovery
        self._make_context = make_context
        self._enter = enter
        self._clock = clock
        self._rng = rng
        self._balancers: OrderedDict[Upstream, Balancer] = OrderedDict()
        self._contexts: OrderedDict[str, MeshContext] = OrderedDict()

    async def dial(
        self, destination: str, *, datacenter: str, prepared_query: bool, timeout: float, limit: int
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """See :meth:`Service.dial`."""
        kind = DestinationType.PREPARED_QUERY if prepared_query else DestinationType.SERVICE
        upstream = Upstream(_NOWHERE, destination, kind, datacenter)
        try:
            async with asyncio.timeout(timeout):
                instances = await self._discovery.instances(upstream)
        except TimeoutError:
            raise DialError(f"{upstream.name}: nobody told its instances within {timeout:g} s") from None
        except (MeshError, OSError) as error:
            raise DialError(f"{upstream.name}: its instances can't be found out: {error}") from None
        balancer = self._balancer(upstream)
        tried = balancer.order(instances, self._clock())
        if not tried:
            total = len(instances)
            why = f"none of its {total} instances is passing" if total else "it has no instance"
            raise DialError(f"{upstream.name}: {why}")
        failures = []
        for instance in tried:
            try:
                found = await self._connect(upstream.name, instance, timeout, limit)
            except (OSError, MeshError) as error:
                balancer.failed(instance, self._clock())
                failures.append(f"{instance.address}:{instance.port}: {_reason(error, timeout)}")
                continue
            balancer.succeeded(instance)
            return found
        raise DialError(f"{upstream.name}: {'; '.join(failures)}")

    async def _connect(
        self, name: str, instance: Instance, timeout: float, limit: int
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        loop = asyncio.get_running_loop()
        reader = asyncio.StreamReader(limit=limit, loop=loop)
        protocol = _Dialled(reader, loop=loop)
        async with asyncio.timeout(timeout):
            transport, _ = await loop.create_connection(
                lambda: protocol,
                instance.address,
                instance.port,
                ssl=self._context(instance.spiffe_id),
                server_hostname=instance.server_name,
            )
        try:
            protocol.follow(self._enter(transport, name, f"{instance.address}:{instance.port}"))
        except BaseException:
            transport.abort()
            raise
        return reader, asyncio.StreamWriter(transport, protocol, reader, loop)

    def _context(self, spiffe_id: str) -> MeshContext:
        context = self._contexts.get(spiffe_id)
        if context is None:
            context = self._make_context(server=False, uris=frozenset({spiffe_id}))
            self._contexts[spiffe_id] = context
            if len(self._contexts) > MAX_CONTEXTS:
                self._contexts.popitem(last=False)
        self._contexts.move_to_end(spiffe_id)
        return context

    def _balancer(self, upstream: Upstream) -> Balancer:
        balancer = self._balancers.get(upstream)
        if balancer is None:
            balancer = self._balancers[upstream] = Balancer(self._rng)
            if len(self._balancers) > MAX_DESTINATIONS:
                self._balancers.popitem(last=False)
        self._balancers.move_to_end(upstream)
        return balancer


def _reason(error: Exception, timeout: float) -> str:
    if isinstance(error, TimeoutError):
        return f"not connected within {timeout:g} s"
    if isinstance(error, ssl.SSLError):
        return handshake_failure(error)
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
