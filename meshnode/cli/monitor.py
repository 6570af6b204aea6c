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
    client = client_flags.client(parsed, "Error starting monitor")
    try:
        for piece in client.stream("/v1/agent/monitor", {"loglevel": parsed[level]}):
            sys.stdout.buffer.write(piece)
            sys.stdout.buffer.flush()
    except KeyboardInterrupt:
        return 0
    print("\nRemote side ended the monitor! This usually means that the\nremote side has exited or crashed.")
    return 0
