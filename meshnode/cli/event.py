"""``event``: fire a user event through the cluster."""

from __future__ import annotations

import json

from meshnode.base.errors import ConfigError
from meshnode.base.goflags import FlagError, FlagSet
from meshnode.cli.api import path_segment
from meshnode.cli.api_flags import ClientFlags

__all__ = ["run"]


def run(args: list[str]) -> int:
    """Fire the event and print its ID."""
    flags = FlagSet(
        "event",
        "Usage: consul event [options] [payload]",
        "Dispatches a custom user event across a datacenter.",
    )
    name = flags.string("name", "Name of the event.", placeholder="name")
    node = flags.string("node", "Deliver only to nodes whose name matches.", placeholder="regexp")
    service = flags.string(
        "service", "Deliver only to nodes with a service that matches.", placeholder="regexp"
    )
    tag = flags.string(
        "tag", "Deliver only to services with a tag that matches; needs -service.", placeholder="regexp"
    )
    client_flags = ClientFlags(flags, server=True)
    parsed = flags.parse(args)
    if not parsed[name]:
        raise FlagError("Event name must be specified (-name)")
    if parsed[tag] and not parsed[service]:
        raise ConfigError("Cannot provide tag filter without service filter.")
    if len(parsed.positionals) > 1:
        raise FlagError("Too many command line arguments: quote a payload that has spaces")
    payload = parsed.positionals[0].encode() if parsed.positionals else None
    filters = {"node": parsed[node], "service": parsed[service], "tag": parsed[tag]}
    query = client_flags.query(parsed) | {key: value for key, value in filters.items() if value}
    answer = client_flags.client(parsed, "Error firing event").call(
        "PUT", f"/v1/event/fire/{path_segment(parsed[name])}", query, payload
    )
    print(f"Event ID: {json.loads(answer)['ID']}")
    return 0
