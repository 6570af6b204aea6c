"""``/v1/operator/raft`` and ``/v1/operator/autopilot``: the servers, how they are, and how they are cared for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, TypeVar

from meshnode.base.duration import format_nanoseconds
from meshnode.control.autopilot import DEFAULT, AutopilotConfig, fault
from meshnode.control.endpoints.operator import autopilot_fields
from meshnode.http.blocking import refuse_conflicting_consistency
from meshnode.http.body import Fields, decode_object
from meshnode.http.context import Context
from meshnode.http.effects import CallServer, ReadServer, Steps, ask
from meshnode.http.errors import HttpError
from meshnode.http.message import JSON, Request, Response
from meshnode.http.render import to_json
from meshnode.http.router import Answer, Outcome
from meshnode.http.state import flag, read, write

__all__ = [
    "autopilot_get",
    "autopilot_health",
    "autopilot_set",
    "raft_configuration",
    "raft_remove_peer",
    "raft_transfer_leader",
]

T = TypeVar("T")

MAX_INDEX: Final = 2**64 - 1
_DURATIONS: Final = ("LastContactThreshold", "ServerStabilizationTime")


def raft_configuration(context: Context, request: Request) -> Steps[Answer]:
    """GET /v1/operator/raft/configuration: the servers, which of them leads, and which have the log (``Voter``)."""
    refuse_conflicting_consistency(request)
    return _raft_configuration(context, request)


def _raft_configuration(context: Context, request: Request) -> Steps[Answer]:
    reply = yield from ask(_question(request, "Operator.RaftGetConfiguration"))
    return context.json(request, {"Servers": reply["Servers"], "Index": reply["Index"]})


def raft_remove_peer(context: Context, request: Request) -> Steps[Answer]:
    """DELETE /v1/operator/raft/peer: forget a server that has failed, by ``?id=`` or ``?address=``."""
    given = [name for name in ("id", "address") if flag(request, name)]
    if not given:
        raise HttpError(
            400, "Must specify either ?id with the server's ID or ?address with IP:port of peer to remove"
        )
    if len(given) > 1:
        raise HttpError(400, "Must specify only one of ?id or ?address")
    value = request.query.get(given[0])
    if not value:
        raise HttpError(400, f"?{given[0]} is empty: GET /v1/operator/raft/configuration lists the servers")
    if given[0] == "id":
        return write(context, request, "Operator.RaftRemovePeerByID", {"ID": value})
    return write(context, request, "Operator.RaftRemovePeerByAddress", {"Address": value})


def raft_transfer_leader(context: Context, request: Request) -> Steps[Answer]:
    """POST /v1/operator/raft/transfer-leader: let another server lead, the one with ``?id=`` if given."""
    body = {"ID": request.query.get("id") if request.raw_query else ""}
    return write(
        context, request, "Operator.TransferLeader", body, lambda reply: {"Success": reply["Success"]}
    )


def autopilot_get(context: Context, request: Request) -> Outcome:
    """GET /v1/operator/autopilot/configuration."""
    return read(context, request, "Operator.AutopilotGetConfiguration", {}, _config_as_json)


def _config_as_json(reply: Mapping[str, Any]) -> dict[str, Any]:
    shown = {name: reply[name] for name in autopilot_fields(DEFAULT)}
    return shown | {name: format_nanoseconds(shown[name]) for name in _DURATIONS}


def autopilot_set(context: Context, request: Request) -> Steps[Answer]:
    """PUT /v1/operator/autopilot/configuration; a field that is missing gets Consul's default. ``?cas=`` an index."""
    try:
        config = _config(Fields(decode_object(request.body)))
    except HttpError as error:
        raise HttpError(error.status, f"Error parsing autopilot config: {error}") from None
    problem = fault(config)
    if problem:
        raise HttpError(400, f"Error parsing autopilot config: {problem}")
    fields, cas = autopilot_fields(config), flag(request, "cas")
    if cas:
        fields["ModifyIndex"] = _index(request.query.get("cas"))
    body = {"Config": fields, "CAS": cas}
    return write(context, request, "Operator.AutopilotSetConfiguration", body, bool)


def _config(fields: Fields) -> AutopilotConfig:
    def given(read: Callable[[str], T], name: str, default: T) -> T:
        return read(name) if fields.has(name) else default

    return AutopilotConfig(
        given(fields.boolean, "CleanupDeadServers", DEFAULT.cleanup_dead_servers),
        given(fields.duration, "LastContactThreshold", DEFAULT.last_contact_threshold),
        given(fields.integer, "MaxTrailingLogs", DEFAULT.max_trailing_logs),
        given(fields.duration, "ServerStabilizationTime", DEFAULT.server_stabilization_time),
        redundancy_zone_tag=fields.text("RedundancyZoneTag"),
        disable_upgrade_migration=fields.boolean("DisableUpgradeMigration"),
        upgrade_version_tag=fields.text("UpgradeVersionTag"),
    )


def _index(given: str) -> int:
    if not (given.isascii() and given.isdigit() and len(given) <= 20 and int(given) <= MAX_INDEX):
        raise HttpError(400, f"Error parsing cas value: {given[:40]!r} is not an index")
    return int(given)


def autopilot_health(context: Context, request: Request) -> Steps[Answer]:
    """GET /v1/operator/autopilot/health: each server's; 429 when any of them is not healthy."""
    refuse_conflicting_consistency(request)
    return _autopilot_health(context, request)


def _autopilot_health(context: Context, request: Request) -> Steps[Answer]:
    reply = yield from ask(_question(request, "Operator.ServerHealth"))
    servers = [
        {**server, "LastContact": format_nanoseconds(server["LastContact"])} for server in reply["Servers"]
    ]
    report = {"Healthy": reply["Healthy"], "FailureTolerance": reply["FailureTolerance"], "Servers": servers}
    status = 200 if reply["Healthy"] else 429
    return Response(status, to_json(report, pretty=context.pretty(request)), JSON)


def _question(request: Request, method: str) -> CallServer:
    body = {"AllowStale": True} if flag(request, "stale") else {}
    datacenter = request.query.get("dc") if request.raw_query else ""
    return ReadServer(method, body, datacenter, request.token)
