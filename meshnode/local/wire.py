"""This node, its services and checks as bodies and replies of a server's methods, with Consul's Go field names.

``Catalog.Register`` and ``Catalog.Deregister`` are written, the replies of ``Catalog.NodeServices`` and
``Health.NodeChecks`` are read. Source: Consul 1.2.3, agent/structs.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from meshnode.base.errors import RemoteProtocolError
from meshnode.base.json_fields import JsonFields
from meshnode.catalog.model import STATES, Check, CheckDefinition, Node, Service, Weights
from meshnode.local.proxy import canonical_proxy, without_empty

__all__ = [
    "deregistration",
    "parse_node_checks",
    "parse_node_services",
    "registration",
    "service_body",
]

#: Numbers that Consul's structs hold for the ways to start a managed proxy.
_EXEC_MODES: Final = {0: "", 1: "daemon", 2: "script"}


class _ReplyFields(JsonFields):
    __slots__ = ()

    def error(self, message: str) -> Exception:
        return RemoteProtocolError(f"the server's answer can't be read: {message}")


def registration(
    node: Node, service: Service | None, checks: Iterable[Check], token: str, *, skip_node_update: bool
) -> dict[str, Any]:
    """A body of ``Catalog.Register``."""
    body: dict[str, Any] = {
        "Datacenter": node.datacenter,
        "ID": node.id,
        "Node": node.name,
        "Address": node.address,
        "TaggedAddresses": dict(node.tagged_addresses),
        "NodeMeta": dict(node.meta),
        "SkipNodeUpdate": skip_node_update,
        "Token": token,
    }
    if service is not None:
        body["Service"] = service_body(service)
    if bodies := [_check_body(check) for check in checks]:
        body["Checks"] = bodies
    return body


def deregistration(node: Node, token: str, *, service_id: str = "", check_id: str = "") -> dict[str, Any]:
    """A body of ``Catalog.Deregister``."""
    return {
        "Datacenter": node.datacenter,
        "Node": node.name,
        "ServiceID": service_id,
        "CheckID": check_id,
        "Token": token,
    }


def service_body(service: Service) -> dict[str, Any]:
    """``structs.NodeService``."""
    connect: dict[str, Any] = {"Native": service.native}
    if service.managed_proxy is not None:
        connect["Proxy"] = dict(service.managed_proxy)
    body: dict[str, Any] = {
        "Kind": service.kind,
        "ID": service.id,
        "Service": service.name,
        "Tags": list(service.tags),
        "Address": service.address,
        "Meta": dict(service.meta),
        "Port": service.port,
        "Weights": {"Passing": service.weights.passing, "Warning": service.weights.warning},
        "EnableTagOverride": service.enable_tag_override,
        "ProxyDestination": service.proxy_destination,
        "Connect": connect,
    }
    if service.proxy is not None:
        body["Proxy"] = dict(service.proxy)
    return body


def _check_body(check: Check) -> dict[str, Any]:
    """``structs.HealthCheck``; how an agent runs its checks stays with the agent."""
    return {
        "Node": check.node,
        "CheckID": check.check_id,
        "Name": check.name,
        "Status": check.status,
        "Notes": check.notes,
        "Output": check.output,
        "ServiceID": check.service_id,
        "ServiceName": check.service_name,
        "ServiceTags": list(check.service_tags),
        "Definition": {},
    }


def parse_node_services(reply: Any) -> tuple[Node | None, list[Service]]:
    """``structs.IndexedNodeServices``: the node, or ``None`` when the catalog doesn't have it, and its services.

    Raises :class:`RemoteProtocolError` for anything else.
    """
    found = _top(reply).object("NodeServices")
    if found is None:
        return None, []
    node = found.object("Node")
    if node is None:
        return None, []
    services = found.object("Services") or _ReplyFields({})
    parts = [services.object(service_id) for service_id in services.obj]
    return _node(node), [_service(part) for part in parts if part is not None]


def parse_node_checks(reply: Any) -> list[Check]:
    """``structs.IndexedHealthChecks``; raises :class:`RemoteProtocolError` for anything else."""
    return [_check(part) for part in _top(reply).objects("HealthChecks")]


def _top(reply: Any) -> _ReplyFields:
    if not isinstance(reply, Mapping):
        raise RemoteProtocolError(f"the server's answer can't be read: it is a {type(reply).__name__}")
    return _ReplyFields(reply)


def _node(fields: _ReplyFields) -> Node:
    return Node(
        name=fields.text("Node"),
        address=fields.text("Address"),
        id=fields.text("ID"),
        datacenter=fields.text("Datacenter"),
        tagged_addresses=fields.text_map("TaggedAddresses"),
        meta=fields.text_map("Meta"),
    )


def _service(fields: _ReplyFields) -> Service:
    connect = fields.object("Connect") or _ReplyFields({})
    weights = fields.object("Weights")
    return Service(
        name=fields.text("Service"),
        id=fields.text("ID"),
        kind=fields.text("Kind"),
        tags=fields.strings("Tags"),
        address=fields.text("Address"),
        port=fields.integer("Port"),
        meta=fields.text_map("Meta"),
        weights=Weights(weights.integer("Passing"), weights.integer("Warning")) if weights else Weights(),
        enable_tag_override=fields.boolean("EnableTagOverride"),
        proxy_destination=fields.text("ProxyDestination"),
        native=connect.boolean("Native"),
        managed_proxy=_managed(connect.object("Proxy")),
        proxy=_proxy(fields.object("Proxy")),
    )


def _managed(fields: _ReplyFields | None) -> dict[str, Any] | None:
    if fields is None:
        return None
    mode, config = fields.value("ExecMode"), fields.object("Config")
    body = {
        "ExecMode": _EXEC_MODES.get(mode, "") if isinstance(mode, int) else fields.text("ExecMode"),
        "Command": list(fields.strings("Command")),
        "Config": dict(config.obj) if config is not None else {},
    }
    return without_empty(body)


def _proxy(fields: _ReplyFields | None) -> dict[str, Any] | None:
    # A server of 1.3 and later sends an empty structure where there is none.
    if fields is None or not any(fields.obj.values()):
        return None
    return canonical_proxy({**fields.obj, "Upstreams": [part.obj for part in fields.objects("Upstreams")]})


def _check(fields: _ReplyFields) -> Check:
    status = fields.text("Status")
    if status not in STATES:
        fields.refuse("Status", f"is none of {', '.join(STATES)}")
    return Check(
        node=fields.text("Node"),
        check_id=fields.text("CheckID"),
        name=fields.text("Name"),
        status=status,
        notes=fields.text("Notes"),
        output=fields.text("Output"),
        service_id=fields.text("ServiceID"),
        service_name=fields.text("ServiceName"),
        service_tags=fields.strings("ServiceTags"),
        definition=_definition(fields.object("Definition")),
    )


def _definition(fields: _ReplyFields | None) -> CheckDefinition:
    if fields is None:
        return CheckDefinition()
    return CheckDefinition(
        http=fields.text("HTTP"),
        tls_skip_verify=fields.boolean("TLSSkipVerify"),
        header=fields.lists_map("Header"),
        method=fields.text("Method"),
        tcp=fields.text("TCP"),
        interval=fields.duration("Interval"),
        timeout=fields.duration("Timeout"),
        deregister_critical_service_after=fields.duration("DeregisterCriticalServiceAfter"),
    )
