"""etcd below the lab of `make up`, changed while it works: other settings, a member more.

The tests follow each other on one lab and are run in the order of this file.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab.default_lab import SERVERS, etcd_process, everywhere, put, remote_calls
from tests.lab.labs import MAX_REMOTE_CALLS, Lab, private_copy

pytestmark = [pytest.mark.lab, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def lab(checkout: Path) -> Iterator[Lab]:
    made = private_copy(checkout, "lab", "etcdtest", "172.28.207", 18462)
    made.fresh()
    try:
        made.play()
        put(made, "client1", "kept", "through all of it")
        yield made
    finally:
        made.down()


def test_changed_settings_of_etcd_restart_its_members_one_by_one(lab: Lab) -> None:
    before = {name: etcd_process(lab, name) for name in SERVERS}
    words = ("-e", json.dumps({"mesh_etcd_snapshot_count": 5000}))
    run = lab.play("-vvv", *words)
    assert [name for name in SERVERS if etcd_process(lab, name) == before[name]] == []
    calls = remote_calls(lab, run)
    assert all(count <= MAX_REMOTE_CALLS for count in calls.values()), calls
    restarts = run.output.partition("Restart etcd in turns")[2].partition("Restart servers in turns")[0]
    assert re.findall(r"^changed: \[(\w+)\]", restarts, re.MULTILINE) == list(SERVERS)
    assert lab.play(*words).changed_everywhere == dict.fromkeys([*lab.nodes, "localhost"], 0)
    lab.play()
    assert everywhere(lab, "kept") == dict.fromkeys(lab.nodes, "through all of it")


def test_a_server_more_in_the_inventory_becomes_a_member(lab: Lab) -> None:
    inventory = lab.read("hosts.yml")
    servers = inventory["all"]["children"]["mesh"]["children"]["mesh_servers"]["hosts"]
    servers["server4"] = {"ansible_host": f"{lab.name}-server4", "mesh_address": "172.28.207.14"}
    lab.write("hosts.yml", inventory)
    run = lab.play("-vvv")
    calls = remote_calls(lab, run)
    assert all(count <= MAX_REMOTE_CALLS for count in calls.values()), calls
    assert everywhere(lab, "kept") == dict.fromkeys(lab.nodes, "through all of it")
    lab.play(playbook="playbooks/verify.yml")
    assert lab.play().changed_everywhere == dict.fromkeys([*lab.nodes, "localhost"], 0)
