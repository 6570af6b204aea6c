"""site.yml on a lab of its own, as people use it: again and again, in parts, interrupted, after damage.

The tests follow each other on one lab, from fresh containers on, and are run in the order of this file.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

pytestmark = [pytest.mark.lab, pytest.mark.timeout(300)]

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent
NAME = "sitetest"
NODES = {"server1": "172.28.251.11", "client1": "172.28.251.21", "client2": "172.28.251.22"}
MAX_REMOTE_CALLS = 8
CONFIG = "/etc/consul.d/meshnode.json"
RECAP = re.compile(r"^(\S+)\s+: ok=(\d+)\s+changed=(\d+)\s+unreachable=(\d+)\s+failed=(\d+)", re.MULTILINE)


@dataclass(frozen=True)
class Run:
    """What a run of a playbook printed."""

    code: int
    output: str

    @property
    def changed(self) -> dict[str, int]:
        """Changes of each node; localhost's, of the containers, are not counted."""
        found = RECAP.findall(self.output)
        return {
            host: int(changed) for host, _ok, changed, _unreachable, _failed in found if host != "localhost"
        }


@dataclass(frozen=True)
class Lab:
    """An inventory in a temporary folder, with its own secrets."""

    inventory: Path

    def command(self, *words: str, playbook: str = "site.yml") -> tuple[list[str], dict[str, str]]:
        environment = {name: value for name, value in os.environ.items() if not name.startswith("ANSIBLE_")}
        environment |= {"PATH": f"{BIN}:{os.environ['PATH']}", "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg")}
        command = [
            str(BIN / "ansible-playbook"),
            "-i",
            str(self.inventory / "hosts.yml"),
            str(ROOT / playbook),
            *words,
        ]
        return command, environment

    def play(self, *words: str, playbook: str = "site.yml", fails: bool = False) -> Run:
        command, environment = self.command(*words, playbook=playbook)
        done = subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=250, check=False
        )
        run = Run(done.returncode, done.stdout + done.stderr)
        assert (run.code != 0) is fails, run.output[-8000:]
        return run

    def on(self, node: str, *command: str) -> str:
        done = subprocess.run(
            ["docker", "exec", f"{NAME}-{node}", *command], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def alive(self, node: str) -> set[str]:
        rows = [line.split() for line in self.on(node, "consul", "members").splitlines()[1:]]
        return {row[0] for row in rows if row[2] == "alive"}

    def started(self, node: str) -> str:
        return self.on(node, "systemctl", "show", "consul", "-p", "MainPID").strip()


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """Containers that have booted and nothing of ours on them."""
    folder = tmp_path_factory.mktemp("inventory")
    shutil.copytree(ROOT / "meshnode", folder / "source" / "meshnode")
    shutil.copy(ROOT / "pyproject.toml", folder / "source")
    hosts = {
        name: {"ansible_host": f"{NAME}-{name}", "mesh_address": address} for name, address in NODES.items()
    }
    local = {"ansible_connection": "local", "ansible_python_interpreter": "{{ ansible_playbook_python }}"}
    connection = {
        "ansible_connection": "community.docker.docker",
        "ansible_user": "root",
        "ansible_python_interpreter": "/usr/bin/python3",
    }
    groups = {
        "mesh_servers": {"hosts": {"server1": hosts["server1"]}},
        "mesh_clients": {"hosts": {name: hosts[name] for name in ("client1", "client2")}},
    }
    mesh = {"vars": connection, "children": groups}
    variables = {
        "lab_name": NAME,
        "lab_network_subnet": "172.28.251.0/24",
        "lab_docker_cache_dir": str(ROOT / ".cache"),
        # A copy: an edit while the tests run is a new package, and so a change.
        "mesh_node_package_source": str(folder / "source"),
        "mesh_node_package_cache_dir": str(ROOT / ".cache"),
    }
    inventory = {"all": {"hosts": {"localhost": local}, "vars": variables, "children": {"mesh": mesh}}}
    (folder / "hosts.yml").write_text(yaml.safe_dump(inventory))
    made = Lab(folder)
    made.play(playbook="playbooks/lab_down.yml")
    made.play(playbook="playbooks/lab_up.yml")
    yield made
    made.play(playbook="playbooks/lab_down.yml")


def converged(lab: Lab) -> None:
    assert lab.play().changed == dict.fromkeys(NODES, 0)


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
        assert remote_calls(run, name) <= MAX_REMOTE_CALLS


def remote_calls(run: Run, node: str) -> int:
    return len(re.findall(rf"^<{NAME}-{node}> (?:EXEC|PUT|FETCH)", run.output, re.MULTILINE))


def test_the_second_run_changes_nothing(lab: Lab) -> None:
    run = lab.play("-vvv")
    assert run.changed == dict.fromkeys(NODES, 0)
    assert {name: remote_calls(run, name) for name in NODES} == dict.fromkeys(NODES, 3)


def test_a_check_of_a_converged_mesh_promises_nothing(lab: Lab) -> None:
    assert lab.play("--check", "--diff").changed == dict.fromkeys(NODES, 0)


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
    before = lab.started("client1")
    lab.on("client1", "sh", "-c", 'echo "{}" > /consul/config/zz.json && chmod 644 /consul/config/zz.json')
    assert lab.play().changed["client1"] > 0
    assert lab.started("client1") != before
    converged(lab)


def test_a_changed_setting_restarts_in_turns_and_no_run_after_it(lab: Lab) -> None:
    before = {name: lab.started(name) for name in NODES}
    words = ["-e", json.dumps({"mesh_node_extra_config": {"log_level": "DEBUG"}})]
    run = lab.play(*words)
    assert all(lab.started(name) != before[name] for name in NODES)
    restarted = re.findall(
        r"^changed: \[(\w+)\]", run.output.partition("Restart servers in turns")[2], re.MULTILINE
    )
    assert restarted[0] == "server1"
    assert sorted(restarted) == sorted(NODES)
    assert lab.play(*words).changed == dict.fromkeys(NODES, 0)
    lab.play()


def test_a_configuration_that_the_agent_refuses_replaces_nothing(lab: Lab) -> None:
    before = (lab.on("client1", "sha256sum", CONFIG), lab.started("client1"))
    words = ["-e", json.dumps({"mesh_node_extra_config": {"no_such_key": 1}})]
    run = lab.play(*words, fails=True)
    assert "no_such_key" in run.output
    assert (lab.on("client1", "sha256sum", CONFIG), lab.started("client1")) == before
    converged(lab)


def test_a_run_that_was_killed_is_completed_by_the_next_one(lab: Lab) -> None:
    command, environment = lab.command("-e", json.dumps({"mesh_node_extra_config": {"log_level": "DEBUG"}}))
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, text=True, start_new_session=True
    ) as run:
        assert run.stdout is not None
        # Killed once the first node has its new files, before any agent was restarted.
        wanted = False
        for line in run.stdout:
            wanted = wanted or "Put the node into its wanted state" in line
            if wanted and line.startswith("changed:"):
                break
        os.killpg(run.pid, signal.SIGKILL)
    done = lab.play("-e", json.dumps({"mesh_node_extra_config": {"log_level": "DEBUG"}}))
    assert all(done.changed[name] > 0 for name in NODES)
    for name in NODES:
        state = json.loads(lab.on(name, "cat", "/run/consul/state.json"))
        assert state["config_digest"] == digest_on(lab, name)
    lab.play()
    converged(lab)


def digest_on(lab: Lab, node: str) -> str:
    script = """import glob, hashlib, os
digest = hashlib.sha256()
for path in sorted(glob.glob("/etc/consul.d/*.json")):
    digest.update(os.fsencode(path) + b"\\0" + open(path, "rb").read() + b"\\0")
print(digest.hexdigest())
"""
    return lab.on(node, "python3", "-c", script).strip()


def test_a_node_that_was_deleted_is_made_again_with_the_same_key(lab: Lab) -> None:
    secrets = (lab.inventory / ".secrets" / "dc1" / "gossip.json").read_text()
    subprocess.run(["docker", "rm", "--force", f"{NAME}-client2"], check=True, capture_output=True)
    run = lab.play()
    assert run.changed["client2"] > 0
    assert (lab.inventory / ".secrets" / "dc1" / "gossip.json").read_text() == secrets
    for name in NODES:
        assert lab.alive(name) == set(NODES)
    converged(lab)


def test_no_secret_is_printed_at_any_verbosity(lab: Lab) -> None:
    lab.on("client1", "sh", "-c", f"echo '{{}}' > {CONFIG} && chmod 644 /etc/consul.d/ssl/consul.key")
    run = lab.play("-vvv", "--diff")
    store = lab.inventory / ".secrets" / "dc1"
    secrets = [entry["key"] for entry in json.loads((store / "gossip.json").read_text())["keys"]]
    secrets += (store / "ca" / "1" / "ca.key").read_text().splitlines()[1:-1]
    secrets += lab.on("client1", "cat", "/etc/consul.d/ssl/consul.key").splitlines()[1:-1]
    assert len(secrets) >= 3
    assert [secret[:6] + "..." for secret in secrets if secret in run.output] == []
    assert "(secret " in run.output
