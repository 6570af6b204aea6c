"""``Internal.*``: nodes with all that is on them, for user interfaces. Source: Consul 1.2.3, internal_endpoint.go."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from meshnode.acl.authorizer import Authorizer
from meshnode.catalog import queries
from meshnode.catalog.wire import dump_fields
from meshnode.control import watch
from meshnode.control.body import Body, text
from meshnode.control.endpoints.sight import Sight
from meshnode.control.machine import StateMachine
from meshnode.control.method import Method, ReadMethod
from meshnode.control.watch import WatchKey
from meshnode.rpc.method import RpcError

__all__ = ["METHODS"]


def _node_info(state: StateMachine, body: Body, authorizer: Authorizer) -> tuple[int, dict[str, Any]]:
    index, dumps = queries.dump(state.catalog, _node_name(body))
    return index, {"Dump": [dump_fields(dump) for dump in Sight(authorizer).dumps(dumps)]}


def _node_dump(state: StateMachine, body: Body, authorizer: Authorizer) -> tuple[int, dict[str, Any]]:
    del body
    index, dumps = queries.dump(state.catalog)
    return index, {"Dump": [dump_fields(dump) for dump in Sight(authorizer).dumps(dumps)]}


def _node_name(body: Body) -> str:
    name = text(body, "Node")
    if not name:
        raise RpcError("Must provide node")
    return name


def _node_watch(body: Body) -> tuple[WatchKey, ...]:
    return (watch.node(_node_name(body)),)


def _all_watch(body: Body) -> tuple[WatchKey, ...]:
    del body
    return watch.NODES, watch.SERVICES, watch.check_state("any")


METHODS: Final[Mapping[str, Method]] = {
    "Internal.NodeInfo": ReadMethod(_node_watch, _node_info),
    "Internal.NodeDump": ReadMethod(_all_watch, _node_dump),
}
