"""``acl set-agent-token``: the tokens that the agent itself uses."""

from __future__ import annotations

import json
from typing import Final

from meshnode.base.errors import MeshError
from meshnode.base.goflags import FlagError, FlagSet
from meshnode.cli.api_flags import ClientFlags
from meshnode.cli.data_argument import read_argument

__all__ = ["run"]

#: Type of token -> its name in the API. ``recovery`` is what later versions call the master.
_NAMES: Final = {
    "default": "acl_token",
    "agent": "acl_agent_token",
    "master": "acl_agent_master_token",
    "recovery": "acl_agent_master_token",
    "replication": "acl_replication_token",
}


def run(args: list[str]) -> int:
    """Set one token; it is never printed."""
    flags = FlagSet(
        "acl set-agent-token",
        "Usage: consul acl set-agent-token [options] TYPE TOKEN",
        "Sets the token that the agent uses by default (default), for its own work (agent), that opens its API when "
        "no server can be reached (master), or that copies ACLs from another datacenter (replication). TOKEN is the "
        "text itself, @FILE or - for standard input, which keeps it out of the list of processes.",
    )
    client_flags = ClientFlags(flags, server=True)
    parsed = flags.parse(args[1:])
    words = parsed.positionals
    if not words:
        raise FlagError("Error! Missing TYPE and TOKEN arguments")
    if words[0] not in _NAMES:
        # Not quoted: it may be the token, in the wrong place.
        raise FlagError("Unknown token type: write default, agent, master or replication before the token")
    if len(words) == 1:
        raise FlagError("Error! Missing TOKEN argument")
    if len(words) > 2:
        raise FlagError(f"Error! Too many arguments: expected 2 got {len(words)}")
    try:
        token = read_argument(words[1]).decode("ascii").strip()
    except UnicodeDecodeError:
        raise MeshError("Error! the token holds characters that no token has") from None
    client_flags.client(parsed, f'Failed to set ACL token "{words[0]}"').call(
        "PUT",
        f"/v1/agent/token/{_NAMES[words[0]]}",
        client_flags.write_query(parsed),
        json.dumps({"Token": token}).encode(),
    )
    print(f'ACL token "{words[0]}" set successfully')
    return 0
