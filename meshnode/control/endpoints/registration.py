"""``Catalog.Register`` and ``Catalog.Deregister``: their bodies as values, and who may ask for them.

Source: Consul 1.2.3, agent/structs (RegisterRequest, DeregisterRequest), agent/consul/acl.go.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from meshnode.acl.authorizer import Access, Authorizer, Resource, require
from meshnode.base.duration import parse_duration
from meshnode.base.errors import ConfigError
from meshnode.catalog.model import Check, CheckDefinition, Node, Service, Weights
from meshnode.catalog.store import Registration
from meshnode.catalog.tables import NodeRow, Tables
from meshnode.control.method import (
    NANOSECONDS,
    Body,
    boolean,
    integer,
    mapping,
    rows,
    text,
    text_map,
    texts,
)
from meshnode.rpc.method import RpcError

__all__ = [
    "MAX_CONFIG_DEPTH",
    "config_fault",
    "duration",
    "parse_check",
    "parse_registration",
    "parse_service",
    "require_node",
    "vet_deregistration",
    "vet_registration",
]


#: How deep the ``Config`` of a proxy may be nested.
MAX_CONFIG_DEPTH: Final = 32


def parse_registration(body: Body) -> Registration:
    """A ``RegisterRequest``; what is left out is filled in as Consul does. Raises :class:`RpcError`."""
    node = Node(
        name=text(body, "Node"),
        address=text(body, "Address"),
        id=text(body, "ID"),
        datacenter=text(body, "Datacenter"),
        tagged_addresses=text_map(body, "TaggedAddresses"),
        meta=text_map(body, "NodeMeta"),
    )
    checks = rows(body, "Checks")
    if body.get("Check") is not None:
        checks.append(mapping(body, "Check"))
    return Registration(
        node=node,
        service=parse_service(mapping(body, "Service")) if body.get("Service") is not None else None,
        checks=tuple(replace(check, node=check.node or node.name) for check in map(parse_check, checks)),
        skip_node_update=boolean(body, "SkipNodeUpdate"),
    )


def parse_service(body: Body) -> Service:
    """A ``NodeService``; a proxy in the form of Consul 1.3 has its destination from ``DestinationServiceName``."""
    connect, proxy = mapping(body, "Connect"), mapping(body, "Proxy")
    weights = mapping(body, "Weights")
    return Service(
        name=text(body, "Service"),
        id=text(body, "ID") or text(body, "Service"),
        kind=text(body, "Kind"),
        tags=texts(body, "Tags"),
        address=text(body, "Address"),
        port=integer(body, "Port"),
        meta=text_map(body, "Meta"),
        weights=Weights(integer(weights, "Passing"), integer(weights, "Warning")) if weights else Weights(),
        enable_tag_override=boolean(body, "EnableTagOverride"),
        proxy_destination=text(body, "ProxyDestination") or text(proxy, "DestinationServiceName"),
        native=boolean(connect, "Native"),
        managed_proxy=_managed_proxy(mapping(connect, "Proxy")) if connect.get("Proxy") is not None else None,
        proxy=_proxy(proxy) if proxy else None,
    )


def _managed_proxy(body: Body) -> dict[str, Any]:
    """``Connect.Proxy``, ready for JSON."""
    return _without_empty(
        {
            "Command": list(texts(body, "Command")),
            "ExecMode": text(body, "ExecMode"),
            "Config": _config(body),
        }
    )


def _proxy(body: Body) -> dict[str, Any]:
    """``Proxy`` of Consul 1.3, ready for JSON."""
    optional = {
        "DestinationServiceID": text(body, "DestinationServiceID"),
        "LocalServiceAddress": text(body, "LocalServiceAddress"),
        "LocalServicePort": integer(body, "LocalServicePort"),
        "Config": _config(body),
        "Upstreams": [_upstream(row) for row in rows(body, "Upstreams")],
    }
    return {"DestinationServiceName": text(body, "DestinationServiceName"), **_without_empty(optional)}


def _config(body: Body) -> dict[str, Any]:
    config = dict(mapping(body, "Config"))
    if fault := config_fault(config):
        raise RpcError(f"Config {fault}")
    return config


def config_fault(value: object, depth: int = 0) -> str:
    """Why ``value`` can't be kept as JSON and shown again; ``""`` when it can."""
    if depth > MAX_CONFIG_DEPTH:
        return f"is nested more than {MAX_CONFIG_DEPTH} deep"
    if isinstance(value, Mapping | list | tuple):
        inner = value.values() if isinstance(value, Mapping) else value
        return next(filter(None, (config_fault(item, depth + 1) for item in inner)), "")
    if isinstance(value, float) and not math.isfinite(value):
        return "holds a number that is too large"
    if isinstance(value, int) and not -(2**63) <= value < 2**64:
        return "holds a whole number of more than 64 bits"
    return "" if value is None or isinstance(value, str | int | float) else "holds what JSON doesn't have"


def _upstream(body: Body) -> dict[str, Any]:
    fields = {
        name: text(body, name)
        for name in (
            "DestinationType",
            "DestinationNamespace",
            "DestinationName",
            "Datacenter",
            "LocalBindAddress",
        )
    }
    numbered = {"LocalBindPort": integer(body, "LocalBindPort"), "Config": _config(body)}
    return _without_empty({**fields, **numbered})


def _without_empty(fields: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value}


def parse_check(body: Body) -> Check:
    """A ``HealthCheck``; its status is critical when none is given."""
    definition = mapping(body, "Definition")
    header = mapping(definition, "Header")
    check = Check(
        node=text(body, "Node"),
        check_id=text(body, "CheckID") or text(body, "Name"),
        name=text(body, "Name"),
        notes=text(body, "Notes"),
        output=text(body, "Output"),
        service_id=text(body, "ServiceID"),
        definition=CheckDefinition(
            http=text(definition, "HTTP"),
            tls_skip_verify=boolean(definition, "TLSSkipVerify"),
            header={text({"Header": name}, "Header"): texts(header, name) for name in header},
            method=text(definition, "Method"),
            tcp=text(definition, "TCP"),
            interval=duration(definition, "Interval"),
            timeout=duration(definition, "Timeout"),
            deregister_critical_service_after=duration(definition, "DeregisterCriticalServiceAfter"),
        ),
    )
    status = text(body, "Status")
    return replace(check, status=status) if status else check


def duration(body: Body, name: str) -> float:
    """Seconds, from nanoseconds or from text (``"10s"``); 0 when absent. Raises :class:`RpcError`."""
    value: Any = body.get(name)
    if isinstance(value, str | bytes):
        written = text(body, name)
        try:
            return parse_duration(written) if written else 0.0
        except ConfigError as error:
            raise RpcError(f"{name}: {error}") from None
    return integer(body, name) / NANOSECONDS


def require_node(
    tables: Tables, authorizer: Authorizer, resource: Resource, name: str, access: Access
) -> None:
    """As ``require`` for a node or its sessions, by the name that is asked for and by the one that is registered.

    The catalog ignores case and rules don't: a rule on ``n1`` must hold for who writes ``N1`` as well.
    """
    if authorizer.unrestricted:
        return
    require(authorizer, resource, name, access)
    row = tables.nodes.get(name.lower())
    if row is not None and row.node.name != name:
        require(authorizer, resource, row.node.name, access)


def vet_registration(tables: Tables, wanted: Registration, authorizer: Authorizer) -> None:
    """Raise ``PermissionDeniedError`` unless all that ``wanted`` would change may be written.

    node:write for a node that is new or changes, and for its checks; service:write for the service, for the one that it
    replaces, and for those whose checks are registered. Beyond Consul, a node that takes over the id of another one,
    which then goes, needs node:write of both. Raises :class:`RpcError` for a check that can't be placed.
    """
    if authorizer.unrestricted:
        return
    node, service = wanted.node, wanted.service
    row = tables.nodes.get(node.name.lower())
    if row is None or (not wanted.skip_node_update and _changes(node, row)):
        require_node(tables, authorizer, Resource.NODE, node.name, Access.WRITE)
        taken = tables.node_ids.get(node.id.lower())
        if taken is not None and taken != node.name.lower():
            require(authorizer, Resource.NODE, tables.nodes[taken].node.name, Access.WRITE)
    if service is not None:
        require(authorizer, Resource.SERVICE, service.name, Access.WRITE)
        replaced = row.services.get(service.id.lower()) if row is not None else None
        if replaced is not None:
            require(authorizer, Resource.SERVICE, replaced.name, Access.WRITE)
    for check in wanted.checks:
        _vet_check(node, service, row, check, authorizer)


def _changes(node: Node, row: NodeRow) -> bool:
    return not row.node.same_as(replace(node, id=node.id or row.node.id))


def _vet_check(
    node: Node, service: Service | None, row: NodeRow | None, check: Check, authorizer: Authorizer
) -> None:
    if check.node.lower() != node.name.lower():
        raise RpcError(
            f"Node '{check.node}' for check '{check.check_id}' doesn't match register request node '{node.name}'"
        )
    replaced = row.checks.get(check.check_id.lower()) if row is not None else None
    if replaced is not None and replaced.service_id.lower() != check.service_id.lower():
        _vet_owner(replaced, authorizer)
    if not check.service_id:
        name = row.node.name if row is not None else node.name
        require(authorizer, Resource.NODE, name, Access.WRITE)
    elif service is None or service.id.lower() != check.service_id.lower():
        owner = row.services.get(check.service_id.lower()) if row is not None else None
        if owner is None:
            raise RpcError(f"Unknown service '{check.service_id}' for check '{check.check_id}'")
        require(authorizer, Resource.SERVICE, owner.name, Access.WRITE)


def vet_deregistration(
    tables: Tables, node: str, service_id: str, check_id: str, authorizer: Authorizer
) -> None:
    """Raise ``PermissionDeniedError`` unless the service, the check or the node may be removed.

    Who may write a node may remove what is on it; else it takes service:write. Raises :class:`RpcError` for a service
    or check that isn't there, as Consul does, since nobody can say who may remove it.
    """
    row = tables.nodes.get(node.lower())
    spellings = {node, row.node.name} if row is not None else {node}
    if all(authorizer.decide(Resource.NODE, name, Access.WRITE).allowed for name in spellings):
        return
    if service_id:
        service = row.services.get(service_id.lower()) if row is not None else None
        if service is None:
            raise RpcError(f"Unknown service '{service_id}'")
        require(authorizer, Resource.SERVICE, service.name, Access.WRITE)
    elif check_id:
        check = row.checks.get(check_id.lower()) if row is not None else None
        if check is None:
            raise RpcError(f"Unknown check '{check_id}'")
        _vet_owner(check, authorizer)
    else:
        require_node(tables, authorizer, Resource.NODE, node, Access.WRITE)


def _vet_owner(check: Check, authorizer: Authorizer) -> None:
    if check.service_name:
        require(authorizer, Resource.SERVICE, check.service_name, Access.WRITE)
    else:
        require(authorizer, Resource.NODE, check.node, Access.WRITE)
