from __future__ import annotations

import base64
from typing import Any

import pytest

from meshnode.agent.config import compare
from meshnode.agent.reload import reloaded

CHANGES: list[dict[str, Any]] = [
    {"log_level": "DEBUG"},
    {"node_meta": {"a": "b"}},
    {"encrypt_verify_incoming": False, "encrypt_verify_outgoing": False},
    {"http_config": {"block_endpoints": ["/v1/agent"], "response_headers": {"A": "b"}}},
    {"limits": {"rpc_rate": 5, "rpc_max_burst": 9}},
    {"telemetry": {"prefix_filter": ["+consul.http"]}},
    {"tls_min_version": "tls12", "verify_outgoing": False},
]
FIXED: list[dict[str, Any]] = [
    {"ui": True},
    {"node_name": "other"},
    {"datacenter": "dc2"},
    {"ports": {"http": 8501}},
    {"performance": {"rpc_hold_timeout": "9s", "leave_drain_time": "9s"}},
    {"server_name": "other"},
    {"retry_join": ["10.0.0.1"]},
    {"leave_on_terminate": False},
    {"log_file": "/tmp/x"},
    {"telemetry": {"metrics_prefix": "mesh"}},
    {"gossip_lan": {"probe_interval": "2s"}},
]


@pytest.mark.parametrize("change", CHANGES + FIXED)
def test_of_a_change_exactly_the_reloadable_part_is_in_force(config: Any, change: dict[str, Any]) -> None:
    old, new = config(), config(**change)
    after = reloaded(old, new)
    said = compare(old, new)
    assert compare(old, after).needs_restart == ()
    assert compare(old, after).reloadable == said.reloadable
    assert compare(after, new) == ((), said.needs_restart)
    assert bool(said.needs_restart) == (change in FIXED)


def test_a_server_name_that_nobody_set_is_not_said_to_need_a_restart(config: Any) -> None:
    old = config(node_name="one")
    assert compare(old, config(node_name="two")).needs_restart == ("node_name",)
    assert compare(old, config(node_name="one", server_name="two")).needs_restart == ("server_name",)
    named = config(node_name="two", server_name="one")
    assert compare(old, named).needs_restart == ("node_name",)
    assert compare(named, config(node_name="two")).needs_restart == ("server_name",)


def test_a_gossip_key_is_in_force_when_the_keyring_has_it(config: Any) -> None:
    first, second, other = (base64.b64encode(bytes([number]) * 32).decode() for number in (1, 2, 3))
    old, rotated, strange = (config(encrypt=key) for key in (first, second, other))
    ring = (b"\x02" * 32, b"\x01" * 32)
    assert compare(reloaded(old, rotated, ring), rotated).needs_restart == ()
    assert compare(reloaded(old, strange, ring), strange).needs_restart == ("encrypt",)
    assert compare(reloaded(old, config(), ring), config()).needs_restart == ("encrypt",)
