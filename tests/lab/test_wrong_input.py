"""What people get wrong: refused before anything is touched, in words that name the thing, the place and the fix."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.lab.labs import Lab, private_copy

pytestmark = [pytest.mark.lab, pytest.mark.timeout(300)]

Groups = dict[str, Any]
Change = Callable[[Callable[[Groups], object]], None]


@pytest.fixture(scope="module")
def planned(checkout: Path) -> Iterator[Lab]:
    """An inventory whose containers are never made, unless a test fails."""
    lab = private_copy(checkout, "quickstart", "wrongtest", "172.28.253", 18446)
    yield lab
    if lab.left_behind():
        lab.down()


@pytest.fixture
def change(planned: Lab) -> Iterator[Change]:
    """Changes the groups of the inventory for one test."""
    before = (planned.inventory / "hosts.yml").read_text()

    def edited(edit: Callable[[Groups], object]) -> None:
        inventory = planned.read("hosts.yml")
        edit(inventory["all"]["children"]["mesh"]["children"])
        planned.write("hosts.yml", inventory)

    yield edited
    (planned.inventory / "hosts.yml").write_text(before)


@pytest.fixture(scope="module")
def whole(small_lab: Lab) -> Lab:
    """The shared lab, healthy: what is refused here must not harm it."""
    small_lab.play()
    return small_lab


def flat(text: str) -> str:
    """In one line: Ansible wraps long messages."""
    return " ".join(text.split())


def test_every_problem_of_the_inventory_is_told_at_once(planned: Lab, change: Change) -> None:
    def edit(groups: Groups) -> None:
        clients, servers = groups["mesh_clients"]["hosts"], groups["mesh_servers"]["hosts"]
        clients["client1"] |= {"mesh_address": clients["client2"]["mesh_address"], "mesh_node_name": "web"}
        clients["client2"]["mesh_node_name"] = "web"
        clients["client3"] = {}
        clients["my_client"] = {"mesh_address": "172.28.253.30"}
        groups["others"] = {"hosts": {"client9": {"mesh_address": "172.28.253.29"}}}
        clients["both"] = servers["both"] = {"mesh_address": "172.28.253.31"}

    change(edit)
    said = flat(planned.play(fails=True).output)
    for sentence in (
        "mesh_address 172.28.253.22 is that of client1 and client2: give each host its own.",
        "mesh_node_name web is that of client1 and client2: give each host its own, or leave it out.",
        "mesh_address is not set for client3: give each host the address that the others reach it by.",
        "my_client: is not a name for DNS; use letters, digits and hyphens.",
        "client9: is neither in mesh_servers nor in mesh_clients; put it into one of them.",
        "both: is in mesh_servers and in mesh_clients; take it out of one of them.",
    ):
        assert sentence in said


def test_a_mesh_without_a_server_is_refused(planned: Lab, change: Change) -> None:
    change(lambda groups: groups.pop("mesh_servers"))
    said = flat(planned.play(fails=True).output)
    assert "The group mesh_servers has no host: a mesh needs at least one server." in said


def test_every_problem_of_the_containers_is_told_at_once(planned: Lab, change: Change) -> None:
    def edit(groups: Groups) -> None:
        clients = groups["mesh_clients"]["hosts"]
        clients["client1"] |= {"mesh_address": "172.29.0.1", "lab_node": {"ports": ["127.0.0.1:18446:1"]}}
        clients["client2"]["mesh_address"] = "10.0.0.300"
        clients["client3"] = {"mesh_address": "172.28.253.1"}

    change(edit)
    said = flat(planned.play(fails=True).output)
    for sentence in (
        "client1: 172.29.0.1 is outside of 172.28.253.0/24: correct mesh_address or lab_network_subnet",
        'client2: "10.0.0.300" is not an IPv4 address: correct mesh_address in the inventory',
        "client3: 172.28.253.1 belongs to the network 172.28.253.0/24 itself: choose one from 172.28.253.2 on",
        "client1: 127.0.0.1:18446 is published by server1 too: choose another port",
    ):
        assert sentence in said
    assert planned.left_behind() == []
    assert not (planned.inventory / ".secrets").exists()


def test_an_even_number_of_servers_is_pointed_out(planned: Lab, change: Change) -> None:
    sentence = "an odd number is what you want in the group mesh_servers"
    assert sentence not in flat(planned.play(playbook="playbooks/preflight.yml").output)
    change(lambda groups: groups["mesh_servers"]["hosts"].update(server2={"mesh_address": "172.28.253.12"}))
    said = flat(planned.play(playbook="playbooks/preflight.yml").output)
    assert f"2 servers survive the loss of as many as 1 do: {sentence}" in said


@pytest.mark.parametrize(
    ("role", "values", "sentences"),
    [
        (
            "mesh_node",
            {"mesh_node_restart": "now", "mesh_node_http_port": "x", "mesh_node_extra_config": "log_level"},
            [
                "value of mesh_node_restart must be one of: drift, start, always, deferred, got: now",
                "'mesh_node_http_port' is of type str and we were unable to convert to int",
                "'mesh_node_extra_config' is of type str and we were unable to convert to dict",
            ],
        ),
        (
            "mesh_pki",
            {"mesh_pki_role": "leader", "mesh_pki_key_type": "rsa-1024"},
            [
                "value of mesh_pki_role must be one of: server, client, got: leader",
                "value of mesh_pki_key_type must be one of: ec-p256",
            ],
        ),
        (
            "mesh_gossip",
            {"mesh_gossip_key_size": 17},
            ["value of mesh_gossip_key_size must be one of: 16, 24, 32, got: 17"],
        ),
        (
            "lab_docker",
            {"lab_docker_state": "up"},
            ["value of lab_docker_state must be one of: present, absent, got: up"],
        ),
    ],
)
def test_a_value_that_a_role_does_not_know_is_refused_by_name(
    planned: Lab, role: str, values: dict[str, object], sentences: list[str]
) -> None:
    play = {"hosts": "client1", "gather_facts": False, "roles": [f"meshnode.lab.{role}"]}
    (planned.checkout / "one_role.yml").write_text(json.dumps([play]))
    said = flat(planned.play("-e", json.dumps(values), playbook="one_role.yml", fails=True).output)
    assert [sentence for sentence in sentences if sentence not in said] == [], said


@pytest.mark.parametrize(
    ("variable", "words"),
    [
        ("mesh_gossip_key", "gossip key of dc1: option key: the gossip key decodes to 5 bytes"),
        ("mesh_node_gossip_key", "encrypt has invalid key: the gossip key decodes to 5 bytes"),
    ],
)
def test_a_gossip_key_of_a_wrong_length_is_refused_and_not_shown(
    whole: Lab, variable: str, words: str
) -> None:
    short = base64.b64encode(b"short").decode()
    run = whole.play("-e", json.dumps({variable: short}), fails=True)
    assert words in flat(run.output), run.output
    assert short not in run.output


def test_a_gossip_key_of_the_variables_goes_to_the_nodes(whole: Lab) -> None:
    key = base64.b64encode(bytes(range(32))).decode()
    run = whole.play("--check", "-e", json.dumps({"mesh_gossip_key": key}))
    assert all(count > 0 for count in run.changed.values())
    assert key not in run.output


def test_a_package_for_another_python_is_refused_by_the_node(whole: Lab) -> None:
    words = ("--check", "--limit", "client1", "-e", "mesh_node_python_version=3.12")
    said = flat(whole.play(*words, fails=True).output)
    assert "is Python 3.11 on this node, the package is for 3.12" in said
    assert 'set mesh_node_python_version: "3.11" for this host' in said


def test_a_store_that_others_can_read_is_refused_with_the_command_that_mends_it(whole: Lab) -> None:
    whole.store.chmod(0o755)
    try:
        said = flat(whole.play(fails=True).output)
    finally:
        whole.store.chmod(0o700)
    remedy = f"see who read it, then chmod 700 {whole.store}"
    assert f"{whole.store} has mode 0755, open to others: {remedy}" in said


def test_what_another_lab_has_is_not_taken(whole: Lab, planned: Lab) -> None:
    """Its network, its port: each is named, and so is who has it."""
    taken = whole.network
    inside = [{"name": "x", "address": f"{taken}.77"}]
    words = {"lab_network_subnet": f"{taken}.0/24", "lab_docker_nodes": inside}
    said = flat(planned.play("-e", json.dumps(words), playbook="playbooks/lab_up.yml", fails=True).output)
    assert f'overlaps {taken}.0/24 of the network "{whole.name}-lan": choose another subnet' in said

    node = {"name": "x", "address": "172.28.253.77", "ports": [f"{whole.published}:10443"]}
    words = {"lab_docker_nodes": [node]}
    said = flat(planned.play("-e", json.dumps(words), playbook="playbooks/lab_up.yml", fails=True).output)
    assert f'x: port {whole.published} is published by the container "{whole.name}-server1"' in said
    assert planned.left_behind() == []


def test_nothing_of_this_harmed_the_lab(whole: Lab) -> None:
    assert whole.play().changed_everywhere == dict.fromkeys([*whole.nodes, "localhost"], 0)
