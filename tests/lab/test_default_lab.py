"""The lab of `make up`, three servers and two clients: inventories/lab, with a name and a network of its own.

The tests follow each other on one lab and are run in the order of this file.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab.labs import MAX_REMOTE_CALLS, Lab, private_copy

pytestmark = [pytest.mark.lab, pytest.mark.timeout(300)]

SERVERS = ("server1", "server2", "server3")


@pytest.fixture(scope="module")
def lab(checkout: Path) -> Iterator[Lab]:
    made = private_copy(checkout, "lab", "defaulttest", "172.28.249", 18447)
    made.down()
    yield made
    made.down()


def leader(lab: Lab) -> str:
    address = json.loads(lab.on("client1", "curl", "-s", "http://127.0.0.1:8500/v1/status/leader"))
    return next(name for name, own in lab.nodes.items() if address == f"{own}:8300")


def test_one_command_makes_the_whole_mesh(lab: Lab) -> None:
    run = lab.play("-vvv")
    nodes = set(lab.nodes)
    assert len(nodes) == len(SERVERS) + 2
    assert {name: lab.alive(name) for name in nodes} == dict.fromkeys(nodes, nodes)
    calls = {name: run.remote_calls(f"{lab.name}-{name}") for name in nodes}
    assert all(0 < count <= MAX_REMOTE_CALLS for count in calls.values()), calls
    shown = run.output.partition("\nMESH ***")[2]
    assert [name for name in nodes if not re.search(rf"^{name} .* healthy ", shown, re.MULTILINE)] == []


def test_the_nodes_pass_the_tests_from_outside(lab: Lab) -> None:
    lab.play(playbook="playbooks/verify.yml")


def test_the_second_run_changes_nothing(lab: Lab) -> None:
    assert lab.play().changed_everywhere == dict.fromkeys([*lab.nodes, "localhost"], 0)


def test_servers_are_restarted_one_by_one_and_the_leader_last(lab: Lab) -> None:
    last = leader(lab)
    before = {name: lab.process(name) for name in lab.nodes}
    run = lab.play("-vvv", "-e", json.dumps({"mesh_node_extra_config": {"log_level": "DEBUG"}}))
    assert [name for name in lab.nodes if lab.process(name) == before[name]] == []
    started = {
        name: int(
            lab.on(name, "systemctl", "show", "consul", "-p", "ExecMainStartTimestampMonotonic").split("=")[1]
        )
        for name in lab.nodes
    }
    in_order = sorted(lab.nodes, key=lambda name: started[name])
    assert set(in_order[: len(SERVERS)]) == set(SERVERS)
    assert in_order[len(SERVERS) - 1] == last
    calls = {name: run.remote_calls(f"{lab.name}-{name}") for name in lab.nodes}
    assert all(count <= MAX_REMOTE_CALLS for count in calls.values()), calls
    assert [name for name in lab.nodes if lab.alive(name) != set(lab.nodes)] == []
