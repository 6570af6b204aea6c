"""``join``: tell the agent which members to contact."""

from __future__ import annotations

import sys

from meshnode.base.errors import ConfigError, MeshError
from meshnode.base.goflags import FlagError, FlagSet
from meshnode.cli.api import path_segment
from meshnode.cli.api_flags import ClientFlags

__all__ = ["run"]


def run(args: list[str]) -> int:
    """Join through each address given; fails only when none of them answered."""
    flags = FlagSet(
        "join", "Usage: consul join [options] address ...", "Joins the agent to the cluster of each address."
    )
    wan = flags.boolean("wan", "Join the WAN pool, which only servers are in.")
    client_flags = ClientFlags(flags)
    parsed = flags.parse(args)
    if not parsed.positionals:
        raise FlagError("At least one address to join must be specified.")
    client = client_flags.client(parsed)
    joined = 0
    for address in parsed.positionals:
        try:
            client.call(
                "PUT", f"/v1/agent/join/{path_segment(address)}", {"wan": "1"} if parsed[wan] else None
            )
            joined += 1
        except ConfigError:
            raise
        except MeshError as error:
            print(f"Error joining address '{address}': {error}", file=sys.stderr)
    if joined == 0:
        raise MeshError("Failed to join any nodes.")
    print(f"Successfully joined cluster by contacting {joined} nodes.")
    return 0
