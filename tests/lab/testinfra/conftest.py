"""Run with C(pytest --ansible-inventory=inventories/lab tests/lab/testinfra); each node is asked once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.lab.testinfra.facts import collect

_ASKED: dict[str, dict[str, Any]] = {}


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Without an inventory there is no node to ask: say so instead of asking this machine."""
    if config.getoption("--ansible-inventory", None):
        return
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.skip(reason="needs --ansible-inventory=inventories/lab"))


@pytest.fixture
def variables(host: Any) -> dict[str, Any]:
    """Inventory variables of the node."""
    found: dict[str, Any] = host.ansible.get_variables()
    return found


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
        _ASKED[name] = collect(host, *chosen)
    return _ASKED[name]


@pytest.fixture
def everybody(variables: dict[str, Any]) -> set[str]:
    """Names of all nodes."""
    return set(variables["groups"]["mesh"])


@pytest.fixture
def tls(variables: dict[str, Any]) -> bool:
    """Whether the inventory asks for TLS."""
    return bool(variables.get("mesh_tls_enabled", True))
