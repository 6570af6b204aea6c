"""What a reload changes is told from what needs a restart, by the names of the keys."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest

from meshnode.agent.config.assemble import compare
from meshnode.agent.config.load import load
from meshnode.agent.config.model import AgentConfig
from tests.unit.meshnode.agent.config.machine import machine


def read(**settings: Any) -> AgentConfig:
    return load(["-data-dir=/none", f"-hcl={json.dumps(settings)}"], {}, machine()).config


def test_nothing_changes_between_equal_configurations() -> None:
    settings = {"node_meta": {"a": "b"}, "retry_join": ["a"]}
    assert compare(read(**settings), read(**settings)) == ((), ())


@pytest.mark.parametrize(
    ("settings", "reloadable", "needs_restart"),
    [
        ({"log_level": "debug"}, ("log_level",), ()),
        ({"node_meta": {"a": "b"}}, ("node_meta",), ()),
        ({"encrypt_verify_incoming": False}, ("encrypt_verify_incoming",), ()),
        ({"http_config": {"block_endpoints": ["/v1/x"]}}, ("http_config.block_endpoints",), ()),
        ({"ports": {"http": 1}}, (), ("ports.http",)),
        ({"datacenter": "dc2"}, (), ("datacenter", "primary_datacenter")),
        ({"bind_addr": "10.0.0.2"}, (), ("bind_addr", "serf_lan", "serf_wan")),
        ({"log_level": "debug", "encrypt": "pUqJrVyVRj5jsiYEkM/tFQ=="}, ("log_level",), ("encrypt",)),
    ],
)
def test_a_change_is_named_by_its_key(
    settings: dict[str, Any], reloadable: tuple[str, ...], needs_restart: tuple[str, ...]
) -> None:
    changes = compare(read(), read(**settings))
    assert (changes.reloadable, changes.needs_restart) == (reloadable, needs_restart)


def test_development_mode_needs_a_restart() -> None:
    old = read()
    assert compare(old, dataclasses.replace(old, dev=True)).needs_restart == ("-dev",)


def test_the_configuration_cannot_be_changed() -> None:
    config = read(node_meta={"a": "b"})
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.ports.http = 1  # type: ignore[misc]
    with pytest.raises(TypeError):
        config.identity.node_meta["a"] = "c"  # type: ignore[index]
