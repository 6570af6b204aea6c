"""``kv export``: a tree of the store as JSON, for ``kv import``."""

from __future__ import annotations

from base64 import b64encode

from meshnode.base.goflags import FlagSet
from meshnode.cli.api_flags import ClientFlags
from meshnode.cli.kv_pairs import list_pairs, optional_key
from meshnode.cli.output import go_json, write_line

__all__ = ["run"]


def run(args: list[str]) -> int:
    """Print the pairs below the prefix."""
    flags = FlagSet(
        "kv export",
        "Usage: consul kv export [options] [KEY_OR_PREFIX]",
        "Prints every pair whose key begins with the prefix as JSON, with values in base 64. Without an argument, "
        "the whole store.",
    )
    client_flags = ClientFlags(flags, server=True)
    parsed = flags.parse(args[1:])
    prefix = optional_key(parsed)
    pairs = list_pairs(
        client_flags.client(parsed, "Error querying Consul agent"), prefix, client_flags.query(parsed)
    )
    entries = [
        {"key": pair.key, "flags": pair.flags, "value": b64encode(pair.value).decode()} for pair in pairs
    ]
    write_line(go_json(entries, "\t"))
    return 0
