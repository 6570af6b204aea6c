"""``/v1/acl`` of Consul 1.2.3: a token's ID is its secret."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from meshnode.http import state
from meshnode.http.acl_routes import guarded
from meshnode.http.body import Fields, decode_object
from meshnode.http.context import Context
from meshnode.http.effects import CallServer, ReadServer, Steps, ask
from meshnode.http.errors import HttpError
from meshnode.http.message import Request
from meshnode.http.router import Answer, Outcome

__all__ = ["clone", "create", "destroy", "info", "list_tokens", "replication", "update"]


@guarded
def create(context: Context, request: Request) -> Outcome:
    """PUT /v1/acl/create; without ``Type`` a client token, without ``ID`` one is made."""
    return _set(context, request, _form(request))


@guarded
def update(context: Context, request: Request) -> Outcome:
    """PUT /v1/acl/update: the token with the ``ID`` becomes what the body says; one that isn't there is made."""
    form = _form(request)
    if not form["ID"]:
        raise HttpError(400, "ACL ID must be set")
    return _set(context, request, form)


@guarded
def destroy(context: Context, request: Request) -> Outcome:
    """PUT /v1/acl/destroy/:id."""
    body = {"Op": "delete", "ACL": {"ID": _token_id(request)}}
    return state.write(context, request, "ACL.Apply", body, lambda _: True)


@guarded
def info(context: Context, request: Request) -> Outcome:
    """GET /v1/acl/info/:id: a list with the token, or an empty one."""
    return state.read(context, request, "ACL.Get", {"ACL": _token_id(request)}, _tokens)


@guarded
def clone(context: Context, request: Request) -> Outcome:
    """PUT /v1/acl/clone/:id: a new token with the same name, type and rules."""
    return _cloned(context, request, _token_id(request))


@guarded
def list_tokens(context: Context, request: Request) -> Outcome:
    """GET /v1/acl/list."""
    return state.read(context, request, "ACL.List", {}, _tokens)


@guarded
def replication(context: Context, request: Request) -> Outcome:
    """GET /v1/acl/replication: tokens are never replicated between datacenters, and this says so."""

    def render(reply: Mapping[str, Any]) -> dict[str, Any]:
        names = ("Enabled", "Running", "SourceDatacenter", "ReplicatedIndex", "LastSuccess", "LastError")
        return {name: reply[name] for name in names}

    body = {"Datacenter": context.view.datacenter}
    return state.read(context, request, "ACL.ReplicationStatus", body, render)


def _set(context: Context, request: Request, form: dict[str, str]) -> Outcome:
    return state.write(context, request, "ACL.Apply", {"Op": "set", "ACL": form}, lambda made: {"ID": made})


def _cloned(context: Context, request: Request, token_id: str) -> Steps[Answer]:
    datacenter = request.query.get("dc") if request.raw_query else ""
    reply = yield from ask(ReadServer("ACL.Get", {"ACL": token_id}, datacenter, request.token))
    if not reply["ACLs"]:
        raise HttpError(404, "Target ACL not found")
    source = reply["ACLs"][0]
    form = {"Name": source["Name"], "Type": source["Type"], "Rules": source["Rules"]}
    made = yield from ask(CallServer("ACL.Apply", {"Op": "set", "ACL": form}, datacenter, request.token))
    return context.json(request, {"ID": made})


def _form(request: Request) -> dict[str, str]:
    fields = Fields(decode_object(request.body)) if request.body.strip() else Fields({})
    form = {name: fields.text(name) for name in ("ID", "Name", "Type", "Rules")}
    return {**form, "Type": form["Type"] or "client"}


def _tokens(reply: Mapping[str, Any]) -> Any:
    return reply["ACLs"]


def _token_id(request: Request) -> str:
    if not request.param:
        raise HttpError(400, "Missing ACL")
    return request.param
