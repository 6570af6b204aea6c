"""``members``: who is in the gossip pool, as this agent sees it."""

from __future__ import annotations

import json
import re
from typing import Any, Final

from meshnode.base.errors import ConfigError
from meshnode.base.goflags import FlagSet
from meshnode.cli.api_flags import ClientFlags
from meshnode.cli.table import columns

__all__ = ["run"]

STATUS: Final = {0: "none", 1: "alive", 2: "leaving", 3: "left", 4: "failed"}
NO_MATCH: Final = 2


def run(args: list[str]) -> int:
    """Print the members; exit code 2, with no output, when the filter matches none."""
    flags = FlagSet("members", "Usage: consul members [options]", "Outputs the members of a running agent.")
    detailed = flags.boolean("detailed", "Show every gossip tag.")
    wan = flags.boolean("wan", "Show the servers of the WAN pool. Only a server agent knows them.")
    status = flags.string(
        "status", "Show only members whose status matches this pattern.", default=".*", placeholder="regexp"
    )
    segment = flags.string(
        "segment", "Network segment (there is one: the empty name).", default="_all", placeholder="name"
    )
    output = flags.string("format", "Output format: pretty or json.", default="pretty", placeholder="format")
    client_flags = ClientFlags(flags)
    parsed = flags.parse(args)
    parsed.reject_positionals()
    try:
        pattern = re.compile(parsed[status])
    except re.error as error:
        raise ConfigError(f"-status: {parsed[status]!r} is not a regular expression: {error}") from None
    if parsed[output] not in {"pretty", "json"}:
        raise ConfigError(f"-format: {parsed[output]!r} is not a format: write pretty or json")
    query = {"segment": parsed[segment]} | ({"wan": "1"} if parsed[wan] else {})
    found = client_flags.client(parsed, "Error retrieving members").get_json("/v1/agent/members", query)
    members = [member for member in found if pattern.search(STATUS.get(member["Status"], ""))]
    if not members:
        return NO_MATCH
    members.sort(key=lambda member: (_segment(member), member["Name"]))
    if parsed[output] == "json":
        print(json.dumps([_record(member) for member in members], indent=4))
    else:
        print(columns(_detailed_rows(members) if parsed[detailed] else _rows(members)))
    return 0


def _address(member: dict[str, Any]) -> str:
    host = f"[{member['Addr']}]" if ":" in member["Addr"] else member["Addr"]
    return f"{host}:{member['Port']}"


def _segment(member: dict[str, Any]) -> str:
    if member["Tags"].get("role") == "consul":
        return "<all>"
    return member["Tags"].get("segment") or "<default>"


def _record(member: dict[str, Any]) -> dict[str, Any]:
    tags = member["Tags"]
    return {
        "Node": member["Name"],
        "Address": _address(member),
        "Status": STATUS.get(member["Status"], "none"),
        "Type": {"consul": "server", "node": "client"}.get(tags.get("role", ""), "unknown"),
        "Build": tags.get("build", "").partition(":")[0] or "< 0.3",
        "Protocol": tags.get("vsn", ""),
        "DC": tags.get("dc", ""),
        "Segment": _segment(member),
        "Tags": tags,
    }


def _rows(members: list[dict[str, Any]]) -> list[list[str]]:
    header = ["Node", "Address", "Status", "Type", "Build", "Protocol", "DC", "Segment"]
    return [header, *([_record(member)[name] for name in header] for member in members)]


def _detailed_rows(members: list[dict[str, Any]]) -> list[list[str]]:
    rows = [["Node", "Address", "Status", "Tags"]]
    for member in members:
        tags = ",".join(f"{key}={value}" for key, value in sorted(member["Tags"].items()))
        rows.append([member["Name"], _address(member), STATUS.get(member["Status"], "none"), tags])
    return rows
