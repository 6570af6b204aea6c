"""A roll is taken back: one that went well, one whose agents do not come up, and not one that a rotation came after.

The tests follow each other on one lab and are run in the order of this file: ``make day-two-test``.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab.day_two import (
    CA,
    NODES,
    ROTATE,
    fresh_mesh,
    inventory_says,
    no_lock_is_left,
    no_request_failed,
    processes,
    stopped,
    table,
)
from tests.lab.labs import CONFIG, NOT_COPIED, Lab, Run, until

pytestmark = [pytest.mark.lab, pytest.mark.timeout(600)]
ROLL, BACK = "playbooks/roll.yml", "playbooks/rollback.yml"
RECORD = "/opt/meshnode/before.json"
#: Another program has the port that the new configuration gives to DNS.
TAKEN = 8653
TAKE_PORT = f"import socket, time; s = socket.socket(); s.bind(('', {TAKEN})); s.listen(); time.sleep(3600)"


@pytest.fixture(scope="module")
def lab(checkout: Path) -> Iterator[Lab]:
    yield from fresh_mesh(checkout, "rolledback", "172.28.191", 18991)


def on_disk(lab: Lab) -> dict[str, tuple[str, str]]:
    """What a start of each agent would take: package and configuration."""
    return {
        node: (lab.on(node, "readlink", "/opt/meshnode/current").strip(), lab.on(node, "cat", CONFIG))
        for node in lab.nodes
    }


def nobody_runs_something_else(lab: Lab) -> None:
    """Each agent says that it runs what is on disk."""
    for node in lab.nodes:
        state = json.loads(lab.on(node, "cat", "/run/consul/state.json"))
        release = lab.on(node, "readlink", "/opt/meshnode/current").strip()
        assert release.endswith(state["package_digest"])
        assert f"MainPID={state['pid']}" == lab.process(node)


def nothing_to_take_back(run: Run) -> None:
    assert "Nothing to take back" in run.output
    assert "put the inventory back" not in run.output
    assert run.changed == dict.fromkeys(NODES, 0)


def test_a_mesh_without_a_roll_has_nothing_to_take_back(lab: Lab) -> None:
    nothing_to_take_back(lab.play(playbook=BACK))
    assert "No such file" in lab.said("server1", "ls", RECORD)  # site.yml keeps nothing


def test_a_roll_that_went_well_is_taken_back_without_a_failed_request(lab: Lab) -> None:
    before = on_disk(lab)
    inventory_says(lab, mesh_node_log_level="DEBUG")
    lab.play(playbook=ROLL)
    new, running = on_disk(lab), processes(lab)
    assert all(new[node] != before[node] for node in NODES)
    assert lab.on("server1", "stat", "-c", "%U %a", RECORD).strip() == "root 600"
    assert [secret for secret in lab.secrets() if secret in lab.on("server1", "cat", RECORD)] == []
    assert lab.play("--check", playbook=BACK).changed != dict.fromkeys(NODES, 0)
    assert on_disk(lab) == new
    run = lab.play("-v", "--diff", playbook=BACK)
    assert on_disk(lab) == before
    assert all(processes(lab)[node] != running[node] for node in NODES)
    assert table(run, "client1")[3:5] == ["configuration", "the"]
    assert "put the inventory back" in run.output
    assert lab.printed_secrets(run) == []
    no_request_failed(run)
    no_lock_is_left(lab)
    nobody_runs_something_else(lab)
    nothing_to_take_back(lab.play(playbook=BACK))


def test_a_package_and_a_port_that_do_not_come_up_are_taken_back_by_one_command(
    lab: Lab, tmp_path: Path
) -> None:
    before = on_disk(lab)
    newer = tmp_path / "newer"
    shutil.copytree(lab.checkout, newer, symlinks=True, ignore=NOT_COPIED)
    with (newer / "meshnode" / "__init__.py").open("a") as file:
        file.write("# newer\n")
    lab.on("server1", "systemd-run", "--unit=squatter", "/usr/bin/python3", "-c", TAKE_PORT)
    inventory_says(lab, mesh_node_extra_config={"ports": {"dns": TAKEN}}, mesh_node_package_source=str(newer))
    run = lab.play("-e", "mesh_node_wait_timeout=20", playbook=ROLL, fails=True)
    assert f"TCP port {TAKEN} is taken by another program" in run.output
    assert "or playbooks/rollback.yml, which takes it back" in run.output.split("Took ")[1]
    assert "or playbooks/rollback.yml, which takes it back" in lab.play(
        playbook=CA, fails=True
    ).output.replace("\n", " ")
    stopped(lab, "restart", playbook=BACK)
    lab.on("client1", "test", "-d", "/run/mesh-probe")
    # Half-way: what is on disk is the old, and the server is down yet.
    back = lab.play(playbook=BACK)
    assert on_disk(lab) == before
    nobody_runs_something_else(lab)
    until("everybody sees everybody", lambda: all(lab.alive(node) == set(NODES) for node in NODES))
    assert "put the inventory back" in back.output
    no_request_failed(back, ("http", "tcp"))
    no_lock_is_left(lab)
    lab.on("server1", "systemctl", "stop", "squatter")


def test_only_what_the_last_roll_touched_is_taken_back(lab: Lab) -> None:
    extra = {"mesh_node_extra_config": {}, "mesh_node_package_source": ""}
    inventory_says(lab, mesh_node_log_level="WARN", **extra)
    lab.play(playbook=ROLL)
    everywhere = on_disk(lab)
    inventory_says(lab, mesh_node_log_level="ERR")
    lab.play("--limit", "client1", playbook=ROLL)
    # On this one the last roll was not here, and an earlier one is not what is asked for.
    assert "Nothing to take back" in lab.play("--limit", "client2", playbook=BACK).output
    assert table(lab.play(playbook=BACK), "client2")[3] == "nothing"
    assert on_disk(lab) == everywhere


def test_over_a_rotation_of_the_key_nothing_is_taken_back(lab: Lab) -> None:
    inventory_says(lab, mesh_node_log_level="INFO")
    lab.play("--limit", "client1", playbook=ROLL)
    lab.play(playbook=ROTATE)
    before = on_disk(lab)
    run = lab.play(playbook=BACK, fails=True)
    output = " ".join(run.output.split())
    assert "client1: configuration: changed by something else since the roll of" in output
    assert "Nothing was changed." in output
    assert on_disk(lab) == before
    assert lab.printed_secrets(run) == []
    no_lock_is_left(lab)
