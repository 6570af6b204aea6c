"""The reads of ``/v1/catalog``, ``/v1/health`` and ``/v1/coordinate``: (index, value), the value made of stored rows.

The index is the one that Consul 1.2.3 would answer, with three that are chosen so that no reader misses a change:

- of a service: the service's own while it has instances, else the tables' last one. It also moves with the node
  (Consul: not yet in 1.2.3), and ``/health/checks/:service`` uses it too (Consul: the table of checks);
- of Connect endpoints: an index of their own (1.2.3 uses that of the destination, which its proxies don't move);
- of a node that isn't there: that of the tables (1.2.3 answers without one).

It is never 0, and for one query it never goes backwards. Lists are ordered by node and id, lower case.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from meshnode.catalog.coordinates import NodeCoordinate
from meshnode.catalog.health import passing_only
from meshnode.catalog.model import ANY, Check, Instance, Node, NodeDump, Service
from meshnode.catalog.store import Catalog
from meshnode.catalog.tables import NodeRow, RowKey, Tables

__all__ = [
    "all_coordinates",
    "checks_in_state",
    "connect_instances",
    "dump",
    "node",
    "node_checks",
    "node_coordinates",
    "node_services",
    "nodes",
    "service_checks",
    "service_instances",
    "services",
]

_NO_META: Final[Mapping[str, str]] = {}
#: A shorter text isn't looked up as the start of a node id.
MIN_NODE_ID_CHARS: Final = 2


def nodes(catalog: Catalog, node_meta: Mapping[str, str] = _NO_META) -> tuple[int, list[Node]]:
    """``/catalog/nodes``: every node whose metadata has all pairs of ``node_meta``."""
    tables = catalog.tables
    return _index(tables.nodes_index), [r.node for r in tables.rows() if _has_meta(r.node, node_meta)]


def node(catalog: Catalog, name: str) -> tuple[int, Node | None]:
    """One node by name."""
    row = catalog.tables.nodes.get(name.lower())
    return _index(catalog.tables.nodes_index), row.node if row is not None else None


def services(
    catalog: Catalog, node_meta: Mapping[str, str] = _NO_META
) -> tuple[int, dict[str, tuple[str, ...]]]:
    """``/catalog/services``: names and the tags that any instance has, sorted."""
    tables = catalog.tables
    found: dict[str, set[str]] = {}
    if node_meta:
        rows = (row for row in tables.rows() if _has_meta(row.node, node_meta))
        listed: Iterable[Service] = (service for row in rows for service in row.services.values())
        index = _index(tables.services_index, tables.nodes_index)
    else:
        listed = (service for instances in tables.by_name.values() for service in instances.values())
        index = _index(tables.services_index)
    for service in listed:
        found.setdefault(service.name, set()).update(service.tags)
    return index, {name: tuple(sorted(found[name])) for name in sorted(found)}


def node_services(catalog: Catalog, name_or_id: str) -> tuple[int, NodeDump | None]:
    """``/catalog/node/:node``: a node, by name or by the start of its id if only one node's starts so; no checks."""
    tables = catalog.tables
    row = tables.nodes.get(name_or_id.lower()) or _by_id(tables, name_or_id)
    found = NodeDump(row.node, _sorted_services(row)) if row is not None else None
    return _index(tables.nodes_index, tables.services_index), found


def service_instances(
    catalog: Catalog,
    name: str,
    *,
    tag: str = "",
    node_meta: Mapping[str, str] = _NO_META,
    passing: bool = False,
    checks: bool = True,
) -> tuple[int, list[Instance]]:
    """``/health/service/:service``, and with ``checks=False`` ``/catalog/service/:service``.

    ``tag`` is compared without regard to case; ``passing`` leaves the instances whose every check passes.
    """
    tables, key = catalog.tables, name.lower()
    found = _instances(tables, tables.by_name.get(key, {}), tag, node_meta, checks=checks or passing)
    index = _service_index(tables, tables.name_index.get(key), checks=checks)
    return index, passing_only(found) if passing else found


def connect_instances(
    catalog: Catalog,
    name: str,
    *,
    tag: str = "",
    node_meta: Mapping[str, str] = _NO_META,
    passing: bool = False,
    checks: bool = True,
) -> tuple[int, list[Instance]]:
    """The endpoints that a Connect client of service ``name`` may use: its proxies and its native instances."""
    tables, key = catalog.tables, name.lower()
    found = _instances(tables, tables.by_connect.get(key, {}), tag, node_meta, checks=checks or passing)
    index = _service_index(tables, tables.connect_index.get(key), checks=checks)
    return index, passing_only(found) if passing else found


def node_checks(catalog: Catalog, name: str) -> tuple[int, list[Check]]:
    """``/health/node/:node``: its checks and those of its services."""
    row = catalog.tables.nodes.get(name.lower())
    return _index(catalog.tables.checks_index), list(_sorted_checks(row)) if row is not None else []


def service_checks(
    catalog: Catalog, name: str, node_meta: Mapping[str, str] = _NO_META
) -> tuple[int, list[Check]]:
    """``/health/checks/:service``: the checks of its instances, without those of the nodes."""
    tables, key = catalog.tables, name.lower()
    found: list[tuple[RowKey, Check]] = []
    for node_key, service_key in tables.by_name.get(key, {}):
        row = tables.nodes[node_key]
        if _has_meta(row.node, node_meta):
            own = row.checks_of.get(service_key, {})
            found += (((node_key, check_key), check) for check_key, check in own.items())
    found.sort(key=_row_key)
    index = _service_index(tables, tables.name_index.get(key), checks=True)
    return index, [check for _, check in found]


def checks_in_state(
    catalog: Catalog, state: str, node_meta: Mapping[str, str] = _NO_META
) -> tuple[int, list[Check]]:
    """``/health/state/:state``: ``any``, ``passing``, ``warning`` or ``critical``; nothing is in any other."""
    tables = catalog.tables
    if state == ANY:
        found = [check for row in tables.rows() for check in _sorted_checks(row)]
    else:
        found = [check for _, check in sorted(tables.by_state.get(state, {}).items(), key=_row_key)]
    if not node_meta:
        return _index(tables.checks_index), found
    fitting = [c for c in found if _has_meta(tables.nodes[c.node.lower()].node, node_meta)]
    return _index(tables.checks_index, tables.nodes_index), fitting


def dump(catalog: Catalog, name: str = "") -> tuple[int, list[NodeDump]]:
    """``/internal/ui/nodes`` and ``/internal/ui/node/:node``: one node, or all, with all that is on them."""
    tables = catalog.tables
    one = tables.nodes.get(name.lower())
    rows = ([one] if one is not None else []) if name else tables.rows()
    index = _index(tables.nodes_index, tables.services_index, tables.checks_index)
    return index, [NodeDump(row.node, _sorted_services(row), _sorted_checks(row)) for row in rows]


def all_coordinates(catalog: Catalog) -> tuple[int, list[NodeCoordinate]]:
    """``/coordinate/nodes``: by node and segment."""
    return _index(catalog.tables.coordinates.index), list(catalog.tables.coordinates)


def node_coordinates(catalog: Catalog, name: str) -> tuple[int, list[NodeCoordinate]]:
    """``/coordinate/node/:node``: one for each segment."""
    return _index(catalog.tables.coordinates.index), catalog.tables.coordinates.of_node(name)


def _index(*indexes: int) -> int:
    return max(1, *indexes)


def _service_index(tables: Tables, own: int | None, *, checks: bool) -> int:
    if own is not None:
        return own
    return _index(tables.nodes_index, tables.services_index, tables.checks_index if checks else 0)


def _instances(
    tables: Tables,
    instances: Mapping[RowKey, Service],
    tag: str,
    node_meta: Mapping[str, str],
    *,
    checks: bool,
) -> list[Instance]:
    found = []
    tag = tag.lower()
    for (node_key, service_key), service in sorted(instances.items(), key=_row_key):
        row = tables.nodes[node_key]
        if tag and tag not in {own.lower() for own in service.tags}:
            continue
        if node_meta and not _has_meta(row.node, node_meta):
            continue
        relevant = _by_key(row.checks_of.get("")) + _by_key(row.checks_of.get(service_key)) if checks else ()
        found.append(Instance(row.node, service, relevant))
    return found


def _row_key(item: tuple[RowKey, object]) -> RowKey:
    return item[0]


def _by_key(checks: Mapping[str, Check] | None) -> tuple[Check, ...]:
    if not checks:
        return ()
    return tuple(checks.values()) if len(checks) == 1 else tuple(checks[key] for key in sorted(checks))


def _sorted_services(row: NodeRow) -> tuple[Service, ...]:
    return tuple(row.services[key] for key in sorted(row.services))


def _sorted_checks(row: NodeRow) -> tuple[Check, ...]:
    return _by_key(row.checks)


def _has_meta(node: Node, wanted: Mapping[str, str]) -> bool:
    return all(node.meta.get(key) == value for key, value in wanted.items())


def _by_id(tables: Tables, start: str) -> NodeRow | None:
    start = start.lower()
    if len(start) < MIN_NODE_ID_CHARS:
        return None
    found = [key for node_id, key in tables.node_ids.items() if node_id.startswith(start)]
    return tables.nodes[found[0]] if len(found) == 1 else None
