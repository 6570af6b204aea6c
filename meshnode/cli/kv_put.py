"""``kv put``: write one key, with a check or a lock if asked."""

from __future__ import annotations

from base64 import b64decode
from typing import Final

from meshnode.base.errors import MeshError
from meshnode.base.goflags import FlagError, FlagSet, Parsed
from meshnode.cli.api_flags import ClientFlags
from meshnode.cli.data_argument import read_argument
from meshnode.cli.kv_pairs import key_path
from meshnode.cli.output import write_line

__all__ = ["run"]

MAX_UINT64: Final = 2**64 - 1


def run(args: list[str]) -> int:
    """Write the data; fails when a check or a lock stands against it."""
    flags = FlagSet(
        "kv put",
        "Usage: consul kv put [options] KEY [DATA]",
        "Writes DATA to KEY: the text itself, @FILE for what is in a file, - for standard input, nothing for an "
        "empty value. A file or standard input keeps the data out of the list of processes.",
    )
    cas = flags.boolean("cas", "Write only when the key still has the index given with -modify-index.")
    number = flags.integer(
        "flags", "Number to store with the key, free for any use.", minimum=0, maximum=MAX_UINT64
    )
    base64 = flags.boolean("base64", "The data is in base 64: decode it first.")
    index = flags.integer("modify-index", "ModifyIndex for -cas.", minimum=0, maximum=MAX_UINT64)
    session = flags.string("session", "Session for -acquire and -release.", placeholder="id")
    acquire = flags.boolean("acquire", "Write and lock the key for the session.")
    release = flags.boolean("release", "Write and unlock the key, which the session must hold.")
    client_flags = ClientFlags(flags, server=True)
    parsed = flags.parse(args[1:])
    key, data = _key_and_data(parsed, base64=parsed[base64])
    if (parsed[release] or parsed[acquire]) and not parsed[session]:
        raise FlagError("Error! Missing -session (required with -acquire and -release)")
    if parsed[cas] and not parsed.given(index):
        raise FlagError("Must specify -modify-index with -cas!")
    query = client_flags.write_query(parsed) | ({"flags": str(parsed[number])} if parsed[number] else {})
    failing, done, refused = "Error! Failed writing data", "Data written to", ""
    if parsed[cas]:
        query["cas"] = str(parsed[index])
        failing = f"Error! Did not write to {key}"
        refused = f"{failing}: CAS failed"
    elif parsed[acquire]:
        query["acquire"] = parsed[session]
        done, refused = "Lock acquired on", "Error! Did not acquire lock"
    elif parsed[release]:
        query["release"] = parsed[session]
        done, refused = "Lock released on", "Error! Did not release lock"
    path = key_path(key)
    answer = client_flags.client(parsed, failing).call("PUT", path, query, data)
    if answer.strip() != b"true":
        raise MeshError(refused or f"{failing}: the agent refused it")
    write_line(f"Success! {done}: {key}")
    return 0


def _key_and_data(parsed: Parsed, *, base64: bool) -> tuple[str, bytes]:
    words = parsed.positionals
    if not words or not words[0]:
        raise FlagError("Error! Missing KEY argument")
    if len(words) > 2:
        hint = f": {parsed.misplaced()[0]} must come before KEY" if parsed.misplaced() else ""
        raise FlagError(f"Error! Too many arguments (expected 1 or 2, got {len(words)}){hint}")
    try:
        data = read_argument(words[1]) if len(words) > 1 else b""
        return words[0], b64decode(b"".join(data.split()), validate=True) if base64 else data
    except MeshError as error:
        raise MeshError(f"Error! {error}") from None
    except ValueError as error:
        raise MeshError(f"Error! Cannot base 64 decode data: {error}") from None
