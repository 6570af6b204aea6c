"""A server with its state in memory, for the agents' side: Consul's bodies in, Consul's replies out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from meshnode.acl.authorizer import ALLOW_ALL
from meshnode.base.errors import MeshError
from meshnode.catalog import queries
from meshnode.catalog.model import Check, Node, Service
from meshnode.control.endpoints.table import METHODS
from meshnode.control.machine import StateMachine
from meshnode.control.method import Moment, ReadMethod, WriteMethod

NODE_ID = "40e4a748-2192-161a-0510-9bf59fe950b5"
NODE = Node("web1", "10.0.0.1", NODE_ID, "dc1", {"lan": "10.0.0.1"}, {"rack": "r1"})
NOW = Moment(7.0, lambda: "id")


class CatalogServer:
    """``refuse``: method -> the sentence it is refused with. ``calls`` are methods and bodies, in order."""

    def __init__(self) -> None:
        self.machine = StateMachine()
        self.index = 0
        self.calls: list[tuple[str, dict[str, Any]]] = []
        self.refuse: dict[str, str] = {}
        self.authorizer = ALLOW_ALL

    @property
    def catalog(self) -> Any:
        return self.machine.catalog

    def call(self, method: str, body: Mapping[str, Any]) -> Any:
        self.calls.append((method, dict(body)))
        if method in self.refuse:
            raise MeshError(self.refuse[method])
        found = METHODS[method]
        if isinstance(found, ReadMethod):
            index, reply = found.read(self.machine, body, self.authorizer)
            return {**reply, "Index": index}
        assert isinstance(found, WriteMethod)
        command = found.plan(self.machine, body, self.authorizer, NOW)
        return found.reply(self.machine, self.machine.apply(self.next(), command))

    def next(self) -> int:
        self.index += 1
        return self.index

    def services(self, node: str = NODE.name) -> dict[str, Service]:
        dump = queries.node_services(self.catalog, node)[1]
        return {} if dump is None else {service.id: service for service in dump.services}

    def checks(self, node: str = NODE.name) -> dict[str, Check]:
        return {check.check_id: check for check in queries.node_checks(self.catalog, node)[1]}

    def methods(self) -> list[str]:
        return [method for method, _ in self.calls]
