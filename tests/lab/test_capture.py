"""Captures prove what the mesh claims: an encrypted mesh shows no canary, its twin in clear shows every one.

Two small labs, brought up side by side and judged in the order of this file; each run is ``ansible-playbook``'s.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

pytestmark = [pytest.mark.lab, pytest.mark.timeout(300)]

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent
MAX_REMOTE_CALLS = 8


@dataclass(frozen=True)
class Lab:
    """An inventory in a temporary folder: one server, two clients."""

    name: str
    inventory: Path

    @property
    def artifacts(self) -> Path:
        return self.inventory / "artifacts"

    @property
    def verdict(self) -> dict[str, Any]:
        loaded: dict[str, Any] = json.loads((self.artifacts / "verdict.json").read_text())
        return loaded

    def judged(self, port: int) -> dict[str, Any]:
        found: dict[str, Any] = next(one for one in self.verdict["verdicts"] if one["port"] == port)
        return found

    @property
    def key(self) -> str:
        keyring = json.loads((self.inventory / ".secrets" / "dc1" / "gossip.json").read_text())
        return str(keyring["keys"][0]["key"])

    def _write(self, variables: dict[str, Any]) -> Path:
        """A file, for a key would be in the list of processes otherwise."""
        path = self.inventory / "variables.json"
        path.write_text(json.dumps(variables))
        return path

    def start(self, *playbooks: str, **variables: Any) -> subprocess.Popen[str]:
        environment = {name: value for name, value in os.environ.items() if not name.startswith("ANSIBLE_")}
        environment |= {"PATH": f"{BIN}:{os.environ['PATH']}", "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg")}
        command = [
            str(BIN / "ansible-playbook"),
            "-i",
            str(self.inventory / "hosts.yml"),
            *(str(ROOT / playbook) for playbook in playbooks),
            "-vvv",
            f"-e@{self._write(variables)}",
        ]
        return subprocess.Popen(
            command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )

    def capture(self, *, fails: bool = False, **variables: Any) -> str:
        done = self.start("playbooks/capture.yml", **{"mesh_capture_seconds": 2, **variables})
        output = done.communicate(timeout=120)[0]
        assert (done.returncode != 0) is fails, output[-8000:]
        return " ".join(output.replace("\\n", " ").split())


def write_inventory(folder: Path, name: str, subnet: str, **mesh: Any) -> Lab:
    nodes = {"server1": 11, "client1": 21, "client2": 22}
    hosts = {
        node: {"ansible_host": f"{name}-{node}", "mesh_address": f"{subnet}.{last}"}
        for node, last in nodes.items()
    }
    connection = {
        "ansible_connection": "community.docker.docker",
        "ansible_user": "root",
        "ansible_python_interpreter": "/usr/bin/python3",
    }
    groups = {
        "mesh_servers": {"hosts": {"server1": hosts["server1"]}},
        "mesh_clients": {"hosts": {node: hosts[node] for node in ("client1", "client2")}},
    }
    variables = {
        "lab_name": name,
        "lab_network_subnet": f"{subnet}.0/24",
        "lab_docker_cache_dir": str(ROOT / ".cache"),
        "mesh_node_package_source": str(folder / "source"),
        "mesh_node_package_cache_dir": str(ROOT / ".cache"),
        "mesh_capture_artifacts": str(folder / name / "artifacts"),
    }
    local = {"ansible_connection": "local", "ansible_python_interpreter": "{{ ansible_playbook_python }}"}
    inventory = {
        "all": {
            "hosts": {"localhost": local},
            "vars": variables,
            "children": {"mesh": {"vars": {**connection, **mesh}, "children": groups}},
        }
    }
    (folder / name).mkdir()
    (folder / name / "hosts.yml").write_text(yaml.safe_dump(inventory))
    return Lab(name, folder / name)


@pytest.fixture(scope="module")
def labs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Lab, Lab]]:
    """An encrypted mesh, and its twin with the variables of inventories/plaintext."""
    folder = tmp_path_factory.mktemp("capture")
    # A copy: the package of both labs is built once, whatever is edited meanwhile.
    shutil.copytree(ROOT / "meshnode", folder / "source" / "meshnode")
    shutil.copy(ROOT / "pyproject.toml", folder / "source")
    clear = yaml.safe_load((ROOT / "inventories" / "plaintext" / "group_vars" / "mesh.yml").read_text())
    found = (
        write_inventory(folder, "sealtest", "172.28.241"),
        write_inventory(folder, "cleartest", "172.28.242", **clear),
    )
    try:
        together(found, "playbooks/lab_down.yml", "site.yml")
        yield found
    finally:
        together(found, "playbooks/lab_down.yml")


def together(labs: tuple[Lab, Lab], *playbooks: str) -> None:
    running = [lab.start(*playbooks) for lab in labs]
    outputs = [one.communicate(timeout=250)[0] for one in running]
    for one, output in zip(running, outputs, strict=True):
        assert one.returncode == 0, output[-8000:]


@pytest.fixture
def sealed(labs: tuple[Lab, Lab]) -> Lab:
    return labs[0]


@pytest.fixture
def clear(labs: tuple[Lab, Lab]) -> Lab:
    return labs[1]


def test_an_encrypted_mesh_is_proved_and_every_gossip_frame_is_opened(sealed: Lab) -> None:
    output = sealed.capture()
    assert "PROVED: everything on ports 8300, 8301, 10443 is encrypted" in output
    assert "1 travelled inside sealed gossip" in output
    assert sealed.key not in output
    for node in ("server1", "client1", "client2"):
        assert len(re.findall(rf"<sealtest-{node}> (?:EXEC|PUT|FETCH)", output)) <= MAX_REMOTE_CALLS
    assert {one["port"]: one["judgement"] for one in sealed.verdict["verdicts"]} == {
        8300: "encrypted", 8301: "encrypted", 8302: "silent", 8500: "silent", 10443: "encrypted"
    }  # fmt: skip
    assert {kind["kind"] for kind in sealed.judged(8301)["findings"]} == {"sealed"}
    assert [one["canaries"] for one in sealed.verdict["verdicts"]] == [[]] * 5
    assert len(sealed.judged(8301)["sealed_canaries"]) == 1
    assert sealed.judged(10443)["versions"] == ["TLS 1.3"]
    assert "PROVED" in (sealed.artifacts / "verdict.txt").read_text()


def test_the_twin_in_clear_shows_the_canary_on_each_port(clear: Lab) -> None:
    output = clear.capture(mesh_capture_canary="canaryinclear42")
    assert "PROVED: the control finds every canary in clear, on ports 8300, 8301, 8500." in output
    for port in (8300, 8301, 8500):
        assert clear.judged(port)["canaries"] == ["canaryinclear42"]
        dump = "".join(line[9:48].replace(" ", "") for line in clear.judged(port)["excerpt"]["dump"])
        assert b"canaryinclear42".hex() in dump


def test_the_twin_judged_as_an_encrypted_mesh_fails_and_names_the_ports(clear: Lab) -> None:
    files = [str(clear.artifacts / f"{node}.pcap") for node in ("server1", "client1", "client2")]
    command = [sys.executable, "-m", "meshnode", "prove", "-canary", "canaryinclear42", *files]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    last = done.stdout.splitlines()[-1]
    assert last.startswith("FAILED: ")
    assert all(f"port {port} shows 1 canary in clear" in last for port in (8300, 8301, 8500))


def test_the_bridge_of_the_lab_shows_the_same_and_a_leak_fails_the_playbook(clear: Lab) -> None:
    if os.geteuid() != 0:
        pytest.skip("capturing on a bridge needs root")
    output = clear.capture(mesh_capture_where="bridge", mesh_capture_expect="encrypted", fails=True)
    assert "FAILED: port 8300 shows 1 canary in clear; port 8301 shows 1 canary in clear" in output
    assert (clear.artifacts / "bridge.pcap").stat().st_size > 10_000


def test_on_the_bridge_an_encrypted_mesh_is_proved_for_the_ports_that_are_asked_for(sealed: Lab) -> None:
    if os.geteuid() != 0:
        pytest.skip("capturing on a bridge needs root")
    output = sealed.capture(
        mesh_capture_where="bridge",
        mesh_capture_ports=[8300, 8301],
        # A key from elsewhere, which goes through a pipe and into no output, however much of it is asked for.
        mesh_capture_gossip_key=sealed.key,
        mesh_capture_gossip_keyring="/nowhere",
    )
    assert sealed.key not in output
    assert "PROVED: everything on ports 8300, 8301 is encrypted" in output
    assert [one["port"] for one in sealed.verdict["verdicts"]] == [8300, 8301]


def on(lab: Lab, node: str, command: str) -> None:
    subprocess.run(["docker", "exec", f"{lab.name}-{node}", "sh", "-c", command], check=True)


def test_a_wrong_interface_is_void_with_the_ones_that_there_are(clear: Lab) -> None:
    output = clear.capture(mesh_capture_interface="eth7", fails=True)
    assert "VOID: this run proves nothing." in output
    assert "client1: there is no interface eth7 here, only: eth0 lo" in output


def test_a_node_without_tcpdump_is_named(clear: Lab) -> None:
    on(clear, "client2", "mv /usr/bin/tcpdump /usr/bin/tcpdump.away")
    try:
        output = clear.capture(fails=True)
    finally:
        on(clear, "client2", "mv /usr/bin/tcpdump.away /usr/bin/tcpdump")
    assert "VOID: this run proves nothing. client2: tcpdump is not installed here" in output


def test_a_full_disk_is_void(clear: Lab) -> None:
    on(clear, "server1", "mkdir -p /srv/tiny && mount -t tmpfs -o size=16k tmpfs /srv/tiny")
    try:
        output = clear.capture(mesh_capture_dir="/srv/tiny", fails=True)
    finally:
        on(clear, "server1", "umount /srv/tiny")
    assert "VOID: this run proves nothing. server1: tcpdump captured " in output
    assert "is the disk full?" in output


def test_ports_without_traffic_are_void(clear: Lab) -> None:
    output = clear.capture(mesh_capture_ports=[9], mesh_capture_seconds=0, fails=True)
    assert "VOID: no payload was captured on port 9" in output


def test_no_tcpdump_is_left_behind(labs: tuple[Lab, Lab]) -> None:
    for lab in labs:
        for node in ("server1", "client1", "client2"):
            on(lab, node, "! pgrep tcpdump")
