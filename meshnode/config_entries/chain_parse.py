"""A discovery chain from the JSON of ``/v1/discovery-chain/:service``: the inverse of ``chain_fields``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from meshnode.base.duration import parse_duration
from meshnode.base.errors import ConfigError, RemoteProtocolError
from meshnode.config_entries.chain import Chain, Node, ResolverNode, RouterNode, SplitterNode, Target
from meshnode.config_entries.codec import read
from meshnode.config_entries.routing import LoadBalancer, Route, Split, Subset

__all__ = ["parse_chain"]

T = TypeVar("T")


def parse_chain(body: Any) -> Chain:
    """The value of the field ``Chain``. Raises :class:`RemoteProtocolError` for what is no chain."""
    body = _mapping(body, "Chain")
    service = _text(body, "ServiceName")
    nodes = {name: _node(name, _mapping(node, name)) for name, node in _object(body, "Nodes").items()}
    targets = {name: _target(_mapping(row, name)) for name, row in _object(body, "Targets").items()}
    start = _text(body, "StartNode")
    for wanted in (start, *(name for node in nodes.values() for name in _following(node))):
        if wanted not in nodes:
            raise RemoteProtocolError(
                f"the chain of {service} leads to {wanted[:120]!r}, which it doesn't have"
            )
    for name in (name for node in nodes.values() for name in _ends(node)):
        if name not in targets:
            raise RemoteProtocolError(f"the chain of {service} ends at {name[:120]!r}, which it doesn't have")
    customization = str(body.get("CustomizationHash", ""))
    return Chain(
        service, _text(body, "Datacenter"), _text(body, "Protocol"), start, nodes, targets, customization
    )


def _node(name: str, fields: Mapping[str, Any]) -> Node:
    kind, service = _text(fields, "Type"), _text(fields, "Name")
    match kind:
        case "router":
            routes = [(_read(Route, row, name), _text(row, "NextNode")) for row in _rows(fields, "Routes")]
            return RouterNode(service, tuple(routes))
        case "splitter":
            splits = [(_read(Split, row, name), _text(row, "NextNode")) for row in _rows(fields, "Splits")]
            return SplitterNode(service, tuple(splits))
        case "resolver":
            return _resolver(_object(fields, "Resolver"), name)
    raise RemoteProtocolError(f"the node {name[:120]!r} of a chain is a {kind[:40]!r}")


def _resolver(fields: Mapping[str, Any], name: str) -> ResolverNode:
    balancer, failover = fields.get("LoadBalancer"), _mapping(fields.get("Failover") or {}, "Failover")
    return ResolverNode(
        _text(fields, "Target"),
        _seconds(fields.get("ConnectTimeout")),
        _seconds(fields.get("RequestTimeout")),
        default=fields.get("Default") is True,
        failover=tuple(str(each) for each in failover.get("Targets") or ()),
        load_balancer=None if balancer is None else _value(LoadBalancer, _mapping(balancer, name), name),
    )


def _target(fields: Mapping[str, Any]) -> Target:
    return Target(
        _text(fields, "Service"),
        str(fields.get("ServiceSubset") or ""),
        _text(fields, "Datacenter"),
        _value(Subset, _mapping(fields.get("Subset") or {}, "Subset"), "Subset"),
        mesh_gateway=str(_mapping(fields.get("MeshGateway") or {}, "MeshGateway").get("Mode", "")),
        external=fields.get("External") is True,
        sni=str(fields.get("SNI", "")),
        name=str(fields.get("Name", "")),
    )


def _following(node: Node) -> list[str]:
    match node:
        case RouterNode(_, routes):
            return [following for _, following in routes]
        case SplitterNode(_, splits):
            return [following for _, following in splits]
    return []


def _ends(node: Node) -> tuple[str, ...]:
    return (node.target, *node.failover) if isinstance(node, ResolverNode) else ()


def _read(of: type[T], row: Mapping[str, Any], place: str) -> T:
    return _value(of, _object(row, "Definition"), place)


def _value(of: type[T], fields: Mapping[str, Any], place: str) -> T:
    problems: list[str] = []
    found = read(of, fields, place, problems)
    if problems:
        raise RemoteProtocolError(f"a chain can't be read: {problems[0]}")
    return found


def _object(body: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    return _mapping(body.get(name), name)


def _mapping(value: Any, name: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise RemoteProtocolError(f"{name[:120]} of a chain is no object")
    return value


def _rows(body: Mapping[str, Any], name: str) -> list[Any]:
    found = body.get(name)
    if not isinstance(found, list) or not all(isinstance(row, Mapping) for row in found):
        raise RemoteProtocolError(f"{name} of a chain is no list")
    return found


def _text(body: Mapping[str, Any], name: str) -> str:
    found = body.get(name)
    if not isinstance(found, str) or not found:
        raise RemoteProtocolError(f"a chain has no {name}")
    return found


def _seconds(text: Any) -> float:
    try:
        return parse_duration(text) if isinstance(text, str) else 0.0
    except ConfigError as error:
        raise RemoteProtocolError(f"a chain can't be read: {error}") from None
