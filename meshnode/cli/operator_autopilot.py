"""``operator autopilot get-config`` and ``set-config``: how servers that fail are dealt with."""

from __future__ import annotations

import json
from typing import Any, Final

from meshnode.base.duration import format_duration, format_nanoseconds
from meshnode.base.goflags import Flag, FlagSet
from meshnode.cli.api_flags import ClientFlags

__all__ = ["run"]

PATH: Final = "/v1/operator/autopilot/configuration"


def run(args: list[str]) -> int:
    """Run ``autopilot get-config`` or ``autopilot set-config``."""
    return _get(args[2:]) if args[1] == "get-config" else _set(args[2:])


def _get(args: list[str]) -> int:
    flags = FlagSet(
        "operator autopilot get-config",
        "Usage: consul operator autopilot get-config [options]",
        "Prints the configuration of Autopilot.",
    )
    client_flags = ClientFlags(flags, server=True)
    parsed = flags.parse(args)
    parsed.reject_positionals()
    client = client_flags.client(parsed, "Error querying Autopilot configuration")
    config = client.get_json(PATH, client_flags.query(parsed))
    print(f"CleanupDeadServers = {_boolean(config['CleanupDeadServers'])}")
    print(f"LastContactThreshold = {_duration(config['LastContactThreshold'])}")
    print(f"MaxTrailingLogs = {config['MaxTrailingLogs']}")
    print(f"ServerStabilizationTime = {_duration(config['ServerStabilizationTime'])}")
    print(f"RedundancyZoneTag = {json.dumps(config.get('RedundancyZoneTag') or '')}")
    print(f"DisableUpgradeMigration = {_boolean(config.get('DisableUpgradeMigration'))}")
    print(f"UpgradeVersionTag = {json.dumps(config.get('UpgradeVersionTag') or '')}")
    return 0


def _set(args: list[str]) -> int:
    flags = FlagSet(
        "operator autopilot set-config",
        "Usage: consul operator autopilot set-config [options]",
        "Changes what is given and leaves the rest. Fails when someone else changed it in between.",
    )
    fields: dict[str, Flag[Any]] = {
        "CleanupDeadServers": flags.boolean(
            "cleanup-dead-servers", "Remove dead servers when new ones come."
        ),
        "MaxTrailingLogs": flags.integer(
            "max-trailing-logs", "Entries that a healthy server may be behind.", minimum=0, maximum=2**63 - 1
        ),
        "LastContactThreshold": flags.duration(
            "last-contact-threshold", "Longest time that a healthy server is not heard of."
        ),
        "ServerStabilizationTime": flags.duration(
            "server-stabilization-time", "Time that a new server must be healthy before it votes."
        ),
        "RedundancyZoneTag": flags.string(
            "redundancy-zone-tag", "Only in Consul Enterprise.", placeholder="tag"
        ),
        "DisableUpgradeMigration": flags.boolean("disable-upgrade-migration", "Only in Consul Enterprise."),
        "UpgradeVersionTag": flags.string(
            "upgrade-version-tag", "Only in Consul Enterprise.", placeholder="tag"
        ),
    }
    client_flags = ClientFlags(flags, server=True)
    parsed = flags.parse(args)
    parsed.reject_positionals()
    client = client_flags.client(parsed, "Error querying Autopilot configuration")
    config = client.get_json(PATH, client_flags.query(parsed))
    for name, flag in fields.items():
        if parsed.given(flag):
            value = parsed[flag]
            config[name] = format_duration(value) if isinstance(value, float) else value
    query = client_flags.write_query(parsed) | {"cas": str(config["ModifyIndex"])}
    changed = client_flags.client(parsed, "Error setting Autopilot configuration").send_json(
        "PUT", PATH, config, query
    )
    if changed is not True:
        # On standard output, as Consul has it.
        print("Configuration could not be atomically updated, please try again")
        return 1
    print("Configuration updated!")
    return 0


def _boolean(value: Any) -> str:
    return "true" if value else "false"


def _duration(value: Any) -> str:
    return format_nanoseconds(value) if isinstance(value, int) else str(value)
