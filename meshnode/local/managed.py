"""Managed proxies: what the agent runs for ``connect { proxy {} }``, and what it tells a proxy about itself.

Source: Consul 1.2.3, documentation of "Managed Proxies" and of ``/v1/agent/connect/proxy/:id``.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from meshnode.base.errors import ConfigError
from meshnode.base.json_fields import JsonFields
from meshnode.catalog.model import CONNECT_PROXY
from meshnode.local.check_type import TcpCheck
from meshnode.local.definitions import CheckDefinition, ManagedProxy, ServiceDefinition
from meshnode.local.proxy import MANAGED_SUFFIX, UPSTREAM_TYPES, without_empty
from meshnode.local.sidecar import CHECK_INTERVAL, LOOPBACK, joined

__all__ = [
    "HEALTHY_AFTER",
    "MAX_RESTART_DELAY",
    "ProxyDefaults",
    "bind_port",
    "document_hash",
    "managed_proxy",
    "managed_service",
    "proxy_document",
    "restart_delay",
]

#: A proxy that ran for so many seconds was started well: the next failure is its first one. Source: Consul 1.2.3.
HEALTHY_AFTER: Final = 10.0
#: So many failures in a row are answered with a start at once, later ones less and less often.
QUICK_RESTARTS: Final = 3
MAX_RESTART_DELAY: Final = 60.0
_ANYWHERE: Final = ("", "0.0.0.0", "::")
_HASH_CHARS: Final = 16


@dataclass(frozen=True, slots=True)
class ProxyDefaults:
    """``connect.proxy_defaults``: what a managed proxy has that says nothing itself.

    ``own_command`` starts our own proxy; ``bind_address`` is the agent's ``bind_addr``.
    """

    exec_mode: str = "daemon"
    daemon_command: tuple[str, ...] = ()
    script_command: tuple[str, ...] = ()
    config: Mapping[str, Any] = field(default_factory=dict)
    own_command: tuple[str, ...] = ("consul", "connect", "proxy")
    bind_address: str = "0.0.0.0"


def managed_proxy(target: ServiceDefinition, defaults: ProxyDefaults, port: int) -> ManagedProxy:
    """The proxy that ``target`` asks for, with everything filled in.

    Raises :class:`ConfigError` naming what its configuration has wrong.
    """
    written = target.managed_proxy
    assert written is not None, "the service asks for a managed proxy"
    mode = written.get("ExecMode") or defaults.exec_mode
    command = tuple(written.get("Command") or ())
    if not command and mode == "script":
        command = defaults.script_command
        if not command:
            raise ConfigError(
                "Connect.Proxy.Command is empty: a proxy with ExecMode script needs one, or "
                "connect.proxy_defaults.script_command"
            )
    config = {
        "bind_address": defaults.bind_address,
        "local_service_address": f"unix:{target.socket_path}"
        if target.socket_path
        else joined(LOOPBACK, target.port),
        **merged_config(target, defaults),
        "bind_port": port,
    }
    for name in ("bind_address", "local_service_address", "tcp_check_address"):
        if not isinstance(config.get(name, ""), str):
            raise ConfigError(f"Connect.Proxy.Config.{name}: expected an address as text")
    _upstreams(config)
    command = command or defaults.daemon_command or defaults.own_command
    return ManagedProxy(target.id, target.name, mode, command, config)


def merged_config(target: ServiceDefinition, defaults: ProxyDefaults) -> dict[str, Any]:
    """The service's own proxy configuration over the defaults."""
    return {**defaults.config, **((target.managed_proxy or {}).get("Config") or {})}


def bind_port(target: ServiceDefinition, defaults: ProxyDefaults) -> int:
    """The port that is asked for; 0: any. Raises :class:`ConfigError`."""
    port = merged_config(target, defaults).get("bind_port")
    if port is None:
        return 0
    if isinstance(port, float) and port.is_integer():
        port = int(port)
    if isinstance(port, str) and port.isascii() and port.isdigit() and len(port) < 6:
        port = int(port)
    if isinstance(port, bool) or not isinstance(port, int) or not 0 <= port <= 65535:
        raise ConfigError(
            f"Connect.Proxy.Config.bind_port: {str(port)[:40]!r} is not a port: write 1 to 65535"
        )
    return port


def managed_service(target: ServiceDefinition, proxy: ManagedProxy) -> ServiceDefinition:
    """The service that others find the proxy by; healthy while its port is open, unless it says otherwise."""
    config = proxy.config
    name, port, address = target.id + MANAGED_SUFFIX, int(config["bind_port"]), str(config["bind_address"])
    specific = "" if address in _ANYWHERE else address
    listening = CheckDefinition(
        f"service:{name}",
        "Connect Proxy Listening",
        TcpCheck(
            address=joined(str(config.get("tcp_check_address") or specific or LOOPBACK), port),
            interval=CHECK_INTERVAL,
        ),
        service_id=name,
        token=target.token,
    )
    return ServiceDefinition(
        id=name,
        name=target.name + MANAGED_SUFFIX,
        kind=CONNECT_PROXY,
        address=specific,
        port=port,
        proxy_destination=target.name,
        parent=target.id,
        managed=proxy,
        token=target.token,
        checks=() if config.get("disable_tcp_check") is True else (listening,),
    )


def proxy_document(service: ServiceDefinition) -> dict[str, Any] | None:
    """What ``/v1/agent/connect/proxy/:id`` says of a proxy, without the hash; ``None`` for any other service.

    A proxy that somebody else runs has no ``ExecMode`` and no ``Command``.
    """
    managed = service.managed
    if managed is not None:
        return {
            "ProxyServiceID": service.id,
            "TargetServiceID": managed.target_id,
            "TargetServiceName": managed.target_name,
            "ExecMode": managed.exec_mode,
            "Command": list(managed.command),
            "Config": dict(managed.config),
            "Upstreams": _upstreams(managed.config),
        }
    if service.kind != CONNECT_PROXY:
        return None
    proxy = service.proxy or {}
    config: dict[str, Any] = {"bind_address": service.address or "0.0.0.0", "bind_port": service.port}
    if port := proxy.get("LocalServicePort"):
        config["local_service_address"] = joined(proxy.get("LocalServiceAddress") or LOOPBACK, port)
    return {
        "ProxyServiceID": service.id,
        "TargetServiceID": proxy.get("DestinationServiceID", ""),
        "TargetServiceName": service.proxy_destination,
        "ExecMode": "",
        "Command": [],
        "Config": {**config, **(proxy.get("Config") or {})},
        "Upstreams": list(proxy.get("Upstreams") or ()),
    }


def document_hash(document: Mapping[str, Any]) -> str:
    """Equal for equal documents, 16 hexadecimal characters."""
    text = json.dumps(document, sort_keys=True, ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()[:_HASH_CHARS]


def restart_delay(failures: int) -> float:
    """Seconds to wait before a proxy that has failed so many times in a row is started again."""
    if failures <= QUICK_RESTARTS:
        return 1.0
    return min(2.0 ** min(failures - QUICK_RESTARTS, 16), MAX_RESTART_DELAY)


#: Names in the configuration of a managed proxy -> those of the API.
_UPSTREAM_NAMES: Final = {
    "destination_type": "DestinationType",
    "destination_namespace": "DestinationNamespace",
    "destination_name": "DestinationName",
    "destination_datacenter": "Datacenter",
    "local_bind_address": "LocalBindAddress",
    "local_bind_port": "LocalBindPort",
}


def _upstreams(config: Mapping[str, Any]) -> list[dict[str, Any]]:
    """``upstreams`` of a configuration as the API names them; what it has no name for is their ``Config``."""
    fields = JsonFields({"upstreams": config.get("upstreams")}, "Connect.Proxy.Config")
    found = []
    for upstream in fields.objects("upstreams"):
        port = upstream.integer("local_bind_port")
        if not upstream.text("destination_name"):
            upstream.refuse("destination_name", "is empty: name the service that the upstream leads to")
        if not 1 <= port <= 65535:
            upstream.refuse("local_bind_port", f"{port} is not a port: write 1 to 65535")
        if upstream.text("destination_type") not in UPSTREAM_TYPES:
            upstream.refuse("destination_type", "write service or prepared_query")
        body: dict[str, Any] = {
            name: upstream.value(key) for key, name in _UPSTREAM_NAMES.items() if upstream.has(key)
        }
        own = {key: value for key, value in upstream.obj.items() if key.lower() not in _UPSTREAM_NAMES}
        body |= {"DestinationType": upstream.text("destination_type") or "service", "Config": own}
        found.append(without_empty(body))
    return found
