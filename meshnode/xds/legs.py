"""Ways into the mesh: each a discovery chain, or what a prepared query finds, and how connections to it are made."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from meshnode.config_entries.chain import Chain, ResolverNode, compile_chain
from meshnode.config_entries.defaults import Limits, PassiveHealthCheck
from meshnode.config_entries.defaults import Upstream as Defaults
from meshnode.config_entries.protocol import is_http_like
from meshnode.config_entries.table import EntryTable
from meshnode.proxy.config import (
    DEFAULT_CONNECT_TIMEOUT,
    DEFAULT_MAX_CONNECTIONS,
    DestinationType,
    Upstream,
)

__all__ = ["NO_LIMITS", "Leg", "leg_of", "plain_chain"]

#: None of the bounds is set.
NO_LIMITS: Final = Limits()
_NO_DEFAULTS: Final = Defaults()


@dataclass(frozen=True, slots=True)
class Leg:
    """``name`` tells it apart from other ways to the same service: clusters and routes of it end in it.

    ``connect_timeout`` in seconds wins over the chain's where it isn't 0. ``query``: the name of an upstream whose
    instances a prepared query finds; such a way has a chain of one node. What ``limits`` leave at 0 is
    ``max_connections``.
    """

    name: str
    chain: Chain
    protocol: str
    connect_timeout: float = 0.0
    max_connections: int = DEFAULT_MAX_CONNECTIONS
    query: str = ""
    limits: Limits = NO_LIMITS
    passive_health_check: PassiveHealthCheck | None = None

    @property
    def is_http(self) -> bool:
        """Whether requests are told apart."""
        return is_http_like(self.protocol)

    def resolvers(self) -> list[ResolverNode]:
        """Where connections may end, one for each cluster."""
        return [node for node in self.chain.nodes.values() if isinstance(node, ResolverNode)]

    def cluster(self, node: str) -> str:
        """The name of the cluster of a resolver's node."""
        place = self.query or node.removeprefix("resolver:")
        return f"{place}:{self.name}" if self.name else place


def leg_of(
    upstream: Upstream, chains: Mapping[str, Chain], datacenter: str, defaults: Defaults = _NO_DEFAULTS
) -> Leg:
    """The way that starts at a listener of this machine; without a chain in ``chains`` it leads straight on.

    ``datacenter`` is ours. What the upstream says itself wins over the ``defaults`` of its service, and these over the
    chain: protocol, and time to connect.
    """
    chain = chains.get(upstream.name) or plain_chain(upstream.destination, upstream.datacenter or datacenter)
    changed = upstream.connect_timeout != DEFAULT_CONNECT_TIMEOUT
    return Leg(
        str(upstream.bind),
        chain,
        upstream.protocol if is_http_like(upstream.protocol) else defaults.protocol or chain.protocol,
        upstream.connect_timeout if changed else defaults.connect_timeout_ms / 1000.0,
        upstream.max_connections,
        upstream.name if upstream.destination_type is DestinationType.PREPARED_QUERY else "",
        defaults.limits or NO_LIMITS,
        defaults.passive_health_check,
    )


def plain_chain(service: str, datacenter: str, trust_domain: str = "") -> Chain:
    """The chain of a service that no entry is about."""
    return compile_chain(EntryTable({}), service, datacenter, trust_domain=trust_domain)
