"""Machines reached by SSH, by a user who needs sudo: inventories/ssh_lab, with a name and a network of its own.

The tests follow each other on one lab and are run in the order of this file.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab.labs import MAX_REMOTE_CALLS, Lab, private_copy

pytestmark = [pytest.mark.lab, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def lab(checkout: Path) -> Iterator[Lab]:
    made = private_copy(checkout, "ssh_lab", "sshtest", "172.28.252", 18445)
    made.down()
    yield made
    made.down()


def test_the_first_run_makes_a_mesh_within_the_calls_that_a_node_may_cost(lab: Lab) -> None:
    run = lab.play("-vvv")
    nodes = lab.nodes
    for name in nodes:
        assert lab.alive(name) == set(nodes)
    calls = {name: run.remote_calls(address) for name, address in nodes.items()}
    assert all(0 < count <= MAX_REMOTE_CALLS for count in calls.values()), calls
    assert lab.printed_secrets(run) == []
    private_key = (lab.inventory / ".secrets" / "ssh" / "id_ed25519").read_text().splitlines()[1:-1]
    assert [line[:6] for line in private_key if line in run.output] == []


def test_ansible_really_came_by_ssh_as_a_user_who_is_not_root(lab: Lab) -> None:
    for name in lab.nodes:
        said = lab.on(name, "journalctl", "-u", "ssh", "-o", "cat")
        assert "Accepted publickey for admin" in said
        assert "Accepted publickey for root" not in said


def test_the_second_run_changes_nothing(lab: Lab) -> None:
    assert lab.play().changed_everywhere == dict.fromkeys([*lab.nodes, "localhost"], 0)


def test_a_check_of_a_converged_mesh_promises_nothing(lab: Lab) -> None:
    assert lab.play("--check", "--diff").changed_everywhere == dict.fromkeys([*lab.nodes, "localhost"], 0)


def test_the_nodes_pass_the_tests_from_outside_over_ssh(lab: Lab) -> None:
    connections = lab.on("client1", "sh", "-c", "journalctl -u ssh -o cat | grep -c Accepted")
    lab.play(playbook="playbooks/verify.yml")
    assert lab.on("client1", "sh", "-c", "journalctl -u ssh -o cat | grep -c Accepted") != connections


def test_a_host_key_that_is_not_the_nodes_is_refused(lab: Lab) -> None:
    known_hosts = lab.inventory / ".secrets" / "ssh" / "known_hosts"
    proper = known_hosts.read_text()
    wrong = proper.splitlines()
    address = lab.nodes["client1"]
    other = next(line.split(" ", 1)[1] for line in wrong if f",{lab.nodes['server1']} " in line)
    wrong = [f"client1,{address} {other}" if f",{address} " in line else line for line in wrong]
    known_hosts.write_text("\n".join(wrong) + "\n")
    try:
        done = subprocess.run(
            ["ssh", "-F", str(known_hosts.with_name("ssh_config")), "-o", "BatchMode=yes", address, "true"],
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
    finally:
        known_hosts.write_text(proper)
    assert done.returncode != 0
    assert "Host key verification failed" in done.stderr


def test_a_lab_that_is_taken_down_leaves_nothing_and_can_be_made_again_at_once(lab: Lab) -> None:
    store = {path: path.read_bytes() for path in sorted(lab.store.rglob("*")) if path.is_file()}
    lab.down()
    assert lab.left_behind() == []
    lab.play()
    assert lab.alive("server1") == set(lab.nodes)
    assert {path: path.read_bytes() for path in store if "issued" not in path.parts} == {
        path: content for path, content in store.items() if "issued" not in path.parts
    }
    lab.down()
    assert lab.left_behind() == []
