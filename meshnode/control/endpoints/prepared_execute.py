"""``PreparedQuery.Execute`` and ``ExecuteRemote``: they need a generator of random numbers, and other datacenters.

``execute`` is a generator: it yields each ``AskDatacenter`` that is needed, is sent the reply to it or ``None`` for a
failure, and returns the reply to the caller. Most executions yield nothing. The state is read before the first yield.
Source: Consul 1.2.3, agent/consul/prepared_query_endpoint.go.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from meshnode.acl.authorizer import Authorizer
from meshnode.catalog import queries
from meshnode.catalog.model import Instance
from meshnode.catalog.wire import instance_fields
from meshnode.control.body import Body, boolean, integer, mapping, text
from meshnode.control.endpoints.prepared_query import query_fields, query_of, resolved
from meshnode.control.endpoints.sight import Sight
from meshnode.control.machine import StateMachine
from meshnode.control.near import instance_node, nearest_first, node_with_address
from meshnode.control.prepared.failover import AskDatacenter, datacenters_to_ask
from meshnode.control.prepared.model import NEAR_AGENT, NEAR_IP, PreparedQuery
from meshnode.control.prepared.select import choose
from meshnode.rpc.method import RpcError

__all__ = ["EXECUTE", "EXECUTE_REMOTE", "Execution", "Here", "execute", "execute_remote"]

EXECUTE: Final = "PreparedQuery.Execute"
EXECUTE_REMOTE: Final = "PreparedQuery.ExecuteRemote"

Execution: TypeAlias = Generator[AskDatacenter, Mapping[str, Any] | None, dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Here:
    """Where it is executed: the local datacenter, and all that are known, nearest first (the local one may be in)."""

    datacenter: str
    nearest: tuple[str, ...] = ()


def execute(
    state: StateMachine, body: Body, authorize: Callable[[str], Authorizer], rng: random.Random, here: Here
) -> Execution:
    """The healthy instances for ``QueryIDOrName``, nearest to ``Source`` first, at most ``Limit`` of them.

    ``authorize`` gives the rights of a token: the query's own if it has one, else the caller's. Raises
    :class:`RpcError`.
    """
    query = resolved(state, body)
    limit = _limit(body)
    connect = query.service.connect or boolean(body, "Connect")
    found = _found(state, query, text(body, "Token"), authorize, rng, connect=connect)
    found = _near(state, query, body, found, here)
    reply = _reply(query, found[:limit] if limit else found, here.datacenter)
    if found:
        return reply
    asked = {
        "Query": query_fields(query, secret=True),
        "Limit": limit,
        "Connect": connect,
        "Token": text(body, "Token"),
    }
    failovers = 0
    for datacenter in datacenters_to_ask(query.service.failover, here.datacenter, here.nearest):
        failovers += 1
        answer = yield AskDatacenter(datacenter, EXECUTE_REMOTE, {**asked, "Datacenter": datacenter})
        if answer is None:
            continue
        reply = {name: answer.get(name, value) for name, value in reply.items()}
        if reply["Nodes"]:
            break
    return {**reply, "Nodes": reply["Nodes"] or [], "Failovers": failovers}


def execute_remote(
    state: StateMachine, body: Body, authorize: Callable[[str], Authorizer], rng: random.Random, here: Here
) -> dict[str, Any]:
    """The same for a query that another datacenter sends along; in random order, since nobody there is near."""
    fields, limit = mapping(body, "Query"), _limit(body)
    query = query_of(fields, text(fields, "ID"))
    connect = query.service.connect or boolean(body, "Connect")
    found = _found(state, query, text(body, "Token"), authorize, rng, connect=connect)
    return _reply(query, found[:limit] if limit else found, here.datacenter)


def _found(
    state: StateMachine,
    query: PreparedQuery,
    token: str,
    authorize: Callable[[str], Authorizer],
    rng: random.Random,
    *,
    connect: bool,
) -> list[Instance]:
    instances = queries.connect_instances if connect else queries.service_instances
    _, listed = instances(state.catalog, query.service.service)
    return choose(query.service, Sight(authorize(query.token or token)).instances(listed), rng)


def _near(
    state: StateMachine, query: PreparedQuery, body: Body, found: list[Instance], here: Here
) -> list[Instance]:
    """By distance from the caller's ``?near``, else from the query's; that node's own instances come first of all."""
    source, near = mapping(body, "Source"), query.service.near
    name, datacenter = text(source, "Node"), text(source, "Datacenter")
    if name == NEAR_IP or (not name and near == NEAR_IP):
        name = node_with_address(state.catalog, text(source, "Ip"))
        near = near if name else NEAR_AGENT
    if not name and near == NEAR_AGENT:
        agent = mapping(body, "Agent")
        name, datacenter = text(agent, "Node"), text(agent, "Datacenter")
    elif not name:
        name, datacenter = near, here.datacenter
    if not name or datacenter not in {"", here.datacenter}:
        return found
    sort = nearest_first(state.catalog.tables.coordinates, name, found, instance_node)
    return sorted(sort, key=lambda instance: instance.node.name.lower() != name.lower())


def _limit(body: Body) -> int:
    limit = integer(body, "Limit")
    if limit < 0:
        raise RpcError(f"Limit is {limit}: write how many nodes at most, or 0 for all")
    return limit


def _reply(query: PreparedQuery, found: list[Instance], datacenter: str) -> dict[str, Any]:
    return {
        "Service": query.service.service,
        "Nodes": [instance_fields(instance) for instance in found],
        "DNS": {"TTL": query.dns.ttl},
        "Datacenter": datacenter,
        "Failovers": 0,
    }
