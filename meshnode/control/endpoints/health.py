"""``Health.*``: checks, and services with their checks. Source: Consul 1.2.3, agent/consul/health_endpoint.go.

``?passing`` is not asked of a server, as in Consul: the API filters, so that a waiting reader hears of every change.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from meshnode.acl.authorizer import Authorizer
from meshnode.catalog import queries
from meshnode.catalog.model import Check
from meshnode.catalog.wire import check_fields, instance_fields
from meshnode.control import watch
from meshnode.control.body import Body, text
from meshnode.control.endpoints.catalog import find_instances, node_meta, service_watch
from meshnode.control.endpoints.sight import Sight
from meshnode.control.machine import StateMachine
from meshnode.control.method import Method, ReadMethod
from meshnode.control.near import check_node, sorted_near
from meshnode.control.watch import WatchKey
from meshnode.rpc.method import RpcError

__all__ = ["METHODS"]


def _checks_in_state(state: StateMachine, body: Body, authorizer: Authorizer) -> tuple[int, dict[str, Any]]:
    index, checks = queries.checks_in_state(state.catalog, text(body, "State"), node_meta(body))
    return index, _shown(state, body, authorizer, checks)


def _node_checks(state: StateMachine, body: Body, authorizer: Authorizer) -> tuple[int, dict[str, Any]]:
    index, checks = queries.node_checks(state.catalog, _named(body, "Node", "node"))
    return index, _shown(state, body, authorizer, checks)


def _service_checks(state: StateMachine, body: Body, authorizer: Authorizer) -> tuple[int, dict[str, Any]]:
    name = _named(body, "ServiceName", "service name")
    index, checks = queries.service_checks(state.catalog, name, node_meta(body))
    return index, _shown(state, body, authorizer, checks)


def _service_nodes(state: StateMachine, body: Body, authorizer: Authorizer) -> tuple[int, dict[str, Any]]:
    index, found = find_instances(state, body, Sight(authorizer), checks=True)
    return index, {"Nodes": [instance_fields(row) for row in found]}


def _shown(state: StateMachine, body: Body, authorizer: Authorizer, checks: list[Check]) -> dict[str, Any]:
    seen = sorted_near(state.catalog, body, Sight(authorizer).checks(checks), check_node)
    return {"HealthChecks": [check_fields(check) for check in seen]}


def _named(body: Body, field: str, what: str) -> str:
    name = text(body, field)
    if not name:
        raise RpcError(f"Must provide {what}")
    return name


def _state_watch(body: Body) -> tuple[WatchKey, ...]:
    of_state = watch.check_state(text(body, "State"))
    return (of_state, watch.NODES) if node_meta(body) else (of_state,)


def _node_watch(body: Body) -> tuple[WatchKey, ...]:
    return (watch.node(_named(body, "Node", "node")),)


def _checks_watch(body: Body) -> tuple[WatchKey, ...]:
    return (watch.service(_named(body, "ServiceName", "service name")),)


METHODS: Final[Mapping[str, Method]] = {
    "Health.ChecksInState": ReadMethod(_state_watch, _checks_in_state),
    "Health.NodeChecks": ReadMethod(_node_watch, _node_checks),
    "Health.ServiceChecks": ReadMethod(_checks_watch, _service_checks),
    "Health.ServiceNodes": ReadMethod(service_watch, _service_nodes),
}
