"""``monitor``: the agent's log, as it is written, until interrupted."""

from __future__ import annotations

import sys

from meshnode.base.goflags import FlagSet
from meshnode.cli.api_flags import ClientFlags

__all__ = ["run"]


def run(args: list[str]) -> int:
    """Stream log lines; an interrupt ends it with success."""
    flags = FlagSet(
        "monitor", "Usage: consul monitor [options]", "Shows recent log messages, then follows the log."
    )
    level = flags.string("log-level", "Least severity shown.", default="INFO", placeholder="level")
    client_flags = ClientFlags(flags)
    parsed = flags.parse(args)
    parsed.reject_positionals()
    try:
        for line in client_flags.client(parsed).stream("/v1/agent/monitor", {"loglevel": parsed[level]}):
            sys.stdout.write(line.decode(errors="replace"))
            sys.stdout.flush()
    except KeyboardInterrupt:
        return 0
    return 0
