"""Tests of the containers of the four TLS modes, run by playbooks/tls_modes.yml.

By hand: C(pytest --ansible-inventory=inventories/envoy_tls tests/lab/testinfra_tls).
"""

from __future__ import annotations

from typing import Any

import pytest


def pytest_ignore_collect(config: pytest.Config) -> bool | None:
    """Without an inventory there is no node to ask."""
    return None if config.getoption("--ansible-inventory", None) else True


@pytest.fixture
def variables(host: Any) -> dict[str, Any]:
    """Inventory variables of the node."""
    found: dict[str, Any] = host.ansible.get_variables()
    return found
