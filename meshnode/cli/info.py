"""``info``: the agent's counters, for people."""

from __future__ import annotations

from meshnode.base.goflags import FlagSet
from meshnode.cli.api_flags import ClientFlags

__all__ = ["run"]


def run(args: list[str]) -> int:
    """Print each block of the agent's statistics, sorted."""
    flags = FlagSet("info", "Usage: consul info [options]", "Provides debugging information for operators.")
    client_flags = ClientFlags(flags)
    parsed = flags.parse(args)
    parsed.reject_positionals()
    stats = client_flags.client(parsed, "Error querying agent").get_json("/v1/agent/self").get("Stats") or {}
    for block, values in sorted(stats.items()):
        print(f"{block}:")
        for key, value in sorted(values.items()):
            print(f"\t{key} = {value}")
    return 0
