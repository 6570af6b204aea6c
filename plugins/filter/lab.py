# Copyright: the meshnode authors
# GNU General Public License v3.0+ (see plugins/README.md or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filters that turn an inventory into the nodes of a lab, and into decisions about them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from ansible.errors import AnsibleFilterError
from ansible_collections.meshnode.lab.plugins.module_utils._cluster_checks import problems
from ansible_collections.meshnode.lab.plugins.module_utils._cluster_params import lab_from
from ansible_collections.meshnode.lab.plugins.module_utils._engine import LabError


def lab_nodes(hosts: Iterable[str], hostvars: Mapping[str, Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The nodes of lab_cluster for the hosts: name and mesh_address, and what the host variable lab_node adds."""
    nodes = []
    for host in hosts:
        variables = hostvars[host]
        more = variables.get("lab_node") or {}
        if not isinstance(more, Mapping):
            raise AnsibleFilterError(
                f"{host}: lab_node is {more!r}: write a mapping, such as {{ports: ['10443:10443']}}"
            )
        nodes.append({"name": str(host), "address": str(variables.get("mesh_address") or ""), **more})
    return nodes


def lab_problems(nodes: list[dict[str, Any]], name: str, networks: list[dict[str, Any]]) -> list[str]:
    """What is wrong with the nodes, a sentence each; empty when nothing is."""
    try:
        return problems(lab_from({"name": name, "networks": networks, "nodes": nodes}, "private", ()))
    except LabError as exc:
        return [str(exc)]


def lab_summary(nodes: list[dict[str, Any]], servers: Iterable[str]) -> dict[str, dict[str, str]]:
    """Rows of the final table for the nodes that lab_cluster returned; servers are the names of the servers."""
    of_servers = set(servers)
    return {
        node["name"]: {
            "role": "server" if node["name"] in of_servers else "client",
            "state": f"container {node['state']}",
            "address": node["address"],
        }
        for node in nodes
    }


ENGINES = ("auto", "embedded", "etcd")


def log_engine(wanted: str, servers: Iterable[str]) -> str:
    """The engine of the replicated log: embedded or etcd; auto is etcd where there are two servers or more."""
    if wanted not in ENGINES:
        raise AnsibleFilterError(f"mesh_state_log: {wanted!r} is not known: write {', '.join(ENGINES)}")
    if wanted != "auto":
        return wanted
    return "etcd" if len(list(servers)) > 1 else "embedded"


class FilterModule:
    """The filters by name."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {
            "lab_nodes": lab_nodes,
            "lab_problems": lab_problems,
            "lab_summary": lab_summary,
            "log_engine": log_engine,
        }
