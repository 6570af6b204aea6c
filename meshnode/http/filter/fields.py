"""Which selectors the rows of an endpoint have, so that a mistyped one is an error and not an empty list.

Source: the tables of filterable fields in Consul's documentation of each endpoint, for the fields of Consul 1.2.3.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import Final, TypeAlias

from meshnode.base.suggest import did_you_mean
from meshnode.http.filter.evaluate import as_flag, as_number
from meshnode.http.filter.tree import Match, Relation, Selector, selector_text

__all__ = [
    "AGENT_CHECKS",
    "AGENT_SERVICES",
    "CATALOG_NODES",
    "CATALOG_NODE_SERVICES",
    "CATALOG_SERVICE",
    "GATEWAY_SERVICES",
    "HEALTH_CHECKS",
    "HEALTH_SERVICE",
    "Fields",
    "Kind",
    "fault",
]


class Kind(Enum):
    """What a field holds, and with it what can be asked of it."""

    TEXT = "text"
    NUMBER = "a number"
    FLAG = "true or false"
    LIST = "a list of texts"
    #: Keys that the user chose, to texts.
    MAP = "a map of texts"
    #: Anything below it may be asked for; nothing is checked.
    OPEN = "a JSON value"


#: Dotted name to kind. Lists of structs are looked through: ``Checks.Status`` asks for any of them.
Fields: TypeAlias = Mapping[str, Kind]

_ASKED: Final[Mapping[Kind, tuple[Relation, ...]]] = {
    Kind.TEXT: (Relation.EQUAL, Relation.IN, Relation.EMPTY, Relation.MATCHES),
    Kind.NUMBER: (Relation.EQUAL,),
    Kind.FLAG: (Relation.EQUAL,),
    Kind.LIST: (Relation.IN, Relation.EMPTY),
    Kind.MAP: (Relation.IN, Relation.EMPTY),
    Kind.OPEN: tuple(Relation),
}


def fault(fields: Fields, match: Match) -> str:
    """Why rows with these fields can't be asked this; ``""`` when they can."""
    selector, name = match.selector, selector_text(match.selector)
    kind = _kind(fields, selector)
    if kind is None:
        return _unknown(fields, selector, name)
    if match.relation not in _ASKED[kind]:
        hint = ': use "contains" or "in"' if kind in {Kind.LIST, Kind.MAP} else ""
        return f'{name} is {kind.value} and can\'t be asked "{match.relation}"{hint}'
    wrong = match.relation is Relation.EQUAL and (
        (kind is Kind.NUMBER and as_number(match.value) is None)
        or (kind is Kind.FLAG and as_flag(match.value) is None)
    )
    return f'{name} is {kind.value} and can\'t be compared with "{match.value[:40]}"' if wrong else ""


def _kind(fields: Fields, selector: Selector) -> Kind | None:
    for length in range(len(selector), 0, -1):
        kind = fields.get(".".join(selector[:length]))
        if kind is not None:
            rest = len(selector) - length
            if not rest or kind is Kind.OPEN:
                return kind
            return Kind.TEXT if kind is Kind.MAP and rest == 1 else None
    return None


def _unknown(fields: Fields, selector: Selector, name: str) -> str:
    dotted = ".".join(selector)
    inside = sorted(field for field in fields if field.startswith(f"{dotted}."))
    if inside:
        return f"{name} is a struct: name a field in it, such as {inside[0]}"
    hint = did_you_mean(dotted, fields)
    if not hint:
        # The field may be right and the way to it wrong or missing.
        ends = [field for field in fields if field.rpartition(".")[2].lower() == selector[-1].lower()]
        hint = f": did you mean {ends[0]}?" if ends else f": it has {', '.join(fields)}"
    return f"{name} is no field of these rows{hint}"


def _under(prefix: str, fields: Fields) -> dict[str, Kind]:
    return {f"{prefix}.{name}": kind for name, kind in fields.items()}


_INDEXES: Final[Fields] = {"CreateIndex": Kind.NUMBER, "ModifyIndex": Kind.NUMBER}
_CONNECT: Final[Fields] = {"Native": Kind.FLAG, "Proxy": Kind.OPEN, "SidecarService": Kind.OPEN}
_SERVICE: Final[Fields] = {
    "Kind": Kind.TEXT,
    "ID": Kind.TEXT,
    "Service": Kind.TEXT,
    "Tags": Kind.LIST,
    "Address": Kind.TEXT,
    "Port": Kind.NUMBER,
    "Meta": Kind.MAP,
    "Weights.Passing": Kind.NUMBER,
    "Weights.Warning": Kind.NUMBER,
    "EnableTagOverride": Kind.FLAG,
    "ProxyDestination": Kind.TEXT,
    "Proxy": Kind.OPEN,
    "TaggedAddresses": Kind.OPEN,
    "SocketPath": Kind.TEXT,
    **_under("Connect", _CONNECT),
    **_INDEXES,
}

#: ``/v1/catalog/nodes``.
CATALOG_NODES: Final[Fields] = {
    "ID": Kind.TEXT,
    "Node": Kind.TEXT,
    "Address": Kind.TEXT,
    "Datacenter": Kind.TEXT,
    "TaggedAddresses": Kind.MAP,
    "Meta": Kind.MAP,
    **_INDEXES,
}
#: ``/v1/catalog/service/:service`` and ``/v1/catalog/connect/:service``.
CATALOG_SERVICE: Final[Fields] = {
    **{name: kind for name, kind in CATALOG_NODES.items() if name != "Meta"},
    "NodeMeta": Kind.MAP,
    "ServiceKind": Kind.TEXT,
    "ServiceID": Kind.TEXT,
    "ServiceName": Kind.TEXT,
    "ServiceTags": Kind.LIST,
    "ServiceAddress": Kind.TEXT,
    "ServicePort": Kind.NUMBER,
    "ServiceMeta": Kind.MAP,
    "ServiceWeights.Passing": Kind.NUMBER,
    "ServiceWeights.Warning": Kind.NUMBER,
    "ServiceEnableTagOverride": Kind.FLAG,
    "ServiceProxyDestination": Kind.TEXT,
    "ServiceProxy": Kind.OPEN,
    "ServiceTaggedAddresses": Kind.OPEN,
    "ServiceSocketPath": Kind.TEXT,
    **_under("ServiceConnect", _CONNECT),
}
#: ``/v1/catalog/gateway-services/:gateway``.
GATEWAY_SERVICES: Final[Fields] = {
    "Gateway.Name": Kind.TEXT,
    "Service.Name": Kind.TEXT,
    "GatewayKind": Kind.TEXT,
    "Port": Kind.NUMBER,
    "Protocol": Kind.TEXT,
    "Hosts": Kind.LIST,
    "CAFile": Kind.TEXT,
    "CertFile": Kind.TEXT,
    "KeyFile": Kind.TEXT,
    "SNI": Kind.TEXT,
    "FromWildcard": Kind.FLAG,
    **_INDEXES,
}
#: The services of ``/v1/catalog/node/:node``.
CATALOG_NODE_SERVICES: Final[Fields] = _SERVICE
#: ``/v1/agent/services``.
AGENT_SERVICES: Final[Fields] = {**_SERVICE, "Datacenter": Kind.TEXT}
#: ``/v1/health/node``, ``/v1/health/checks`` and ``/v1/health/state``.
HEALTH_CHECKS: Final[Fields] = {
    "Node": Kind.TEXT,
    "CheckID": Kind.TEXT,
    "Name": Kind.TEXT,
    "Status": Kind.TEXT,
    "Notes": Kind.TEXT,
    "Output": Kind.TEXT,
    "ServiceID": Kind.TEXT,
    "ServiceName": Kind.TEXT,
    "ServiceTags": Kind.LIST,
    "Definition": Kind.OPEN,
    **_INDEXES,
}
#: ``/v1/agent/checks``.
AGENT_CHECKS: Final[Fields] = HEALTH_CHECKS
#: ``/v1/health/service/:service`` and ``/v1/health/connect/:service``.
HEALTH_SERVICE: Final[Fields] = {
    **_under("Node", CATALOG_NODES),
    **_under("Service", _SERVICE),
    **_under("Checks", HEALTH_CHECKS),
}
