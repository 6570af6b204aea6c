"""The proxy settings inside a service definition, as JSON values with Consul's field names.

Source: Consul 1.2.3 (Connect.Proxy, a managed proxy) and 1.3 (Proxy, of a service of kind connect-proxy).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from meshnode.base.json_fields import json_type
from meshnode.catalog.wire_parse import config_fault
from meshnode.local.fields import DefinitionFields

__all__ = [
    "MANAGED_SUFFIX",
    "canonical_proxy",
    "parse_managed_proxy",
    "parse_proxy",
    "without_empty",
]

#: What a service's id and name end in for its managed proxy.
MANAGED_SUFFIX: Final = "-proxy"

EXEC_MODES: Final = ("", "daemon", "script")
UPSTREAM_TYPES: Final = ("", "service", "prepared_query")


def parse_managed_proxy(fields: DefinitionFields | None) -> dict[str, Any] | None:
    """``ExecMode`` (empty: the agent's default), ``Command`` and ``Config``."""
    if fields is None:
        return None
    fields.only(("ExecMode", "Command", "Config"))
    mode = fields.text("ExecMode")
    if mode not in EXEC_MODES:
        fields.refuse("ExecMode", f'"{mode[:40]}" can\'t be used: write daemon or script')
    body = {
        "ExecMode": mode,
        "Command": list(fields.strings("Command")),
        "Config": _open(fields, "Config"),
    }
    return without_empty(body)


def parse_proxy(fields: DefinitionFields | None) -> dict[str, Any] | None:
    """What a proxy stands for, where its service listens, and its upstreams; ``None`` when none of it is said."""
    if fields is None or not fields.obj:
        return None
    fields.only(
        ("DestinationServiceName", "DestinationServiceID", "LocalServiceAddress", "LocalServicePort", "Config",
         "Upstreams")
    )  # fmt: skip
    body = {
        "DestinationServiceName": fields.text("DestinationServiceName"),
        "DestinationServiceID": fields.text("DestinationServiceID"),
        "LocalServiceAddress": fields.text("LocalServiceAddress"),
        "LocalServicePort": _port(fields, "LocalServicePort"),
        "Config": _open(fields, "Config"),
        "Upstreams": [_upstream(part) for part in fields.objects("Upstreams")],
    }
    return canonical_proxy(body) if any(body.values()) else None


def canonical_proxy(proxy: Mapping[str, Any]) -> dict[str, Any]:
    """``proxy`` without what isn't set, in its upstreams too: two that mean the same are equal. The name stays."""
    upstreams = [without_empty(upstream) for upstream in proxy.get("Upstreams") or ()]
    name = proxy.get("DestinationServiceName", "")
    return {"DestinationServiceName": name, **without_empty({**proxy, "Upstreams": upstreams})}


def without_empty(body: Mapping[str, Any]) -> dict[str, Any]:
    """The members that are set."""
    return {name: value for name, value in body.items() if value}


def _upstream(fields: DefinitionFields) -> dict[str, Any]:
    fields.only(
        ("DestinationType", "DestinationNamespace", "DestinationName", "Datacenter", "LocalBindAddress",
         "LocalBindPort", "Config")
    )  # fmt: skip
    kind = fields.text("DestinationType")
    if kind not in UPSTREAM_TYPES:
        fields.refuse("DestinationType", f'"{kind[:40]}" can\'t be used: write service or prepared_query')
    if not fields.text("DestinationName"):
        fields.refuse("DestinationName", "is empty: name the service that the upstream leads to")
    if not _port(fields, "LocalBindPort"):
        fields.refuse("LocalBindPort", "is 0: write the port that the proxy listens on for this upstream")
    return {
        "DestinationType": kind or "service",
        "DestinationNamespace": fields.text("DestinationNamespace"),
        "DestinationName": fields.text("DestinationName"),
        "Datacenter": fields.text("Datacenter"),
        "LocalBindAddress": fields.text("LocalBindAddress"),
        "LocalBindPort": fields.integer("LocalBindPort"),
        "Config": _open(fields, "Config"),
    }


def _port(fields: DefinitionFields, name: str) -> int:
    port = fields.integer(name)
    if not 0 <= port <= 65535:
        fields.refuse(name, f"invalid port: {port}: write 0 to 65535")
    return port


def _open(fields: DefinitionFields, name: str) -> dict[str, Any]:
    value = fields.value(name)
    if value is not None and not isinstance(value, Mapping):
        fields.refuse(name, f"expected object, got {json_type(value)}")
    if fault := config_fault(value):
        fields.refuse(name, fault)
    return dict(value or {})
