"""The writes of the catalog: a registration is checked whole before anything changes; it happens whole or not at all.

Semantics of Consul 1.2.3 (agent/consul/state/catalog.go), with these differences, each for the reader's sake:

- a check that is registered again unchanged keeps its index (1.2.3 moves it each time; later versions don't);
- a registration without a node id keeps the id that the node has (Consul forgets it until the agent's next sync);
- when a service changes its name or tags, its checks follow at once (Consul's wait to be registered again);
- a status must be passing, warning or critical (Consul stores any text and then can't find it).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from meshnode.catalog.coordinates import NodeCoordinate
from meshnode.catalog.model import CRITICAL, SERF_CHECK_ID, Check, Node, Service
from meshnode.catalog.tables import NodeRow, Tables, WatchKey
from meshnode.catalog.validate import check_fault, node_fault, service_fault

__all__ = ["Catalog", "Registration", "Written"]


@dataclass(frozen=True, slots=True)
class Registration:
    """What ``PUT /v1/catalog/register`` asks for: a node, and perhaps a service and checks on it.

    ``skip_node_update``: when the node is there, leave it as it is.
    """

    node: Node
    service: Service | None = None
    checks: tuple[Check, ...] = ()
    skip_node_update: bool = False


@dataclass(slots=True)
class Written:
    """How a write went. ``fault`` is empty, or says why nothing changed.

    ``lost_checks``: (node, check id), lower case, that turned critical or went away; ``lost_nodes`` went away.
    Sessions that rely on them end.
    """

    fault: str = ""
    lost_checks: list[tuple[str, str]] = field(default_factory=list)
    lost_nodes: list[str] = field(default_factory=list)


class Catalog:
    """Nodes, services, checks and coordinates. ``touched`` collects the watch keys of what changes."""

    def __init__(self, touched: set[WatchKey]) -> None:
        self.tables = Tables(touched)

    # Registering

    def register(self, index: int, wanted: Registration) -> Written:
        """Upsert; what is already so keeps its indexes."""
        tables, written = self.tables, Written()
        node, service, checks = _normalized(wanted)
        key = node.name.lower()
        row = tables.nodes.get(key)
        if row is not None and not node.id:
            node = replace(node, id=row.node.id)
        update = row is None or not (wanted.skip_node_update or row.node.same_as(node))
        renamed = self._renamed(node) if update else None
        written.fault = (
            node_fault(node, skip_node_update=wanted.skip_node_update)
            or (service_fault(service, node.name) if service is not None else "")
            or (self._name_fault(node, row) if update else "")
            or _checks_fault(node, service, checks, None if renamed == key else row)
        )
        if written.fault:
            return written
        if update:
            self._put_node(index, node, renamed, written)
        if service is not None:
            self._put_service(index, key, service)
        for check in checks:
            self._put_check(index, key, check, written)
        return written

    def _renamed(self, node: Node) -> str | None:
        """The key under which the node with this id is known, when its name is another."""
        known = self.tables.node_ids.get(node.id.lower()) if node.id else None
        return known if known is not None and self.tables.nodes[known].node.name != node.name else None

    def _name_fault(self, node: Node, holder: NodeRow | None) -> str:
        """The rules of Consul for who may have a name: a node may take one from a node without an id only when its
        own id is new, and from a node with another id only when gossip has seen that one fail: it was made again."""
        if not node.id or holder is None or holder.node.id.lower() == node.id.lower():
            return ""
        if _has_failed(holder):
            return ""
        known = node.id.lower() in self.tables.node_ids
        if not holder.node.id and not known:
            return ""
        owner = f"node {holder.node.id or '(no ID)'} with name {holder.node.name}"
        return (
            f'failed inserting node: Error while renaming Node ID: "{node.id}": '
            f"Node name {node.name} is reserved by {owner}"
        )

    def _put_node(self, index: int, node: Node, renamed: str | None, written: Written) -> None:
        tables, key = self.tables, node.name.lower()
        before = tables.nodes.get(renamed if renamed is not None else key)
        if before is not None and renamed is None and _is_another(node, before.node):
            # What was on the machine that failed went with it.
            self._drop_node(index, key, written)
            before = None
        created = before.node.create_index if before is not None else index
        if renamed is not None:
            self._drop_node(index, renamed, written)
        tables.put_node(index, replace(node, create_index=created, modify_index=index))

    def _put_service(self, index: int, node_key: str, service: Service) -> None:
        row = self.tables.nodes[node_key]
        old = row.services.get(service.id.lower())
        if old is not None and old.same_as(service):
            return
        created = old.create_index if old is not None else index
        self.tables.put_service(index, node_key, replace(service, create_index=created, modify_index=index))
        if old is not None and (old.name, old.tags) != (service.name, service.tags):
            for check in list(row.checks_of.get(service.id.lower(), {}).values()):
                self._put_check(index, node_key, check, Written())

    def _put_check(self, index: int, node_key: str, check: Check, written: Written) -> None:
        row = self.tables.nodes[node_key]
        owner = row.services[check.service_id.lower()] if check.service_id else None
        check = replace(
            check,
            service_name=owner.name if owner is not None else "",
            service_tags=owner.tags if owner is not None else (),
        )
        old = row.checks.get(check.check_id.lower())
        if old is not None and old.same_as(check):
            return
        created = old.create_index if old is not None else index
        self.tables.put_check(index, node_key, replace(check, create_index=created, modify_index=index))
        if check.status == CRITICAL:
            written.lost_checks.append((node_key, check.check_id.lower()))

    # Deregistering

    def deregister(self, index: int, node: str, service_id: str = "", check_id: str = "") -> Written:
        """Remove a service if one is named, else a check if one is named, else the node; with all that is below.

        What isn't there is removed already.
        """
        written = Written()
        key = node.lower()
        row = self.tables.nodes.get(key)
        if not node:
            written.fault = "Must provide node"
        elif row is None:
            pass
        elif service_id:
            if service_id.lower() in row.services:
                self._drop_service(index, key, service_id.lower(), written)
        elif check_id:
            if check_id.lower() in row.checks:
                self._drop_check(index, key, check_id.lower(), written)
        else:
            self._drop_node(index, key, written)
        return written

    def _drop_node(self, index: int, key: str, written: Written) -> None:
        row = self.tables.nodes[key]
        for service_key in sorted(row.services):
            self._drop_service(index, key, service_key, written)
        for check_key in sorted(row.checks):
            self._drop_check(index, key, check_key, written)
        self.tables.drop_node(index, key)
        written.lost_nodes.append(key)

    def _drop_service(self, index: int, node_key: str, service_key: str, written: Written) -> None:
        for check_key in sorted(self.tables.nodes[node_key].checks_of.get(service_key, {})):
            self._drop_check(index, node_key, check_key, written)
        self.tables.drop_service(index, node_key, service_key)

    def _drop_check(self, index: int, node_key: str, check_key: str, written: Written) -> None:
        self.tables.drop_check(index, node_key, check_key)
        written.lost_checks.append((node_key, check_key))

    # Coordinates

    def update_coordinates(self, index: int, rows: Iterable[NodeCoordinate]) -> None:
        """Keep the coordinates of nodes that are registered; malformed ones and others are passed over."""
        tables = self.tables
        for row in rows:
            if row.coord.valid and row.node.lower() in tables.nodes:
                tables.coordinates.put(row)
                tables.coordinates.index = index
                tables.touched.update({("coordinates",), ("coordinate", row.node.lower())})


def _normalized(wanted: Registration) -> tuple[Node, Service | None, list[Check]]:
    """Fill in what Consul's endpoint fills in: ids from names, a check's node and status. Indexes are the store's."""
    node = replace(wanted.node, create_index=0, modify_index=0)
    service = wanted.service
    if service is not None:
        service = replace(service, id=service.id or service.name)
    checks = [
        replace(
            check,
            check_id=check.check_id or check.name,
            node=check.node or node.name,
            status=check.status or CRITICAL,
        )
        for check in wanted.checks
    ]
    return node, service, checks


def _is_another(node: Node, known: Node) -> bool:
    return bool(node.id and known.id) and node.id.lower() != known.id.lower()


def _has_failed(holder: NodeRow) -> bool:
    health = holder.checks.get(SERF_CHECK_ID.lower())
    return bool(holder.node.id) and health is not None and health.status == CRITICAL


def _checks_fault(node: Node, service: Service | None, checks: list[Check], row: NodeRow | None) -> str:
    for check in checks:
        if fault := check_fault(check, node.name):
            return fault
        wanted = check.service_id.lower()
        registered = service is not None and service.id.lower() == wanted
        if wanted and not registered and (row is None or wanted not in row.services):
            return f'failed inserting check: Missing service registration: "{check.service_id}" on node "{node.name}"'
    return ""
