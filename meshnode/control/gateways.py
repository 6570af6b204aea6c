"""Which services a gateway stands for, and which gateways stand for a service: by their config entries.

A ``*`` of an ingress gateway is every service with instances in the mesh that speaks the listener's protocol; one of a
terminating gateway is every registered service that has none there. Source: Consul 1.10, "Gateways".
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from meshnode.catalog.model import CONNECT_PROXY, INGRESS_GATEWAY, TERMINATING_GATEWAY
from meshnode.config_entries.gateways import IngressGateway, LinkedService, TerminatingGateway
from meshnode.config_entries.model import ConfigEntry
from meshnode.config_entries.protocol import resolve_protocol
from meshnode.control.machine import StateMachine
from meshnode.intentions.model import WILDCARD

__all__ = ["gateway_services", "gateways_to"]

_KINDS = frozenset({CONNECT_PROXY, INGRESS_GATEWAY, TERMINATING_GATEWAY})
#: The servers' own name in the catalog.
_CONSUL = "consul"


def gateway_services(state: StateMachine, gateway: str) -> list[dict[str, Any]]:
    """The rows of ``/v1/catalog/gateway-services/:gateway``, by service and port; none without an entry."""
    entries = state.config.entries
    found = [
        *_ingress_rows(state, gateway, entries.get(INGRESS_GATEWAY, gateway)),
        *_terminating_rows(state, gateway, entries.get(TERMINATING_GATEWAY, gateway)),
    ]
    return sorted(found, key=lambda row: (row["Service"]["Name"].lower(), row.get("Port", 0)))


def gateways_to(state: StateMachine, service: str) -> list[str]:
    """The names of the terminating gateways that lead to ``service``."""
    found = []
    for entry in state.config.entries:
        if isinstance(entry.spec, TerminatingGateway):
            named = {linked.name.lower() for linked in entry.spec.services}
            if service.lower() in named or (WILDCARD in named and _is_outside(state, service)):
                found.append(entry.name)
    return sorted(found)


def _ingress_rows(state: StateMachine, gateway: str, entry: ConfigEntry | None) -> Iterator[dict[str, Any]]:
    if entry is None or not isinstance(entry.spec, IngressGateway):
        return
    for listener in entry.spec.listeners:
        named = {service.name.lower() for service in listener.services}
        for service in listener.services:
            more = {"Port": listener.port, "Protocol": listener.protocol}
            if service.name != WILDCARD:
                hosts = {"Hosts": list(service.hosts)} if service.hosts else {}
                yield _row(gateway, service.name, entry, **more, **hosts)
                continue
            for name in _inside(state):
                if (
                    name.lower() not in named
                    and resolve_protocol(state.config.entries, name) == listener.protocol
                ):
                    yield _row(gateway, name, entry, **more, FromWildcard=True)


def _terminating_rows(
    state: StateMachine, gateway: str, entry: ConfigEntry | None
) -> Iterator[dict[str, Any]]:
    if entry is None or not isinstance(entry.spec, TerminatingGateway):
        return
    named = {linked.name.lower() for linked in entry.spec.services}
    for linked in entry.spec.services:
        if linked.name != WILDCARD:
            yield _row(gateway, linked.name, entry, **_files(linked))
            continue
        for name in _names(state):
            if name.lower() not in named and _is_outside(state, name):
                yield _row(gateway, name, entry, **_files(linked), FromWildcard=True)


def _row(gateway: str, service: str, entry: ConfigEntry, **more: Any) -> dict[str, Any]:
    return {
        "Gateway": {"Name": gateway},
        "Service": {"Name": service},
        "GatewayKind": entry.kind,
        **more,
        "CreateIndex": entry.create_index,
        "ModifyIndex": entry.modify_index,
    }


def _files(linked: LinkedService) -> dict[str, str]:
    fields = {
        "CAFile": linked.ca_file,
        "CertFile": linked.cert_file,
        "KeyFile": linked.key_file,
        "SNI": linked.sni,
    }
    return {name: value for name, value in fields.items() if value}


def _names(state: StateMachine) -> list[str]:
    """Every name of a service, as one of its instances writes it."""
    return [next(iter(rows.values())).name for rows in state.catalog.tables.by_name.values()]


def _inside(state: StateMachine) -> list[str]:
    """Services with instances in the mesh."""
    return [next(iter(rows.values())).connect_name for rows in state.catalog.tables.by_connect.values()]


def _is_outside(state: StateMachine, service: str) -> bool:
    """Whether it is registered, is no proxy, and has no instance in the mesh."""
    tables, key = state.catalog.tables, service.lower()
    if key == _CONSUL or key in tables.by_connect:
        return False
    return any(row.kind not in _KINDS for row in tables.by_name.get(key, {}).values())
