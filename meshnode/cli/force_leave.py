"""``force-leave``: declare a failed member as left."""

from __future__ import annotations

from meshnode.base.goflags import FlagError, FlagSet
from meshnode.cli.api import path_segment
from meshnode.cli.api_flags import ClientFlags

__all__ = ["run"]


def run(args: list[str]) -> int:
    """Send the member named to the left state; silent on success."""
    flags = FlagSet(
        "force-leave",
        "Usage: consul force-leave [options] name",
        "Moves a failed member to the left state, so that it is reaped.",
    )
    prune = flags.boolean("prune", "Remove the member from the list at once.")
    client_flags = ClientFlags(flags)
    parsed = flags.parse(args)
    if len(parsed.positionals) != 1:
        raise FlagError("A single node name must be specified to force leave.")
    name = path_segment(parsed.positionals[0])
    client_flags.client(parsed, "Error force leaving").call(
        "PUT", f"/v1/agent/force-leave/{name}", {"prune": "1"} if parsed[prune] else None
    )
    return 0
