"""``kv import``: write the pairs that ``kv export`` printed."""

from __future__ import annotations

import json
from base64 import b64decode
from typing import Any

from meshnode.base.errors import MeshError
from meshnode.base.goflags import FlagError, FlagSet, Parsed
from meshnode.cli.api_flags import ClientFlags
from meshnode.cli.data_argument import read_argument
from meshnode.cli.kv_pairs import key_path
from meshnode.cli.kv_put import MAX_UINT64
from meshnode.cli.output import write_line

__all__ = ["run"]


def run(args: list[str]) -> int:
    """Write each entry in order. All of them are checked before the first is written."""
    flags = FlagSet(
        "kv import",
        "Usage: consul kv import [options] [DATA]",
        "Writes the pairs in DATA, JSON as kv export prints it: the text itself, @FILE or - for standard input.",
    )
    client_flags = ClientFlags(flags, server=True)
    parsed = flags.parse(args[1:])
    entries = _entries(_data(parsed))
    query = client_flags.write_query(parsed)
    for key, number, value in entries:
        failing = f"Error! Failed writing data for key {key}"
        answer = client_flags.client(parsed, failing).call(
            "PUT", key_path(key), query | ({"flags": str(number)} if number else {}), value
        )
        if answer.strip() != b"true":
            raise MeshError(f"{failing}: the agent refused it")
        write_line(f"Imported: {key}")
    return 0


def _data(parsed: Parsed) -> bytes:
    if not parsed.positionals:
        raise FlagError("Error! Missing DATA argument: give JSON, @FILE or - for standard input")
    if len(parsed.positionals) > 1:
        raise FlagError(f"Error! Too many arguments (expected 1, got {len(parsed.positionals)})")
    if not parsed.positionals[0]:
        raise FlagError("Error! Empty DATA argument")
    try:
        return read_argument(parsed.positionals[0])
    except MeshError as error:
        raise MeshError(f"Error! {error}") from None


def _entries(data: bytes) -> list[tuple[str, int, bytes]]:
    try:
        rows = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise MeshError(f"Cannot unmarshal data: it is not JSON: {error}") from None
    if not isinstance(rows, list):
        raise MeshError("Cannot unmarshal data: it is no list: export with 'kv export'")
    return [_entry(number, row) for number, row in enumerate(rows)]


def _entry(number: int, row: Any) -> tuple[str, int, bytes]:
    fields = {name.lower(): value for name, value in row.items()} if isinstance(row, dict) else {}
    key, flags, value = fields.get("key"), fields.get("flags") or 0, fields.get("value") or ""
    if not isinstance(key, str) or not key:
        raise MeshError(f'Cannot unmarshal data: entry {number} has no "key", which is a text')
    if type(flags) is not int or not 0 <= flags <= MAX_UINT64:
        raise MeshError(f'Cannot unmarshal data: entry {number}: "flags" is not a number from 0 to 2^64-1')
    key_path(key)
    try:
        return key, flags, b64decode(value, validate=True)
    except (ValueError, TypeError) as error:
        raise MeshError(f"Error base 64 decoding value for key {key}: {error}") from None
