# Copyright: the meshnode authors
# GNU General Public License v3.0+ (see plugins/README.md or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Making intentions what a task says: each is known by its source and its destination."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.meshnode.lab.plugins.module_utils.mesh_api import MeshApi, MeshApiError

__all__ = ["INTENTION_SPEC", "MANAGED_BY", "Change", "apply", "plan", "wishes"]

#: Key of the meta that says whose intention it is.
MANAGED_BY = "managed-by"
DEFAULT_NAMESPACE = "default"
PATH = "/v1/connect/intentions"
EXACT = f"{PATH}/exact"

#: Option of a permission's conditions -> field of the API.
_HTTP_FIELDS = {
    "path_exact": "PathExact",
    "path_prefix": "PathPrefix",
    "path_regex": "PathRegex",
    "methods": "Methods",
    "header": "Header",
}
_HEADER_FIELDS = ("name", "present", "exact", "prefix", "suffix", "regex", "invert")

#: What can be said about one intention.
INTENTION_SPEC: dict[str, dict[str, Any]] = {
    "source": {"type": "str"},
    "destination": {"type": "str"},
    "action": {"type": "str", "choices": ["allow", "deny"]},
    "permissions": {
        "type": "list",
        "elements": "dict",
        "default": [],
        "options": {
            "action": {"type": "str", "choices": ["allow", "deny"], "required": True},
            "path_exact": {"type": "str"},
            "path_prefix": {"type": "str"},
            "path_regex": {"type": "str"},
            "methods": {"type": "list", "elements": "str", "default": []},
            "header": {
                "type": "list",
                "elements": "dict",
                "default": [],
                "options": {
                    "name": {"type": "str", "required": True},
                    "present": {"type": "bool", "default": False},
                    "exact": {"type": "str"},
                    "prefix": {"type": "str"},
                    "suffix": {"type": "str"},
                    "regex": {"type": "str"},
                    "invert": {"type": "bool", "default": False},
                },
            },
        },
    },
    "audit": {"type": "bool", "default": False},
    "description": {"type": "str", "default": ""},
    "meta": {"type": "dict", "default": {}},
}

#: Source and destination, each with its namespace, in lower case: what no two intentions share.
Pair = tuple[str, str]


@dataclass(frozen=True)
class Change:
    """Bodies to put by their names, names to delete; ``before`` and ``after`` are what differs, to be shown."""

    puts: tuple[tuple[str, str, Mapping[str, Any]], ...] = ()
    deletes: tuple[tuple[str, str], ...] = ()
    before: Mapping[str, Any] = field(default_factory=dict)
    after: Mapping[str, Any] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.puts or self.deletes)


def wishes(options: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The bodies that the options ask for; raises :class:`MeshApiError` naming the option that can't be."""
    rows = options["intentions"]
    if rows is None:
        return [_body(options, "", options["state"] == "absent", None)]
    made: list[dict[str, Any]] = []
    seen: dict[Pair, str] = {}
    for number, row in enumerate(rows):
        where = f"intentions[{number}]."
        body = _body(row, where, False, options["managed_by"])
        pair = _pair(body)
        if pair in seen:
            raise MeshApiError(
                f"{where}source, destination: {_title(body)} is {seen[pair]} already: leave one out"
            )
        seen[pair] = where.rstrip(".")
        made.append(body)
    return made


def _body(row: Mapping[str, Any], where: str, names_only: bool, managed_by: str | None) -> dict[str, Any]:
    body: dict[str, Any] = {}
    for option, field_name in (("source", "Source"), ("destination", "Destination")):
        namespace, slash, name = (row[option] or "").rpartition("/")
        if not name.strip() or (slash and not namespace):
            raise MeshApiError(f"{where}{option}: is empty: write a service's name, such as web, or *")
        body |= {f"{field_name}NS": namespace or DEFAULT_NAMESPACE, f"{field_name}Name": name}
    if names_only:
        return body
    if bool(row["action"]) == bool(row["permissions"]):
        raise MeshApiError(
            f"{where}action: write allow or deny, or permissions instead of it, of which the first that fits decides"
        )
    body |= {"Action": row["action"] or "", "Description": row["description"], "Audit": row["audit"]}
    body["Meta"] = {str(key): _text(value, f"{where}meta.{key}") for key, value in row["meta"].items()}
    if managed_by:
        if MANAGED_BY in body["Meta"]:
            raise MeshApiError(f"{where}meta.{MANAGED_BY}: is written by managed_by: take another name")
        body["Meta"][MANAGED_BY] = managed_by
    body["Permissions"] = [_permission(one) for one in row["permissions"]]
    return body


def _text(value: Any, where: str) -> str:
    if isinstance(value, bool):
        return json.dumps(value)
    if isinstance(value, str | int | float):
        return str(value)
    raise MeshApiError(f"{where}: is not text: write text or a number")


def _permission(row: Mapping[str, Any]) -> dict[str, Any]:
    http = {name: row[option] for option, name in _HTTP_FIELDS.items() if row[option]}
    if headers := row["header"]:
        http["Header"] = [
            {option.capitalize(): one[option] for option in _HEADER_FIELDS if one[option]} for one in headers
        ]
    return {"Action": row["action"], "HTTP": http}


# What is there, and what differs


def plan(
    api: MeshApi, wanted: Iterable[Mapping[str, Any]], *, absent: bool, managed_by: str | None
) -> Change:
    """Read all intentions once, and say what has to change."""
    rows = api.get(PATH) or []
    try:
        found = {_pair(row): row for row in rows}
    except (KeyError, TypeError, AttributeError):
        raise MeshApiError(
            f"{PATH}: answered with something else than intentions: does address name an agent?"
        ) from None
    puts, deletes = [], []
    before: dict[str, Any] = {}
    after: dict[str, Any] = {}
    kept = set()
    for body in wanted:
        pair, old = _pair(body), found.get(_pair(body))
        kept.add(pair)
        if absent:
            deletes += [old] if old else []
            continue
        was, becomes = (_comparable(old) if old else {}), _comparable(body)
        if was != becomes:
            puts.append(body)
            after[_title(body)] = becomes
            before |= {_title(old): was} if old else {}
    if managed_by:
        deletes += [
            row
            for pair, row in found.items()
            if pair not in kept and (row.get("Meta") or {}).get(MANAGED_BY) == managed_by
        ]
    before |= {_title(row): _comparable(row) for row in deletes}
    return Change(tuple((*_names(body), body) for body in puts), tuple(map(_names, deletes)), before, after)


def apply(api: MeshApi, change: Change) -> None:
    """Do it: first what is new or different, so that nothing is open for a moment that a new one forbids."""
    for source, destination, body in change.puts:
        api.request("PUT", EXACT, {"source": source, "destination": destination}, body)
    for source, destination in change.deletes:
        api.request("DELETE", EXACT, {"source": source, "destination": destination})


def _names(row: Mapping[str, Any]) -> tuple[str, str]:
    """As the parameters of C(exact)."""
    return (
        f"{row['SourceNS'] or DEFAULT_NAMESPACE}/{row['SourceName']}",
        f"{row['DestinationNS'] or DEFAULT_NAMESPACE}/{row['DestinationName']}",
    )


def _pair(row: Mapping[str, Any]) -> Pair:
    source, destination = _names(row)
    return source.lower(), destination.lower()


def _title(row: Mapping[str, Any]) -> str:
    source, destination = (name.removeprefix(f"{DEFAULT_NAMESPACE}/") for name in _names(row))
    return f"{source} => {destination}"


def _comparable(row: Mapping[str, Any]) -> dict[str, Any]:
    """What an intention says besides its names, in one form wherever it comes from, without what is empty."""
    permissions = [
        {"Action": one.get("Action"), "HTTP": _plain(one.get("HTTP") or {})}
        for one in row.get("Permissions") or []
    ]
    fields = {
        "action": "" if permissions else row.get("Action"),
        "audit": bool(row.get("Audit")),
        "description": row.get("Description"),
        "meta": dict(row.get("Meta") or {}),
        "permissions": permissions,
    }
    return {name: value for name, value in fields.items() if value}


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _plain(below) for name, below in value.items() if below}
    return [_plain(below) for below in value] if isinstance(value, list) else value
