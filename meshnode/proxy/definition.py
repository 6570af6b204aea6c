"""From what a person or the agent wrote to a :class:`ProxyConfig`: flags, a service of kind connect-proxy, a managed
proxy, a file. Sources: Consul 1.2.3 (managed proxies, "Built-in Proxy") and 1.3 (``Proxy`` of a service).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from meshnode.base.address import is_ip_address
from meshnode.base.errors import ConfigError
from meshnode.proxy.config import (
    DEFAULT_CONNECT_TIMEOUT,
    DEFAULT_MAX_CONNECTIONS,
    MAX_PREWARM,
    MAX_TIMEOUT,
    DestinationType,
    Endpoint,
    ProxyConfig,
    PublicListener,
    Upstream,
    public_listener,
)

__all__ = [
    "KIND",
    "MAX_UPSTREAMS",
    "listen_flag",
    "one_sidecar",
    "parse_file",
    "parse_managed",
    "parse_service",
    "parse_upstream_flag",
    "sidecar_ids",
]

#: ``Kind`` of a service that is a proxy.
KIND: Final = "connect-proxy"
#: Listeners of one proxy.
MAX_UPSTREAMS: Final = 1024
DEFAULT_BIND: Final = "127.0.0.1"
#: Where a service listens when nothing is said: at all of the node's addresses.
_ANY_ADDRESS: Final = "0.0.0.0"
_TYPES: Final = {
    "": DestinationType.SERVICE,
    "service": DestinationType.SERVICE,
    "query": DestinationType.PREPARED_QUERY,
}
#: Names of an upstream's fields: in the API, in the Config of a managed proxy.
_FIELDS: Final = {
    "name": ("DestinationName", "destination_name"),
    "type": ("DestinationType", "destination_type"),
    "namespace": ("DestinationNamespace", "destination_namespace"),
    "datacenter": ("Datacenter", "datacenter", "DestinationDatacenter", "destination_datacenter"),
    "address": ("LocalBindAddress", "local_bind_address"),
    "port": ("LocalBindPort", "local_bind_port"),
}


def parse_upstream_flag(text: str) -> tuple[str, Upstream]:
    """``db:8181``, ``db:127.0.0.10:8282``, ``geo.query:8181``, ``db.service.dc2:8181`` for another datacenter.

    Gives the address as it was written, and the upstream.
    Raises :class:`ConfigError`.
    """
    name, colon, address = text.partition(":")
    if not colon:
        raise ConfigError(
            f"Upstream value should be name:addr in {text!r:.120}: write name:port, as in db:8181"
        )
    host, _, port = address.rpartition(":")
    named, dot, kind = name.rpartition(".")
    datacenter = ""
    if dot and kind not in _TYPES and "." in named:
        datacenter = kind.lower()
        named, dot, kind = named.rpartition(".")
    if dot and kind not in _TYPES:
        raise ConfigError(f"Upstream type must be blank, 'service', or 'query' in {text!r:.120}")
    bind = _bind(host.removeprefix("[").removesuffix("]") or DEFAULT_BIND, _port(port, text), text)
    found = _TYPES[kind] if dot else _TYPES[""]
    return f"{host}:{port}", Upstream(bind, named if dot else name, found, datacenter)


def listen_flag(listen: str, application: str) -> PublicListener:
    """``-listen`` and ``-service-addr``; raises :class:`ConfigError`."""
    host, colon, port = listen.rpartition(":")
    if not colon:
        raise ConfigError(f"-listen: {listen!r:.120} is not an address: write host:port, as in 0.0.0.0:8443")
    host = host.removeprefix("[").removesuffix("]")
    bind = _bind(DEFAULT_BIND if host == "localhost" else host or _ANY_ADDRESS, _port(port, listen), listen)
    try:
        found = public_listener(
            {"bind_address": bind.host, "bind_port": bind.port, "local_service_address": application}
        )
    except ConfigError as error:
        raise ConfigError(str(error).replace("local_service_address:", "-service-addr:", 1)) from None
    assert found is not None
    return found


def sidecar_ids(services: Mapping[str, Any], service_id: str) -> list[str]:
    """Ids of the proxies of ``service_id`` among ``services``, which are as ``/v1/agent/services`` has them."""
    return sorted(
        str(key)
        for key, one in services.items()
        if isinstance(one, Mapping)
        and one.get("Kind") == KIND
        and str(_object(one, "Proxy").get("DestinationServiceID", "")).lower() == service_id.lower()
    )


def one_sidecar(services: Any, service_id: str, *, starting: str) -> str:
    """Id of the one proxy of ``service_id`` in an answer of ``/v1/agent/services``; ``starting`` names the program.

    Raises :class:`ConfigError` for none, for several, and for an answer that no agent gives.
    """
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
            f"    Start {starting} with -proxy-id and one of the following IDs: {', '.join(found)}"
        )
    return found[0]


def parse_service(body: Mapping[str, Any]) -> ProxyConfig:
    """An answer of ``/v1/agent/service/:id``; raises :class:`ConfigError` naming the field.

    ``bind_address``, ``bind_port`` and ``local_service_address`` of the proxy's ``Config`` win over the service's.
    Without a port of the application there is no public listener: nobody could be led to it.
    """
    name = str(body.get("ID") or body.get("Service") or "the service")
    if body.get("Kind") != KIND:
        raise ConfigError(f'{name} is not a proxy: its kind is {body.get("Kind", "")!r:.60}, not "{KIND}"')
    proxy = _object(body, "Proxy")
    service = str(proxy.get("DestinationServiceName") or body.get("ProxyDestination") or "")
    if not service:
        raise ConfigError(f"{name} has no Proxy.DestinationServiceName: name the service that it stands for")
    settings = dict(_object(proxy, "Config"))
    address = body.get("Address")
    if not settings.get("bind_address") and isinstance(address, str) and is_ip_address(address):
        settings["bind_address"] = address
    settings.setdefault("bind_port", body.get("Port", 0))
    if not settings.get("local_service_address"):
        settings["local_service_address"] = _application(proxy)
        if not settings["local_service_address"]:
            settings["bind_port"] = 0
    return ProxyConfig(
        service, public_listener(settings), _upstreams(proxy.get("Upstreams"), "Proxy.Upstreams")
    )


def parse_managed(body: Mapping[str, Any]) -> ProxyConfig:
    """An answer of ``/v1/agent/connect/proxy/:id``; raises :class:`ConfigError` naming the field."""
    service, settings = str(body.get("TargetServiceName") or ""), _object(body, "Config")
    if not service:
        raise ConfigError("TargetServiceName is empty: the agent's answer names no service")
    found = body.get("Upstreams") or settings.get("upstreams")
    return ProxyConfig(service, public_listener(settings), _upstreams(found, "upstreams"))


def parse_file(body: Mapping[str, Any]) -> ProxyConfig:
    """A file of ``-dev-config``; raises :class:`ConfigError` naming the key."""
    service = body.get("proxied_service_name", "")
    if not isinstance(service, str) or not service:
        raise ConfigError("proxied_service_name: name the service that the proxy stands for")
    public = public_listener(_object(body, "public_listener"))
    return ProxyConfig(service, public, _upstreams(body.get("upstreams"), "upstreams"))


def _application(proxy: Mapping[str, Any]) -> str:
    port = proxy.get("LocalServicePort") or 0
    address = _text(proxy, ("LocalServiceAddress",), "Proxy") or DEFAULT_BIND
    if not port:
        return ""
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def _upstreams(found: Any, where: str) -> tuple[Upstream, ...]:
    if found is None:
        return ()
    if isinstance(found, str) or not isinstance(found, Sequence):
        raise ConfigError(f"{where}: expected a list, got {type(found).__name__}", key=where)
    if len(found) > MAX_UPSTREAMS:
        raise ConfigError(f"{where}: {len(found)} are more than {MAX_UPSTREAMS}", key=where)
    return tuple(_upstream(part, f"{where}[{number}]") for number, part in enumerate(found))


def _upstream(part: Any, where: str) -> Upstream:
    if not isinstance(part, Mapping):
        raise ConfigError(f"{where}: expected an object, got {type(part).__name__}", key=where)
    settings = {**_object(part, "Config"), **_object(part, "config"), **part}
    texts = {name: _text(part, names, where) for name, names in _FIELDS.items() if name != "port"}
    port = _whole(next((part[name] for name in _FIELDS["port"] if name in part), 0), f"{where}.LocalBindPort")
    if not 1 <= port <= 65535:
        raise ConfigError(
            f"{where}: upstream {texts['name']} has no local_bind_port. Can't start upstream. Write 1 to 65535",
            key=where,
        )
    try:
        return Upstream(
            bind=Endpoint(texts["address"] or DEFAULT_BIND, port),
            destination=texts["name"],
            destination_type=_destination_type(texts["type"]),
            datacenter=texts["datacenter"],
            namespace=texts["namespace"] or "default",
            connect_timeout=_whole(
                settings.get("connect_timeout_ms") or 0, "connect_timeout_ms", MAX_TIMEOUT * 1000
            )
            / 1000.0
            or DEFAULT_CONNECT_TIMEOUT,
            max_connections=_whole(settings.get("max_connections") or 0, "max_connections")
            or DEFAULT_MAX_CONNECTIONS,
            protocol=_text(settings, ("protocol",), where) or "tcp",
            prewarm=_whole(settings.get("prewarm") or 0, "prewarm", MAX_PREWARM),
        )
    except ConfigError as error:
        raise ConfigError(f"{where}: {error}", key=where) from None


def _destination_type(text: str) -> DestinationType:
    try:
        return DestinationType(text or "service")
    except ValueError:
        raise ConfigError(f"DestinationType: {text!r:.60} is not service or prepared_query") from None


def _object(body: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    value = body.get(key)
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise ConfigError(f"{key}: expected an object, got {type(value).__name__}", key=key)
    return value


def _text(body: Mapping[str, Any], names: Sequence[str], where: str) -> str:
    value = next((body[name] for name in names if name in body), "")
    if not isinstance(value, str):
        raise ConfigError(f"{where}.{names[0]}: expected a text, got {type(value).__name__}", key=where)
    return value


def _whole(value: Any, key: str, most: float = 2**31) -> int:
    """Numbers of the API may come as floats, since they went through JSON of Go."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= most:
        raise ConfigError(f"{key}: {value!r:.60} is not a whole number from 0 to {most:g}", key=key)
    if value != int(value):
        raise ConfigError(f"{key}: {value!r:.60} is not a whole number", key=key)
    return int(value)


def _port(text: str, whole: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 5 and 1 <= int(text) <= 65535):
        raise ConfigError(f"{whole!r:.120}: {text!r:.60} is not a port: write 1 to 65535")
    return int(text)


def _bind(host: str, port: int, whole: str) -> Endpoint:
    try:
        return Endpoint(DEFAULT_BIND if host == "localhost" else host, port)
    except ConfigError as error:
        raise ConfigError(f"{whole!r:.120}: {error}: write the address to listen on") from None
