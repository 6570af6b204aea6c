"""Instances to dial in what ``/v1/health/connect/:service`` and ``/v1/query/:id/execute`` answer. No I/O in here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from meshnode.base.errors import MeshError, RemoteProtocolError
from meshnode.base.spiffe import ServiceId
from meshnode.proxy.balance import Instance

__all__ = ["instances_of_query", "instances_of_service"]

_PASSING: Final = "passing"
#: The check that the servers make of gossip's word on a node, and nobody else.
_GOSSIP: Final = "serfHealth"
#: Stands for several services, each with that one's own leaf.
_GATEWAY: Final = "terminating-gateway"


def instances_of_service(
    answer: Any, service: str, *, trust_domain: str, datacenter: str
) -> tuple[Instance, ...]:
    """From an answer about ``service``: each must prove to be that service, whatever its row says.

    ``datacenter`` is that of rows that name none. A row without a usable address and port is left out; raises
    :class:`MeshError` when the answer is no list of rows.
    """
    found = (_instance(row, service, trust_domain, datacenter) for row in _rows(answer))
    return tuple(instance for instance in found if instance is not None)


def instances_of_query(answer: Any, *, trust_domain: str, datacenter: str) -> tuple[Instance, ...]:
    """From the answer of a prepared query: each must prove to be the service that its row is about.

    The order of the answer is kept, since a query may sort by distance.
    """
    if not isinstance(answer, Mapping):
        raise MeshError("the answer of the prepared query is not an object")
    where = _text(answer, "Datacenter") or datacenter
    found = []
    for rank, row in enumerate(_rows(answer.get("Nodes") or [])):
        service = _destination(_object(row, "Service"))
        instance = _instance(row, service, trust_domain, where, distance=float(rank)) if service else None
        if instance is not None:
            found.append(instance)
    return tuple(found)


def _instance(
    row: Mapping[str, Any], service: str, trust_domain: str, datacenter: str, *, distance: float = 0.0
) -> Instance | None:
    node, registered = _object(row, "Node"), _object(row, "Service")
    address = _text(registered, "Address") or _text(node, "Address")
    port = registered.get("Port")
    if not address or not isinstance(port, int) or not 0 < port < 65536:
        return None
    try:
        identity = ServiceId(trust_domain, _text(node, "Datacenter") or datacenter, service)
    except RemoteProtocolError:
        return None
    checks = row.get("Checks") or []
    if not isinstance(checks, list):
        raise MeshError("an instance's Checks are not a list")
    failing = [
        check for check in checks if not (isinstance(check, Mapping) and check.get("Status") == _PASSING)
    ]
    lost = bool(failing) and all(isinstance(check, Mapping) and _is_gossip(check) for check in failing)
    asked = identity.server_name if _text(registered, "Kind") == _GATEWAY else ""
    return Instance(address, port, str(identity), distance, not failing, asked, lost)


def _is_gossip(check: Mapping[str, Any]) -> bool:
    # Somebody's service may have a check of that name.
    return check.get("CheckID") == _GOSSIP and not check.get("ServiceID")


def _destination(service: Mapping[str, Any]) -> str:
    """The service that a row stands for: a proxy's destination, or itself when it is native."""
    if _text(service, "Kind") != "connect-proxy":
        return _text(service, "Service")
    # Consul 1.2 has the first, later ones the second.
    return _text(service, "ProxyDestination") or _text(_object(service, "Proxy"), "DestinationServiceName")


def _rows(answer: Any) -> list[Mapping[str, Any]]:
    if answer is None:
        return []
    if not isinstance(answer, list) or not all(isinstance(row, Mapping) for row in answer):
        raise MeshError("the answer is not a list of instances")
    return answer


def _object(row: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = row.get(name)
    return value if isinstance(value, Mapping) else {}


def _text(row: Mapping[str, Any], name: str) -> str:
    value = row.get(name)
    return value if isinstance(value, str) else ""
