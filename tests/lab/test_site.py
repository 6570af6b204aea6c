"""site.yml on a lab of its own, as people use it: again and again, in parts, interrupted, after damage.

The tests follow each other on one lab, from fresh containers on, and are run in the order of this file.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
from collections.abc import Iterator

import pytest

from tests.lab.labs import CONFIG, MAX_REMOTE_CALLS, Lab
from tests.lab.quickstart import CALLS_WHEN_CONVERGED, NODES, NOTHING, calls

pytestmark = [pytest.mark.lab, pytest.mark.timeout(300)]

DEBUG = ("-e", json.dumps({"mesh_node_extra_config": {"log_level": "DEBUG"}}))


@pytest.fixture(scope="module")
def lab(small_lab: Lab) -> Iterator[Lab]:
    """Containers that have booted and nothing of ours on them; a node more in the middle of the story."""
    small_lab.fresh()
    small_lab.play(playbook="playbooks/lab_up.yml")
    before = (small_lab.inventory / "hosts.yml").read_text()
    yield small_lab
    (small_lab.inventory / "hosts.yml").write_text(before)


def converged(lab: Lab) -> None:
    assert lab.play().changed == NOTHING


def test_a_check_of_fresh_nodes_promises_changes_and_makes_none(lab: Lab) -> None:
    run = lab.play("--check", "--diff")
    assert all(run.changed[name] > 0 for name in NODES)
    for name in NODES:
        assert (
            lab.on(name, "sh", "-c", "ls -d /opt/meshnode /etc/consul.d /usr/local/bin/consul || true") == ""
        )
    assert not (lab.inventory / ".secrets").exists()


def test_the_first_run_makes_a_healthy_mesh_in_eight_calls_per_node(lab: Lab) -> None:
    run = lab.play("-vvv")
    assert all(run.changed[name] > 0 for name in NODES)
    for name in NODES:
        assert lab.alive(name) == set(NODES)
    made = calls(lab, run)
    assert all(CALLS_WHEN_CONVERGED[name] < made[name] <= MAX_REMOTE_CALLS for name in NODES), made
    assert lab.printed_secrets(run) == []


def test_the_second_run_changes_nothing(lab: Lab) -> None:
    run = lab.play("-vvv")
    assert run.changed == NOTHING
    assert calls(lab, run) == CALLS_WHEN_CONVERGED


def test_a_check_of_a_converged_mesh_promises_nothing(lab: Lab) -> None:
    assert lab.play("--check", "--diff").changed == NOTHING


def test_one_node_can_be_run_alone(lab: Lab) -> None:
    assert lab.play("--limit", "client1").changed == {"client1": 0}


def test_the_nodes_pass_the_tests_from_outside(lab: Lab) -> None:
    lab.play(playbook="playbooks/verify.yml")


def test_damage_is_repaired_and_the_agent_runs_with_the_repaired_files(lab: Lab) -> None:
    harm = (
        f"sed -i s/INFO/TRACE/ {CONFIG} && chmod 666 {CONFIG} && chmod 644 /etc/consul.d/ssl/consul.key"
        " && echo >> /opt/meshnode/current/lib/meshnode/__init__.py && rm /usr/local/bin/consul"
        " && systemctl disable --now consul"
    )
    lab.on("client1", "sh", "-c", harm)
    run = lab.play()
    assert run.changed["client1"] > 0
    assert (run.changed["server1"], run.changed["client2"]) == (0, 0)
    assert lab.alive("client1") == set(NODES)
    converged(lab)


def test_an_unmanaged_file_in_the_configuration_is_left_alone_and_taken_up(lab: Lab) -> None:
    before = lab.process("client1")
    lab.on("client1", "sh", "-c", 'echo "{}" > /consul/config/zz.json && chmod 644 /consul/config/zz.json')
    assert lab.play().changed["client1"] > 0
    assert lab.process("client1") != before
    converged(lab)


def test_a_changed_setting_restarts_in_turns_and_no_run_after_it(lab: Lab) -> None:
    before = {name: lab.process(name) for name in NODES}
    run = lab.play(*DEBUG)
    assert all(lab.process(name) != before[name] for name in NODES)
    restarted = re.findall(
        r"^changed: \[(\w+)\]", run.output.partition("Restart servers in turns")[2], re.MULTILINE
    )
    assert restarted[0] == "server1"
    assert sorted(restarted) == sorted(NODES)
    assert lab.play(*DEBUG).changed == NOTHING


def test_a_configuration_that_the_agent_refuses_replaces_nothing(lab: Lab) -> None:
    before = (lab.on("client1", "sha256sum", CONFIG), lab.process("client1"))
    words = ["-e", json.dumps({"mesh_node_extra_config": {"no_such_key": 1}})]
    run = lab.play(*words, fails=True)
    assert "no_such_key" in run.output
    assert (lab.on("client1", "sha256sum", CONFIG), lab.process("client1")) == before
    assert lab.alive("client1") == set(NODES)


def test_a_run_that_was_killed_is_completed_by_the_next_one(lab: Lab) -> None:
    """Back from the changed setting."""
    with subprocess.Popen(
        lab.command(), env=lab.environment, stdout=subprocess.PIPE, text=True, start_new_session=True
    ) as run:
        assert run.stdout is not None
        # Killed once the first node has its new files, before any agent was restarted.
        wanted = False
        for line in run.stdout:
            wanted = wanted or "Put the node into its wanted state" in line
            if wanted and line.startswith("changed:"):
                break
        os.killpg(run.pid, signal.SIGKILL)
    done = lab.play()
    assert all(done.changed[name] > 0 for name in NODES)
    for name in NODES:
        state = json.loads(lab.on(name, "cat", "/run/consul/state.json"))
        assert state["config_digest"] == digest_on(lab, name)
    converged(lab)


def digest_on(lab: Lab, node: str) -> str:
    script = """import glob, hashlib, os
digest = hashlib.sha256()
for path in sorted(glob.glob("/etc/consul.d/*.json")):
    digest.update(os.fsencode(path) + b"\\0" + open(path, "rb").read() + b"\\0")
print(digest.hexdigest())
"""
    return lab.on(node, "python3", "-c", script).strip()


def test_a_node_that_was_deleted_is_made_again_and_takes_its_place(lab: Lab) -> None:
    secrets = (lab.store / "gossip.json").read_text()
    before = {name: (node_id(lab, name), lab.process(name)) for name in NODES}
    subprocess.run(["docker", "rm", "--force", f"{lab.name}-client2"], check=True, capture_output=True)
    run = lab.play()
    assert run.changed["client2"] > 0
    assert (lab.store / "gossip.json").read_text() == secrets
    after = {name: (node_id(lab, name), lab.process(name)) for name in NODES}
    assert after["client2"] != before["client2"]
    assert [after[name] for name in ("server1", "client1")] == [
        before[name] for name in ("server1", "client1")
    ]
    for name in NODES:
        assert lab.members(name) == dict.fromkeys(NODES, "alive")
        assert lab.on(name, "sh", "-c", "journalctl -u consul -o cat | grep -i conflict || true") == ""
    converged(lab)


def node_id(lab: Lab, node: str) -> str:
    return lab.on(node, "sh", "-c", "cat /var/lib/consul/node-id").strip()


def test_a_node_more_in_the_inventory_changes_nothing_on_the_others(lab: Lab) -> None:
    before = {name: lab.process(name) for name in NODES}
    inventory = lab.read("hosts.yml")
    clients = inventory["all"]["children"]["mesh"]["children"]["mesh_clients"]["hosts"]
    clients["client3"] = {"ansible_host": f"{lab.name}-client3", "mesh_address": f"{lab.network}.23"}
    lab.write("hosts.yml", inventory)
    changed = lab.play().changed
    assert changed.pop("client3") > 0
    assert changed == NOTHING
    for name in (*NODES, "client3"):
        assert lab.alive(name) == {*NODES, "client3"}
    assert lab.play().changed == dict.fromkeys((*NODES, "client3"), 0)

    del clients["client3"]
    lab.write("hosts.yml", inventory)
    converged(lab)
    assert (
        f"{lab.name}-client3"
        not in subprocess.run(
            ["docker", "ps", "--all", "--format", "{{.Names}}"], capture_output=True, text=True, check=True
        ).stdout
    )
    assert {name: lab.process(name) for name in NODES} == before
    lab.play(playbook="playbooks/verify.yml")


def test_no_secret_is_printed_at_any_verbosity(lab: Lab) -> None:
    lab.on("client1", "sh", "-c", f"echo '{{}}' > {CONFIG} && chmod 644 /etc/consul.d/ssl/consul.key")
    run = lab.play("-vvv", "--diff")
    assert lab.printed_secrets(run) == []
    assert "(secret " in run.output
