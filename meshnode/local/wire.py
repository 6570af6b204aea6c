"""The node, its services and checks as bodies and replies of a server's methods.

``Catalog.Register`` and ``Catalog.Deregister`` are written, the replies of ``Catalog.NodeServices`` and
``Health.NodeChecks`` are read. Source: Consul 1.2.3, agent/structs.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from meshnode.catalog.model import STATES, Check, CheckDefinition, Node, Service
from meshnode.catalog.store import Registration
from meshnode.catalog.wire import registration_fields
from meshnode.catalog.wire_parse import ReplyFields, parse_check, parse_node, parse_service

__all__ = ["deregistration", "parse_node_checks", "parse_node_services", "registration"]


def registration(
    node: Node, service: Service | None, checks: Iterable[Check], token: str, *, skip_node_update: bool
) -> dict[str, Any]:
    """A body of ``Catalog.Register``; how an agent runs its checks stays with the agent."""
    told = tuple(replace(check, definition=CheckDefinition()) for check in checks)
    wanted = Registration(node, service, told, skip_node_update=skip_node_update)
    return {**registration_fields(wanted), "Token": token}


def deregistration(node: Node, token: str, *, service_id: str = "", check_id: str = "") -> dict[str, Any]:
    """A body of ``Catalog.Deregister``."""
    return {
        "Datacenter": node.datacenter,
        "Node": node.name,
        "ServiceID": service_id,
        "CheckID": check_id,
        "Token": token,
    }


def parse_node_services(reply: Any) -> tuple[Node | None, list[Service]]:
    """``structs.IndexedNodeServices``: the node, or ``None`` when the catalog doesn't have it, and its services.

    Raises :class:`RemoteProtocolError` for anything else.
    """
    found = ReplyFields.of(reply).object("NodeServices")
    node = found.object("Node") if found is not None else None
    if found is None or node is None:
        return None, []
    services = found.object("Services") or ReplyFields({})
    parts = [services.object(service_id) for service_id in services.obj]
    return parse_node(node), [parse_service(part) for part in parts if part is not None]


def parse_node_checks(reply: Any) -> list[Check]:
    """``structs.IndexedHealthChecks``; raises :class:`RemoteProtocolError` for anything else."""
    return [_check(part) for part in ReplyFields.of(reply).objects("HealthChecks")]


def _check(fields: ReplyFields) -> Check:
    check = parse_check(fields)
    if check.status not in STATES:
        fields.refuse("Status", f"is none of {', '.join(STATES)}")
    return check
