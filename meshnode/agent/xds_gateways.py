"""A gateway's state, from what the API says of it: its config entry, and the services that the entry links."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import quote

from meshnode.agent.xds_round import Round
from meshnode.base.errors import ConfigError, RemoteProtocolError
from meshnode.config_entries.chain import Chain
from meshnode.config_entries.gateways import GatewayTls, IngressGateway, IngressListener, LinkedService
from meshnode.config_entries.model import INGRESS_GATEWAY
from meshnode.intentions.model import WILDCARD
from meshnode.proxy.balance import Instance
from meshnode.proxy.config import Endpoint
from meshnode.xds.legs import plain_chain
from meshnode.xds.settings import own_config, parse_envoy_settings
from meshnode.xds.state import (
    IngressPort,
    IngressRoute,
    IngressState,
    LinkedState,
    Material,
    TerminatingState,
)

__all__ = ["ingress_state", "terminating_state"]

_ANY_ADDRESS: Final = "0.0.0.0"


# Into the mesh


def ingress_state(round_: Round, proxy_id: str, body: Mapping[str, Any]) -> IngressState | None:
    """Everything at this moment; ``None`` while something was never told. ``body``: the gateway's registration."""
    settings = parse_envoy_settings(own_config(body), round_.proxy_defaults())
    name = _name(body)
    spec, own, roots = _ingress_entry(round_, name), round_.material(name), round_.roots()
    if spec is None or own is None:
        return None
    ports: list[IngressPort] = []
    instances: dict[str, tuple[Instance, ...]] = {}
    for listener in spec.listeners:
        port, chains = _ingress_port(round_, body, spec, listener)
        ports.append(port)
        for chain in chains:
            instances |= round_.targets(chain, own)
    if not round_.complete or roots is None:
        return None
    return IngressState(proxy_id, own, roots, tuple(ports), instances, settings.logs)


def _ingress_entry(round_: Round, name: str) -> IngressGateway | None:
    """Without an entry nothing is let in."""
    entries = round_.entries(INGRESS_GATEWAY)
    if entries is None:
        return None
    found = [
        entry.spec
        for entry in entries
        if entry.name.lower() == name.lower() and isinstance(entry.spec, IngressGateway)
    ]
    return found[0] if found else IngressGateway()


def _ingress_port(
    round_: Round, body: Mapping[str, Any], spec: IngressGateway, listener: IngressListener
) -> tuple[IngressPort, list[Chain]]:
    place = f"{INGRESS_GATEWAY}/{_name(body)}, listener on port {listener.port}"
    if listener.port == body.get("Port"):
        raise ConfigError(
            f"{place}: that is the port of the gateway's registration, where /ready is: register it with another one"
        )
    named = {service.name: service for service in listener.services}
    if WILDCARD in named:
        every = named.pop(WILDCARD)
        rows = _linked(round_, _name(body))
        named |= {_field(row, "Service"): every for row in rows if row.get("Port") == listener.port}
    routes = []
    for name, service in sorted(named.items()):
        if service.tls is not None and service.tls.sds is not None:
            raise ConfigError(f"{place}: {name}: TLS.SDS is not supported: leave it out")
        chain = round_.chain(name)
        if chain is not None and chain.protocol == listener.protocol:
            hosts = service.hosts
            routes.append(IngressRoute(chain, hosts, service.request_headers, service.response_headers))
    tls, suites = _ingress_tls(spec.tls, listener.tls, place)
    port = IngressPort(_bind(body, listener.port), listener.protocol, tuple(routes), tls, suites)
    return port, [route.chain for route in routes]


def _ingress_tls(
    shared: GatewayTls, own: GatewayTls | None, place: str
) -> tuple[tuple[str, str] | None, tuple[str, ...]]:
    """Versions and suites; the listener's settings win over the gateway's."""
    for each in (shared, own):
        if each is not None and each.sds is not None:
            raise ConfigError(
                f"{place}: TLS.SDS is not supported: leave it out, and the gateway shows its own leaf"
            )
    if not (shared.enabled or (own is not None and own.enabled)):
        return None, ()
    first = own or GatewayTls()
    versions = (
        first.tls_min_version or shared.tls_min_version,
        first.tls_max_version or shared.tls_max_version,
    )
    return versions, first.cipher_suites or shared.cipher_suites


# Out of the mesh


def terminating_state(round_: Round, proxy_id: str, body: Mapping[str, Any]) -> TerminatingState | None:
    """Everything at this moment; ``None`` while something was never told. ``body``: the gateway's registration."""
    settings = parse_envoy_settings(own_config(body), round_.proxy_defaults())
    roots = round_.roots()
    services = [_linked_state(round_, row) for row in _linked(round_, _name(body))]
    if not round_.complete or roots is None:
        return None
    port = body.get("Port")
    if not isinstance(port, int) or not 0 < port < 65536:
        raise ConfigError(f"{proxy_id} has no port: register the gateway with the one that it listens on")
    known = tuple(each for each in services if each is not None)
    return TerminatingState(proxy_id, _bind(body, port), roots, known, settings.logs)


def _linked_state(round_: Round, row: Mapping[str, Any]) -> LinkedState | None:
    name = _field(row, "Service")
    own, decided, chain = round_.material(name), round_.intentions(name), round_.chain(name)
    answer = round_.get(f"/v1/health/service/{quote(name, safe='')}")
    if own is None or decided is None or chain is None or answer is None:
        return None
    linked = LinkedService(
        name,
        ca_file=str(row.get("CAFile", "")),
        cert_file=str(row.get("CertFile", "")),
        key_file=str(row.get("KeyFile", "")),
        sni=str(row.get("SNI", "")),
    )
    return LinkedState(
        linked,
        own,
        chain.protocol,
        decided[0],
        decided[1],
        _server_names(name, chain, own),
        _places(answer),
    )


def _server_names(service: str, chain: Chain, own: Material) -> tuple[str, ...]:
    """What clients ask for: the service's name in the mesh, and the one that its defaults give it."""
    plain = plain_chain(service, own.datacenter, own.trust_domain)
    targets = [each for each in chain.targets.values() if each.service.lower() == service.lower()]
    return tuple(dict.fromkeys(each.sni for each in (*plain.targets.values(), *targets)))


def _places(answer: Any) -> tuple[Instance, ...]:
    found = []
    for row in answer if isinstance(answer, list) else ():
        node, service = row.get("Node") or {}, row.get("Service") or {}
        host, port = service.get("Address") or node.get("Address") or "", service.get("Port")
        if host and isinstance(port, int) and 0 < port < 65536:
            fails = any(check.get("Status") == "critical" for check in row.get("Checks") or ())
            found.append(Instance(host, port, "", passing=not fails))
    return tuple(found)


# Of both


def _linked(round_: Round, gateway: str) -> list[Mapping[str, Any]]:
    rows = round_.get(f"/v1/catalog/gateway-services/{quote(gateway, safe='')}")
    if rows is None:
        return []
    if not isinstance(rows, list) or not all(isinstance(row, Mapping) for row in rows):
        raise RemoteProtocolError("the services of a gateway are no list")
    return rows


def _field(row: Mapping[str, Any], name: str) -> str:
    found = row.get(name)
    value = found.get("Name") if isinstance(found, Mapping) else None
    if not isinstance(value, str) or not value:
        raise RemoteProtocolError(f"a service of a gateway has no {name}.Name")
    return value


def _name(body: Mapping[str, Any]) -> str:
    return str(body.get("Service") or "")


def _bind(body: Mapping[str, Any], port: int) -> Endpoint:
    try:
        return Endpoint(str(body.get("Address") or _ANY_ADDRESS), port)
    except ConfigError as error:
        raise ConfigError(f"the gateway's Address: {error}: write one of this machine's") from None
