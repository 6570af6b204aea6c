"""A config entry from JSON or HCL, in either spelling, and back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from meshnode.base.errors import ConfigError
from meshnode.base.json_fields import json_type
from meshnode.base.suggest import did_you_mean
from meshnode.config_entries.codec import fold, json_name, read, write
from meshnode.config_entries.model import (
    KINDS,
    PROXY_DEFAULTS,
    PROXY_DEFAULTS_NAME,
    SERVICE_INTENTIONS,
    ConfigEntry,
)
from meshnode.config_entries.normalize import normalized
from meshnode.config_entries.validate import entry_fault, join_faults
from meshnode.intentions.model import DEFAULT_NAMESPACE, NO_TOKENS

__all__ = ["entry_fields", "known_kind", "parse_entry"]

#: The fields of every kind.
_HEAD: Final = ("Kind", "Name", "Meta", "CreateIndex", "ModifyIndex")
#: Further ones, where intentions may have namespaces.
_NAMESPACE: Final = "Namespace"


#: Kinds of later releases and of Consul Enterprise, and what to do without them.
_NO_KINDS: Final = {
    "mesh": "there is nothing to set for the whole mesh but proxy-defaults",
    **dict.fromkeys(
        ("api-gateway", "http-route", "tcp-route", "inline-certificate", "bound-api-gateway"),
        "API gateways are of Consul 1.15: use an ingress-gateway",
    ),
    **dict.fromkeys(("exported-services", "sameness-group"), "this release has no cluster peering"),
    "jwt-provider": NO_TOKENS,
}


def known_kind(kind: str) -> str:
    """``kind`` as it is. Raises :class:`ConfigError` when there is none of this name."""
    if kind in KINDS:
        return kind
    if reason := _NO_KINDS.get(kind):
        raise ConfigError(f'config entry kind "{kind}" is not supported: {reason}')
    hint = did_you_mean(kind, KINDS) or f": use one of {', '.join(KINDS)}"
    raise ConfigError(f'invalid config entry kind "{kind[:80]}"{hint}')


def parse_entry(value: Mapping[str, Any]) -> ConfigEntry:
    """The entry that an object of plain JSON or HCL describes, normalized and valid in itself.

    Raises :class:`ConfigError` with everything that is wrong with it. Indexes are not read: the state gives them.
    """
    head, rest = _parted(value)
    if head.get("kind") is None:
        raise ConfigError(f"Kind is required: one of {', '.join(KINDS)}")
    kind = known_kind(_text(head, "kind"))
    if kind != SERVICE_INTENTIONS and head.get("namespace") is not None:
        rest[_NAMESPACE] = head["namespace"]  # refused there like any other
    problems: list[str] = []
    spec = read(KINDS[kind], rest, "", problems, _HEAD)
    meta = {} if head.get("meta") is None else head["meta"]
    if not isinstance(meta, Mapping) or not all(
        isinstance(part, str) for pair in meta.items() for part in pair
    ):
        problems.append("Meta: expected object of strings")
        meta = {}
    name = _text(head, "name") or (PROXY_DEFAULTS_NAME if kind == PROXY_DEFAULTS else "")
    namespace = _text(head, "namespace") if kind == SERVICE_INTENTIONS else ""
    entry = ConfigEntry(name, spec, dict(sorted(meta.items())), namespace or DEFAULT_NAMESPACE)
    entry = normalized(entry)
    # What was read wrongly is not judged as well.
    if problems or (problem := entry_fault(entry)):
        raise ConfigError(join_faults(problems) or problem)
    return entry


def entry_fields(entry: ConfigEntry) -> dict[str, Any]:
    """The JSON object of an entry, with Consul's names; indexes are there once it is stored."""
    fields: dict[str, Any] = {"Kind": entry.kind, "Name": entry.name}
    if entry.namespace != DEFAULT_NAMESPACE:
        fields[_NAMESPACE] = entry.namespace
    fields |= write(entry.spec)
    if entry.meta:
        fields["Meta"] = dict(entry.meta)
    if entry.modify_index:
        fields |= {"CreateIndex": entry.create_index, "ModifyIndex": entry.modify_index}
    return fields


def _parted(value: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The fields that every kind has, by folded name, and the others as they were written."""
    known = {fold(name) for name in (*_HEAD, _NAMESPACE)}
    head: dict[str, Any] = {}
    rest: dict[str, Any] = {}
    for name, item in value.items():
        folded = fold(str(name))
        if folded not in known:
            rest[str(name)] = item
        elif folded in head:
            raise ConfigError(f"{str(name)[:80]} is written twice")
        else:
            head[folded] = item
    return head, rest


def _text(head: Mapping[str, Any], name: str) -> str:
    value = head.get(name)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise ConfigError(f"{json_name(name)}: expected string, got {json_type(value)}")
    return value
