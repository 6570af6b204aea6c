"""``catalog datacenters``, ``nodes`` and ``services``: what is registered."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

from meshnode.base.errors import ConfigError
from meshnode.base.goflags import FlagError, FlagSet, Parsed
from meshnode.cli.api import path_segment
from meshnode.cli.api_flags import ClientFlags
from meshnode.cli.output import FormatFlag, labelled, print_json
from meshnode.cli.table import columns

__all__ = ["run"]


def run(args: list[str]) -> int:
    """Run ``datacenters``, ``nodes`` or ``services``; that nothing matches is no failure."""
    commands = {"datacenters": _datacenters, "nodes": _nodes, "services": _services}
    commands[args[0]](args[1:])
    return 0


def _datacenters(args: list[str]) -> None:
    flags = FlagSet(
        "catalog datacenters",
        "Usage: consul catalog datacenters [options]",
        "Lists the known datacenters, the nearest one first.",
    )
    output = FormatFlag(flags)
    client_flags = ClientFlags(flags, server=True)
    parsed = flags.parse(args)
    _no_positionals(parsed)
    as_json = output.is_json(parsed)
    found = client_flags.client(parsed, "Error listing datacenters").get_json(
        "/v1/catalog/datacenters", client_flags.query(parsed)
    )
    if as_json:
        print_json(found)
        return
    for name in found:
        print(name)


def _nodes(args: list[str]) -> None:
    flags = FlagSet(
        "catalog nodes",
        "Usage: consul catalog nodes [options]",
        "Lists the nodes of a datacenter.",
    )
    detailed = flags.boolean("detailed", "Show whole IDs, tagged addresses and metadata.")
    near = flags.string(
        "near", "Sort by the round trip from this node; _agent is the agent's own.", placeholder="node"
    )
    node_meta = flags.strings(
        "node-meta", "Only nodes with this metadata; all of them must match.", placeholder="key=value"
    )
    service = flags.string("service", "Only nodes with this service.", placeholder="name")
    output = FormatFlag(flags)
    client_flags = ClientFlags(flags, server=True)
    parsed = flags.parse(args)
    _no_positionals(parsed)
    as_json = output.is_json(parsed)
    pairs: tuple[str, ...] = parsed[node_meta]
    query = [*client_flags.query(parsed).items(), *_node_meta(pairs)]
    if parsed[near]:
        query.append(("near", parsed[near]))
    if parsed[service]:
        client = client_flags.client(parsed, "Error listing nodes for service")
        rows = client.get_json(f"/v1/catalog/service/{path_segment(parsed[service])}", query)
    else:
        rows = client_flags.client(parsed, "Error listing nodes").get_json("/v1/catalog/nodes", query)
    nodes = [_node(row) for row in rows]
    if as_json:
        print_json(nodes)
    elif nodes:
        print(columns(_detailed_rows(nodes) if parsed[detailed] else _rows(nodes)))
    else:
        print("No nodes match the given query - try expanding your search.", file=sys.stderr)


def _services(args: list[str]) -> None:
    flags = FlagSet(
        "catalog services",
        "Usage: consul catalog services [options]",
        "Lists the services of a datacenter.",
    )
    node = flags.string("node", "Only services of this node.", placeholder="id-or-name")
    node_meta = flags.strings(
        "node-meta", "Only services on nodes with this metadata.", placeholder="key=value"
    )
    tags = flags.boolean("tags", "Show the tags of each service.")
    output = FormatFlag(flags)
    client_flags = ClientFlags(flags, server=True)
    parsed = flags.parse(args)
    _no_positionals(parsed)
    as_json = output.is_json(parsed)
    pairs: tuple[str, ...] = parsed[node_meta]
    query = [*client_flags.query(parsed).items(), *_node_meta(pairs)]
    services: dict[str, list[str]]
    if parsed[node]:
        client = client_flags.client(parsed, "Error listing services for node")
        services = _of_node(client.get_json(f"/v1/catalog/node/{path_segment(parsed[node])}", query))
    else:
        client = client_flags.client(parsed, "Error listing services")
        services = client.get_json("/v1/catalog/services", query) or {}
    ordered = {name: sorted(services[name] or ()) for name in sorted(services)}
    if as_json:
        print_json(ordered)
    elif not ordered:
        print("No services match the given query - try expanding your search.", file=sys.stderr)
    elif parsed[tags]:
        print(labelled([(name, ",".join(found)) for name, found in ordered.items()]).strip())
    else:
        print("\n".join(ordered))


def _no_positionals(parsed: Parsed) -> None:
    if parsed.positionals:
        hint = f": {parsed.misplaced()[0]} must come before it" if parsed.misplaced() else ""
        raise FlagError(
            f"Too many arguments (expected 0, got {len(parsed.positionals)}): "
            f"{parsed.positionals[0]!r} is none of this command{hint}"
        )


def _node_meta(pairs: Sequence[str]) -> list[tuple[str, str]]:
    for pair in pairs:
        if not pair.partition("=")[1]:
            raise ConfigError(f'-node-meta: Missing "=" value in argument: {pair}: write key=value')
    return [("node-meta", pair.replace("=", ":", 1)) for pair in pairs]


def _node(row: dict[str, Any]) -> dict[str, Any]:
    """A node, from a row of nodes or of the nodes of a service."""
    meta = row["NodeMeta"] if "NodeMeta" in row else row.get("Meta")
    return {
        "ID": row.get("ID") or "",
        "Node": row["Node"],
        "Address": row["Address"],
        "Datacenter": row.get("Datacenter") or "",
        "TaggedAddresses": row.get("TaggedAddresses") or {},
        "Meta": meta or {},
    }


def _of_node(answer: dict[str, Any] | None) -> dict[str, list[str]]:
    services: dict[str, list[str]] = {}
    for service in ((answer or {}).get("Services") or {}).values():
        services.setdefault(service["Service"], []).extend(service.get("Tags") or ())
    return services


def _rows(nodes: list[dict[str, Any]]) -> list[list[str]]:
    rows = [["Node", "ID", "Address", "DC"]]
    rows += [[n["Node"], n["ID"].partition("-")[0], n["Address"], n["Datacenter"]] for n in nodes]
    return rows


def _detailed_rows(nodes: list[dict[str, Any]]) -> list[list[str]]:
    rows = [["Node", "ID", "Address", "DC", "TaggedAddresses", "Meta"]]
    for node in nodes:
        maps = [
            ", ".join(f"{key}={value}" for key, value in sorted(node[name].items()))
            for name in ("TaggedAddresses", "Meta")
        ]
        rows.append([node["Node"], node["ID"], node["Address"], node["Datacenter"], *maps])
    return rows
