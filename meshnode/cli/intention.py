"""``intention check``, ``delete``, ``explain``, ``get``, ``list`` and ``match``."""

from __future__ import annotations

import sys
from typing import Final

from meshnode.base.errors import MeshError
from meshnode.base.goflags import FlagError, FlagSet, HelpRequested
from meshnode.cli.api import path_segment
from meshnode.cli.api_flags import ClientFlags
from meshnode.cli.connect_connections import cached_decisions, cached_text, explain_connection
from meshnode.cli.intention_print import (
    EXACT,
    EXPLAIN,
    find_exact,
    intention_table,
    intention_text,
    not_found,
    pair_query,
    positionals,
    title,
)
from meshnode.cli.output import FormatFlag, print_json

__all__ = ["run"]

#: Exit codes of ``check``. Source: Consul 1.2.3, ``intention check``.
ALLOWED: Final = 0
DENIED: Final = 1
UNKNOWN: Final = 2

_BASE: Final = "/v1/connect/intentions"


def run(args: list[str]) -> int:
    """Run the command named by ``args[0]``."""
    commands = {
        "check": _check,
        "delete": _delete,
        "explain": _explain,
        "get": _get,
        "list": _list,
        "match": _match,
    }
    return commands[args[0]](args[1:])


def _check(args: list[str]) -> int:
    try:
        return _checked(args)
    except HelpRequested:
        raise
    except MeshError as error:
        # 1 is an answer here, so what keeps us from one needs another code.
        print(error, file=sys.stderr)
        return UNKNOWN


def _checked(args: list[str]) -> int:
    flags = FlagSet(
        "intention check",
        "Usage: consul intention check [options] SRC DST",
        "Tells whether connections from the service SRC to the service DST are allowed. The exit code is 0 when they "
        "are, 1 when they are denied, and 2 when that can't be told.",
    )
    output = FormatFlag(flags)
    client_flags = ClientFlags(flags, server=True)
    parsed = flags.parse(args)
    as_json = output.is_json(parsed)
    source, destination = positionals(parsed, "SRC DST")
    client = client_flags.client(parsed, "Error checking the connection")
    answer = client.get_json(f"{_BASE}/check", pair_query(source, destination) | client_flags.query(parsed))
    allowed = answer["Allowed"] is True
    if as_json:
        print_json(answer)
    else:
        print("Allowed" if allowed else "Denied")
    return ALLOWED if allowed else DENIED


def _delete(args: list[str]) -> int:
    flags = FlagSet(
        "intention delete",
        "Usage: consul intention delete [options] SRC DST\n       consul intention delete [options] ID",
        "Deletes an intention, named by its source and destination, or by its ID.",
    )
    client_flags = ClientFlags(flags, server=True)
    parsed = flags.parse(args)
    named = positionals(parsed, "SRC DST", "ID")
    client, query = (
        client_flags.client(parsed, "Error deleting the intention"),
        client_flags.write_query(parsed),
    )
    if len(named) == 1:
        client.call("DELETE", f"{_BASE}/{path_segment(named[0])}", query)
    else:
        source, destination = named
        if find_exact(client, source, destination, query) is None:
            raise not_found(source, destination)
        client.call("DELETE", EXACT, pair_query(source, destination) | query)
    print("Intention deleted.")
    return 0


def _get(args: list[str]) -> int:
    flags = FlagSet(
        "intention get",
        "Usage: consul intention get [options] SRC DST\n       consul intention get [options] ID",
        "Shows an intention, named by its source and destination, or by its ID.",
    )
    output = FormatFlag(flags)
    client_flags = ClientFlags(flags, server=True)
    parsed = flags.parse(args)
    as_json = output.is_json(parsed)
    named = positionals(parsed, "SRC DST", "ID")
    client, query = client_flags.client(parsed, "Error reading the intention"), client_flags.query(parsed)
    if len(named) == 1:
        row = client.get_json(f"{_BASE}/{path_segment(named[0])}", query)
    else:
        source, destination = named
        row = find_exact(client, source, destination, query)
        if row is None:
            raise not_found(source, destination)
    if as_json:
        print_json(row)
    else:
        print(intention_text(row))
    return 0


def _list(args: list[str]) -> int:
    flags = FlagSet(
        "intention list",
        "Usage: consul intention list [options]",
        "Lists every intention, in the order they are looked at.",
    )
    output = FormatFlag(flags)
    client_flags = ClientFlags(flags, server=True)
    parsed = flags.parse(args)
    parsed.reject_positionals()
    as_json = output.is_json(parsed)
    rows = client_flags.client(parsed, "Failed to retrieve the intentions list").get_json(
        _BASE, client_flags.query(parsed)
    )
    if as_json:
        print_json(rows or [])
    elif rows:
        print(intention_table(rows))
    else:
        print("There are no intentions.")
    return 0


def _match(args: list[str]) -> int:
    flags = FlagSet(
        "intention match",
        "Usage: consul intention match [options] SRC|DST",
        "Shows the intentions about connections to a service, or from it, in the order they are looked at.",
    )
    by_source = flags.boolean("source", "The name is that of the source.")
    by_destination = flags.boolean(
        "destination", "The name is that of the destination. This is what is done without -source."
    )
    output = FormatFlag(flags)
    client_flags = ClientFlags(flags, server=True)
    parsed = flags.parse(args)
    as_json = output.is_json(parsed)
    if parsed[by_source] and parsed[by_destination]:
        raise FlagError("Only one of -source or -destination may be specified.")
    (name,) = positionals(parsed, "NAME")
    query = {"by": "source" if parsed[by_source] else "destination", "name": name}
    client = client_flags.client(parsed, "Error matching the connection")
    rows = client.get_json(f"{_BASE}/match", query | client_flags.query(parsed)).get(name) or []
    if as_json:
        print_json(rows)
    else:
        for row in rows:
            print(title(row))
    return 0


def _explain(args: list[str]) -> int:
    flags = FlagSet(
        "intention explain",
        "Usage: consul intention explain SRC DST [options]\n       consul intention explain -connection ID [options]",
        "Tells whether connections from the service SRC to the service DST are allowed and why: the intentions that "
        "fit, in the order they are looked at, the one that decides, where the default comes from, the identities, "
        "and what proxies of this node remember. With -path, -method or -header, about that HTTP request. With "
        "-connection, why a proxy of this node let a connection through, refused it or cut it, or a request on it; "
        "on the side that connected, also what intentions say.",
    )
    connection = flags.integer(
        "connection", "ID of a connection, or of a refused request, as in the log of a proxy.", minimum=1
    )
    proxy = flags.string(
        "proxy", "ID of the proxy whose connection it is: each proxy counts its own.", placeholder="id"
    )
    path = flags.string("path", "Path of an HTTP request.", placeholder="path")
    method = flags.string("method", "Method of an HTTP request.", placeholder="method")
    headers = flags.strings("header", "Header of an HTTP request, as name:value.", placeholder="name:value")
    output = FormatFlag(flags)
    client_flags = ClientFlags(flags, server=True)
    # The names may stand before the flags, which reads better here.
    first = next((i for i, arg in enumerate(args) if arg.startswith("-")), len(args))
    parsed = flags.parse(args[first:])
    as_json = output.is_json(parsed)
    if parsed.given(connection) and not args[:first]:
        parsed.reject_positionals()
        client = client_flags.client(parsed, "Error explaining the connection")
        return explain_connection(client, parsed[connection], parsed[proxy], as_json=as_json)
    if parsed[proxy]:
        raise FlagError("-proxy belongs to -connection: name the connection")
    source, destination = positionals(parsed, "SRC DST", before=args[:first])
    if any(":" not in header for header in parsed[headers]):
        raise FlagError("-header: write name:value")
    query = [*(pair_query(source, destination) | client_flags.query(parsed)).items()]
    query += [(flag.name, parsed[flag]) for flag in (path, method) if parsed[flag]]
    query += [("header", header) for header in parsed[headers]]
    client = client_flags.client(parsed, "Error explaining the connection")
    answer = client.get_json(EXPLAIN, query)
    cached = cached_decisions(client, source, destination)
    if as_json:
        print_json({field: value for field, value in answer.items() if field != "Text"} | {"Cached": cached})
    else:
        print("\n".join([*answer["Text"], *cached_text(cached)]))
    return 0
