"""Nodes come and go in one of two datacenters: dc1 with one server, and dc2 with three on etcd.

The tests follow each other on one lab and are run in the order of this file: ``make federation-test``.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab.day_two import inventory_says, lose, no_lock_is_left, no_request_failed, table, voters
from tests.lab.labs import Lab, Run, private_copy, until

pytestmark = [pytest.mark.lab, pytest.mark.timeout(900)]

ADD, REMOVE, REPLACE = (f"playbooks/{name}.yml" for name in ("add_node", "remove_node", "replace_server"))
FIRST = ("dc1-server1", "dc1-client1")
SERVERS = ("dc2-server1", "dc2-server2", "dc2-server3")
CLIENT = "dc2-client1"
#: No services here: what is asked for are keys, in the own datacenter and in the other one.
KINDS = ("kv",)


@pytest.fixture(scope="module")
def lab(checkout: Path) -> Iterator[Lab]:
    """Its networks are 172.28.211 of dc1, 172.28.212 of dc2, and 172.28.213, the link."""
    lab = private_copy(checkout, "federation", "fednodes", "172.28.211", 0)
    shutil.rmtree(lab.inventory / "host_vars")
    of_all = lab.read("group_vars/all.yml")
    lab.write("group_vars/all.yml", {**of_all, "mesh_state_log": "auto"})
    inventory_says(lab, mesh_intentions=[], mesh_services_try=[])
    for number, node in enumerate(SERVERS[1:], 12):
        listed(lab, node, number)
    lab.fresh()
    lab.play(seconds=600)
    yield lab
    lab.down()


def listed(lab: Lab, node: str, number: int | None) -> None:
    """Have the node of dc2 in the inventory, at that place of its network, or not in it."""
    hosts = lab.read("hosts.yml")
    kind = "servers" if "server" in node else "clients"
    children = hosts["all"]["children"]
    host, name = children["mesh"]["children"][f"mesh_{kind}"]["hosts"], children["dc2"]
    place = name["children"]["dc2_servers"]["hosts"] if kind == "servers" else name["hosts"]
    host.pop(node, None)
    place.pop(node, None)
    if number is not None:
        host[node] = {
            "ansible_host": f"{lab.name}-{node}",
            "mesh_address": f"172.28.212.{number}",
            "lab_node": {"network": "dc2"},
        }
        if kind == "servers":
            host[node]["mesh_wan_address"] = f"172.28.213.{number + 10}"
            host[node]["lab_node"]["addresses"] = {"wan": "{{ mesh_wan_address }}"}
        place[node] = None
    lab.write("hosts.yml", hosts)


def processes(lab: Lab, *nodes: str) -> dict[str, str]:
    return {node: lab.process(node) for node in nodes}


def on_wan(lab: Lab, node: str) -> dict[str, str]:
    """Names and states of the servers on the WAN, as this one sees them."""
    rows = [line.split() for line in lab.on(node, "consul", "members", "-wan").splitlines()[1:]]
    return {row[0]: row[2] for row in rows}


def wan(lab: Lab, node: str) -> set[str]:
    """The servers that this one sees alive on the WAN; none has failed."""
    found = on_wan(lab, node)
    assert "failed" not in found.values(), found
    return {name for name, state in found.items() if state == "alive"}


def on_the_wan(*nodes: str) -> set[str]:
    return {f"{node}.{node[:3]}" for node in nodes}


def configured(lab: Lab, node: str) -> str:
    return lab.on(node, "cat", "/etc/consul.d/meshnode.json")


def ended_well(lab: Lab, run: Run) -> None:
    """No request failed, neither over the link; nothing is under way, and a call crosses the link."""
    no_request_failed(run, KINDS)
    assert "kv 2 agents, in dc2" in run.output
    no_lock_is_left(lab)
    lab.on("dc1-client1", "consul", "kv", "put", "-datacenter=dc2", "color", "green")
    assert lab.on(CLIENT, "consul", "kv", "get", "color").strip() == "green"


def test_a_second_server_would_move_the_state_of_its_datacenter_and_is_refused(lab: Lab) -> None:
    """dc1 has one server, whatever dc2 has."""
    hosts = lab.read("hosts.yml")
    before = (lab.inventory / "hosts.yml").read_text()
    host = {"ansible_host": f"{lab.name}-dc1-server2", "mesh_address": "172.28.211.12"}
    hosts["all"]["children"]["mesh"]["children"]["mesh_servers"]["hosts"]["dc1-server2"] = {
        **host,
        "mesh_wan_address": "172.28.213.21",
        "lab_node": {"network": "dc1", "addresses": {"wan": "{{ mesh_wan_address }}"}},
    }
    hosts["all"]["children"]["dc1"]["children"]["dc1_servers"]["hosts"]["dc1-server2"] = None
    lab.write("hosts.yml", hosts)
    refused = lab.play("-e", "node=dc1-server2", playbook=ADD, fails=True)
    (lab.inventory / "hosts.yml").write_text(before)
    said = " ".join(refused.output.split())
    assert "With 2 servers the state is in etcd, and now it is in the embedded log of one" in said
    assert "No such container" in lab.said("dc1-server2", "true")


def test_the_last_server_of_a_datacenter_stays(lab: Lab) -> None:
    refused = lab.play("-e", "node=dc1-server1", playbook=REMOVE, fails=True)
    said = " ".join(refused.output.split())
    assert "dc1-server1 is the last server of dc1: without it there is no datacenter." in said
    assert not (lab.store / "procedure.json").exists()


def test_a_client_joins_the_datacenter_that_it_is_in(lab: Lab) -> None:
    listed(lab, "dc2-client2", 22)
    before = processes(lab, *FIRST, *SERVERS, CLIENT)
    run = lab.play("-e", "node=dc2-client2", playbook=ADD)
    ended_well(lab, run)
    assert processes(lab, *before) == before
    assert lab.alive("dc2-client2") == lab.alive(CLIENT) == {*SERVERS, CLIENT, "dc2-client2"}
    assert lab.alive("dc1-client1") == set(FIRST)
    assert lab.on("dc2-client2", "consul", "kv", "get", "-datacenter=dc1", "-keys", "meshnode").strip()
    assert table(run, "dc1-server1") == ["dc1-server1", "2", "2", "4", "no", "-"]
    assert table(run, CLIENT) == [CLIENT, "4", "5", "-", "no", "-"]


def test_a_client_leaves_it(lab: Lab) -> None:
    before = processes(lab, *FIRST, *SERVERS, CLIENT)
    run = lab.play("-e", "node=dc2-client2", playbook=REMOVE)
    ended_well(lab, run)
    assert processes(lab, *before) == before
    assert "No such container" in lab.said("dc2-client2", "true")
    assert lab.alive(CLIENT) == {*SERVERS, CLIENT}
    assert "its certificate counts until 20" in run.output
    listed(lab, "dc2-client2", None)


def test_a_server_that_is_lost_is_replaced_and_seen_on_the_wan_again(lab: Lab) -> None:
    lost, staying = SERVERS[1], (*FIRST, SERVERS[0], SERVERS[2], CLIENT)
    alive = lab.play("-e", f"node={lost}", playbook=REPLACE, fails=True)
    assert f"{lost} is alive, as dc2-" in " ".join(alive.output.split())
    no_lock_is_left(lab)
    before = processes(lab, *staying)
    lose(lab, lost)
    run = lab.play("-e", f"node={lost}", playbook=REPLACE)
    ended_well(lab, run)
    assert processes(lab, *before) == before
    assert voters(lab, lost) == set(SERVERS)
    for node in ("dc1-server1", *SERVERS):
        assert wan(lab, node) == on_the_wan("dc1-server1", *SERVERS)


def test_a_server_joins_and_the_servers_of_both_datacenters_know_it(lab: Lab) -> None:
    listed(lab, "dc2-server4", 14)
    before = processes(lab, *FIRST, *SERVERS, CLIENT)
    run = lab.play("-e", "node=dc2-server4", playbook=ADD)
    ended_well(lab, run)
    assert processes(lab, *before) == before
    assert voters(lab, "dc2-server4") == {*SERVERS, "dc2-server4"}
    for node in ("dc1-server1", *SERVERS, "dc2-server4"):
        assert wan(lab, node) == on_the_wan("dc1-server1", *SERVERS, "dc2-server4")
    assert "172.28.213.24" in configured(lab, "dc1-server1")
    assert "172.28.212.14" in configured(lab, CLIENT)
    assert "when it suits, make roll: 5 agents" in run.output


def test_a_server_leaves_and_the_servers_of_both_datacenters_forget_it(lab: Lab) -> None:
    gone, staying = SERVERS[0], (*SERVERS[1:], "dc2-server4")
    before = processes(lab, *FIRST, *staying, CLIENT)
    run = lab.play("-e", f"node={gone}", playbook=REMOVE)
    ended_well(lab, run)
    assert processes(lab, *before) == before
    assert "No such container" in lab.said(gone, "true")
    assert voters(lab, staying[0]) == set(staying)
    for node in ("dc1-server1", *staying):
        assert wan(lab, node) == on_the_wan("dc1-server1", *staying)
        assert on_wan(lab, node)[f"{gone}.dc2"] == "left"
    assert "172.28.213.12" not in configured(lab, "dc1-server1")
    assert "172.28.212.11" not in configured(lab, CLIENT)
    listed(lab, gone, None)


def test_a_server_that_died_is_taken_out_of_etcd_and_of_the_wan(lab: Lab) -> None:
    """Gossip of the WAN is slower to notice its death than that of the LAN; until then it is leaving."""
    lose(lab, "dc2-server4")
    staying = SERVERS[1:]
    run = lab.play("-e", "node=dc2-server4", playbook=REMOVE)
    ended_well(lab, run)
    assert voters(lab, staying[0]) == set(staying)
    for node in ("dc1-server1", *staying):
        assert wan(lab, node) == on_the_wan("dc1-server1", *staying)
    until(
        "every server knows that it left",
        lambda: {on_wan(lab, node)["dc2-server4.dc2"] for node in ("dc1-server1", *staying)} == {"left"},
        120,
    )
