"""``intention create``: from the command line, or from files."""

from __future__ import annotations

import json
from typing import Any, Final

from meshnode.base.errors import ConfigError, MeshError
from meshnode.base.goflags import Flag, FlagError, FlagSet, Parsed
from meshnode.cli.api import ApiClient
from meshnode.cli.api_flags import ClientFlags
from meshnode.cli.data_argument import read_argument, read_file
from meshnode.cli.intention_print import EXACT, Row, find_exact, pair_query, positionals, title
from meshnode.cli.output import FormatFlag, print_json

__all__ = ["run"]

#: What a file may hold, as in Go whatever the case.
_FIELDS: Final = (
    *(
        "ID",
        "Description",
        "SourceNS",
        "SourceName",
        "DestinationNS",
        "DestinationName",
        "SourceType",
        "Action",
    ),
    *("Permissions", "Meta", "Audit", "DefaultAddr", "DefaultPort"),
)


def run(args: list[str]) -> int:
    """Create what is described; nothing is sent before all of it was read."""
    flags = FlagSet(
        "intention create",
        "Usage: consul intention create [options] SRC DST\n       consul intention create [options] -file FILE...",
        "Creates an intention for connections from the service SRC to the service DST; * stands for all services. "
        "With -file, one for each FILE, which holds a JSON object as the API takes it; - is standard input.",
    )
    allow = flags.boolean("allow", "Allow the connections. This is what is done without -deny.")
    deny = flags.boolean("deny", "Deny the connections.")
    audit = flags.boolean("audit", "Let through what would be denied, and report it.")
    from_files = flags.boolean("file", "Read intentions from files.")
    replace = flags.boolean("replace", "Replace an intention with the same source and destination.")
    meta = flags.strings("meta", "Metadata of the intention, as key=value.", placeholder="key=value")
    output = FormatFlag(flags)
    client_flags = ClientFlags(flags, server=True)
    parsed = flags.parse(args[1:])
    as_json = output.is_json(parsed)
    if parsed[allow] and parsed[deny]:
        raise FlagError("Only one of -allow or -deny may be specified.")
    pairs = _meta(parsed, meta)
    if parsed[from_files]:
        if any(parsed.given(flag) for flag in (allow, deny, audit, meta)):
            raise FlagError(
                "-allow, -deny, -audit and -meta are not for intentions from files: write it there"
            )
        if not parsed.positionals:
            raise FlagError("-file: give one FILE or more")
        rows = [_read(name) for name in parsed.positionals]
    else:
        source, destination = positionals(parsed, "SRC DST")
        rows = [
            {
                **_ends(source, destination),
                "SourceType": "consul",
                "Action": "deny" if parsed[deny] else "allow",
                "Meta": pairs,
                **({"Audit": True} if parsed[audit] else {}),
            }
        ]
    made = []
    for row in rows:
        client = client_flags.client(parsed, f'Error creating intention "{title(row)}"')
        made.append(
            _create(client, row, client_flags.write_query(parsed), replace=parsed[replace], quiet=as_json)
        )
    if as_json:
        print_json(made if parsed[from_files] else made[0])
    return 0


def _create(client: ApiClient, row: Row, query: dict[str, str], *, replace: bool, quiet: bool) -> Row:
    source, destination = _name(row, "Source"), _name(row, "Destination")
    done = "Created"
    if replace:
        done = "Updated" if find_exact(client, source, destination, query) is not None else "Created"
        client.send_json("PUT", EXACT, row | {"ID": ""}, pair_query(source, destination) | query)
    else:
        client.send_json("POST", "/v1/connect/intentions", row, query)
    if quiet:
        return find_exact(client, source, destination, query) or row
    print(f"{done}: {title(row)}")
    return row


def _ends(source: str, destination: str) -> Row:
    fields: Row = {}
    for end, text in (("Source", source), ("Destination", destination)):
        namespace, slash, name = text.partition("/")
        fields |= {f"{end}NS": namespace, f"{end}Name": name} if slash else {f"{end}Name": text}
    return fields


def _name(row: Row, end: str) -> str:
    namespace, name = row.get(f"{end}NS"), row.get(f"{end}Name") or ""
    return f"{namespace}/{name}" if namespace else str(name)


def _meta(parsed: Parsed, flag: Flag[tuple[str, ...]]) -> dict[str, str]:
    pairs = {}
    for text in parsed[flag]:
        key, equals, value = text.partition("=")
        if not key or not equals:
            raise ConfigError(f"-meta: {text!r} is no pair: write key=value")
        pairs[key] = value
    return pairs


def _read(name: str) -> Row:
    """The JSON object of a file, its fields under the names of the API."""
    data = read_argument("-") if name == "-" else read_file(name)
    where = "standard input" if name == "-" else name
    try:
        value: Any = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise MeshError(f"Error parsing intention from {where}: it is not JSON: {error}") from None
    if not isinstance(value, dict):
        raise MeshError(
            f"Error parsing intention from {where}: it holds {type(value).__name__}, not one JSON object"
        )
    known = {each.lower(): each for each in _FIELDS}
    return {known.get(str(field).lower(), str(field)): content for field, content in value.items()}
