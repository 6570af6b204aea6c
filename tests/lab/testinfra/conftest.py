"""Tests of the nodes of any inventory, run by playbooks/verify.yml; each node is asked once.

By hand: C(pytest --ansible-inventory=inventories/lab tests/lab/testinfra), over SSH also C(--ssh-config=FILE).
"""

from __future__ import annotations

from typing import Any

import pytest

from tests.lab.testinfra.facts import collect
from tests.lab.testinfra.inventory import pytest_ignore_collect, variables

__all__ = ["pytest_ignore_collect", "variables"]

_ASKED: dict[str, dict[str, Any]] = {}


@pytest.fixture
def node(host: Any, variables: dict[str, Any]) -> dict[str, Any]:
    """What the node said of itself."""
    name = variables["inventory_hostname"]
    if name not in _ASKED:
        places = {
            "config_dir": "/etc/consul.d",
            "install_dir": "/opt/meshnode",
            "service": "consul",
            "data_dir": "/var/lib/consul",
        }
        chosen = [str(variables.get(f"mesh_node_{key}", default)) for key, default in places.items()]
        _ASKED[name] = collect(host, *chosen, etcd_scheme(variables))
    return _ASKED[name]


def etcd_scheme(variables: dict[str, Any]) -> str:
    """How etcd is spoken to, by what the inventory says; empty when the log is an embedded one."""
    servers = variables["groups"]["mesh_servers"]
    wanted = variables.get("mesh_state_log", "auto")
    if wanted == "embedded" or (wanted == "auto" and len(servers) < 2):
        return ""
    return "https" if variables.get("mesh_tls_enabled", True) else "http"


@pytest.fixture
def on_etcd(variables: dict[str, Any]) -> bool:
    """Whether the servers of the inventory keep their log in etcd."""
    return bool(etcd_scheme(variables))


@pytest.fixture
def everybody(variables: dict[str, Any]) -> set[str]:
    """Names of all nodes of the datacenter."""
    return set(variables["groups"][variables.get("mesh_node_group", "mesh")])


@pytest.fixture
def tls(variables: dict[str, Any]) -> bool:
    """Whether the inventory asks for TLS."""
    return bool(variables.get("mesh_tls_enabled", True))
