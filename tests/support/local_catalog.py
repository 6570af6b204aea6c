"""A server with a catalog in memory, for the agents' side: takes Consul's bodies, answers with Consul's replies."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from meshnode.base.errors import MeshError
from meshnode.catalog import queries
from meshnode.catalog.model import Check, Node, Service, Weights
from meshnode.catalog.store import Catalog, Registration

NODE_ID = "40e4a748-2192-161a-0510-9bf59fe950b5"
NODE = Node("web1", "10.0.0.1", NODE_ID, "dc1", {"lan": "10.0.0.1"}, {"rack": "r1"})


class CatalogServer:
    """``refuse``: method or (method, id) -> the sentence it is refused with. ``calls`` are the bodies, in order."""

    def __init__(self) -> None:
        self.catalog = Catalog(set())
        self.index = 0
        self.calls: list[tuple[str, dict[str, Any]]] = []
        self.refuse: dict[str, str] = {}

    def call(self, method: str, body: Mapping[str, Any]) -> Any:
        self.calls.append((method, dict(body)))
        if method in self.refuse:
            raise MeshError(self.refuse[method])
        name = str(body.get("Node", ""))
        if method == "Catalog.Register":
            return self.write(self.catalog.register(self.next(), registration_of(body)))
        if method == "Catalog.Deregister":
            wanted = (name, str(body.get("ServiceID", "")), str(body.get("CheckID", "")))
            return self.write(self.catalog.deregister(self.next(), *wanted))
        if method == "Catalog.NodeServices":
            index, dump = queries.node_services(self.catalog, name)
            found = None if dump is None else {
                "Node": node_reply(dump.node),
                "Services": {service.id: service_reply(service) for service in dump.services},
            }  # fmt: skip
            return {"Index": index, "NodeServices": found}
        assert method == "Health.NodeChecks", method
        index, checks = queries.node_checks(self.catalog, name)
        return {"Index": index, "HealthChecks": [check_reply(check) for check in checks]}

    def next(self) -> int:
        self.index += 1
        return self.index

    def write(self, written: Any) -> None:
        if written.fault:
            raise MeshError(written.fault)

    def services(self, node: str = NODE.name) -> dict[str, Service]:
        dump = queries.node_services(self.catalog, node)[1]
        return {} if dump is None else {service.id: service for service in dump.services}

    def checks(self, node: str = NODE.name) -> dict[str, Check]:
        return {check.check_id: check for check in queries.node_checks(self.catalog, node)[1]}

    def methods(self) -> list[str]:
        return [method for method, _ in self.calls]


def registration_of(body: Mapping[str, Any]) -> Registration:
    names = ("Node", "Address", "ID", "Datacenter", "TaggedAddresses", "NodeMeta")
    node = Node(*[body[name] for name in names])
    service = service_of(body["Service"]) if body.get("Service") else None
    checks = tuple(check_of(check) for check in body.get("Checks", ()))
    return Registration(node, service, checks, skip_node_update=body["SkipNodeUpdate"])


def service_of(body: Mapping[str, Any]) -> Service:
    return Service(
        name=body["Service"],
        id=body["ID"],
        kind=body["Kind"],
        tags=tuple(body["Tags"]),
        address=body["Address"],
        port=body["Port"],
        meta=body["Meta"],
        weights=Weights(body["Weights"]["Passing"], body["Weights"]["Warning"]),
        enable_tag_override=body["EnableTagOverride"],
        proxy_destination=body["ProxyDestination"],
        native=body["Connect"]["Native"],
        managed_proxy=body["Connect"].get("Proxy"),
        proxy=body.get("Proxy"),
    )


def check_of(body: Mapping[str, Any]) -> Check:
    names = ("Node", "CheckID", "Name", "Status", "Notes", "Output", "ServiceID")
    return Check(*[body[name] for name in names])


def node_reply(node: Node) -> dict[str, Any]:
    return {"ID": node.id, "Node": node.name, "Address": node.address, "Datacenter": node.datacenter,
            "TaggedAddresses": dict(node.tagged_addresses), "Meta": dict(node.meta), "CreateIndex": node.create_index,
            "ModifyIndex": node.modify_index}  # fmt: skip


def service_reply(service: Service) -> dict[str, Any]:
    connect: dict[str, Any] = {"Native": service.native, "Proxy": service.managed_proxy}
    return {"Kind": service.kind, "ID": service.id, "Service": service.name, "Tags": list(service.tags) or None,
            "Address": service.address, "Meta": dict(service.meta) or None, "Port": service.port,
            "Weights": {"Passing": service.weights.passing, "Warning": service.weights.warning},
            "EnableTagOverride": service.enable_tag_override, "ProxyDestination": service.proxy_destination,
            "Connect": connect, "Proxy": service.proxy, "CreateIndex": service.create_index,
            "ModifyIndex": service.modify_index}  # fmt: skip


def check_reply(check: Check) -> dict[str, Any]:
    run = check.definition
    return {"Node": check.node, "CheckID": check.check_id, "Name": check.name, "Status": check.status,
            "Notes": check.notes, "Output": check.output, "ServiceID": check.service_id,
            "ServiceName": check.service_name, "ServiceTags": list(check.service_tags),
            "Definition": {"HTTP": run.http, "TCP": run.tcp, "Interval": round(run.interval * 1_000_000_000)},
            "CreateIndex": check.create_index, "ModifyIndex": check.modify_index}  # fmt: skip
