"""What the tests of the nodes of an inventory share, whatever the inventory is of."""

from __future__ import annotations

from typing import Any

import pytest

__all__ = ["pytest_ignore_collect", "variables"]


def pytest_ignore_collect(config: pytest.Config) -> bool | None:
    """Without an inventory there is no node to ask. tests/lab brings labs up and runs these folders against each."""
    return None if config.getoption("--ansible-inventory", None) else True


@pytest.fixture
def variables(host: Any) -> dict[str, Any]:
    """Inventory variables of the node."""
    found: dict[str, Any] = host.ansible.get_variables()
    return found
