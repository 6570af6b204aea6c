"""``/v1/config`` and ``/v1/discovery-chain``. Source: Consul 1.10, documentation of its API.

An entry that can't be stored whatever the others are is 400 here, 500 there; one that doesn't fit to the others is 500.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from meshnode.base.errors import ConfigError
from meshnode.config_entries.codec import field_names
from meshnode.config_entries.model import KINDS, SERVICE_INTENTIONS, ConfigEntry
from meshnode.config_entries.parse import entry_fields, known_kind, parse_entry
from meshnode.config_entries.protocol import PROTOCOLS
from meshnode.config_entries.routing import ServiceResolver
from meshnode.control.body import NANOSECONDS
from meshnode.http.body import Fields, decode_object
from meshnode.http.context import Context
from meshnode.http.errors import HttpError
from meshnode.http.filter.fields import HEALTH_SERVICE, Kind
from meshnode.http.filter.parse import parse_filter
from meshnode.http.filter.scan import FilterError
from meshnode.http.filtering import filtered
from meshnode.http.message import Request, Response
from meshnode.http.router import Outcome
from meshnode.http.state import flag, read, write
from meshnode.intentions.model import DEFAULT_NAMESPACE

__all__ = ["apply", "chain", "chain_with_overrides", "delete", "filter_fault", "get"]

_MAX_INDEX: Final = 2**63 - 1
_GATEWAY_MODES: Final = ("", "none", "local", "remote")


def apply(context: Context, request: Request) -> Outcome:
    """PUT /v1/config: whether it is stored; with ``?cas=``, only if its ModifyIndex is that, 0 if there is none."""
    try:
        entry = parse_entry(decode_object(request.body))
    except ConfigError as error:
        raise HttpError(400, f"Request decode failed: {error}") from None
    if fault := filter_fault(entry):
        raise HttpError(400, f"Request decode failed: {fault}")
    fields = entry_fields(entry)
    index = _cas(request)
    if index is None:
        body: dict[str, Any] = {"Op": "upsert", "Entry": fields}
    else:
        body = {"Op": "upsert-cas", "Entry": {**fields, "ModifyIndex": index}}
    return write(context, request, "ConfigEntry.Apply", body, bool)


def get(context: Context, request: Request) -> Outcome:
    """GET /v1/config/:kind: a list; GET /v1/config/:kind/:name: one, or 404."""
    kind, name = _named(request)
    if not kind:
        raise HttpError(404, "Must provide either a kind or both kind and name")
    if not name:
        keep = filtered(request, _selectors(kind))
        return read(
            context, request, "ConfigEntry.List", {"Kind": kind}, lambda reply: keep(reply["Entries"])
        )

    def one(reply: Mapping[str, Any]) -> Any:
        return reply["Entry"] or Response.text(404, f'Config entry not found for "{kind}" / "{name}"')

    body = {"Kind": kind, "Name": name, "Namespace": _namespace(request, kind)}
    return read(context, request, "ConfigEntry.Get", body, one)


def delete(context: Context, request: Request) -> Outcome:
    """DELETE /v1/config/:kind/:name: ``{}``; with ``?cas=``, whether its ModifyIndex was that and it is gone."""
    kind, name = _named(request)
    if not (kind and name):
        raise HttpError(404, "Must provide both a kind and name to delete")
    index = _cas(request)
    entry: dict[str, Any] = {"Kind": kind, "Name": name, "Namespace": _namespace(request, kind)}
    if index is None:
        body = {"Op": "delete", "Entry": entry}
        return write(context, request, "ConfigEntry.Delete", body, lambda reply: {})
    body = {"Op": "delete-cas", "Entry": {**entry, "ModifyIndex": index}}
    return write(context, request, "ConfigEntry.Delete", body, bool)


def chain(context: Context, request: Request) -> Outcome:
    """GET /v1/discovery-chain/:service."""
    return read(context, request, "DiscoveryChain.Get", _chain_body(context, request), _compiled)


def chain_with_overrides(context: Context, request: Request) -> Outcome:
    """POST /v1/discovery-chain/:service: a read too, with what a proxy's configuration says otherwise."""
    fields = Fields(decode_object(request.body))
    protocol, gateway = fields.text("OverrideProtocol"), fields.object("OverrideMeshGateway")
    mode, timeout = (
        gateway.text("Mode") if gateway is not None else "",
        fields.duration("OverrideConnectTimeout"),
    )
    if protocol.lower() not in {"", *PROTOCOLS}:
        fields.refuse("OverrideProtocol", f"use one of {', '.join(PROTOCOLS)}")
    if mode not in _GATEWAY_MODES:
        fields.refuse("OverrideMeshGateway.Mode", f"use one of {', '.join(_GATEWAY_MODES[1:])}")
    if timeout < 0:
        fields.refuse("OverrideConnectTimeout", "must be >= 0")
    body = {
        **_chain_body(context, request),
        "OverrideProtocol": protocol,
        "OverrideConnectTimeout": round(timeout * NANOSECONDS),
        "OverrideMeshGateway": {"Mode": mode},
    }
    return read(context, request, "DiscoveryChain.Get", body, _compiled)


def filter_fault(entry: ConfigEntry) -> str:
    """Why the filter of one of a resolver's subsets can't be used, or ``""``."""
    if isinstance(entry.spec, ServiceResolver):
        for name, subset in entry.spec.subsets.items():
            try:
                if subset.filter:
                    parse_filter(subset.filter, HEALTH_SERVICE)
            except FilterError as error:
                return f"Subsets[{name}].Filter: {error}"
    return ""


def _selectors(kind: str) -> Mapping[str, Kind]:
    """What ``?filter=`` may ask the entries of a kind: anything below the fields that they have."""
    own = dict.fromkeys(field_names(KINDS[kind]), Kind.OPEN)
    head = {"Kind": Kind.TEXT, "Name": Kind.TEXT, "Namespace": Kind.TEXT, "Meta": Kind.MAP}
    return {**head, **own, "CreateIndex": Kind.NUMBER, "ModifyIndex": Kind.NUMBER}


def _chain_body(context: Context, request: Request) -> dict[str, Any]:
    if not request.param or "/" in request.param:
        raise HttpError(400, "Must provide service name")
    own = request.query.get("dc") or context.view.datacenter
    return {"Name": request.param, "EvaluateInDatacenter": request.query.get("compile-dc") or own}


def _compiled(reply: Mapping[str, Any]) -> Any:
    return {"Chain": reply["Chain"]}


def _named(request: Request) -> tuple[str, str]:
    """Kind and name of the path, the kind checked."""
    kind, _, name = request.param.partition("/")
    try:
        return known_kind(kind) if kind else "", name
    except ConfigError as error:
        raise HttpError(400, str(error)) from None


def _namespace(request: Request, kind: str) -> str:
    found = request.query.get("ns") if request.raw_query else ""
    if found not in {"", DEFAULT_NAMESPACE} and kind != SERVICE_INTENTIONS:
        raise HttpError(400, f"ns={found[:40]!a}: namespaces are of Consul Enterprise: leave it out")
    return found or DEFAULT_NAMESPACE


def _cas(request: Request) -> int | None:
    if not flag(request, "cas"):
        return None
    value = request.query.get("cas")
    if not (value.isascii() and value.isdigit() and len(value) <= 20 and int(value) <= _MAX_INDEX):
        raise HttpError(400, f"Invalid cas {value[:40]!r}: must be a whole number from 0 to {_MAX_INDEX}")
    return int(value)
