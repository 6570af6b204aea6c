"""``kv delete``: remove a key, or everything below a prefix."""

from __future__ import annotations

from meshnode.base.errors import MeshError
from meshnode.base.goflags import FlagError, FlagSet
from meshnode.cli.api_flags import ClientFlags
from meshnode.cli.kv_pairs import key_path, optional_key
from meshnode.cli.kv_put import MAX_UINT64
from meshnode.cli.output import write_line

__all__ = ["run"]


def run(args: list[str]) -> int:
    """Remove the key or the keys; a key that is not there is no failure."""
    flags = FlagSet(
        "kv delete",
        "Usage: consul kv delete [options] KEY_OR_PREFIX",
        "Removes KEY. With -recurse, removes every key that begins with the prefix, neighbours included: a prefix "
        "of foo takes food as well.",
    )
    cas = flags.boolean("cas", "Delete only when the key still has the index given with -modify-index.")
    index = flags.integer("modify-index", "ModifyIndex for -cas.", minimum=0, maximum=MAX_UINT64)
    recurse = flags.boolean("recurse", "Delete every key that begins with the prefix.")
    client_flags = ClientFlags(flags, server=True)
    parsed = flags.parse(args[1:])
    key = optional_key(parsed)
    if not key and not parsed[recurse]:
        raise FlagError("Error! Missing KEY argument")
    if parsed[cas] and parsed[index] == 0:
        raise FlagError(
            "Cannot delete a key that does not exist. Provide a -modify-index greater than than 0."
        )
    if parsed[index] and not parsed[cas]:
        raise FlagError("Cannot specify -modify-index without -cas!")
    if parsed[recurse] and parsed[cas]:
        raise FlagError("Cannot specify both -cas and -recurse!")
    query = client_flags.write_query(parsed)
    failing, done = f"Error deleting key {key}", "Deleted key"
    if parsed[recurse]:
        query["recurse"] = ""
        failing, done = f"Error! Did not delete prefix {key}", "Deleted keys with prefix"
    elif parsed[cas]:
        query["cas"] = str(parsed[index])
        failing = f"Error! Did not delete key {key}"
    answer = client_flags.client(parsed, failing).call("DELETE", key_path(key), query)
    if parsed[cas] and answer.strip() != b"true":
        raise MeshError(f"{failing}: CAS failed")
    write_line(f"Success! {done}: {key}")
    return 0
