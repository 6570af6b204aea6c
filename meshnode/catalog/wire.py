"""Nodes, services and checks with the names, order and types of Consul's Go structs, ready for JSON and MessagePack.

Lists are never null. ``TaggedAddresses`` of a node without any is null, metadata is always an object; maps are in the
order of their keys, as Go prints them. ``wire_parse`` is the way back.
Source: Consul 1.2.3, agent/structs/structs.go and the documentation of its API.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from meshnode.base.duration import format_duration
from meshnode.catalog.coordinates import NodeCoordinate
from meshnode.catalog.model import Check, CheckDefinition, Instance, Node, NodeDump, Service
from meshnode.catalog.store import Registration

__all__ = [
    "check_fields",
    "coordinate_fields",
    "dump_fields",
    "instance_fields",
    "node_fields",
    "place_fields",
    "registration_fields",
    "service_fields",
    "service_node_fields",
]


def node_fields(node: Node) -> dict[str, Any]:
    """A ``Node``."""
    return {
        **_node_head(node),
        "Meta": _sorted(node.meta),
        "CreateIndex": node.create_index,
        "ModifyIndex": node.modify_index,
    }


def service_fields(service: Service) -> dict[str, Any]:
    """A ``NodeService``: a service without its node. ``Kind`` and ``Proxy`` are left out when there is none."""
    fields: dict[str, Any] = {"Kind": service.kind} if service.kind else {}
    fields |= {
        "ID": service.id,
        "Service": service.name,
        "Tags": list(service.tags),
        "Address": service.address,
        "Meta": _sorted(service.meta),
        "Port": service.port,
        "Weights": _weights(service),
        "EnableTagOverride": service.enable_tag_override,
        "ProxyDestination": service.proxy_destination,
        **place_fields(service),
    }
    if service.proxy is not None:
        fields["Proxy"] = service.proxy
    fields["Connect"] = _connect(service)
    fields["CreateIndex"] = service.create_index
    fields["ModifyIndex"] = service.modify_index
    return fields


def place_fields(service: Service) -> dict[str, Any]:
    """``TaggedAddresses`` and ``SocketPath`` of a service, of later versions of Consul: left out when not set."""
    fields: dict[str, Any] = {}
    if tagged := service.tagged_addresses:
        fields["TaggedAddresses"] = {
            name: {"Address": tagged[name].address, "Port": tagged[name].port} for name in sorted(tagged)
        }
    if service.socket_path:
        fields["SocketPath"] = service.socket_path
    return fields


def service_node_fields(instance: Instance) -> dict[str, Any]:
    """A ``ServiceNode``: a service with its node's address, in one flat object. The indexes are the service's."""
    node, service = instance.node, instance.service
    fields: dict[str, Any] = {
        **_node_head(node),
        "NodeMeta": _sorted(node.meta),
        "ServiceKind": service.kind,
        "ServiceID": service.id,
        "ServiceName": service.name,
        "ServiceTags": list(service.tags),
        "ServiceAddress": service.address,
        "ServiceWeights": _weights(service),
        "ServiceMeta": _sorted(service.meta),
        "ServicePort": service.port,
        "ServiceEnableTagOverride": service.enable_tag_override,
        "ServiceProxyDestination": service.proxy_destination,
        **{f"Service{name}": value for name, value in place_fields(service).items()},
    }
    if service.proxy is not None:
        fields["ServiceProxy"] = service.proxy
    fields["ServiceConnect"] = _connect(service)
    fields["CreateIndex"] = service.create_index
    fields["ModifyIndex"] = service.modify_index
    return fields


def check_fields(check: Check) -> dict[str, Any]:
    """A ``HealthCheck``; what its definition doesn't set is left out, durations are text (``"10s"``)."""
    return {
        "Node": check.node,
        "CheckID": check.check_id,
        "Name": check.name,
        "Status": check.status,
        "Notes": check.notes,
        "Output": check.output,
        "ServiceID": check.service_id,
        "ServiceName": check.service_name,
        "ServiceTags": list(check.service_tags),
        "Definition": _definition(check.definition),
        "CreateIndex": check.create_index,
        "ModifyIndex": check.modify_index,
    }


def instance_fields(instance: Instance) -> dict[str, Any]:
    """A ``CheckServiceNode``: node, service and the checks that count for it."""
    return {
        "Node": node_fields(instance.node),
        "Service": service_fields(instance.service),
        "Checks": [check_fields(check) for check in instance.checks],
    }


def dump_fields(dump: NodeDump) -> dict[str, Any]:
    """A ``NodeInfo``: a node with all that is on it."""
    node = dump.node
    return {
        "ID": node.id,
        "Node": node.name,
        "Address": node.address,
        "TaggedAddresses": _sorted(node.tagged_addresses) or None,
        "Meta": _sorted(node.meta),
        "Services": [service_fields(service) for service in dump.services],
        "Checks": [check_fields(check) for check in dump.checks],
    }


def coordinate_fields(row: NodeCoordinate) -> dict[str, Any]:
    """A ``Coordinate`` of a node."""
    coord = row.coord
    return {
        "Node": row.node,
        "Segment": row.segment,
        "Coord": {
            "Vec": list(coord.vector),
            "Error": coord.error,
            "Adjustment": coord.adjustment,
            "Height": coord.height,
        },
    }


def registration_fields(wanted: Registration) -> dict[str, Any]:
    """A ``RegisterRequest`` without a token."""
    fields: dict[str, Any] = {
        **_node_head(wanted.node),
        "NodeMeta": _sorted(wanted.node.meta),
        "SkipNodeUpdate": wanted.skip_node_update,
    }
    if wanted.service is not None:
        fields["Service"] = service_fields(wanted.service)
    if wanted.checks:
        fields["Checks"] = [check_fields(check) for check in wanted.checks]
    return fields


def _node_head(node: Node) -> dict[str, Any]:
    """What a node and the services on it both begin with."""
    return {
        "ID": node.id,
        "Node": node.name,
        "Address": node.address,
        "Datacenter": node.datacenter,
        "TaggedAddresses": _sorted(node.tagged_addresses) or None,
    }


def _definition(definition: CheckDefinition) -> dict[str, Any]:
    fields: dict[str, Any] = {
        "HTTP": definition.http,
        "TLSSkipVerify": definition.tls_skip_verify,
        "Header": {name: list(definition.header[name]) for name in sorted(definition.header)},
        "Method": definition.method,
        "TCP": definition.tcp,
        "Interval": _duration(definition.interval),
        "Timeout": _duration(definition.timeout),
        "DeregisterCriticalServiceAfter": _duration(definition.deregister_critical_service_after),
    }
    return {name: value for name, value in fields.items() if value}


def _duration(seconds: float) -> str:
    return format_duration(seconds) if seconds else ""


def _weights(service: Service) -> dict[str, int]:
    return {"Passing": service.weights.passing, "Warning": service.weights.warning}


def _connect(service: Service) -> dict[str, Any]:
    return {"Native": service.native, "Proxy": service.managed_proxy}


def _sorted(texts: Mapping[str, str]) -> dict[str, str]:
    return {key: texts[key] for key in sorted(texts)}
