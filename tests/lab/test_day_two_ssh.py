"""Every procedure on machines reached by SSH, by a user who needs sudo: inventories/ssh_lab, with three servers.

The tests follow each other on one lab, from a mesh in clear on, and are run in the order of this file:
``make day-two-test``.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab.day_two import (
    BACK,
    backed_up_and_restored,
    catalog,
    curl,
    doors,
    inventory_says,
    keys,
    listed,
    lose,
    no_lock_is_left,
    no_request_failed,
    one_new_key,
    phases,
    processes,
    required,
    table,
    trusted,
    voters,
)
from tests.lab.labs import BIN, Lab, Run, private_copy, until
from tests.lab.under_faults import nothing_is_left, promises_kept

#: Seconds that one run may take where other work keeps the machine busy: a tenth of it is usual.
LONG = 900
SERVERS = {"server1", "server2", "server3"}
FIVE = {*SERVERS, "client1", "client2"}

pytestmark = [pytest.mark.lab, pytest.mark.timeout(LONG + 100)]


@pytest.fixture(scope="module")
def lab(checkout: Path) -> Iterator[Lab]:
    """The lab of SSH with two more servers, so that one can be lost, and with everything in clear."""
    lab = private_copy(checkout, "ssh_lab", "daytwossh", "172.28.208", 18562)
    listed(lab, "mesh_servers", "server2", 12)
    listed(lab, "mesh_servers", "server3", 13)
    inventory_says(lab, mesh_gossip_encrypt=False, mesh_tls_enabled=False)
    lab.fresh()
    lab.play(seconds=LONG)
    yield lab
    lab.down()


def changed(lab: Lab, procedure: str, *words: str) -> Run:
    """The mesh after the procedure: no request failed meanwhile, and nothing of it is left."""
    run = lab.play(*words, playbook=f"playbooks/{procedure}.yml", seconds=LONG)
    no_request_failed(run)
    no_lock_is_left(lab)
    return run


def issuers(lab: Lab) -> set[str]:
    """Who issued what the nodes present to openssl."""
    ask = "openssl s_client -connect {}:10443 </dev/null 2>/dev/null | openssl x509 -noout -issuer"
    return {lab.on("client1", "sh", "-c", ask.format(address)).strip() for address in lab.nodes.values()}


def root(lab: Lab) -> str:
    """The root of Connect that signs."""
    said = lab.on("client2", "curl", "-s", "http://127.0.0.1:8500/v1/connect/ca/roots")
    return str(json.loads(said)["ActiveRootID"])


def test_gossip_comes_to_be_sealed(lab: Lab) -> None:
    assert {has_key for has_key, *_ in phases(lab)} == {False}
    run = changed(lab, "gossip_encrypt")
    assert phases(lab) == {(True, True, True)}
    assert 'put "mesh_gossip_encrypt: true" into the inventory' in run.output
    inventory_says(lab, mesh_gossip_encrypt=True)


def test_rpc_http_and_etcd_come_to_require_tls_which_the_wire_shows(lab: Lab) -> None:
    run = changed(lab, "tls_upshift")
    required(lab)
    assert voters(lab) == SERVERS
    assert lab.printed_secrets(run) == []
    assert "PROVED: everything on ports 2379, 2380, 8300, 10443 is encrypted" in run.output
    assert table(run, "server2")[1:3] == ["clear", "required"]
    inventory_says(lab, mesh_tls_enabled=True)


def test_a_new_gossip_key_takes_over_without_a_restart(lab: Lab) -> None:
    before, running = keys(lab), processes(lab)
    changed(lab, "gossip_rotate")
    one_new_key(lab, before)
    assert processes(lab) == running


def test_a_new_ca_takes_over_without_a_restart(lab: Lab) -> None:
    (before,), running = issuers(lab), processes(lab)
    changed(lab, "ca_rotate")
    (after,) = issuers(lab)
    assert before.endswith("dc1 g1")
    assert after.endswith("dc1 g2")
    assert trusted(lab) == {"1"}
    assert processes(lab) == running


def test_a_new_root_of_connect_takes_over(lab: Lab) -> None:
    before = root(lab)
    changed(lab, "connect_ca_rotate")
    assert root(lab) != before


def test_a_changed_setting_is_rolled_out(lab: Lab) -> None:
    before = processes(lab)
    inventory_says(lab, mesh_node_extra_config={"log_level": "DEBUG"})
    changed(lab, "roll")
    after = processes(lab)
    assert [node for node in FIVE if after[node] == before[node]] == []
    assert "DEBUG" in lab.on("client1", "cat", "/etc/consul.d/meshnode.json")


@pytest.mark.parametrize("playbook", ["site.yml", "playbooks/verify.yml", "playbooks/roll.yml"])
def test_one_node_can_be_run_alone_and_is_left_as_it_is(lab: Lab, playbook: str) -> None:
    before = processes(lab)
    assert lab.play("--limit", "client1", playbook=playbook).changed == {"client1": 0}
    assert processes(lab) == before
    no_lock_is_left(lab)


def test_a_backup_brings_back_what_was_written_before_it(lab: Lab) -> None:
    backed_up_and_restored(lab)
    for node in SERVERS:
        assert "No such file" in lab.said(node, "sh", "-c", "ls /run/meshnode-*.snap")


def test_a_client_joins_and_nobody_else_is_restarted(lab: Lab) -> None:
    before = processes(lab)
    listed(lab, "mesh_clients", "client9", 29)
    changed(lab, "add_node", "-e", "node=client9")
    assert before.items() <= processes(lab).items()
    assert lab.alive("client9") == lab.alive("server1") == {*FIVE, "client9"}


def test_a_client_leaves_and_nothing_knows_it_any_more(lab: Lab) -> None:
    run = lab.play("-e", "node=client9", playbook="playbooks/remove_node.yml", seconds=LONG)
    no_request_failed(run)
    assert "take client9 out of the inventory" in run.output
    listed(lab, "mesh_clients", "client9", None)
    no_lock_is_left(lab)
    assert lab.alive("server1") == FIVE == catalog(lab)
    assert "No such container" in lab.said("client9", "true")


def test_a_server_that_is_lost_with_its_disk_and_its_host_key_is_replaced(lab: Lab) -> None:
    known_hosts = lab.inventory / ".secrets" / "ssh" / "known_hosts"
    known = known_hosts.read_text()
    lose(lab, "server2")
    changed(lab, "replace_server", "-e", "node=server2")
    assert known_hosts.read_text() != known
    assert voters(lab) == voters(lab, "server2") == SERVERS
    assert lab.on("server2", "consul", "kv", "get", "-stale", "day-two").strip() == "before"
    assert lab.alive("server2") == FIVE == catalog(lab)


def test_promises_are_kept_under_faults_and_nothing_of_these_is_left(lab: Lab) -> None:
    seed = ("-e", "chaos_seed=3", "-e", "chaos_minutes=1", "-e", "chaos_faults=kill,pause,cut")
    promises_kept(lab.play(*seed, playbook="playbooks/chaos.yml", seconds=LONG), denied_pairs=False)
    nothing_is_left(lab)


def test_rpc_http_and_etcd_go_back_to_clear(lab: Lab) -> None:
    run = changed(lab, "tls_upshift", "-e", "tls_upshift_state=absent")
    assert table(run, "server2")[1:3] == ["required", "clear"]
    for node, address in lab.nodes.items():
        assert doors(lab, node, way="mutual TLS") == doors(lab, node, way="TLS") == set()
        assert curl(lab, f"http://{address}:8500/v1/status/leader") == "200"
    assert doors(lab, "server1", way="in clear") == {"server rpc", "http"}
    inventory_says(lab, mesh_tls_enabled=False)


def test_gossip_goes_back_to_clear(lab: Lab) -> None:
    changed(lab, "gossip_encrypt", *BACK)
    assert {has_key for has_key, *_ in phases(lab)} == {False}
    inventory_says(lab, mesh_gossip_encrypt=False)


def test_then_there_is_nothing_left_to_change(lab: Lab) -> None:
    assert lab.play().changed == dict.fromkeys(FIVE, 0)


def test_a_machine_that_freezes_under_a_task_is_unreachable_and_not_waited_for(lab: Lab) -> None:
    words = ["-i", str(lab.inventory), "client2", "-m", "ansible.builtin.command", "-a", "sleep 800"]
    container = f"{lab.name}-client2"
    with subprocess.Popen(
        [str(BIN / "ansible"), *words],
        env=lab.environment,
        cwd=lab.checkout,
        stdout=subprocess.PIPE,
        text=True,
    ) as task:
        until("the task runs", lambda: lab.said("client2", "pgrep", "-x", "sleep").strip().isdigit())
        subprocess.run(["docker", "pause", container], check=True, capture_output=True)
        try:
            output, _ = task.communicate(timeout=200)
        finally:
            subprocess.run(["docker", "unpause", container], check=True, capture_output=True)
            task.kill()
    assert task.returncode != 0
    assert "UNREACHABLE" in output
    until("client2 is back", lambda: lab.alive("server1") == FIVE)


def test_all_of_it_was_done_by_a_user_who_is_not_root(lab: Lab) -> None:
    for node in FIVE:
        said = lab.on(node, "journalctl", "-u", "ssh", "-o", "cat")
        assert "Accepted publickey for admin" in said
        assert "Accepted publickey for root" not in said


def test_a_lab_that_is_taken_down_leaves_nothing(lab: Lab) -> None:
    lab.down()
    assert lab.left_behind() == []
