"""``Operator.*``: the settings of Autopilot as methods on the state, and the shapes of what servers tell.

What needs gossip or the log is in ``agent/operator_methods``. Source: Consul 1.2.3, agent/consul, operator endpoints.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from meshnode.acl.authorizer import Access, Authorizer, Resource, require
from meshnode.base.duration import format_duration, parse_duration
from meshnode.base.errors import ConfigError
from meshnode.control.autopilot import AutopilotConfig, fault
from meshnode.control.body import (
    NANOSECONDS,
    Body,
    boolean,
    integer,
    mapping,
    text,
)
from meshnode.control.command import AutopilotSet, Command
from meshnode.control.machine import Result, StateMachine
from meshnode.control.method import Method, Moment, ReadMethod, WriteMethod, accepted
from meshnode.control.server_health import LogStats, Peer
from meshnode.control.watch import AUTOPILOT, WatchKey
from meshnode.rpc.method import RpcError

__all__ = [
    "METHODS",
    "ServerHealth",
    "autopilot_config",
    "autopilot_fields",
    "find_peer",
    "health_fields",
    "parse_stats",
    "raft_server",
    "refuse_removal",
    "stats_fields",
]

#: What ``Status.RaftStats`` says in place of a duration.
_NEVER: Final = "never"


@dataclass(frozen=True, slots=True)
class ServerHealth:
    """One server in the health report; ``stats`` is ``None`` when it didn't answer, ``since`` is unix seconds."""

    peer: Peer
    stats: LogStats | None
    healthy: bool
    since: float


# The settings of Autopilot


def autopilot_fields(config: AutopilotConfig) -> dict[str, Any]:
    """The settings as Consul's struct; durations in nanoseconds."""
    return {
        "CleanupDeadServers": config.cleanup_dead_servers,
        "LastContactThreshold": round(config.last_contact_threshold * NANOSECONDS),
        "MaxTrailingLogs": config.max_trailing_logs,
        "ServerStabilizationTime": round(config.server_stabilization_time * NANOSECONDS),
        "RedundancyZoneTag": config.redundancy_zone_tag,
        "DisableUpgradeMigration": config.disable_upgrade_migration,
        "UpgradeVersionTag": config.upgrade_version_tag,
        "CreateIndex": config.create_index,
        "ModifyIndex": config.modify_index,
    }


def autopilot_config(body: Body) -> AutopilotConfig:
    """The inverse, indexes included. Raises :class:`RpcError` for a field of another type."""
    return AutopilotConfig(
        cleanup_dead_servers=boolean(body, "CleanupDeadServers"),
        last_contact_threshold=integer(body, "LastContactThreshold") / NANOSECONDS,
        max_trailing_logs=integer(body, "MaxTrailingLogs"),
        server_stabilization_time=integer(body, "ServerStabilizationTime") / NANOSECONDS,
        redundancy_zone_tag=text(body, "RedundancyZoneTag"),
        disable_upgrade_migration=boolean(body, "DisableUpgradeMigration"),
        upgrade_version_tag=text(body, "UpgradeVersionTag"),
        create_index=integer(body, "CreateIndex"),
        modify_index=integer(body, "ModifyIndex"),
    )


def _watches(body: Body) -> tuple[WatchKey, ...]:
    del body
    return (AUTOPILOT,)


def _get_config(state: StateMachine, body: Body, authorizer: Authorizer) -> tuple[int, dict[str, Any]]:
    del body
    require(authorizer, Resource.OPERATOR, "", Access.READ)
    return state.autopilot.index, autopilot_fields(state.autopilot.config)


def _set_config(state: StateMachine, body: Body, authorizer: Authorizer, moment: Moment) -> Command:
    del state, moment
    require(authorizer, Resource.OPERATOR, "", Access.WRITE)
    config = autopilot_config(mapping(body, "Config"))
    problem = fault(config)
    if problem:
        raise RpcError(problem)
    return AutopilotSet(config, config.modify_index if boolean(body, "CAS") else None)


def _was_set(state: StateMachine, result: Result) -> bool:
    del state
    return bool(accepted(result))


METHODS: Final[Mapping[str, Method]] = {
    "Operator.AutopilotGetConfiguration": ReadMethod(_watches, _get_config),
    "Operator.AutopilotSetConfiguration": WriteMethod(_set_config, _was_set),
}

# What servers say of themselves


def raft_server(peer: Peer) -> dict[str, Any]:
    """A server as in ``/v1/operator/raft/configuration``."""
    return {
        "ID": peer.info.node_id,
        "Node": peer.info.name,
        "Address": str(peer.info.rpc),
        "Leader": peer.leads,
        "ProtocolVersion": "3",
        "Voter": peer.voter,
    }


def find_peer(peers: Sequence[Peer], *, peer_id: str = "", address: str = "") -> Peer:
    """The server with that node id, else with that RPC address. Raises :class:`RpcError` in Consul's words."""
    for peer in peers:
        if peer.info.node_id == peer_id if peer_id else str(peer.info.rpc) == address:
            return peer
    kind, given = ("id", peer_id) if peer_id else ("address", address)
    raise RpcError(f'{kind} "{given[:100]}" was not found in the Raft configuration')


def refuse_removal(peer: Peer) -> None:
    """Raise :class:`RpcError` unless the server has failed: a live one would be back at once."""
    if peer.serf_status != "failed":
        name = peer.info.name
        raise RpcError(
            f"server {name} is {peer.serf_status}: run `consul leave` on it, which removes it. "
            "Only a server that has failed is removed from here"
        )


def stats_fields(stats: LogStats) -> dict[str, Any]:
    """The reply of ``Status.RaftStats``; ``LastContact`` is a duration as text, or ``never``."""
    contact = stats.last_contact
    return {
        "LastContact": _NEVER if contact is None else format_duration(contact),
        "LastTerm": stats.last_term,
        "LastIndex": stats.last_index,
    }


def parse_stats(body: object) -> LogStats:
    """The inverse. Raises :class:`RpcError` for anything else: a server may say what it likes."""
    if not isinstance(body, Mapping):
        raise RpcError(f"Status.RaftStats was answered with {type(body).__name__}")
    contact = text(body, "LastContact")
    try:
        heard = None if contact == _NEVER else parse_duration(contact)
    except ConfigError as error:
        raise RpcError(f"LastContact: {error}") from None
    return LogStats(heard, integer(body, "LastTerm"), integer(body, "LastIndex"))


def health_fields(servers: Sequence[ServerHealth], tolerance: int) -> dict[str, Any]:
    """The reply of ``Operator.ServerHealth``; ``LastContact`` in nanoseconds, -1 when it hears nothing of the log."""
    return {
        "Healthy": all(server.healthy for server in servers),
        "FailureTolerance": tolerance,
        "Servers": [_health(server) for server in servers],
    }


def _health(server: ServerHealth) -> dict[str, Any]:
    peer, stats = server.peer, server.stats or LogStats()
    contact = stats.last_contact
    since = datetime.fromtimestamp(server.since, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return {
        "ID": peer.info.node_id,
        "Name": peer.info.name,
        "Address": str(peer.info.rpc),
        "SerfStatus": peer.serf_status,
        "Version": peer.version,
        "Leader": peer.leads,
        "LastContact": -1 if contact is None else round(contact * NANOSECONDS),
        "LastTerm": stats.last_term,
        "LastIndex": stats.last_index,
        "Healthy": server.healthy,
        "Voter": peer.voter,
        "StableSince": since,
    }
