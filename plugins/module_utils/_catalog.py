# Copyright: the meshnode authors
# GNU General Public License v3.0+ (see plugins/README.md or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The catalog of a cluster as hosts, their variables and their groups."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ansible_collections.meshnode.lab.plugins.module_utils.mesh_api import MeshApi, MeshApiError, path_of

__all__ = ["Host", "catalog_of", "hosts_of"]

#: Worse ones later.
STATUSES = ("passing", "warning", "critical")
#: The service that every server has, and no client.
SERVERS = "consul"

#: Name, variables, names of groups (not made safe yet).
Host = tuple[str, dict[str, Any], list[str]]


def catalog_of(api: MeshApi, datacenter: str | None) -> dict[str, Any]:
    """What the API answers about one datacenter, as it is: a value that can be cached.

    One call for the nodes, one for the checks, one for the services and one for each service.
    """
    query = {"dc": datacenter} if datacenter else {}
    names = sorted(api.get("/v1/catalog/services", **query) or {})
    return {
        "nodes": api.get("/v1/catalog/nodes", **query) or [],
        "checks": api.get("/v1/health/state/any", **query) or [],
        "services": {name: api.get(path_of("catalog", "service", name), **query) or [] for name in names},
    }


def hosts_of(catalogs: Iterable[Mapping[str, Any]], *, qualified: bool) -> list[Host]:
    """The hosts of all datacenters; ``qualified`` names are C(<node>.<dc>). Raises :class:`MeshApiError`."""
    try:
        return [host for catalog in catalogs for host in _hosts(catalog, qualified)]
    except (KeyError, TypeError, AttributeError) as error:
        raise MeshApiError(
            f"the catalog can't be read ({type(error).__name__}: {error}): does address name an agent?"
        ) from None


def _hosts(catalog: Mapping[str, Any], qualified: bool) -> list[Host]:
    instances: dict[str, list[Mapping[str, Any]]] = {}
    for rows in catalog["services"].values():
        for row in rows:
            instances.setdefault(row["Node"], []).append(row)
    checks: dict[str, list[Mapping[str, Any]]] = {}
    for check in catalog["checks"]:
        checks.setdefault(check["Node"], []).append(check)
    return [
        _host(node, instances.get(node["Node"], []), checks.get(node["Node"], []), qualified)
        for node in catalog["nodes"]
    ]


def _host(
    node: Mapping[str, Any],
    instances: list[Mapping[str, Any]],
    checks: list[Mapping[str, Any]],
    qualified: bool,
) -> Host:
    meta = dict(node.get("Meta") or {})
    datacenter = node.get("Datacenter") or ""
    services: dict[str, list[dict[str, Any]]] = {}
    for row in instances:
        services.setdefault(row["ServiceName"], []).append(_instance(row, node, checks))
    status = _worst(checks)
    role = "server" if SERVERS in services else "client"
    variables = {
        "mesh_node": node["Node"],
        "mesh_node_id": node.get("ID") or "",
        "mesh_address": node["Address"],
        "mesh_tagged_addresses": dict(node.get("TaggedAddresses") or {}),
        "mesh_datacenter": datacenter,
        "mesh_meta": meta,
        "mesh_role": role,
        "mesh_status": status,
        "mesh_services": services,
        "mesh_failing_checks": [
            {
                "id": one["CheckID"],
                "name": one["Name"],
                "status": one["Status"],
                "output": one.get("Output") or "",
            }
            for one in checks
            if one["Status"] != "passing"
        ],
    }
    groups = [f"dc_{datacenter}", f"role_{role}"]
    groups += [f"service_{name}" for name in sorted(services)]
    groups += [f"meta_{key}_{value}" for key, value in sorted(meta.items())]
    if status != "passing":
        groups.append("unhealthy")
    name = f"{node['Node']}.{datacenter}" if qualified else node["Node"]
    return name, variables, groups


def _instance(
    row: Mapping[str, Any], node: Mapping[str, Any], checks: Iterable[Mapping[str, Any]]
) -> dict[str, Any]:
    of_it = [check for check in checks if check.get("ServiceID") in ("", None, row["ServiceID"])]
    return {
        "id": row["ServiceID"],
        "address": row.get("ServiceAddress") or node["Address"],
        "port": row.get("ServicePort") or 0,
        "tags": list(row.get("ServiceTags") or []),
        "meta": dict(row.get("ServiceMeta") or {}),
        "status": _worst(of_it),
    }


def _worst(checks: Iterable[Mapping[str, Any]]) -> str:
    found = [check["Status"] for check in checks]
    return max((one for one in found if one in STATUSES), key=STATUSES.index, default="passing")
