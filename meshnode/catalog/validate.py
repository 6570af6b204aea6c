"""What the catalog refuses, with a sentence that says why. The texts are Consul's where Consul has one.

Every function returns ``""`` when there is nothing to refuse.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from meshnode.base.address import MAX_SOCKET_PATH_BYTES
from meshnode.catalog.model import (
    CONNECT_PROXY,
    INGRESS_GATEWAY,
    STATES,
    TERMINATING_GATEWAY,
    Check,
    Node,
    Service,
)

__all__ = [
    "MAX_META_KEY_CHARS",
    "MAX_META_PAIRS",
    "MAX_META_VALUE_CHARS",
    "MAX_TAGGED_ADDRESSES",
    "MAX_WEIGHT",
    "META_KEY",
    "check_fault",
    "meta_fault",
    "node_fault",
    "service_fault",
]

#: Bounds on the metadata of a service. Source: Consul 1.2.3, agent/structs.
MAX_META_PAIRS: Final = 64
MAX_META_KEY_CHARS: Final = 128
MAX_META_VALUE_CHARS: Final = 512
#: Keys that start so are Consul's own.
META_RESERVED_PREFIX: Final = "consul-"
#: Ways to one service; each is part of every answer about it.
MAX_TAGGED_ADDRESSES: Final = 64
#: An SRV weight has 16 bits.
MAX_WEIGHT: Final = 65535

_GATEWAYS: Final = (INGRESS_GATEWAY, TERMINATING_GATEWAY)
_NO_KINDS: Final = {
    "mesh-gateway": "sidecars reach other datacenters directly here, so there is nothing for it to do",
    "api-gateway": f"it is of Consul 1.15, after this API: use an {INGRESS_GATEWAY}",
}

META_KEY: Final = re.compile(r"[A-Za-z0-9_-]+")
_UUID: Final = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
#: An address that a client can't connect to.
_UNSPECIFIED: Final = frozenset({"0.0.0.0", "::", "[::]"})


def node_fault(node: Node, *, skip_node_update: bool) -> str:
    """A node without a name, or without an address unless ``skip_node_update``, or with an id that is no UUID."""
    if not node.name:
        return "Must provide node"
    if not node.address and not skip_node_update:
        return "Must provide address if SkipNodeUpdate is not set"
    if node.id and not _UUID.fullmatch(node.id):
        return f"Bad node ID: {_quote(node.id)} is not a UUID"
    return ""


def service_fault(service: Service, node: str) -> str:
    """A service without a name, a proxy without destination or port, weights or metadata past their bounds."""
    if not service.name:
        return "Must provide service name with ID"
    if fault := _kind_fault(service):
        return fault
    if service.kind == CONNECT_PROXY:
        if not service.proxy_destination.strip():
            return "ProxyDestination must be non-empty for Connect proxy services"
        if not service.port:
            return "Port must be set for a Connect proxy"
        if service.native:
            return "A Proxy cannot also be Connect Native, only typical services"
    if not 0 <= service.port <= 65535:
        return f"Invalid service port {service.port}: must be between 0 and 65535"
    if service.address in _UNSPECIFIED:
        return "Invalid service address"
    if fault := _ways_fault(service):
        return fault
    if service.weights.passing < 1:
        return "Passing must be greater than 0"
    if service.weights.warning < 0:
        return "Warning must be greater or equal than 0"
    if max(service.weights.passing, service.weights.warning) > MAX_WEIGHT:
        return f"DNS Weight must be between 0 and {MAX_WEIGHT}"
    if fault := meta_fault(service.meta):
        return f"Invalid Service Meta for node {node} and serviceID {service.id}: {fault}"
    return ""


def _kind_fault(service: Service) -> str:
    """A kind that there isn't, or a gateway that stands for something."""
    if reason := _NO_KINDS.get(service.kind):
        return f"Invalid service kind {_quote(service.kind)}: {reason}"
    if service.kind not in {"", CONNECT_PROXY, *_GATEWAYS}:
        known = ", ".join(map(_quote, (CONNECT_PROXY, *_GATEWAYS)))
        return f"Invalid service kind {_quote(service.kind)}: leave it empty or write one of {known}"
    if service.kind in _GATEWAYS and (service.proxy_destination or service.native):
        return f"A {service.kind} cannot be a proxy of one service, or Connect Native: leave both out"
    if service.kind == TERMINATING_GATEWAY and not service.port:
        return "Port must be non-zero for a terminating-gateway"
    return ""


def _ways_fault(service: Service) -> str:
    """Tagged addresses that nobody can connect to, or a socket beside an address."""
    if len(service.tagged_addresses) > MAX_TAGGED_ADDRESSES:
        return f"TaggedAddresses of a service cannot be more than {MAX_TAGGED_ADDRESSES}"
    for name, way in service.tagged_addresses.items():
        shown = f"TaggedAddresses[{name[:MAX_META_KEY_CHARS]}]"
        if not name or len(name) > MAX_META_KEY_CHARS:
            return f"{shown}: a name has 1 to {MAX_META_KEY_CHARS} characters"
        if not way.address or way.address in _UNSPECIFIED:
            return f"{shown}: invalid address {_quote(way.address)}: write one that can be connected to"
        if not 0 <= way.port <= 65535:
            return f"{shown}: invalid port {way.port}: must be between 0 and 65535"
    path = service.socket_path
    if path and (service.address or service.port):
        return f"service {service.name} cannot have both socket path {path[:MAX_SOCKET_PATH_BYTES]} and address/port"
    if path and (len(path.encode("utf-8", "replace")) > MAX_SOCKET_PATH_BYTES or "\0" in path):
        return f"SocketPath is no path of a socket: write at most {MAX_SOCKET_PATH_BYTES} bytes without a NUL"
    return ""


def meta_fault(meta: Mapping[str, str]) -> str:
    """Too many pairs, or a key or value that is too long or isn't allowed."""
    if len(meta) > MAX_META_PAIRS:
        return f"Node metadata cannot contain more than {MAX_META_PAIRS} key/value pairs"
    for key, value in meta.items():
        if not key:
            return "Couldn't load metadata pair ('', ...): Key cannot be blank"
        where = f"Couldn't load metadata pair ('{key[:MAX_META_KEY_CHARS]}', ...): "
        if not META_KEY.fullmatch(key):
            return where + "Key contains invalid characters: use letters, digits, '-' and '_'"
        if len(key) > MAX_META_KEY_CHARS:
            return where + f"Key is too long (limit: {MAX_META_KEY_CHARS} characters)"
        if key.startswith(META_RESERVED_PREFIX):
            return where + f"Key prefix '{META_RESERVED_PREFIX}' is reserved for internal use"
        if len(value) > MAX_META_VALUE_CHARS:
            return where + f"Value is too long (limit: {MAX_META_VALUE_CHARS} characters)"
    return ""


def check_fault(check: Check, node: str) -> str:
    """A check without an id, of another node, or with a status that there isn't."""
    if not check.check_id:
        return "Must provide CheckID or Name with a check"
    if check.node.lower() != node.lower():
        return f"check node {_quote(check.node)} does not match node {_quote(node)}"
    if check.status not in STATES:
        return f"Invalid check status {_quote(check.status)}: must be one of {', '.join(STATES)}"
    return ""


def _quote(text: str) -> str:
    return f'"{text}"'
