"""``/v1/connect/intentions``. Sources: Consul 1.2.3, documentation of its API; ``exact`` is of Consul 1.9.

A body that can't be an intention is 400 here, 500 there; every read has ``X-Consul-Index`` here, none there.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from meshnode.base.errors import RemoteProtocolError
from meshnode.base.spiffe import DEFAULT_NAMESPACE, ServiceId
from meshnode.control.endpoints.intention import MATCH_TYPES, MAX_MATCH_ENTRIES
from meshnode.control.endpoints.intention_fields import intention_of
from meshnode.http.body import Fields, decode_object
from meshnode.http.context import Context
from meshnode.http.errors import HttpError
from meshnode.http.local_view import view_of
from meshnode.http.message import Request
from meshnode.http.router import Outcome
from meshnode.http.state import or_404, read, write
from meshnode.intentions.model import NO_TOKENS, SOURCE_CONSUL, ServiceName, parse_service
from meshnode.intentions.store import NOT_FOUND
from meshnode.intentions.validate import intention_fault

__all__ = [
    "check",
    "create",
    "delete",
    "exact_delete",
    "exact_get",
    "exact_put",
    "explain",
    "get",
    "list_all",
    "match",
    "update",
]

_UUID: Final = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_HEADER_FIELDS: Final = ("Name", "Exact", "Prefix", "Suffix", "Regex")


def list_all(context: Context, request: Request) -> Outcome:
    """GET /v1/connect/intentions, in the order they are looked at."""
    return read(context, request, "Intention.List", {}, lambda reply: reply["Intentions"])


def create(context: Context, request: Request) -> Outcome:
    """POST /v1/connect/intentions."""
    body = {"Op": "create", "Intention": _valid(_intention(request))}
    return write(context, request, "Intention.Apply", body, _id)


def get(context: Context, request: Request) -> Outcome:
    """GET /v1/connect/intentions/:uuid, or 404."""
    body = {"IntentionID": _uuid(request)}
    return or_404(lambda: read(context, request, "Intention.Get", body, _first), NOT_FOUND)


def update(context: Context, request: Request) -> Outcome:
    """PUT /v1/connect/intentions/:uuid: the id of the path counts, not one in the body."""
    body = {"Op": "update", "Intention": _valid({**_intention(request), "ID": _uuid(request)})}
    return write(context, request, "Intention.Apply", body, _id)


def delete(context: Context, request: Request) -> Outcome:
    """DELETE /v1/connect/intentions/:uuid."""
    body = {"Op": "delete", "Intention": {"ID": _uuid(request)}}
    return write(context, request, "Intention.Apply", body, _true)


def match(context: Context, request: Request) -> Outcome:
    """GET /v1/connect/intentions/match?by=&name=: by each name, what is about it, in order."""
    by, names = _parameter(request, "by"), request.query.all("name")
    if by not in MATCH_TYPES:
        raise HttpError(400, f"'by' parameter must be one of 'source' or 'destination', not {by[:40]!a}")
    if not names or not all(names):
        raise HttpError(400, "required query parameter 'name' not set")
    if len(names) > MAX_MATCH_ENTRIES:
        raise HttpError(400, f"{len(names)} names are too many: give at most {MAX_MATCH_ENTRIES}")
    services = [_service(name, "name") for name in names]
    entries = [{"Namespace": service.namespace, "Name": service.name} for service in services]
    body = {"Match": {"Type": by, "Entries": entries}}
    return read(
        context,
        request,
        "Intention.Match",
        body,
        lambda reply: dict(zip(names, reply["Matches"], strict=True)),
    )


def check(context: Context, request: Request) -> Outcome:
    """GET /v1/connect/intentions/check?source=&destination=: ``{"Allowed"}`` and, as in Consul, no reason."""
    body = {"Check": _ends(request)}
    return read(context, request, "Intention.Check", body, lambda reply: {"Allowed": reply["Allowed"]})


def explain(context: Context, request: Request) -> Outcome:
    """GET /v1/connect/intentions/explain?source=&destination=: a check with its reasons; ours.

    With ``path`` or ``method``, about that HTTP request; ``header=name:value`` may be repeated. The identities are
    those of services in the datacenter that is asked.
    """
    body: dict[str, Any] = {"Check": _ends(request)}
    query = request.query
    if any(name in query for name in ("path", "method", "header")):
        pairs = [header.partition(":") for header in query.all("header")]
        body["Request"] = {
            "Method": query.get("method") or "GET",
            "Path": query.get("path") or "/",
            "Headers": [{"Name": name, "Value": value} for name, _, value in pairs],
        }
    datacenter = query.get("dc") or view_of(context).datacenter

    def shown(reply: Mapping[str, Any]) -> dict[str, Any]:
        return _with_identities(reply["Explain"], body["Check"], datacenter)

    return read(context, request, "Intention.Check", body, shown)


def _with_identities(
    explained: Mapping[str, Any], ends: Mapping[str, str], datacenter: str
) -> dict[str, Any]:
    """With what both would prove to be; a server without Connect, or of an earlier version, names no trust domain."""
    domain = str(explained.get("TrustDomain") or "")
    try:
        source, destination = (
            str(ServiceId(domain, datacenter, ends[f"{end}Name"], ends[f"{end}NS"] or DEFAULT_NAMESPACE))
            for end in ("Source", "Destination")
        )
    except RemoteProtocolError:
        # A wildcard, or no trust domain: nobody's identity.
        source = destination = ""
    lines = [f"Identities: {source} => {destination}", f"Trust domain: {domain}"] if source else []
    ids = {"TrustDomain": domain, "SourceID": source, "DestinationID": destination}
    return {**explained, **ids, "Text": [*explained["Text"], *lines]}


def exact_get(context: Context, request: Request) -> Outcome:
    """GET /v1/connect/intentions/exact?source=&destination=, or 404."""
    body = {"Exact": _ends(request)}
    return or_404(lambda: read(context, request, "Intention.Get", body, _first), NOT_FOUND)


def exact_put(context: Context, request: Request) -> Outcome:
    """PUT /v1/connect/intentions/exact?source=&destination=: added, or changed if it is there."""
    ends, fields = _ends(request), _intention(request)
    for name, wanted in ends.items():
        if fields[name] not in {"", wanted}:
            raise HttpError(400, f"{name} of the body is {fields[name][:80]!a}, of the query {wanted!a}")
    body = {"Op": "upsert", "Intention": _valid({**fields, **ends, "ID": ""})}
    return write(context, request, "Intention.Apply", body, _true)


def exact_delete(context: Context, request: Request) -> Outcome:
    """DELETE /v1/connect/intentions/exact?source=&destination=: true, also when there is none."""
    body = {"Op": "delete", "Intention": _ends(request)}
    return write(context, request, "Intention.Apply", body, _true)


def _intention(request: Request) -> dict[str, Any]:
    """The body, with Consul's names and the right types."""
    fields = Fields(decode_object(request.body))
    _no_tokens(fields)
    texts = ("ID", "Description", "SourceNS", "SourceName", "DestinationNS", "DestinationName", "SourceType")
    return {
        **{name: fields.text(name) for name in (*texts, "Action", "DefaultAddr")},
        "DefaultPort": fields.integer("DefaultPort"),
        "Meta": fields.text_map("Meta"),
        "Audit": fields.boolean("Audit"),
        "Permissions": [_permission(permission) for permission in fields.objects("Permissions")],
    }


def _no_tokens(fields: Fields) -> None:
    """To pass over this one, as over any unknown field, would be to let in who has no token."""
    if fields.value("JWT") is not None:
        fields.refuse("JWT", NO_TOKENS)


def _permission(fields: Fields) -> dict[str, Any]:
    _no_tokens(fields)
    http = fields.object("HTTP") or Fields({}, fields.path("HTTP"))
    return {
        "Action": fields.text("Action"),
        "HTTP": {
            **{name: http.text(name) for name in ("PathExact", "PathPrefix", "PathRegex")},
            "Header": [
                {
                    **{name: header.text(name) for name in _HEADER_FIELDS},
                    **{name: header.boolean(name) for name in ("Present", "Invert")},
                }
                for header in http.objects("Header")
            ],
            "Methods": list(http.strings("Methods")),
        },
    }


def _valid(fields: dict[str, Any]) -> dict[str, Any]:
    """The fields as they are, or 400 with every reason why they are no intention."""
    if fault := intention_fault(intention_of(fields, "-", 0.0)):
        raise HttpError(400, f"Invalid intention: {fault}")
    return fields


def _ends(request: Request) -> dict[str, str]:
    """``source`` and ``destination``, each ``name`` or ``namespace/name``."""
    source = _service(_parameter(request, "source"), "source")
    destination = _service(_parameter(request, "destination"), "destination")
    if request.query.get("source-type", SOURCE_CONSUL) not in {"", SOURCE_CONSUL}:
        raise HttpError(400, f"'source-type' parameter must be '{SOURCE_CONSUL}'")
    return {
        "SourceNS": source.namespace,
        "SourceName": source.name,
        "DestinationNS": destination.namespace,
        "DestinationName": destination.name,
    }


def _parameter(request: Request, name: str) -> str:
    values = request.query.all(name)
    if not values or not values[0]:
        raise HttpError(400, f"required query parameter '{name}' not set")
    if len(values) > 1:
        raise HttpError(400, f"query parameter '{name}' is given {len(values)} times: give it once")
    return values[0]


def _service(value: str, parameter: str) -> ServiceName:
    service = parse_service(value)
    if not service.name or not service.namespace or "/" in service.name:
        raise HttpError(400, f"'{parameter}' is {value[:80]!a}: write a name, or namespace/name")
    return service


def _uuid(request: Request) -> str:
    if not _UUID.fullmatch(request.param):
        raise HttpError(
            400,
            "failed intention lookup: index error: UUID must be 36 characters of hexadecimal digits and dashes, not "
            f"{request.param[:80]!a}. By name: /v1/connect/intentions/exact?source=&destination=",
        )
    return request.param


def _id(reply: Any) -> dict[str, Any]:
    return {"ID": reply}


def _true(reply: Any) -> bool:
    del reply
    return True


def _first(reply: Mapping[str, Any]) -> Any:
    return reply["Intentions"][0]
