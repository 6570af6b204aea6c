"""Tests of the containers of the four TLS modes, run by playbooks/tls_modes.yml.

By hand: C(pytest --ansible-inventory=inventories/envoy_tls tests/lab/testinfra_tls).
"""

from __future__ import annotations

from tests.lab.testinfra.inventory import pytest_ignore_collect, variables

__all__ = ["pytest_ignore_collect", "variables"]
