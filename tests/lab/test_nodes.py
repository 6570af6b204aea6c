"""Nodes come and go: clients, servers, one that is lost with its disk; three servers and two clients at first.

The tests follow each other on one lab and are run in the order of this file: ``make day-two-test``.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab.day_two import catalog, listed, lose, no_lock_is_left, no_request_failed, voters
from tests.lab.labs import Lab, private_copy

pytestmark = [pytest.mark.lab, pytest.mark.timeout(900)]

ADD, REMOVE, REPLACE = (f"playbooks/{name}.yml" for name in ("add_node", "remove_node", "replace_server"))
FIVE = ("server1", "server2", "server3", "client1", "client2")

#: What runs on the client that comes and goes.
EXTRA = {
    "name": "extra",
    "port": 8099,
    "command": "python3 -m http.server --bind 127.0.0.1 8099",
    "connect": {"sidecar_service": {}},
}


@pytest.fixture(scope="module")
def lab(checkout: Path) -> Iterator[Lab]:
    lab = private_copy(checkout, "lab", "grownodes", "172.28.217", 18517)
    lab.fresh()
    lab.play()
    yield lab
    lab.down()


def processes(lab: Lab, nodes: tuple[str, ...] = FIVE) -> dict[str, str]:
    return {node: lab.process(node) for node in nodes}


def leader(lab: Lab) -> str:
    address = json.loads(lab.on("client1", "curl", "-s", "http://127.0.0.1:8500/v1/status/leader"))
    return next(name for name, own in lab.nodes.items() if address == f"{own}:8300")


def test_a_client_joins_and_nobody_else_is_restarted_also_when_broken_off(lab: Lab) -> None:
    listed(lab, "mesh_clients", "client9", 29)
    lab.write("host_vars/client9.yml", {"mesh_services": [EXTRA]})
    before = processes(lab)
    run = lab.play("-e", "node=client9", "-e", "mesh_procedure_stop_at=tell", playbook=ADD, fails=True)
    assert "stopped at tell" in run.output
    run = lab.play("-e", "node=client9", playbook=ADD)
    no_request_failed(run)
    no_lock_is_left(lab)
    assert processes(lab) == before
    assert lab.alive("client9") == lab.alive("server1") == {*FIVE, "client9"}
    assert "extra-sidecar-proxy" in lab.on("client1", "consul", "catalog", "services")
    assert lab.printed_secrets(run) == []
    assert lab.play().changed == dict.fromkeys((*FIVE, "client9"), 0)


def test_a_client_leaves_and_nothing_knows_it_any_more_also_when_broken_off(lab: Lab) -> None:
    before = processes(lab)
    run = lab.play("-e", "node=client9", "-e", "mesh_procedure_stop_at=forget", playbook=REMOVE, fails=True)
    assert "stopped at forget" in run.output
    run = lab.play("-e", "node=client9", playbook=REMOVE)
    no_request_failed(run)
    no_lock_is_left(lab)
    assert processes(lab) == before
    assert lab.alive("server1") == set(FIVE) == catalog(lab)
    assert "extra" not in lab.on("client1", "consul", "catalog", "services")
    assert "No such container" in lab.said("client9", "true")
    assert "take client9 out of the inventory" in run.output
    assert "its certificate counts until 20" in run.output
    listed(lab, "mesh_clients", "client9", None)
    assert lab.play().changed == dict.fromkeys(FIVE, 0)


def test_a_server_that_is_lost_with_its_disk_is_replaced(lab: Lab) -> None:
    lab.on("client1", "consul", "kv", "put", "nodes", "kept")
    alive = lab.play("-e", "node=server2", playbook=REPLACE, fails=True)
    assert "server2 is alive, as " in alive.output
    no_lock_is_left(lab)
    lose(lab, "server2")
    others = tuple(node for node in FIVE if node != "server2")
    before = processes(lab, others)
    run = lab.play("-e", "node=server2", playbook=REPLACE)
    no_request_failed(run)
    no_lock_is_left(lab)
    assert processes(lab, others) == before
    assert voters(lab) == voters(lab, "server2") == {"server1", "server2", "server3"}
    assert lab.on("server2", "consul", "kv", "get", "-stale", "nodes").strip() == "kept"
    assert lab.alive("server2") == set(FIVE) == catalog(lab)
    assert lab.play().changed == dict.fromkeys(FIVE, 0)


def test_a_server_joins_and_the_others_hear_of_it_without_a_restart(lab: Lab) -> None:
    listed(lab, "mesh_servers", "server4", 14)
    before = processes(lab)
    run = lab.play("-e", "node=server4", playbook=ADD)
    no_request_failed(run)
    no_lock_is_left(lab)
    assert processes(lab) == before
    assert voters(lab, "server4") == {"server1", "server2", "server3", "server4"}
    assert "when it suits, make roll" in run.output
    assert f"{lab.network}.14" in lab.on("client1", "cat", "/etc/consul.d/meshnode.json")


def test_a_server_that_leads_hands_over_and_leaves(lab: Lab) -> None:
    leading = leader(lab)
    staying = {"server1", "server2", "server3", "server4"} - {leading}
    one = min(staying)
    run = lab.play("-e", f"node={leading}", playbook=REMOVE)
    no_request_failed(run)
    assert "No such container" in lab.said(leading, "true")
    assert voters(lab, one) == staying
    assert lab.alive(one) == {*staying, "client1", "client2"} == catalog(lab)
    assert lab.nodes[leading] not in lab.on("client1", "cat", "/etc/consul.d/meshnode.json")
    assert (lab.store / "procedure.json").read_text().strip() == ""
    listed(lab, "mesh_servers", leading, None)
    no_request_failed(lab.play(playbook="playbooks/roll.yml"))
    assert lab.play().changed == dict.fromkeys((*staying, "client1", "client2"), 0)


def test_a_server_without_which_there_is_no_majority_may_not_leave(lab: Lab) -> None:
    dead, asked = [node for node in lab.nodes if node.startswith("server")][-2:]
    lose(lab, dead)
    run = lab.play("-e", f"node={asked}", playbook=REMOVE, fails=True)
    said = " ".join(run.output.split())
    assert (
        f"without {asked} etcd would have no majority: of the 2 that would be left 2 have to be healthy"
        in said
    )
    assert f"bring {dead} back" in said
    assert (lab.store / "procedure.json").read_text().strip() == ""
