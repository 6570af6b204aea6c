"""``reload``: the agent reads its configuration again."""

from __future__ import annotations

from meshnode.base.goflags import FlagSet
from meshnode.cli.api_flags import ClientFlags

__all__ = ["run"]


def run(args: list[str]) -> int:
    """Trigger a reload; fails with the agent's message when the new configuration is bad."""
    flags = FlagSet(
        "reload", "Usage: consul reload [options]", "Causes the agent to reload its configuration files."
    )
    client_flags = ClientFlags(flags)
    parsed = flags.parse(args)
    parsed.reject_positionals()
    client_flags.client(parsed, "Error reloading").call("PUT", "/v1/agent/reload")
    print("Configuration reload triggered")
    return 0
