"""A key goes from the store to the cluster and to nowhere else: not even into the output of -vvv."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.unit.plugins.api_agents import ApiAgent, ansible, running


@pytest.fixture(scope="module")
def agent(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiAgent]:
    with running(tmp_path_factory.mktemp("agent")) as made:
        yield made


def keys_of(agent: ApiAgent) -> list[str]:
    found: list[str] = agent.agent.get("/v1/agent/self")["Meshnode"]["GossipKeyFingerprints"]
    return found


def play(tmp_path: Path, agent: ApiAgent, *tasks: dict[str, Any]) -> tuple[int, str]:
    (tmp_path / "play.yml").write_text(
        yaml.safe_dump([{"hosts": "localhost", "gather_facts": False, "tasks": list(tasks)}])
    )
    done = ansible(tmp_path, "ansible-playbook", "-vvv", "play.yml", **agent.environment)
    return done.returncode, done.stdout + done.stderr


def test_a_key_of_the_store_is_installed_used_and_written_down_unseen(
    agent: ApiAgent, tmp_path: Path
) -> None:
    store = str(tmp_path / ".secrets")
    code, said = play(
        tmp_path,
        agent,
        {"meshnode.lab.mesh_gossip_key": {"store": store}, "register": "made"},
        {
            "meshnode.lab.mesh_keyring": {
                "state": "present",
                "key": "{{ made.fingerprint }}",
                "gossip_store": store,
            }
        },
        {
            "meshnode.lab.mesh_keyring": {
                "state": "primary",
                "key": "{{ made.fingerprint }}",
                "gossip_store": store,
            }
        },
    )
    assert code == 0, said
    entry = json.loads((tmp_path / ".secrets/dc1/gossip.json").read_text())["keys"][0]
    assert entry["key"] not in said
    assert len(keys_of(agent)) == 2
    assert f'"primary": "{keys_of(agent)[0]}"' in said


def test_a_key_that_the_store_has_not_is_named_with_those_it_has(agent: ApiAgent, tmp_path: Path) -> None:
    store = str(tmp_path / ".secrets")
    task = {"meshnode.lab.mesh_keyring": {"state": "present", "key": "00000000", "gossip_store": store}}
    code, said = play(tmp_path, agent, {"meshnode.lab.mesh_gossip_key": {"store": store}}, task)
    assert code != 0
    assert "has the fingerprint 00000000: there is " in " ".join(said.split())


def test_without_a_store_the_way_to_one_is_said(agent: ApiAgent, tmp_path: Path) -> None:
    task = {"meshnode.lab.mesh_gossip": {"key": "primary", "gossip_store": str(tmp_path / ".secrets")}}
    code, said = play(tmp_path, agent, task)
    assert code != 0
    assert "holds no gossip key: run the role mesh_gossip first" in " ".join(said.split())
