"""``maint``: take a node or one of its services out of use, and back."""

from __future__ import annotations

from typing import Final

from meshnode.base.goflags import FlagError, FlagSet
from meshnode.cli.api import ApiClient, path_segment
from meshnode.cli.api_flags import ClientFlags

__all__ = ["run"]

NODE_CHECK: Final = "_node_maintenance"
SERVICE_CHECK: Final = "_service_maintenance:"


def run(args: list[str]) -> int:
    """Switch maintenance on or off, or list what is in it."""
    flags = FlagSet(
        "maint",
        "Usage: consul maint [options]",
        "Puts the agent's node, or one service of it, into maintenance: a critical check keeps it out of the answers "
        "of DNS and of queries until it is switched off, across restarts. Without options, lists what is in "
        "maintenance.",
    )
    enable = flags.boolean("enable", "Switch maintenance on.")
    disable = flags.boolean("disable", "Switch maintenance off.")
    reason = flags.string("reason", "Why; shown in the notes of the check.", placeholder="text")
    service = flags.string("service", "ID of the service that is meant.", placeholder="id")
    client_flags = ClientFlags(flags)
    parsed = flags.parse(args)
    parsed.reject_positionals()
    if parsed[enable] and parsed[disable]:
        raise FlagError("Only one of -enable or -disable may be provided")
    if parsed[reason] and not parsed[enable]:
        raise FlagError("Reason may only be provided with -enable")
    if parsed[service] and not (parsed[enable] or parsed[disable]):
        raise FlagError("Service requires either -enable or -disable")
    if not (parsed[enable] or parsed[disable]):
        return _list(
            client_flags.client(parsed, "Error querying Consul agent"),
            client_flags.client(parsed, "Error getting checks"),
        )
    doing, done = ("enabling", "enabled") if parsed[enable] else ("disabling", "disabled")
    query = {"enable": "true" if parsed[enable] else "false"}
    if parsed[reason]:
        query["reason"] = parsed[reason]
    if parsed[service]:
        client = client_flags.client(parsed, f"Error {doing} service maintenance")
        client.call("PUT", f"/v1/agent/service/maintenance/{path_segment(parsed[service])}", query)
        print(f'Service maintenance is now {done} for "{parsed[service]}"')
    else:
        client_flags.client(parsed, f"Error {doing} node maintenance").call(
            "PUT", "/v1/agent/maintenance", query
        )
        print(f"Node maintenance is now {done}")
    return 0


def _list(agent: ApiClient, checks: ApiClient) -> int:
    name = agent.get_json("/v1/agent/self")["Config"]["NodeName"]
    found = checks.get_json("/v1/agent/checks") or {}
    for check_id, check in sorted(found.items()):
        if check_id == NODE_CHECK:
            print(f"Node:\n  Name:   {name}\n  Reason: {check.get('Notes', '')}\n")
        elif check_id.startswith(SERVICE_CHECK):
            print(f"Service:\n  ID:     {check['ServiceID']}\n  Reason: {check.get('Notes', '')}\n")
    return 0
