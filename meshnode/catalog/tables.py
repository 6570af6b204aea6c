"""The rows of the catalog, their secondary indexes, and the index of the log at which each last changed.

Keys are the lower case of names and ids, as in Consul. A row is replaced, never changed, so that a reader or a snapshot
may keep it. Each put and drop keeps every index right, notes the watch keys that it touched, and moves:

- ``nodes_index``, ``services_index``, ``checks_index``: the tables;
- ``name_index[service]``: anything that ``/health/service/:service`` shows of it, the node and its checks included;
- ``connect_index[service]``: the same for its Connect endpoints.

The index of a service is dropped with its last instance; readers then get the tables' last index, which that drop has
moved past it, so an index never goes backwards and names don't pile up.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from sortedcontainers import SortedList  # type: ignore[import-untyped]

from meshnode.catalog.coordinates import Coordinates
from meshnode.catalog.model import ANY, STATES, TERMINATING_GATEWAY, Check, Node, Service

__all__ = ["NodeRow", "RowKey", "Tables", "WatchKey"]

#: The first part says what kind of query it is, the others which one; see ``control.watch``.
WatchKey = tuple[str, ...]
#: (node, service id) or (node, check id), both lower case.
RowKey = tuple[str, str]
_GATEWAYS: Final[WatchKey] = ("gateways",)


class NodeRow:
    """A node and what is on it; keys are lower case. ``checks_of`` groups checks by service id, ``""``: the node's."""

    __slots__ = ("checks", "checks_of", "node", "services")

    def __init__(self, node: Node) -> None:
        self.node = node
        self.services: dict[str, Service] = {}
        self.checks: dict[str, Check] = {}
        self.checks_of: dict[str, dict[str, Check]] = {}


class Tables:
    """All rows. ``touched`` is shared: whoever made it reads from it what changed."""

    def __init__(self, touched: set[WatchKey]) -> None:
        self.touched: Final = touched
        self.nodes: Final[dict[str, NodeRow]] = {}
        self.node_keys: Final[Any] = SortedList()
        self.node_ids: Final[dict[str, str]] = {}
        self.by_name: Final[dict[str, dict[RowKey, Service]]] = {}
        self.by_connect: Final[dict[str, dict[RowKey, Service]]] = {}
        #: The instances of terminating gateways.
        self.gateways: Final[set[RowKey]] = set()
        self.by_state: Final[dict[str, dict[RowKey, Check]]] = {state: {} for state in STATES}
        self.coordinates: Final = Coordinates()
        self.nodes_index = 0
        self.services_index = 0
        self.checks_index = 0
        self.name_index: Final[dict[str, int]] = {}
        self.connect_index: Final[dict[str, int]] = {}

    def rows(self) -> Iterable[NodeRow]:
        """Every node, by name."""
        return map(self.nodes.__getitem__, self.node_keys)

    # Nodes

    def put_node(self, index: int, node: Node) -> NodeRow:
        """Insert or replace a node, keeping what is on it."""
        row = self._store_node(node)
        self._touch_node(index, node.name.lower())
        for service in row.services.values():
            self._bump(index, service)
        return row

    def drop_node(self, index: int, key: str) -> None:
        """Remove a node; its services and checks have been dropped before."""
        row = self.nodes.pop(key)
        self.node_keys.remove(key)
        if row.node.id:
            self.node_ids.pop(row.node.id.lower(), None)
        self._touch_node(index, key)
        if self.coordinates.drop(key):
            self.coordinates.index = index
            self.touched.update({("coordinates",), ("coordinate", key)})

    def _store_node(self, node: Node) -> NodeRow:
        key = node.name.lower()
        row = self.nodes.get(key)
        if row is None:
            row = self.nodes[key] = NodeRow(node)
            self.node_keys.add(key)
        elif row.node.id:
            self.node_ids.pop(row.node.id.lower(), None)
        row.node = node
        if node.id:
            self.node_ids[node.id.lower()] = key
        return row

    def _touch_node(self, index: int, key: str) -> None:
        self.nodes_index = index
        self.touched.add(("nodes",))
        self.touched.add(("node", key))

    # Services

    def put_service(self, index: int, node_key: str, service: Service) -> None:
        """Insert or replace a service of a node that is there."""
        old = self._store_service(node_key, service)
        self._touch_service(index, node_key, service)
        if old is not None and (old.name, old.connect_name) != (service.name, service.connect_name):
            self._bump(index, old)

    def drop_service(self, index: int, node_key: str, service_key: str) -> None:
        """Remove a service; its checks have been dropped before."""
        service = self.nodes[node_key].services.pop(service_key)
        self._unlist_service((node_key, service_key), service)
        self._touch_service(index, node_key, service)

    def _store_service(self, node_key: str, service: Service) -> Service | None:
        row_key = (node_key, service.id.lower())
        services = self.nodes[node_key].services
        old = services.get(row_key[1])
        if old is not None:
            self._unlist_service(row_key, old)
        services[row_key[1]] = service
        if service.kind == TERMINATING_GATEWAY:
            self.gateways.add(row_key)
        self._note_name(service.name.lower())
        self.by_name.setdefault(service.name.lower(), {})[row_key] = service
        if connect := service.connect_name.lower():
            self.by_connect.setdefault(connect, {})[row_key] = service
        return old

    def _note_name(self, name: str) -> None:
        """A gateway may lead to every name that there is: those who look for gateways want to know of each."""
        if self.gateways and name not in self.by_name:
            self.touched.add(_GATEWAYS)

    def _unlist_service(self, row_key: RowKey, service: Service) -> None:
        self.gateways.discard(row_key)
        for table, name in (
            (self.by_name, service.name.lower()),
            (self.by_connect, service.connect_name.lower()),
        ):
            if name and (instances := table.get(name)) is not None:
                instances.pop(row_key, None)
                if not instances:
                    del table[name]
                    self._note_name(name)

    def _touch_service(self, index: int, node_key: str, service: Service) -> None:
        self.services_index = index
        self.touched.add(("services",))
        self.touched.add(("node", node_key))
        self._bump(index, service)

    def _bump(self, index: int, service: Service) -> None:
        name, connect = service.name.lower(), service.connect_name.lower()
        if name in self.by_name:
            self.name_index[name] = index
        else:
            self.name_index.pop(name, None)
        self.touched.add(("service", name))
        if service.kind == TERMINATING_GATEWAY:
            self.touched.add(_GATEWAYS)
        if connect:
            if connect in self.by_connect:
                self.connect_index[connect] = index
            else:
                self.connect_index.pop(connect, None)
            self.touched.add(("connect", connect))

    # Checks

    def put_check(self, index: int, node_key: str, check: Check) -> None:
        """Insert or replace a check of a node, and of a service, that are there."""
        old = self._store_check(node_key, check)
        self._touch_check(index, node_key, check)
        if old is not None:
            self.touched.add(("checks", old.status))
            if old.service_id.lower() != check.service_id.lower():
                self._touch_check(index, node_key, old)

    def drop_check(self, index: int, node_key: str, check_key: str) -> None:
        """Remove a check."""
        check = self.nodes[node_key].checks.pop(check_key)
        self._unlist_check((node_key, check_key), check)
        self._touch_check(index, node_key, check)

    def _store_check(self, node_key: str, check: Check) -> Check | None:
        row = self.nodes[node_key]
        row_key = (node_key, check.check_id.lower())
        old = row.checks.get(row_key[1])
        if old is not None:
            self._unlist_check(row_key, old)
        row.checks[row_key[1]] = check
        row.checks_of.setdefault(check.service_id.lower(), {})[row_key[1]] = check
        self.by_state[check.status][row_key] = check
        return old

    def _unlist_check(self, row_key: RowKey, check: Check) -> None:
        del self.by_state[check.status][row_key]
        checks_of = self.nodes[row_key[0]].checks_of
        service_key = check.service_id.lower()
        del checks_of[service_key][row_key[1]]
        if not checks_of[service_key]:
            del checks_of[service_key]

    def _touch_check(self, index: int, node_key: str, check: Check) -> None:
        self.checks_index = index
        self.touched.update({("checks", check.status), ("checks", ANY), ("node", node_key)})
        services = self.nodes[node_key].services
        if not check.service_id:
            for service in services.values():
                self._bump(index, service)
        elif (one := services.get(check.service_id.lower())) is not None:
            self._bump(index, one)

    # Restoring

    def load_node(self, node: Node, services: Iterable[Service], checks: Iterable[Check]) -> None:
        """Put back a node from a snapshot: no index moves and nothing is touched."""
        key = node.name.lower()
        self._store_node(node)
        for service in services:
            self._store_service(key, service)
        for check in checks:
            self._store_check(key, check)
