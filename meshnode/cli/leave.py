"""``leave``: the agent tells the cluster that it goes, and stops."""

from __future__ import annotations

from meshnode.base.goflags import FlagSet
from meshnode.cli.api_flags import ClientFlags

__all__ = ["run"]


def run(args: list[str]) -> int:
    """Ask for a graceful leave and wait until the agent has left."""
    flags = FlagSet(
        "leave",
        "Usage: consul leave [options]",
        "Causes the agent to gracefully leave the cluster and shut down.",
    )
    client_flags = ClientFlags(flags)
    parsed = flags.parse(args)
    parsed.reject_positionals()
    client_flags.client(parsed, "Error leaving").call("PUT", "/v1/agent/leave")
    print("Graceful leave complete")
    return 0
