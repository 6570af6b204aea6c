"""``connect envoy -gateway``: which gateway Envoy is to be, and its registration with the agent.

Source: Consul 1.10, ``connect envoy``: ids and names by default, the TCP check, six hours until a dead one goes.
"""

from __future__ import annotations

import ipaddress
import json
from dataclasses import dataclass
from typing import Any, Final

from meshnode.base.duration import format_duration
from meshnode.base.errors import ConfigError
from meshnode.base.goflags import Flag, FlagSet, Parsed
from meshnode.catalog.model import INGRESS_GATEWAY, TERMINATING_GATEWAY
from meshnode.cli.api import ApiClient
from meshnode.proxy.config import Endpoint

__all__ = ["GatewayFlags", "GatewayWish"]

_KINDS: Final = {"ingress": INGRESS_GATEWAY, "terminating": TERMINATING_GATEWAY}
_NO_KINDS: Final = {
    "mesh": "sidecars reach other datacenters directly here",
    "api": "it is of Consul 1.15: use -gateway=ingress",
}
DEFAULT_PORT: Final = 8443
CHECK_INTERVAL: Final = "10s"
#: Seconds.
DEFAULT_DEREGISTER: Final = 6 * 3600.0


@dataclass(frozen=True, slots=True)
class GatewayWish:
    """``kind`` is that of the service; ``address`` is where others reach it, ``None``: the node's own.

    ``deregister_after`` is in seconds.
    """

    kind: str
    service: str
    proxy_id: str
    address: Endpoint | None
    register: bool
    deregister_after: float

    def body(self) -> dict[str, Any]:
        """Of ``PUT /v1/agent/service/register``; the check asks the port, where an ingress gateway has ``/ready``."""
        where = self.address or Endpoint("127.0.0.1", DEFAULT_PORT)
        return {
            "Kind": self.kind,
            "ID": self.proxy_id,
            "Name": self.service,
            "Address": self.address.host if self.address is not None else "",
            "Port": where.port,
            "Check": {
                "CheckID": f"{self.proxy_id}-listener",
                "Name": f"{self.kind} listener",
                "TCP": str(where),
                "Interval": CHECK_INTERVAL,
                "DeregisterCriticalServiceAfter": format_duration(self.deregister_after),
            },
        }

    def enroll(self, client: ApiClient) -> None:
        """Register it, if that was asked for. Raises :class:`MeshError`."""
        if self.register:
            client.call("PUT", "/v1/agent/service/register", body=json.dumps(self.body()).encode())


class GatewayFlags:
    """``-gateway`` and its sisters."""

    def __init__(self, flags: FlagSet) -> None:
        self._kind: Flag[str] = flags.string(
            "gateway", "Be a gateway instead of a sidecar: ingress or terminating.", placeholder="kind"
        )
        self._register: Flag[bool] = flags.boolean(
            "register", "With -gateway: register it with the agent first, with a check of its port."
        )
        self._service: Flag[str] = flags.string(
            "service", "With -gateway: its name, <kind>-gateway by default.", placeholder="name"
        )
        self._address: Flag[str] = flags.string(
            "address",
            f"With -gateway: IP address and port where it is reached; the node's own and {DEFAULT_PORT} by default.",
            placeholder="ip:port",
        )
        self._after: Flag[float] = flags.duration(
            "deregister-after-critical",
            "With -register: how long its check may fail before it is deregistered.",
            default=DEFAULT_DEREGISTER,
        )

    def wish(self, parsed: Parsed, proxy_id: str, sidecar_for: str) -> GatewayWish | None:
        """What was asked for; ``None`` for a sidecar. Raises :class:`ConfigError`."""
        wanted = parsed[self._kind]
        if not wanted:
            gateways_only = {flag.name for flag in (self._register, self._service, self._address)}
            alone = sorted(gateways_only & parsed.given_names())
            if alone:
                raise ConfigError(
                    f"-{alone[0]} is for gateways: write -gateway=ingress or -gateway=terminating"
                )
            return None
        if wanted in _NO_KINDS:
            raise ConfigError(f"-gateway={wanted} is not supported: {_NO_KINDS[wanted]}")
        if wanted not in _KINDS:
            raise ConfigError(f"-gateway={wanted:.40} is none: write ingress or terminating")
        if sidecar_for:
            raise ConfigError("-sidecar-for and -gateway can't be together: a gateway belongs to no service")
        service = parsed[self._service] or _KINDS[wanted]
        text = parsed[self._address]
        return GatewayWish(
            _KINDS[wanted],
            service,
            proxy_id or service,
            _address(text) if text else None,
            parsed[self._register],
            parsed[self._after],
        )


def _address(text: str) -> Endpoint:
    host, colon, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    try:
        ipaddress.ip_address(host)
        if not (colon and port.isascii() and port.isdigit() and 1 <= int(port[:6]) <= 65535):
            raise ValueError
    except ValueError:
        raise ConfigError(f"-address: {text!r:.80} can't be used: write an IP address and a port") from None
    return Endpoint(host, int(port))
