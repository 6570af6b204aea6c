"""The DNS interface, put together."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from meshnode.agent.config.checks_services import DNS_PORT
from meshnode.agent.config.model import AgentConfig
from meshnode.agent.dns_source import DnsSource, ServerCall
from meshnode.agent.pool import Pool
from meshnode.base.address import Address
from meshnode.base.metrics import Metrics
from meshnode.dns.answer import Resolver
from meshnode.dns.config import DnsConfig, SoaTimes
from meshnode.runtime.dns_recursors import Recursors
from meshnode.runtime.dns_server import DnsServer

if TYPE_CHECKING:
    from meshnode.agent.server_role import ServerRole

__all__ = ["DnsRole", "dns_config"]


class DnsRole:
    """``call`` asks a server, ``token`` is what nobody in particular asks with; ``clock`` is monotonic."""

    def __init__(
        self,
        config: AgentConfig,
        *,
        server: ServerRole | None,
        lan: Pool,
        call: ServerCall,
        token: Callable[[], str],
        metrics: Metrics,
        clock: Callable[[], float],
        rng: random.Random,
    ) -> None:
        settings = dns_config(config)
        source = DnsSource(
            server,
            lan,
            call,
            datacenter=config.identity.datacenter,
            token=token,
            allow_stale=lambda: settings.allow_stale,
        )
        self._listeners = config.dns_listeners
        self._make = partial(
            Resolver, settings, source, rng, time.time, lambda name: metrics.increment(name, clock())
        )
        recursors = (
            Recursors(settings.recursors, settings.recursor_timeout, settings.recursor_strategy)
            if settings.recursors
            else None
        )
        self._recursors = recursors
        self._server = DnsServer(
            self._make(),
            source.perform,
            recursors,
            metrics=metrics,
            node_name=config.identity.node_name,
        )

    async def start(self) -> None:
        """Open the ports, if there are any. Raises :class:`ConfigError`."""
        if self._listeners:
            await self._server.listen(*self._listeners)

    def forget(self) -> None:
        """The state was replaced: indexes may repeat, so no answer is to be kept."""
        self._server.replace(self._make(), self._recursors)

    async def stop(self, timeout: float) -> None:
        """Close the ports and finish what is in progress."""
        await self._server.stop(timeout)


def dns_config(config: AgentConfig) -> DnsConfig:
    """The settings as the core wants them."""
    dns = config.dns
    return DnsConfig(
        datacenter=config.identity.datacenter,
        domain=config.identity.domain,
        alt_domain=dns.alt_domain,
        translate_wan_addrs=dns.translate_wan_addrs,
        allow_stale=dns.allow_stale,
        max_stale=dns.max_stale,
        node_ttl=dns.node_ttl,
        service_ttl=dict(dns.service_ttl),
        only_passing=dns.only_passing,
        enable_truncate=dns.enable_truncate,
        udp_answer_limit=dns.udp_answer_limit,
        a_record_limit=dns.a_record_limit,
        disable_compression=dns.disable_compression,
        node_meta_txt=dns.node_meta_txt,
        soa=SoaTimes(dns.soa_refresh, dns.soa_retry, dns.soa_expire, dns.soa_min_ttl),
        recursors=tuple(Address.parse(text, DNS_PORT) for text in dns.recursors),
        recursor_timeout=dns.recursor_timeout,
        recursor_strategy=dns.recursor_strategy,
    )
