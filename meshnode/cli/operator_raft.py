"""``operator raft list-peers`` and ``remove-peer``: the servers that hold the log."""

from __future__ import annotations

from typing import Any

from meshnode.base.errors import ConfigError
from meshnode.base.goflags import FlagSet
from meshnode.cli.api_flags import ClientFlags
from meshnode.cli.output import FormatFlag, print_json
from meshnode.cli.table import columns

__all__ = ["run"]


def run(args: list[str]) -> int:
    """Run ``raft list-peers`` or ``raft remove-peer``."""
    commands = {"list-peers": _list_peers, "remove-peer": _remove_peer}
    commands[args[1]](args[2:])
    return 0


def _list_peers(args: list[str]) -> None:
    flags = FlagSet(
        "operator raft list-peers",
        "Usage: consul operator raft list-peers [options]",
        "Lists the servers, which of them leads, and which have a vote.",
    )
    output = FormatFlag(flags)
    client_flags = ClientFlags(flags, server=True)
    parsed = flags.parse(args)
    parsed.reject_positionals()
    as_json = output.is_json(parsed)
    answer = client_flags.client(parsed, "Error getting peers").get_json(
        "/v1/operator/raft/configuration", client_flags.query(parsed)
    )
    records = [_record(server) for server in answer["Servers"]]
    if as_json:
        print_json(records)
        return
    header = ["Node", "ID", "Address", "State", "Voter", "RaftProtocol"]
    rows = [[_cell(record[name]) for name in header] for record in records]
    print(columns([header, *rows]))


def _record(server: dict[str, Any]) -> dict[str, Any]:
    return {
        "Node": server["Node"],
        "ID": server["ID"],
        "Address": server["Address"],
        "State": "leader" if server["Leader"] else "follower",
        "Voter": server["Voter"],
        "RaftProtocol": str(server.get("ProtocolVersion") or "<=1"),
    }


def _cell(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else value


def _remove_peer(args: list[str]) -> None:
    flags = FlagSet(
        "operator raft remove-peer",
        "Usage: consul operator raft remove-peer [options]",
        "Removes a server that is gone for good. While consul members still shows it, use consul force-leave.",
    )
    address = flags.string("address", "Address of the server.", placeholder="ip:port")
    peer_id = flags.string("id", "ID of the server.", placeholder="id")
    client_flags = ClientFlags(flags, server=True)
    parsed = flags.parse(args)
    parsed.reject_positionals()
    if not parsed[address] and not parsed[peer_id]:
        raise ConfigError("Error removing peer: an address or id is required for the peer to remove")
    if parsed[address] and parsed[peer_id]:
        raise ConfigError("Error removing peer: cannot give both an address and id")
    flag = address if parsed[address] else peer_id
    query = client_flags.write_query(parsed) | {flag.name: parsed[flag]}
    client_flags.client(parsed, "Error removing peer").call("DELETE", "/v1/operator/raft/peer", query)
    print(f'Removed peer with {flag.name} "{parsed[flag]}"')
