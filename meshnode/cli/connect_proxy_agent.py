"""What ``connect proxy`` asks the agent: which proxy it is, its configuration; and what it tells it.

While the agent is away it waits, with a log line for each new reason.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from typing import Any, Final

from meshnode.base.errors import ConfigError, MeshError, RemoteProtocolError
from meshnode.base.spiffe import ServiceId, parse_spiffe_id
from meshnode.client.agent import AgentClient
from meshnode.client.answer import AgentUnreachable, ApiError
from meshnode.client.settings import path_segment
from meshnode.proxy.config import ProxyConfig
from meshnode.proxy.definition import parse_managed, parse_service, sidecar_ids
from meshnode.proxy.report import substance

__all__ = [
    "MAX_REPORT_BYTES",
    "Reporter",
    "answered",
    "datacenter_of",
    "follow_managed",
    "follow_service",
    "sidecar_of",
]

#: Seconds between two questions to an agent that is away; doubled up to the second.
FIRST_PAUSE: Final = 0.5
MAX_PAUSE: Final = 10.0
#: Seconds between two looks at what there is to report; between two reports when nothing happened.
REPORT_INTERVAL: Final = 1.0
QUIET_INTERVAL: Final = 5.0
#: Body that an agent takes (8 MiB), and some room.
MAX_REPORT_BYTES: Final = 6 * 1024 * 1024
#: Bytes of a report that are worth a second of silence after it, and the longest one: the agent forgets after 15.
BYTES_A_SECOND: Final = 256 * 1024
MAX_SILENCE: Final = 8.0
NOT_FOUND: Final = 404

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
    if not isinstance(services, Mapping):
        raise ConfigError("what answers is no agent: /v1/agent/services is not an object")
    found = sidecar_ids(services, service_id)
    if not found:
        raise ConfigError(
            f"No sidecar proxy registered for {service_id}\n"
            f'    Put "connect": {{"sidecar_service": {{}}}} into the definition of {service_id} and reload the agent, '
            "or name a proxy with -proxy-id"
            + ("" if service_id in services else f"; this agent has no service with the ID {service_id}")
        )
    if len(found) > 1:
        raise ConfigError(
            f"More than one sidecar proxy registered for {service_id}.\n"
            f"    Start proxy with -proxy-id and one of the following IDs: {', '.join(found)}"
        )
    return found[0]


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
    return _followed(client, f"/v1/agent/service/{path_segment(proxy_id)}", parse_service)


def follow_managed(client: AgentClient, proxy_id: str) -> AsyncIterator[ProxyConfig]:
    """The same of a proxy that the agent started."""
    return _followed(client, f"/v1/agent/connect/proxy/{path_segment(proxy_id)}", parse_managed)


async def _followed(
    client: AgentClient, path: str, parse: Callable[[Mapping[str, Any]], ProxyConfig]
) -> AsyncIterator[ProxyConfig]:
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
        yield config


class Reporter:
    """Tells the agent what the proxy does: each second when something happened, else every five; large reports less.

    An agent that is away, or that doesn't know the route, is told again later; the proxy goes on without it.
    """

    def __init__(
        self,
        client: AgentClient,
        proxy_id: str,
        report: Callable[[], Awaitable[Mapping[str, Any]]],
        *,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        self._client = client
        self._path = f"/v1/agent/connect/report/{path_segment(proxy_id)}"
        self._report = report
        self._sleep = sleep
        self._told: tuple[Any, ...] = ()
        self._quiet = 0.0
        self._pause = REPORT_INTERVAL
        self._failed = ""

    async def run(self) -> None:
        """Report until cancelled."""
        while True:
            await self._sleep(self._pause)
            self._quiet += self._pause
            body = await self._report()
            news = substance(body)
            if body and (self._failed or news != self._told or self._quiet >= QUIET_INTERVAL):
                await self._tell({**body, "Pid": os.getpid()})
                self._told, self._quiet = news, 0.0

    async def _tell(self, body: Mapping[str, Any]) -> None:
        data = serialized(body)
        try:
            (await self._client.call("PUT", self._path, (), data, timeout=10.0)).checked()
        except MeshError as error:
            self._pause = QUIET_INTERVAL
            if str(error) != self._failed:
                self._failed = str(error)
                # That the agent is away is told by who needs it; agents of others don't know the route.
                refused = isinstance(error, ApiError) and error.status != NOT_FOUND
                level = logging.WARNING if refused else logging.DEBUG
                _log.log(level, "the agent is not told what the proxy does: %s", error)
            return
        self._failed = ""
        self._pause = min(MAX_SILENCE, max(REPORT_INTERVAL, len(data) / BYTES_A_SECOND))


def serialized(body: Mapping[str, Any], most: int = MAX_REPORT_BYTES) -> bytes:
    """``body`` as JSON of at most ``most`` bytes: the older halves of its lists are left out until it is."""
    while True:
        data = json.dumps(body).encode()
        lists: Mapping[str, Sequence[Any]] = {
            name: body.get(name, ()) for name in ("Connections", "Closed", "Refused")
        }
        if len(data) <= most or not any(lists.values()):
            return data
        body = {**body, **{name: list(rows[(len(rows) + 1) // 2 :]) for name, rows in lists.items()}}
