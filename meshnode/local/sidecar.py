"""What ``sidecar_service`` leaves out: the sidecar that is registered with a service, whole.

Source: Consul 1.3, documentation of "Sidecar Service Registration".
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from meshnode.catalog.model import CONNECT_PROXY
from meshnode.local.check_type import AliasCheck, CheckType, TcpCheck
from meshnode.local.definitions import CheckDefinition, ServiceDefinition
from meshnode.local.proxy import canonical_proxy

__all__ = ["CHECK_INTERVAL", "LOOPBACK", "joined", "sidecar_service"]

#: Seconds between looks whether a proxy listens.
CHECK_INTERVAL: Final = 10.0
LOOPBACK: Final = "127.0.0.1"


def sidecar_service(parent: ServiceDefinition, port: int) -> ServiceDefinition:
    """The sidecar of ``parent``, which asks for one, on ``port``; what is written in its definition counts.

    It stands for this instance of the service, reaches it on the loopback interface or at its unix socket, has its
    tags, metadata and token, and is healthy while its port is open and the service is healthy.
    """
    nested = parent.sidecar
    assert nested is not None, "the service asks for a sidecar"
    written = nested.proxy or {}
    destination = written.get("DestinationServiceName") or nested.proxy_destination or parent.name
    proxy = {
        **written,
        "DestinationServiceName": destination,
        "DestinationServiceID": written.get("DestinationServiceID") or parent.id,
        **_application(parent, written),
    }
    token = nested.token or parent.token
    checks = nested.checks or _default_checks(nested, parent.id, port)
    return replace(
        nested,
        kind=nested.kind or CONNECT_PROXY,
        tags=nested.tags or parent.tags,
        meta=nested.meta or parent.meta,
        port=port,
        proxy_destination=destination,
        proxy=canonical_proxy(proxy),
        token=token,
        checks=tuple(replace(check, token=check.token or token) for check in checks),
    )


def _application(parent: ServiceDefinition, written: Mapping[str, Any]) -> dict[str, Any]:
    """Where the proxy finds the service."""
    address, port = written.get("LocalServiceAddress"), written.get("LocalServicePort")
    if parent.socket_path and not address and not port:
        config = {"local_service_address": f"unix:{parent.socket_path}", **(written.get("Config") or {})}
        return {"Config": config}
    return {"LocalServiceAddress": address or LOOPBACK, "LocalServicePort": port or parent.port}


def _default_checks(nested: ServiceDefinition, parent_id: str, port: int) -> tuple[CheckDefinition, ...]:
    listening = TcpCheck(address=joined(nested.address or LOOPBACK, port), interval=CHECK_INTERVAL)
    found: dict[str, CheckType] = {
        "Connect Sidecar Listening": listening,
        f"Connect Sidecar Aliasing {parent_id}": AliasCheck(service_id=parent_id),
    }
    return tuple(
        CheckDefinition(f"service:{nested.id}:{number}", name, run, service_id=nested.id)
        for number, (name, run) in enumerate(found.items(), 1)
    )


def joined(host: str, port: int) -> str:
    """``host:port``, with brackets around an IPv6 address."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
