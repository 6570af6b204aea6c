"""What ``connect proxy`` asks the agent: which proxy it is, and its configuration.

While the agent is away it waits, with a log line for each new reason.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any, Final

from meshnode.base.errors import ConfigError, RemoteProtocolError
from meshnode.base.spiffe import ServiceId, parse_spiffe_id
from meshnode.cli.connect_proxy_protocol import with_protocol
from meshnode.client.agent import AgentClient
from meshnode.client.answer import AgentUnreachable, ApiError
from meshnode.client.settings import path_segment
from meshnode.proxy.config import ProxyConfig
from meshnode.proxy.definition import one_sidecar, parse_managed, parse_service

__all__ = [
    "answered",
    "datacenter_of",
    "follow_managed",
    "follow_service",
    "sidecar_of",
]

#: Seconds between two questions to an agent that is away; doubled up to the second.
FIRST_PAUSE: Final = 0.5
MAX_PAUSE: Final = 10.0

_log: Final = logging.getLogger("meshnode.proxy")


async def answered(
    ask: Callable[[], Awaitable[Any]],
    what: str,
    *,
    sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    rng: random.Random | None = None,
) -> Any:
    """What ``ask`` returns, asked again while the agent is away or refuses. ``what`` is waited for, for the log."""
    pause, said = FIRST_PAUSE, ""
    while True:
        try:
            return await ask()
        except (AgentUnreachable, ApiError) as error:
            if str(error) != said:
                said = str(error)
                _log.warning("waiting for %s: %s", what, said)
        await sleep(pause * (rng or random).uniform(0.75, 1.0))
        pause = min(MAX_PAUSE, pause * 2)


async def sidecar_of(client: AgentClient, service_id: str) -> str:
    """Id of the one proxy of ``service_id`` on the agent; raises :class:`ConfigError` for none and for several."""
    services = await answered(lambda: client.get_json("/v1/agent/services"), "the agent's services")
    return one_sidecar(services, service_id, starting="proxy")


async def datacenter_of(client: AgentClient, service: str) -> str:
    """The agent's datacenter, as its CA writes it into the certificates of ``service``."""
    path = f"/v1/agent/connect/ca/leaf/{path_segment(service)}"
    leaf = await answered(lambda: client.get_json(path), f"the certificate of {service}")
    uri = leaf.get("ServiceURI", "") if isinstance(leaf, Mapping) else ""
    try:
        identity = parse_spiffe_id(uri)
    except RemoteProtocolError as error:
        raise ConfigError(f"the agent's certificate can't be used: {error}") from None
    if not isinstance(identity, ServiceId):
        raise ConfigError(f"the agent's certificate can't be used: {uri!r:.200} is not of a service")
    return identity.datacenter


def follow_service(client: AgentClient, proxy_id: str) -> AsyncIterator[ProxyConfig]:
    """The configuration in the registration of a proxy, now and after each change."""
    found = _followed(client, f"/v1/agent/service/{path_segment(proxy_id)}", parse_service)
    return with_protocol(client, found)


def follow_managed(client: AgentClient, proxy_id: str) -> AsyncIterator[ProxyConfig]:
    """The same of a proxy that the agent started."""
    found = _followed(client, f"/v1/agent/connect/proxy/{path_segment(proxy_id)}", parse_managed)
    return with_protocol(client, found)


async def _followed(
    client: AgentClient, path: str, parse: Callable[[Mapping[str, Any]], ProxyConfig]
) -> AsyncIterator[tuple[ProxyConfig, bool]]:
    """Each configuration, and whether it says itself what the service speaks."""
    async for body in client.watch(path, by="hash"):
        try:
            if not isinstance(body, Mapping):
                raise ConfigError("the answer is not an object")
            config = parse(body)
        except ConfigError as error:
            _log.error("the configuration at %s can't be used, waiting for another one: %s", path, error)
            continue
        if config.public is None and body.get("Port"):
            _log.warning(
                "nobody is let in on port %s: there is no Proxy.LocalServicePort to lead to", body["Port"]
            )
        yield config, _says_protocol(body)


def _says_protocol(body: Mapping[str, Any]) -> bool:
    places = (body, body.get("Proxy"))
    settings = [place.get("Config") for place in places if isinstance(place, Mapping)]
    return any(isinstance(each, Mapping) and bool(each.get("protocol")) for each in settings)
