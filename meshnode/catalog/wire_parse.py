"""Nodes, services and checks out of JSON or MessagePack with the names of Consul's Go structs: the inverse of ``wire``.

What is missing or null is the zero value, as in Go. A field of another type is refused by name, with the exception that
the class of ``fields`` makes: a client's mistake, a caller's or a server's. Indexes are the store's and are not read.
Source: Consul 1.2.3, agent/structs (RegisterRequest, NodeService, HealthCheck).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final, Self

from meshnode.base.errors import RemoteProtocolError
from meshnode.base.json_fields import JsonFields
from meshnode.catalog.model import (
    CRITICAL,
    Check,
    CheckDefinition,
    Instance,
    Node,
    Service,
    ServiceAddress,
    Weights,
)
from meshnode.catalog.store import Registration

__all__ = [
    "MAX_CONFIG_DEPTH",
    "ReplyFields",
    "config_fault",
    "parse_check",
    "parse_instance",
    "parse_node",
    "parse_registration",
    "parse_service",
]

#: How deep the ``Config`` of a proxy may be nested.
MAX_CONFIG_DEPTH: Final = 32
#: Numbers that Go's structs hold for the ways to start a managed proxy.
_EXEC_MODES: Final = {0: "", 1: "daemon", 2: "script"}


class ReplyFields(JsonFields):
    """An object in a server's answer: what can't be read is a :class:`RemoteProtocolError`."""

    __slots__ = ()

    @classmethod
    def of(cls, reply: Any) -> Self:
        """The whole answer; raises :class:`RemoteProtocolError` when it is no object."""
        if not isinstance(reply, Mapping):
            raise RemoteProtocolError(f"the server's answer can't be read: it is a {type(reply).__name__}")
        return cls(reply)

    def error(self, message: str) -> Exception:
        """Says that the server is at fault."""
        return RemoteProtocolError(f"the server's answer can't be read: {message}")

    def value(self, name: str) -> Any:
        """The field as it is, but ``ExecMode`` as text: answers have Go's number for it."""
        found = super().value(name)
        return _EXEC_MODES.get(found, "") if name == "ExecMode" and type(found) is int else found


def parse_registration(fields: JsonFields) -> Registration:
    """A ``RegisterRequest``; a check that names no node is one of the node that is registered."""
    node = parse_node(fields, meta="NodeMeta")
    service, single = fields.object("Service"), fields.object("Check")
    return Registration(
        node=node,
        service=parse_service(service) if service is not None else None,
        checks=tuple(
            parse_check(check, node=node.name)
            for check in (*fields.objects("Checks"), *((single,) if single is not None else ()))
        ),
        skip_node_update=fields.boolean("SkipNodeUpdate"),
    )


def parse_node(fields: JsonFields, *, meta: str = "Meta") -> Node:
    """A ``Node``, whose metadata is in the field ``meta``."""
    return Node(
        name=fields.text("Node"),
        address=fields.text("Address"),
        id=fields.text("ID"),
        datacenter=fields.text("Datacenter"),
        tagged_addresses=fields.text_map("TaggedAddresses"),
        meta=fields.text_map(meta),
    )


def parse_service(fields: JsonFields) -> Service:
    """A ``NodeService``; a proxy in the form of Consul 1.3 has its destination from ``DestinationServiceName``.

    Its id is its name when it has none.
    """
    connect, proxy = fields.object("Connect"), _proxy(fields.object("Proxy"))
    destination = proxy["DestinationServiceName"] if proxy is not None else ""
    return Service(
        name=fields.text("Service"),
        id=fields.text("ID") or fields.text("Service"),
        kind=fields.text("Kind"),
        tags=fields.strings("Tags"),
        address=fields.text("Address"),
        port=fields.integer("Port"),
        meta=fields.text_map("Meta"),
        weights=_weights(fields.object("Weights")),
        enable_tag_override=fields.boolean("EnableTagOverride"),
        proxy_destination=fields.text("ProxyDestination") or destination,
        native=connect is not None and connect.boolean("Native"),
        managed_proxy=_managed_proxy(connect.object("Proxy")) if connect is not None else None,
        proxy=proxy,
        tagged_addresses=_tagged_addresses(fields),
        socket_path=fields.text("SocketPath"),
    )


def _tagged_addresses(fields: JsonFields) -> dict[str, ServiceAddress]:
    """``TaggedAddresses`` of a service: name -> ``{"Address", "Port"}``."""
    named = fields.object("TaggedAddresses")
    if named is None:
        return {}
    parts = {name: part for name in named.obj if (part := named.object(name)) is not None}
    return {name: ServiceAddress(part.text("Address"), part.integer("Port")) for name, part in parts.items()}


def parse_check(fields: JsonFields, *, node: str = "") -> Check:
    """A ``HealthCheck``, of ``node`` when it names none. Its id is its name, its status critical when it has none."""
    return Check(
        node=fields.text("Node") or node,
        check_id=fields.text("CheckID") or fields.text("Name"),
        name=fields.text("Name"),
        status=fields.text("Status") or CRITICAL,
        notes=fields.text("Notes"),
        output=fields.text("Output"),
        service_id=fields.text("ServiceID"),
        service_name=fields.text("ServiceName"),
        service_tags=fields.strings("ServiceTags"),
        definition=_definition(fields.object("Definition")),
    )


def parse_instance(fields: JsonFields) -> Instance:
    """A ``CheckServiceNode``."""
    return Instance(
        parse_node(_part(fields, "Node")),
        parse_service(_part(fields, "Service")),
        tuple(map(parse_check, fields.objects("Checks"))),
    )


def config_fault(value: object, depth: int = 0) -> str:
    """Why ``value`` can't be kept as the ``Config`` of a proxy and shown again; ``""`` when it can."""
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


def _weights(fields: JsonFields | None) -> Weights:
    return Weights(fields.integer("Passing"), fields.integer("Warning")) if fields is not None else Weights()


def _definition(fields: JsonFields | None) -> CheckDefinition:
    if fields is None or not fields.obj:
        return CheckDefinition()
    return CheckDefinition(
        http=fields.text("HTTP"),
        tls_skip_verify=fields.boolean("TLSSkipVerify"),
        header=fields.lists_map("Header"),
        method=fields.text("Method"),
        tcp=fields.text("TCP"),
        interval=fields.duration("Interval"),
        timeout=fields.duration("Timeout"),
        deregister_critical_service_after=fields.duration("DeregisterCriticalServiceAfter"),
    )


def _managed_proxy(fields: JsonFields | None) -> dict[str, Any] | None:
    """``Connect.Proxy``, ready for JSON; an empty one is one with the defaults."""
    if fields is None:
        return None
    return _what_is_set(
        {
            "Command": list(fields.strings("Command")),
            "ExecMode": fields.text("ExecMode"),
            "Config": _config(fields),
        }
    )


def _proxy(fields: JsonFields | None) -> dict[str, Any] | None:
    """``Proxy`` of Consul 1.3, ready for JSON; servers of 1.3 and later send an empty one where there is none."""
    if fields is None:
        return None
    body = _what_is_set(
        {
            "DestinationServiceName": fields.text("DestinationServiceName"),
            "DestinationServiceID": fields.text("DestinationServiceID"),
            "LocalServiceAddress": fields.text("LocalServiceAddress"),
            "LocalServicePort": fields.integer("LocalServicePort"),
            "Config": _config(fields),
            "Upstreams": [_upstream(part) for part in fields.objects("Upstreams")],
        }
    )
    return {"DestinationServiceName": "", **body} if body else None


def _upstream(fields: JsonFields) -> dict[str, Any]:
    return _what_is_set(
        {
            "DestinationType": fields.text("DestinationType"),
            "DestinationNamespace": fields.text("DestinationNamespace"),
            "DestinationName": fields.text("DestinationName"),
            "Datacenter": fields.text("Datacenter"),
            "LocalBindAddress": fields.text("LocalBindAddress"),
            "LocalBindPort": fields.integer("LocalBindPort"),
            "Config": _config(fields),
        }
    )


def _config(fields: JsonFields) -> dict[str, Any]:
    config = _part(fields, "Config").obj
    if fault := config_fault(config):
        fields.refuse("Config", fault)
    return dict(config)


def _what_is_set(body: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in body.items() if value}


def _part(fields: JsonFields, name: str) -> JsonFields:
    """The object at ``name``; an empty one when it is missing."""
    found = fields.object(name)
    return type(fields)({}) if found is None else found
