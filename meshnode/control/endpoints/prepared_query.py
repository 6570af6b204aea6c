"""``PreparedQuery.Apply``, ``Get``, ``List`` and ``Explain``; what executes them is in ``prepared_execute``.

Who may: ``query`` rules on the name, or the prefix of a template. A query without a name has no rule: who knows its id
may read and change it, and only management lists it. Tokens are shown to management alone.
Source: Consul 1.2.3, agent/consul/prepared_query_endpoint.go; the ACL guide, prepared query rules.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from meshnode.acl.authorizer import Access, Authorizer, Resource, require
from meshnode.base.errors import ConfigError
from meshnode.control.body import (
    Body,
    boolean,
    integer,
    mapping,
    text,
    text_map,
    texts,
)
from meshnode.control.command import Command, QueryDelete, QuerySet
from meshnode.control.machine import Result, StateMachine
from meshnode.control.method import Method, Moment, ReadMethod, WriteMethod, accepted
from meshnode.control.prepared.model import (
    DnsOptions,
    Failover,
    PreparedQuery,
    ServiceQuery,
    Template,
)
from meshnode.control.prepared.validate import HIDDEN, query_fault
from meshnode.control.watch import QUERIES, WatchKey
from meshnode.rpc.method import RpcError

__all__ = ["METHODS", "NOT_FOUND", "OPERATIONS", "query_fields", "query_of", "resolved"]

#: ``Op`` of ``PreparedQuery.Apply``.
OPERATIONS: Final = ("create", "update", "delete")
#: Consul's sentence, which clients and the API look for.
NOT_FOUND: Final = "Query not found"


def query_fields(query: PreparedQuery, *, secret: bool) -> dict[str, Any]:
    """A query in the order of Consul's struct, with its token only if ``secret``. Empty lists and maps are null."""
    service = query.service
    return {
        "ID": query.id,
        "Name": query.name,
        "Session": query.session,
        "Token": query.token if secret or not query.token else HIDDEN,
        "Template": {
            "Type": query.template.type,
            "Regexp": query.template.regexp,
            "RemoveEmptyTags": query.template.remove_empty_tags,
        },
        "Service": {
            "Service": service.service,
            "Failover": {
                "NearestN": service.failover.nearest_n,
                "Datacenters": list(service.failover.datacenters) or None,
            },
            "OnlyPassing": service.only_passing,
            "IgnoreCheckIDs": list(service.ignore_check_ids) or None,
            "Near": service.near,
            "Tags": list(service.tags) or None,
            "NodeMeta": dict(sorted(service.node_meta.items())) or None,
            "ServiceMeta": dict(sorted(service.service_meta.items())) or None,
            "Connect": service.connect,
        },
        "DNS": {"TTL": query.dns.ttl},
        "CreateIndex": query.create_index,
        "ModifyIndex": query.modify_index,
    }


def query_of(body: Body, query_id: str) -> PreparedQuery:
    """The inverse, with the id given. Raises :class:`RpcError` for a field of another type."""
    template, service = mapping(body, "Template"), mapping(body, "Service")
    failover = mapping(service, "Failover")
    return PreparedQuery(
        id=query_id,
        name=text(body, "Name"),
        session=text(body, "Session"),
        token=text(body, "Token"),
        template=Template(
            text(template, "Type"), text(template, "Regexp"), boolean(template, "RemoveEmptyTags")
        ),
        service=ServiceQuery(
            service=text(service, "Service"),
            failover=Failover(integer(failover, "NearestN"), texts(failover, "Datacenters")),
            only_passing=boolean(service, "OnlyPassing"),
            ignore_check_ids=texts(service, "IgnoreCheckIDs"),
            near=text(service, "Near"),
            tags=texts(service, "Tags"),
            node_meta=text_map(service, "NodeMeta"),
            service_meta=text_map(service, "ServiceMeta"),
            connect=boolean(service, "Connect"),
        ),
        dns=DnsOptions(text(mapping(body, "DNS"), "TTL")),
    )


def resolved(state: StateMachine, body: Body) -> PreparedQuery:
    """The query that ``QueryIDOrName`` means, templates as they are for it. Raises :class:`RpcError` when none is."""
    name = text(body, "QueryIDOrName")
    found = state.queries.get(name)[1]
    if found is not None and found.is_template:
        raise RpcError("prepared query templates can only be resolved up by name, not by ID")
    segment = text(mapping(body, "Agent"), "Segment") or text(mapping(body, "Source"), "Segment")
    try:
        query = state.queries.resolve(name, segment)
    except ConfigError as error:
        raise RpcError(f"prepared query template for {name[:80]!r}: {error}") from None
    if query is None:
        raise RpcError(NOT_FOUND)
    return query


def _apply(state: StateMachine, body: Body, authorizer: Authorizer, moment: Moment) -> Command:
    operation, fields = text(body, "Op"), mapping(body, "Query")
    query_id = text(fields, "ID")
    if operation not in OPERATIONS:
        raise RpcError(f"Unknown prepared query operation: {operation}: use one of {', '.join(OPERATIONS)}")
    if operation == "create":
        if query_id:
            raise RpcError("ID must be empty when creating a new prepared query")
        return QuerySet(_valid(query_of(fields, moment.new_id()), authorizer), create=True)
    existing = state.queries.get(query_id)[1]
    if existing is None:
        raise RpcError(f"Cannot modify non-existent prepared query: '{query_id}'")
    _require(authorizer, existing, Access.WRITE)
    if operation == "delete":
        return QueryDelete(existing.id)
    return QuerySet(_valid(query_of(fields, existing.id), authorizer), create=False)


def _valid(query: PreparedQuery, authorizer: Authorizer) -> PreparedQuery:
    _require(authorizer, query, Access.WRITE)
    if fault := query_fault(query):
        raise RpcError(fault)
    return query


def _applied(state: StateMachine, result: Result) -> str:
    del state
    return str(accepted(result))


def _get(state: StateMachine, body: Body, authorizer: Authorizer) -> tuple[int, dict[str, Any]]:
    index, query = state.queries.get(text(body, "QueryID"))
    if query is None:
        raise RpcError(NOT_FOUND)
    _require(authorizer, query, Access.READ)
    return index, {"Queries": [query_fields(query, secret=_manages(authorizer))]}


def _list(state: StateMachine, body: Body, authorizer: Authorizer) -> tuple[int, dict[str, Any]]:
    del body
    index, queries = state.queries.every()
    manages = _manages(authorizer)
    seen = queries if manages else [query for query in queries if _is_listed(authorizer, query)]
    return index, {"Queries": [query_fields(query, secret=manages) for query in seen]}


def _explain(state: StateMachine, body: Body, authorizer: Authorizer) -> tuple[int, dict[str, Any]]:
    query = resolved(state, body)
    _require(authorizer, query, Access.READ)
    return state.queries.index or 1, {"Query": query_fields(query, secret=_manages(authorizer))}


def _manages(authorizer: Authorizer) -> bool:
    return authorizer.unrestricted or authorizer.decide(Resource.ACL, "", Access.WRITE).allowed


def _require(authorizer: Authorizer, query: PreparedQuery, access: Access) -> None:
    if query.acl_name is not None and not _manages(authorizer):
        require(authorizer, Resource.QUERY, query.acl_name, access)


def _is_listed(authorizer: Authorizer, query: PreparedQuery) -> bool:
    name = query.acl_name
    return name is not None and authorizer.decide(Resource.QUERY, name, Access.READ).allowed


def _watches(body: Body) -> tuple[WatchKey, ...]:
    del body
    return (QUERIES,)


METHODS: Final[Mapping[str, Method]] = {
    "PreparedQuery.Apply": WriteMethod(_apply, _applied),
    "PreparedQuery.Get": ReadMethod(_watches, _get),
    "PreparedQuery.List": ReadMethod(_watches, _list),
    "PreparedQuery.Explain": ReadMethod(_watches, _explain),
}
