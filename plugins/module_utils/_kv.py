# Copyright: the meshnode authors
# GNU General Public License v3.0+ (see plugins/README.md or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Making a key, or a tree of keys, what a task says; values are bytes."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.meshnode.lab.plugins.module_utils.mesh_api import MeshApi, MeshApiError, path_of

__all__ = ["Change", "Pair", "Wish", "apply", "check_key", "plan", "read_key", "read_tree", "wish_from"]

#: Bounds of Consul's API: of one value, and of the operations and the values in one transaction.
MAX_VALUE_BYTES = 512 * 1024
MAX_OPERATIONS = 64
MAX_TRANSACTION_BYTES = 512 * 1024
MAX_KEY_BYTES = 4096
MAX_FLAGS = 2**64 - 1
MAX_TREE_DEPTH = 50


@dataclass(frozen=True)
class Pair:
    """A key as the store has it; ``index`` is its ModifyIndex, ``session`` who holds it as a lock."""

    key: str
    value: bytes
    flags: int = 0
    index: int = 0
    session: str = ""


@dataclass(frozen=True)
class Wish:
    """``wanted``: key -> value. ``doomed``: the key, or with ``prefix`` all below it that is not wanted, goes away.

    ``flags`` of ``None`` leaves those of a key that is there. ``cas`` is the ModifyIndex that the one key must have.
    """

    wanted: Mapping[str, bytes]
    flags: int | None = None
    cas: int | None = None
    doomed: str | None = None
    prefix: str | None = None


@dataclass(frozen=True)
class Change:
    """What has to be done: pairs to set (with the ModifyIndex that they have now, 0: none) and to delete.

    ``below`` is the prefix whose keys all go away, where that is what was asked for.
    """

    puts: tuple[Pair, ...] = ()
    deletes: tuple[Pair, ...] = ()
    before: Mapping[str, Pair] = field(default_factory=dict)
    below: str | None = None

    @property
    def keys(self) -> list[str]:
        """All keys that change, in order."""
        return sorted(pair.key for pair in (*self.puts, *self.deletes))


# What is wanted


def check_key(key: str, option: str) -> str:
    """The key; raises :class:`MeshApiError` for one that the store can't have."""
    if key.startswith("/"):
        raise MeshApiError(f"{option}: {key!r} starts with a slash: leave the slash out")
    if "\0" in key or len(key.encode("utf-8", "surrogatepass")) > MAX_KEY_BYTES:
        raise MeshApiError(
            f"{option}: a key has at most {MAX_KEY_BYTES} bytes and no NUL: write a shorter one"
        )
    if any(part in {".", ".."} for part in key.split("/")):
        raise MeshApiError(f"{option}: {key!r} has a part that is . or ..: name it otherwise")
    return key


def wish_from(options: Mapping[str, Any]) -> Wish:
    """What the options of the module ask for; raises :class:`MeshApiError` naming the option."""
    flags = options["flags"]
    if flags is not None and not 0 <= flags <= MAX_FLAGS:
        raise MeshApiError(f"flags: {flags} is out of range: write a number from 0 to {MAX_FLAGS}")
    if options["cas"] is not None and options["cas"] < 0:
        raise MeshApiError(
            f"cas: {options['cas']} is no index: write the modify_index of the key, or 0 for no key"
        )
    if options["tree"] is not None:
        return _tree_wish(options)
    if options["prefix"] is not None:
        raise MeshApiError("prefix: goes with tree: give both, or a key")
    if options["exclusive"]:
        raise MeshApiError("exclusive: goes with tree and prefix: give both, or leave it out")
    key = check_key(options["key"], "key")
    if options["state"] == "absent":
        if options["recurse"] and not key:
            raise MeshApiError("key: is empty, and would delete every key: name a prefix, such as app/")
        if options["recurse"] and options["cas"] is not None:
            raise MeshApiError("cas: is about one key: leave out recurse or cas")
        wish = Wish({}, cas=options["cas"], doomed=key, prefix=key if options["recurse"] else None)
    else:
        if options["recurse"]:
            raise MeshApiError("recurse: goes with state=absent: write keys with tree and prefix")
        wish = Wish({key: _value(options)}, flags, options["cas"])
    if not key:
        raise MeshApiError("key: is empty: name a key, such as app/motd")
    return wish


def _value(options: Mapping[str, Any]) -> bytes:
    if options["value"] is not None:
        return _bounded(str(options["value"]).encode("utf-8", "surrogateescape"), "value")
    try:
        return _bounded(base64.b64decode(options["value_b64"], validate=True), "value_b64")
    except (binascii.Error, ValueError):
        raise MeshApiError("value_b64: is not base64: write the output of the filter b64encode") from None


def _bounded(value: bytes, option: str) -> bytes:
    if len(value) > MAX_VALUE_BYTES:
        raise MeshApiError(
            f"{option}: has {len(value)} bytes: a value has at most {MAX_VALUE_BYTES}, split it"
        )
    return value


def _tree_wish(options: Mapping[str, Any]) -> Wish:
    if options["state"] == "absent":
        raise MeshApiError(
            "tree: goes with state=present: delete a tree with key, recurse=true and state=absent"
        )
    if options["cas"] is not None or options["recurse"]:
        raise MeshApiError("cas and recurse: go with key: leave them out beside tree")
    if options["prefix"] is None:
        raise MeshApiError("prefix: is missing: name the folder that the tree is for, such as app/")
    prefix = check_key(options["prefix"], "prefix").rstrip("/")
    if not prefix:
        raise MeshApiError("prefix: is empty: name the folder that the tree is for, such as app/")
    wanted: dict[str, bytes] = {}
    for key, value, where in _flat(options["tree"], f"{prefix}/", "tree", 0):
        if key in wanted:
            raise MeshApiError(f"{where}: the key {key} comes twice in the tree: leave one out")
        wanted[check_key(key, where)] = _bounded(value, where)
    return Wish(wanted, options["flags"], prefix=f"{prefix}/" if options["exclusive"] else None)


def _flat(tree: Mapping[Any, Any], above: str, where: str, depth: int) -> Iterator[tuple[str, bytes, str]]:
    if depth > MAX_TREE_DEPTH:
        raise MeshApiError(f"{where[:200]}: is more than {MAX_TREE_DEPTH} levels deep: write a flatter tree")
    for name, value in tree.items():
        here = f"{where}.{name}"
        if not str(name).strip("/"):
            raise MeshApiError(f"{where}: {name!r} is no name: write one with at least one character")
        if isinstance(value, Mapping):
            yield from _flat(value, f"{above}{str(name).strip('/')}/", here, depth + 1)
        elif isinstance(value, bool):
            yield above + str(name), json.dumps(value).encode(), here
        elif isinstance(value, str | int | float):
            yield above + str(name), str(value).encode("utf-8", "surrogateescape"), here
        else:
            what = "empty" if value is None else f"a {type(value).__name__}"
            raise MeshApiError(
                f"{here}: is {what}: write text, a number or a mapping (or use the filter to_json)"
            )


# What is there


def read_key(api: MeshApi, key: str) -> Pair | None:
    """The pair, or ``None``."""
    rows = api.get(path_of("kv", key))
    return _pairs(rows)[0] if rows else None


def read_tree(api: MeshApi, prefix: str) -> dict[str, Pair]:
    """All pairs whose key starts with ``prefix``, by key."""
    return {pair.key: pair for pair in _pairs(api.get(path_of("kv", prefix), recurse=True) or [])}


def _pairs(rows: Any) -> list[Pair]:
    try:
        return [
            Pair(
                row["Key"], base64.b64decode(row["Value"] or ""), int(row["Flags"]), int(row["ModifyIndex"]),
                str(row.get("Session") or ""),
            )
            for row in rows
        ]  # fmt: skip
    except (KeyError, TypeError, ValueError, AttributeError):
        raise MeshApiError(
            "/v1/kv: answered with something else than keys: does address name an agent?"
        ) from None


# What to do


def plan(api: MeshApi, wish: Wish) -> Change:
    """Read, and say what has to change; raises :class:`MeshApiError` when ``cas`` does not hold."""
    known: dict[str, Pair]
    if wish.prefix is not None:
        known = read_tree(api, wish.prefix)
    elif len(wish.wanted) > 1:
        known = read_tree(api, _common_folder(wish.wanted))
    else:
        names = [*wish.wanted, *([wish.doomed] if wish.doomed is not None else [])]
        known = {key: pair for key in names if (pair := read_key(api, key))}
    puts = []
    for key, value in wish.wanted.items():
        old = known.get(key)
        flags = wish.flags if wish.flags is not None else old.flags if old else 0
        if old is None or (old.value, old.flags) != (value, flags):
            puts.append(Pair(key, value, flags, old.index if old else 0))
    if wish.prefix is not None:
        deletes = [pair for key, pair in known.items() if key not in wish.wanted]
    else:
        deletes = [pair for key, pair in known.items() if key == wish.doomed]
    if wish.cas is not None:
        for pair in (*puts, *deletes):
            if pair.index != wish.cas:
                now = f"has modify_index {pair.index}" if pair.index else "is not there"
                raise MeshApiError(
                    f"cas: {pair.key} {now}, not {wish.cas}: read the key again, and decide again"
                )
    return Change(tuple(puts), tuple(deletes), known, wish.doomed if wish.prefix is not None else None)


def _common_folder(keys: Mapping[str, bytes]) -> str:
    """The longest prefix of all keys that ends with a slash."""
    first, last = min(keys), max(keys)
    same = next((i for i, (a, b) in enumerate(zip(first, last)) if a != b), min(len(first), len(last)))
    return first[: first.rfind("/", 0, same) + 1]


def apply(api: MeshApi, change: Change) -> None:
    """Do it, each key only if it is still as it was read; a change of up to 64 keys is done whole or not at all."""
    if change.below is not None:
        if change.deletes:
            api.delete(path_of("kv", change.below), recurse=True)
        return
    for batch in _batches(change):
        answer = api.request("PUT", "/v1/txn", body=batch, accept=(200, 409))
        if answer.status == 409:
            errors = answer.json().get("Errors") or [{}]
            at = int(errors[0].get("OpIndex") or 0)
            key = batch[min(at, len(batch) - 1)]["KV"]["Key"]
            raise MeshApiError(
                f"{key}: was changed by another one just now ({errors[0].get('What')}): run again"
            )


def _batches(change: Change) -> Iterator[list[dict[str, Any]]]:
    batch: list[dict[str, Any]] = []
    size = 0
    for operation, weight in _operations(change):
        if batch and (len(batch) == MAX_OPERATIONS or size + weight > MAX_TRANSACTION_BYTES):
            yield batch
            batch, size = [], 0
        batch.append({"KV": operation})
        size += weight
    if batch:
        yield batch


def _operations(change: Change) -> Iterator[tuple[dict[str, Any], int]]:
    for pair in change.puts:
        value = base64.b64encode(pair.value).decode()
        put = {"Verb": "cas", "Key": pair.key, "Value": value, "Flags": pair.flags, "Index": pair.index}
        yield put, len(pair.value)
    for pair in change.deletes:
        yield {"Verb": "delete-cas", "Key": pair.key, "Index": pair.index}, 0
