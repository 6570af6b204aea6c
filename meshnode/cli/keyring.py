"""``keyring``: the gossip encryption keys of the running cluster."""

from __future__ import annotations

import json
from typing import Any

from meshnode.base.errors import ConfigError
from meshnode.base.goflags import FlagError, FlagSet
from meshnode.cli.api import ApiClient
from meshnode.cli.api_flags import ClientFlags

__all__ = ["run"]


def run(args: list[str]) -> int:
    """Run exactly one of -install, -use, -remove and -list."""
    flags = FlagSet(
        "keyring", "Usage: consul keyring [options]", "Manages encryption keys used for gossip messages."
    )
    install = flags.string("install", "Install a new key on every member.", placeholder="key")
    use = flags.string("use", "Make an installed key the primary one, which encrypts.", placeholder="key")
    remove = flags.string("remove", "Remove an installed key that is not the primary one.", placeholder="key")
    listing = flags.boolean("list", "List the keys in use and how many members have each.")
    relay = flags.integer(
        "relay-factor", "Send each answer through this many members too.", minimum=0, maximum=5
    )
    one_pool = flags.string(
        "pool", "Ask or change the pool lan or wan only, not both of a server.", placeholder="pool"
    )
    output = flags.string(
        "format", "Output format of -list: pretty or json.", default="pretty", placeholder="format"
    )
    client_flags = ClientFlags(flags)
    parsed = flags.parse(args)
    parsed.reject_positionals()
    given = [flag for flag in (install, use, remove) if parsed[flag]]
    if len(given) + parsed[listing] != 1:
        raise FlagError("Exactly one of -install, -use, -remove or -list must be given")
    if parsed[output] not in {"pretty", "json"}:
        raise ConfigError(f"-format: {parsed[output]!r} is not a format: write pretty or json")
    if parsed[one_pool] not in {"", "lan", "wan"}:
        raise ConfigError(f"-pool: {parsed[one_pool]!r} is not a gossip pool: write lan or wan")
    client = client_flags.client(parsed, "error")
    given_query = {"relay-factor": str(parsed[relay] or ""), "pool": parsed[one_pool]}
    query = {name: value for name, value in given_query.items() if value} or None
    if parsed[listing]:
        return _list(client, query, as_json=parsed[output] == "json")
    flag = given[0]
    method, line = {
        "install": ("POST", "==> Installing new gossip encryption key..."),
        "use": ("PUT", "==> Changing primary gossip encryption key..."),
        "remove": ("DELETE", "==> Removing gossip encryption key..."),
    }[flag.name]
    print(line)
    client.call(method, "/v1/operator/keyring", query, json.dumps({"Key": parsed[flag]}).encode())
    return 0


def _list(client: ApiClient, query: dict[str, str] | None, *, as_json: bool) -> int:
    if not as_json:
        print("==> Gathering installed encryption keys...")
    pools = client.get_json("/v1/operator/keyring", query)
    if as_json:
        print(json.dumps(pools, indent=4))
    else:
        for pool in pools:
            print(_describe(pool))
    return 1 if any(pool.get("Error") for pool in pools) else 0


def _describe(pool: dict[str, Any]) -> str:
    title = "WAN" if pool.get("WAN") else f"{pool['Datacenter']} (LAN)"
    lines = ["", f"{title}:"]
    lines += [f"  ===> {node}: {text}" for node, text in sorted((pool.get("Messages") or {}).items())]
    lines += [
        f"  {key} [{count}/{pool['NumNodes']}]" for key, count in sorted((pool.get("Keys") or {}).items())
    ]
    return "\n".join(lines)
