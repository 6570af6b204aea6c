"""``kv get``: the value of a key, or what is below a prefix."""

from __future__ import annotations

from base64 import b64encode

from meshnode.base.errors import MeshError
from meshnode.base.goflags import FlagError, FlagSet
from meshnode.cli.api import ApiClient, ApiError
from meshnode.cli.api_flags import ClientFlags
from meshnode.cli.kv_pairs import Pair, key_path, list_pairs, optional_key, read_pair
from meshnode.cli.output import labelled, write_line

__all__ = ["run"]


def run(args: list[str]) -> int:
    """Print the value, the pairs below a prefix, or the keys; fails when a key is not there."""
    flags = FlagSet(
        "kv get",
        "Usage: consul kv get [options] [KEY_OR_PREFIX]",
        "Prints the value of KEY as it is stored. With -recurse or -keys, the argument is a prefix, and left out "
        "it is the root of the store.",
    )
    base64 = flags.boolean("base64", "Print values in base 64.")
    detailed = flags.boolean("detailed", "Print indexes, flags and the lock's session too.")
    keys = flags.boolean("keys", "Print the keys that begin with the prefix, and no values.")
    recurse = flags.boolean("recurse", "Print every pair whose key begins with the prefix.")
    separator = flags.string(
        "separator", "With -keys: show keys up to the next one of these after the prefix.", default="/"
    )
    client_flags = ClientFlags(flags, server=True)
    parsed = flags.parse(args[1:])
    key = optional_key(parsed)
    if not key and not (parsed[recurse] or parsed[keys]):
        raise FlagError("Error! Missing KEY argument")
    client, query = client_flags.client(parsed, "Error querying Consul agent"), client_flags.query(parsed)
    if parsed[keys]:
        return _print_keys(client, key, query | {"keys": "", "separator": parsed[separator]})
    if parsed[recurse]:
        for number, pair in enumerate(list_pairs(client, key, query)):
            if parsed[detailed] and number:
                write_line(b"")
            shown = _details if parsed[detailed] else _line
            write_line(shown(pair, base64=parsed[base64]))
        return 0
    found = read_pair(client, key, query)
    if found is None:
        raise MeshError(f"Error! No key exists at: {key}")
    write_line(
        _details(found, base64=parsed[base64]) if parsed[detailed] else _value(found, base64=parsed[base64])
    )
    return 0


def _print_keys(client: ApiClient, prefix: str, query: dict[str, str]) -> int:
    try:
        names = client.get_json(key_path(prefix), query)
    except ApiError as error:
        if error.status != 404:
            raise
        return 0
    for name in names or ():
        write_line(name)
    return 0


def _line(pair: Pair, *, base64: bool) -> bytes:
    return pair.key.encode("utf-8", "replace") + b":" + _value(pair, base64=base64)


def _value(pair: Pair, *, base64: bool) -> bytes:
    return b64encode(pair.value) if base64 else pair.value


def _details(pair: Pair, *, base64: bool) -> bytes:
    head = labelled(
        [
            ("CreateIndex", str(pair.create_index)),
            ("Flags", str(pair.flags)),
            ("Key", pair.key),
            ("LockIndex", str(pair.lock_index)),
            ("ModifyIndex", str(pair.modify_index)),
            ("Session", pair.session or "-"),
            ("Value", ""),
        ]
    )
    return head.encode("utf-8", "replace") + _value(pair, base64=base64)
