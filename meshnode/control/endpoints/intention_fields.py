"""Intentions as Consul's structs, both ways, and an HTTP request to be decided about."""

from __future__ import annotations

from typing import Any

from meshnode.control.body import (
    Body,
    boolean,
    integer,
    mapping,
    rows,
    text,
    text_map,
    texts,
)
from meshnode.control.endpoints.acl_shapes import time_text
from meshnode.intentions.model import (
    DEFAULT_NAMESPACE,
    SOURCE_CONSUL,
    HeaderMatch,
    HttpMatch,
    Intention,
    Permission,
    ServiceName,
)
from meshnode.intentions.request import HttpRequest

__all__ = ["intention_fields", "intention_of", "request_of", "service_of"]


def intention_fields(intention: Intention) -> dict[str, Any]:
    """An intention in the order of Consul 1.2.3's struct; what came later is there only when it is set."""
    permissions = [_permission_fields(each) for each in intention.permissions]
    return {
        "ID": intention.id,
        "Description": intention.description,
        "SourceNS": intention.source_ns,
        "SourceName": intention.source_name,
        "DestinationNS": intention.destination_ns,
        "DestinationName": intention.destination_name,
        "SourceType": intention.source_type,
        "Action": intention.action,
        **({"Permissions": permissions} if permissions else {}),
        "DefaultAddr": intention.default_addr,
        "DefaultPort": intention.default_port,
        "Meta": dict(sorted(intention.meta.items())),
        **({"Audit": True} if intention.audit else {}),
        "Precedence": intention.precedence,
        "CreatedAt": time_text(intention.created_at),
        "UpdatedAt": time_text(intention.updated_at),
        "CreateIndex": intention.create_index,
        "ModifyIndex": intention.modify_index,
    }


def intention_of(body: Body, intention_id: str, at: float) -> Intention:
    """The inverse, made at ``at``. Raises :class:`RpcError` for a field of another type."""
    return Intention(
        id=intention_id,
        source_name=text(body, "SourceName"),
        destination_name=text(body, "DestinationName"),
        action=text(body, "Action"),
        source_ns=text(body, "SourceNS") or DEFAULT_NAMESPACE,
        destination_ns=text(body, "DestinationNS") or DEFAULT_NAMESPACE,
        source_type=text(body, "SourceType") or SOURCE_CONSUL,
        description=text(body, "Description"),
        permissions=tuple(map(_permission_of, rows(body, "Permissions"))),
        meta=text_map(body, "Meta"),
        default_addr=text(body, "DefaultAddr"),
        default_port=integer(body, "DefaultPort"),
        audit=boolean(body, "Audit"),
        created_at=at,
        updated_at=at,
    )


def service_of(body: Body, end: str) -> ServiceName:
    """``SourceNS`` and ``SourceName``, or those of ``Destination``."""
    return ServiceName(text(body, f"{end}Name"), text(body, f"{end}NS") or DEFAULT_NAMESPACE)


def request_of(body: Body) -> HttpRequest | None:
    """``Request``: ``Method``, ``Path`` and ``Headers`` as pairs; ``None`` when it isn't there."""
    if body.get("Request") is None:
        return None
    fields = mapping(body, "Request")
    headers = tuple((text(row, "Name"), text(row, "Value")) for row in rows(fields, "Headers"))
    return HttpRequest(text(fields, "Method") or "GET", text(fields, "Path"), headers)


def _permission_fields(permission: Permission) -> dict[str, Any]:
    http = permission.http
    paths = {"PathExact": http.path_exact, "PathPrefix": http.path_prefix, "PathRegex": http.path_regex}
    fields: dict[str, Any] = {name: path for name, path in paths.items() if path}
    if http.header:
        fields["Header"] = [_header_fields(match) for match in http.header]
    if http.methods:
        fields["Methods"] = list(http.methods)
    return {"Action": permission.action, "HTTP": fields}


def _header_fields(match: HeaderMatch) -> dict[str, Any]:
    fields = {
        "Name": match.name,
        "Present": match.present,
        "Exact": match.exact,
        "Prefix": match.prefix,
        "Suffix": match.suffix,
        "Regex": match.regex,
        "Invert": match.invert,
    }
    return {name: value for name, value in fields.items() if value}


def _permission_of(body: Body) -> Permission:
    http = mapping(body, "HTTP")
    return Permission(
        text(body, "Action"),
        HttpMatch(
            text(http, "PathExact"),
            text(http, "PathPrefix"),
            text(http, "PathRegex"),
            tuple(map(_header_of, rows(http, "Header"))),
            texts(http, "Methods"),
        ),
    )


def _header_of(body: Body) -> HeaderMatch:
    return HeaderMatch(
        text(body, "Name"),
        boolean(body, "Present"),
        text(body, "Exact"),
        text(body, "Prefix"),
        text(body, "Suffix"),
        text(body, "Regex"),
        boolean(body, "Invert"),
    )
