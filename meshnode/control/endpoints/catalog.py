"""``Catalog.*``: registering, and reading what is registered. Source: Consul 1.2.3, agent/consul/catalog_endpoint.go.

``Catalog.ListDatacenters`` is answered by who knows the WAN pool.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from meshnode.acl.authorizer import Authorizer
from meshnode.catalog import queries
from meshnode.catalog.model import TERMINATING_GATEWAY, Instance
from meshnode.catalog.wire import node_fields, service_fields, service_node_fields
from meshnode.config_entries.store import CONFIG_ENTRIES
from meshnode.control import watch
from meshnode.control.body import Body, boolean, text, text_map, texts
from meshnode.control.command import Command, Deregister, Register
from meshnode.control.endpoints.registration import (
    parse_registration,
    vet_deregistration,
    vet_registration,
)
from meshnode.control.endpoints.sight import Sight
from meshnode.control.gateways import gateways_to
from meshnode.control.machine import Result, StateMachine
from meshnode.control.method import Method, Moment, ReadMethod, WriteMethod, accepted
from meshnode.control.near import instance_node, node_name, sorted_near
from meshnode.control.watch import WatchKey
from meshnode.rpc.method import RpcError

__all__ = ["METHODS", "find_instances", "node_meta", "service_watch"]


_START_OF_ID: Final = re.compile(r"[0-9a-fA-F-]{2,36}")


def node_meta(body: Body) -> dict[str, str]:
    """``NodeMetaFilters``: pairs that a node's metadata must have."""
    return text_map(body, "NodeMetaFilters")


def find_instances(
    state: StateMachine, body: Body, sight: Sight, *, checks: bool
) -> tuple[int, list[Instance]]:
    """The instances that a ``ServiceSpecificRequest`` asks for, as far as its sender may see them.

    ``ServiceName``; with ``TagFilter`` every tag of ``ServiceTags`` or the one in ``ServiceTag``; ``NodeMetaFilters``;
    with ``Connect`` the endpoints that a Connect client uses instead; nearest to ``Source`` first.
    """
    name, connect = _service_name(body), boolean(body, "Connect")
    tags = _tags(body)
    find = queries.connect_instances if connect else queries.service_instances
    index, found = find(
        state.catalog, name, tag=tags[0] if tags else "", node_meta=node_meta(body), checks=checks
    )
    if connect and not sight.service(name):
        return index, []
    if connect:
        more, gateways = _gateways(state, body, sight, name, tags, checks=checks)
        index = max(index, more)
    if len(tags) > 1:
        wanted = {tag.lower() for tag in tags}
        found = [row for row in found if wanted <= {tag.lower() for tag in row.service.tags}]
    seen = sight.instances(found)
    if connect:
        seen += gateways
    return index, sorted_near(state.catalog, body, seen, instance_node)


def _gateways(
    state: StateMachine, body: Body, sight: Sight, service: str, tags: tuple[str, ...], *, checks: bool
) -> tuple[int, list[Instance]]:
    """The terminating gateways that lead to ``service``: who may read that one may see them where its node is seen."""
    index, rows = state.config.index, []
    if state.catalog.tables.gateways:
        # An entry may say *: then what is registered decides.
        index = max(index, queries.service_instances(state.catalog, service, checks=False)[0])
    for gateway in gateways_to(state, service):
        moved, found = queries.service_instances(
            state.catalog, gateway, tag=tags[0] if tags else "", node_meta=node_meta(body), checks=checks
        )
        index = max(index, moved)
        rows += [
            row for row in found if row.service.kind == TERMINATING_GATEWAY and sight.node(row.node.name)
        ]
    return index, rows


def service_watch(body: Body) -> tuple[WatchKey, ...]:
    """What :func:`find_instances` depends on."""
    name = _service_name(body)
    if boolean(body, "Connect"):
        # A gateway may lead to it: that is in an entry.
        return watch.connect(name), CONFIG_ENTRIES, watch.GATEWAYS
    return (watch.service(name),)


def _service_name(body: Body) -> str:
    name = text(body, "ServiceName")
    if not name:
        raise RpcError("Must provide service name")
    return name


def _tags(body: Body) -> tuple[str, ...]:
    if not boolean(body, "TagFilter"):
        return ()
    one = text(body, "ServiceTag")
    return texts(body, "ServiceTags") or ((one,) if one else ())


# Writing


def _register(state: StateMachine, body: Body, authorizer: Authorizer, moment: Moment) -> Command:
    wanted = parse_registration(body)
    vet_registration(state.catalog.tables, wanted, authorizer)
    return Register(wanted, moment.at)


def _deregister(state: StateMachine, body: Body, authorizer: Authorizer, moment: Moment) -> Command:
    node, service_id, check_id = text(body, "Node"), text(body, "ServiceID"), text(body, "CheckID")
    if not node:
        raise RpcError("Must provide node")
    vet_deregistration(state.catalog.tables, node, service_id, check_id, authorizer)
    return Deregister(node, service_id, check_id, moment.at)


def _written(state: StateMachine, result: Result) -> dict[str, Any]:
    del state
    accepted(result)
    return {}


# Reading


def _list_nodes(state: StateMachine, body: Body, authorizer: Authorizer) -> tuple[int, dict[str, Any]]:
    index, nodes = queries.nodes(state.catalog, node_meta(body))
    seen = sorted_near(state.catalog, body, Sight(authorizer).nodes(nodes), node_name)
    return index, {"Nodes": [node_fields(node) for node in seen]}


def _list_services(state: StateMachine, body: Body, authorizer: Authorizer) -> tuple[int, dict[str, Any]]:
    sight = Sight(authorizer)
    index, services = queries.services(state.catalog, node_meta(body))
    return index, {"Services": {name: list(tags) for name, tags in services.items() if sight.service(name)}}


def _service_nodes(state: StateMachine, body: Body, authorizer: Authorizer) -> tuple[int, dict[str, Any]]:
    index, found = find_instances(state, body, Sight(authorizer), checks=False)
    return index, {"ServiceNodes": [service_node_fields(row) for row in found]}


def _node_services(state: StateMachine, body: Body, authorizer: Authorizer) -> tuple[int, dict[str, Any]]:
    sight = Sight(authorizer)
    index, found = queries.node_services(state.catalog, _named_node(body))
    if found is None or not sight.node(found.node.name):
        return index, {"NodeServices": None}
    found = replace(found, services=sight.services(found.services))
    services = {service.id: service_fields(service) for service in found.services}
    # Ids are sorted as Go sorts the keys of a map.
    ordered = {service_id: services[service_id] for service_id in sorted(services)}
    return index, {"NodeServices": {"Node": node_fields(found.node), "Services": ordered}}


def _named_node(body: Body) -> str:
    name = text(body, "Node")
    if not name:
        raise RpcError("Must provide node")
    return name


def _nodes_watch(body: Body) -> tuple[WatchKey, ...]:
    del body
    return (watch.NODES,)


def _services_watch(body: Body) -> tuple[WatchKey, ...]:
    return (watch.SERVICES, watch.NODES) if node_meta(body) else (watch.SERVICES,)


def _node_watch(body: Body) -> tuple[WatchKey, ...]:
    name = _named_node(body)
    if not _START_OF_ID.fullmatch(name):
        return (watch.node(name),)
    # Asked for by its id, perhaps: which node that is changes with nodes, and what is on it is known by its name.
    return watch.node(name), watch.NODES, watch.SERVICES


METHODS: Final[Mapping[str, Method]] = {
    "Catalog.Register": WriteMethod(_register, _written),
    "Catalog.Deregister": WriteMethod(_deregister, _written),
    "Catalog.ListNodes": ReadMethod(_nodes_watch, _list_nodes),
    "Catalog.ListServices": ReadMethod(_services_watch, _list_services),
    "Catalog.ServiceNodes": ReadMethod(service_watch, _service_nodes),
    "Catalog.NodeServices": ReadMethod(_node_watch, _node_services),
}
