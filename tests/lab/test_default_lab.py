"""The lab of `make up`, three servers and two clients: inventories/lab, with a name and a network of its own.

The tests follow each other on one lab and are run in the order of this file.
"""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab.default_lab import SERVERS, etcd_process, everywhere, got, leader, put, remote_calls
from tests.lab.labs import MAX_REMOTE_CALLS, Lab, private_copy, until

pytestmark = [pytest.mark.lab, pytest.mark.timeout(600)]

#: A server has etcd to look after, a client services, and one of them writes the intentions.
CALLS_WHEN_CONVERGED = {**dict.fromkeys(SERVERS, 4), "client1": 5, "client2": 4}


@pytest.fixture(scope="module")
def lab(checkout: Path) -> Iterator[Lab]:
    made = private_copy(checkout, "lab", "defaulttest", "172.28.249", 18447)
    made.down()
    yield made
    made.down()


def test_a_check_of_fresh_servers_promises_etcd_and_makes_none(lab: Lab) -> None:
    lab.play(playbook="playbooks/lab_up.yml")
    run = lab.play("--check", "--diff")
    assert all(run.changed[name] > 0 for name in lab.nodes)
    assert lab.on("server1", "sh", "-c", "ls -d /etc/etcd /var/lib/etcd/mesh 2>/dev/null || true") == ""


def test_one_command_makes_the_whole_mesh(lab: Lab) -> None:
    run = lab.play("-vvv")
    nodes = set(lab.nodes)
    assert len(nodes) == len(SERVERS) + 2
    assert {name: lab.alive(name) for name in nodes} == dict.fromkeys(nodes, nodes)
    calls = remote_calls(lab, run)
    assert all(0 < count <= MAX_REMOTE_CALLS for count in calls.values()), calls
    assert lab.printed_secrets(run) == []
    shown = run.output.partition("\nMESH ***")[2]
    assert [name for name in nodes if not re.search(rf"^{name} .* healthy ", shown, re.MULTILINE)] == []
    assert sorted(re.findall(r"^(\w+) .* healthy .* etcd  ", shown, re.MULTILINE)) == list(SERVERS)


def test_the_services_talk_through_their_sidecars(lab: Lab) -> None:
    said = lab.on("client1", "sh", "-c", "echo hello | timeout 20 nc -N 127.0.0.1 9191")
    assert said == "hello\n"
    assert '"service": "api"' in lab.on("client2", "curl", "-s", "127.0.0.1:8083/hello")


def test_the_nodes_pass_the_tests_from_outside(lab: Lab) -> None:
    lab.play(playbook="playbooks/verify.yml")


def test_the_second_run_changes_nothing(lab: Lab) -> None:
    run = lab.play("-vvv")
    assert run.changed_everywhere == dict.fromkeys([*lab.nodes, "localhost"], 0)
    calls = remote_calls(lab, run)
    assert calls == CALLS_WHEN_CONVERGED
    assert lab.play("--check", "--diff").changed_everywhere == dict.fromkeys([*lab.nodes, "localhost"], 0)


def test_a_value_written_on_each_node_is_read_on_all_of_them(lab: Lab) -> None:
    for name in lab.nodes:
        put(lab, name, f"from/{name}", name)
    for name in lab.nodes:
        assert everywhere(lab, f"from/{name}") == dict.fromkeys(lab.nodes, name)


def test_a_killed_leader_is_replaced_within_seconds_and_nothing_is_lost(lab: Lab) -> None:
    first = leader(lab)
    put(lab, first, "kept", "through the kill")
    subprocess.run(
        ["docker", "kill", "--signal=KILL", f"{lab.name}-{first}"], check=True, capture_output=True
    )
    took = until("another leader", lambda: leader(lab) not in {"", first}, 90)
    assert got(lab, "client1", "kept") == "through the kill"
    put(lab, "client2", "written", "without it")
    print(f"another leader {took:.1f} s after kill -9 of the leader's container")
    subprocess.run(["docker", "start", f"{lab.name}-{first}"], check=True, capture_output=True)
    until("the old leader is back", lambda: lab.alive("client1") == set(lab.nodes), 60)
    lab.play()
    assert everywhere(lab, "written") == dict.fromkeys(lab.nodes, "without it")


def test_a_killed_agent_and_a_killed_etcd_come_back_by_themselves(lab: Lab) -> None:
    before = {
        unit: lab.on("server2", "systemctl", "show", unit, "-p", "MainPID") for unit in ("consul", "etcd")
    }
    lab.on("server2", "systemctl", "kill", "--signal=KILL", "consul", "etcd")

    def back() -> bool:
        shown = {unit: lab.on("server2", "systemctl", "show", unit, "-p", "MainPID") for unit in before}
        return all(shown[unit] not in {before[unit], "MainPID=0\n"} for unit in before)

    until("both run again", back, 30)
    until("it is among the members", lambda: lab.members("client1")["server2"] == "alive", 60)
    lab.play()
    assert everywhere(lab, "kept") == dict.fromkeys(lab.nodes, "through the kill")


def test_a_server_that_was_deleted_is_made_again_and_becomes_a_member_again(lab: Lab) -> None:
    before = {name: etcd_process(lab, name) for name in SERVERS}
    subprocess.run(["docker", "rm", "--force", f"{lab.name}-server2"], check=True, capture_output=True)
    run = lab.play("-vvv")
    calls = remote_calls(lab, run)
    assert all(count <= MAX_REMOTE_CALLS for count in calls.values()), calls
    assert [name for name in SERVERS if name != "server2" and etcd_process(lab, name) != before[name]] == []
    assert everywhere(lab, "kept") == dict.fromkeys(lab.nodes, "through the kill")
    assert lab.play().changed_everywhere == dict.fromkeys([*lab.nodes, "localhost"], 0)
    lab.play(playbook="playbooks/verify.yml")


def test_a_server_that_lost_its_data_does_not_begin_a_cluster_of_its_own(lab: Lab) -> None:
    """Alone, with the other servers' etcd down: there is nobody to join, and what begins would be empty."""
    for name in ("server1", "server2"):
        lab.on(name, "systemctl", "stop", "etcd")
    lab.on("server3", "sh", "-c", "systemctl stop etcd; mv /var/lib/etcd/mesh /var/lib/etcd/away")
    words = ("--limit", "server3", "-e", "mesh_etcd_wait_timeout=3")
    said = " ".join(lab.play(*words, fails=True).output.split())
    assert (
        "server3 has no data and cannot join the cluster that there is: no other server's etcd answers"
        in said
    )
    lab.on("server3", "sh", "-c", "rm -r /var/lib/etcd/mesh; mv /var/lib/etcd/away /var/lib/etcd/mesh")
    lab.play()
    assert everywhere(lab, "kept") == dict.fromkeys(lab.nodes, "through the kill")


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


def test_a_capture_proves_etcds_ports_too_with_the_canary_in_a_value(lab: Lab) -> None:
    output = " ".join(
        lab.play("-e", "mesh_capture_seconds=2", playbook="playbooks/capture.yml").output.split()
    )
    said = re.search(
        r"everything on ports ([\d, ]+) is encrypted, and 1 canary planted can be read nowhere", output
    )
    assert said, output[-3000:]
    ports = {int(port) for port in said[1].split(", ")}
    assert {2379, 2380, 10443} <= ports
    assert any(port >= 21000 for port in ports), "the sidecars' ports are judged too"
