"""Keys and pairs as the KV commands see them: the path of a key, and what the agent answers."""

from __future__ import annotations

from base64 import b64decode
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from meshnode.base.errors import MeshError
from meshnode.base.goflags import FlagError, Parsed
from meshnode.cli.api import ApiClient, ApiError

__all__ = ["Pair", "key_path", "list_pairs", "optional_key", "read_pair"]


@dataclass(frozen=True, slots=True)
class Pair:
    """One key with its value and what the store knows of it."""

    key: str
    value: bytes
    flags: int
    session: str
    create_index: int
    modify_index: int
    lock_index: int


def key_path(key: str) -> str:
    """The path of ``key`` in the API; raises :class:`MeshError` for a key that no path can have."""
    if key.startswith("/"):
        raise MeshError(f"Invalid key. Key must not begin with a '/': {key}")
    try:
        return "/v1/kv/" + quote(key, safe="/", errors="surrogateescape")
    except UnicodeEncodeError:
        raise MeshError(f"Invalid key. {key!r} is not Unicode text") from None


def optional_key(parsed: Parsed) -> str:
    """The one positional argument or "", without a leading slash, which no key has."""
    if len(parsed.positionals) > 1:
        hint = f": {parsed.misplaced()[0]} must come before KEY" if parsed.misplaced() else ""
        raise FlagError(f"Too many arguments (expected 1, got {len(parsed.positionals)}){hint}")
    return parsed.positionals[0].removeprefix("/") if parsed.positionals else ""


def read_pair(client: ApiClient, key: str, query: dict[str, str]) -> Pair | None:
    """The pair at ``key``, or ``None`` when there is none."""
    pairs = _read(client, key, query)
    return pairs[0] if pairs else None


def list_pairs(client: ApiClient, prefix: str, query: dict[str, str]) -> list[Pair]:
    """Every pair whose key begins with ``prefix``."""
    return _read(client, prefix, query | {"recurse": ""})


def _read(client: ApiClient, key: str, query: dict[str, str]) -> list[Pair]:
    try:
        rows = client.get_json(key_path(key), query)
    except ApiError as error:
        if error.status == 404:
            return []
        raise
    return [_pair(row) for row in rows or ()]


def _pair(row: dict[str, Any]) -> Pair:
    return Pair(
        row["Key"],
        b64decode(row.get("Value") or ""),
        row.get("Flags", 0),
        row.get("Session") or "",
        row.get("CreateIndex", 0),
        row.get("ModifyIndex", 0),
        row.get("LockIndex", 0),
    )
