"""lab_cluster on a real engine: make, make again, check, change, refuse, remove."""

from __future__ import annotations

import gc
import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import docker
import pytest

from tests.lab.conftest import ModuleError

pytestmark = pytest.mark.lab

NAME = "labtest"
SUBNET = "172.28.250.0/24"
PORT = 18443
Cluster = Callable[..., dict[str, Any]]


@pytest.fixture
def lab(cluster: Cluster, image: str) -> Iterator[dict[str, Any]]:
    """Arguments of a small lab that isn't there yet, and isn't afterwards."""
    cluster(name=NAME, state="absent")
    yield {
        "name": NAME,
        "image": image,
        "networks": [{"subnet": SUBNET}],
        "nodes": [
            {
                "name": "server1",
                "address": "172.28.250.11",
                "ports": [f"{PORT}:8443"],
                "volumes": ["data:/data"],
            },
            {"name": "client1", "address": "172.28.250.21"},
        ],
    }
    cluster(name=NAME, state="absent")


def states(result: dict[str, Any]) -> dict[str, str]:
    return {node["name"]: node["state"] for node in result["nodes"]}


def ids(engine: docker.DockerClient) -> dict[str, str]:
    found = engine.containers.list(all=True, filters={"label": f"io.meshnode.lab={NAME}"})
    return {container.name: container.id for container in found}


def test_a_lab_is_foreseen_made_left_alone_and_removed(
    cluster: Cluster, lab: dict[str, Any], engine: docker.DockerClient
) -> None:
    foreseen = cluster(**lab, check=True)
    assert foreseen["changed"]
    assert ids(engine) == {}

    made = cluster(**lab)
    assert made["actions"] == foreseen["actions"]
    assert made["diff"] == foreseen["diff"]
    assert states(made) == {"server1": "created", "client1": "created"}
    assert {node["systemd"] for node in made["nodes"]} == {"running"}
    client = engine.containers.get(f"{NAME}-client1")
    code, output = client.exec_run(["getent", "hosts", "server1"])
    assert (code, output.split()[:1]) == (0, [b"172.28.250.11"])

    before = ids(engine)
    for check in (True, False):
        again = cluster(**lab, check=check)
        assert not again["changed"]
        assert again["actions"] == []
        assert again["diff"]["before"] == again["diff"]["after"]
    assert ids(engine) == before

    foreseen = cluster(name=NAME, state="absent", check=True)
    assert ids(engine) == before
    removed = cluster(name=NAME, state="absent")
    assert removed["actions"] == foreseen["actions"]
    assert states(removed) == {"server1": "removed", "client1": "removed"}
    assert ids(engine) == {}
    assert engine.networks.list(filters={"label": f"io.meshnode.lab={NAME}"}) == []
    assert engine.volumes.list(filters={"label": f"io.meshnode.lab={NAME}"}) == []
    assert not cluster(name=NAME, state="absent")["changed"]


def test_a_change_makes_one_node_anew_and_keeps_the_others_and_the_volume(
    cluster: Cluster, lab: dict[str, Any], engine: docker.DockerClient
) -> None:
    cluster(**lab)
    before = ids(engine)
    engine.containers.get(f"{NAME}-server1").exec_run(["touch", "/data/kept"])
    engine.containers.get(f"{NAME}-client1").stop(timeout=5)
    lab["nodes"][0]["environment"] = {"A": "1"}

    changed = cluster(**lab)

    assert states(changed) == {"server1": "recreated", "client1": "started"}
    after = ids(engine)
    assert after[f"{NAME}-client1"] == before[f"{NAME}-client1"]
    assert after[f"{NAME}-server1"] != before[f"{NAME}-server1"]
    assert engine.containers.get(f"{NAME}-server1").exec_run(["test", "-e", "/data/kept"]).exit_code == 0

    lab["nodes"] = lab["nodes"][:1]
    assert not cluster(**lab)["changed"]
    assert states(cluster(**lab, prune=True)) == {"server1": "unchanged", "client1": "removed"}
    assert set(ids(engine)) == {f"{NAME}-server1"}


def test_a_container_that_is_not_ours_is_refused_and_left_alone(
    cluster: Cluster, lab: dict[str, Any], image: str, engine: docker.DockerClient
) -> None:
    foreign = engine.containers.create(image, command=["true"], name=f"{NAME}-client1")
    try:
        with pytest.raises(ModuleError, match=f'"{NAME}-client1" exists and was not made by a lab'):
            cluster(**lab)
        assert ids(engine) == {}
        cluster(name=NAME, state="absent")
        foreign.reload()
    finally:
        foreign.remove(force=True)


def test_a_subnet_in_use_is_refused_by_the_name_of_its_network(
    cluster: Cluster, lab: dict[str, Any], engine: docker.DockerClient
) -> None:
    pool = docker.types.IPAMPool(subnet="172.28.250.0/25")
    other = engine.networks.create(f"{NAME}-foreign", ipam=docker.types.IPAMConfig(pool_configs=[pool]))
    try:
        with pytest.raises(
            ModuleError, match=rf'lab_network_subnet: .* overlaps .* of the network "{NAME}-foreign"'
        ):
            cluster(**lab)
    finally:
        other.remove()


def test_a_port_in_use_is_refused_before_anything_is_made(
    cluster: Cluster, lab: dict[str, Any], engine: docker.DockerClient
) -> None:
    with (
        socket.create_server(("127.0.0.1", PORT)),
        pytest.raises(ModuleError, match=f"server1: port 127.0.0.1:{PORT}"),
    ):
        cluster(**lab)
    assert ids(engine) == {}


def test_an_image_that_is_missing_is_named(cluster: Cluster, lab: dict[str, Any]) -> None:
    with pytest.raises(ModuleError, match="no image no-such-image:1"):
        cluster(**{**lab, "image": "no-such-image:1"})


# The SDK leaves the socket open that it could not connect.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_an_engine_that_does_not_answer_is_one_sentence(
    cluster: Cluster, lab: dict[str, Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with monkeypatch.context() as elsewhere:
        elsewhere.setenv("DOCKER_HOST", f"unix://{tmp_path}/none.sock")
        with pytest.raises(ModuleError, match=r"does not answer: start it with scripts/engine\.sh"):
            cluster(**lab)
    gc.collect()


def test_a_node_lets_the_key_in_by_ssh_and_is_known_by_its_host_key(
    cluster: Cluster, lab: dict[str, Any], tmp_path: Path
) -> None:
    key, known_hosts = tmp_path / "key", tmp_path / "known_hosts"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True)
    public = Path(f"{key}.pub").read_text().strip()
    lab["nodes"] = lab["nodes"][1:]
    result = cluster(**lab, ssh={"user": "admin", "authorized_keys": [public]})
    node = result["nodes"][0]
    known_hosts.write_text("".join(f"{node['address']} {line}\n" for line in node["ssh_host_keys"]))

    def ssh(user: str) -> subprocess.CompletedProcess[str]:
        options = [
            f"UserKnownHostsFile={known_hosts}",
            "StrictHostKeyChecking=yes",
            "BatchMode=yes",
            f"IdentityFile={key}",
        ]
        arguments = [word for option in options for word in ("-o", option)]
        command = ["ssh", "-F", "none", *arguments, f"{user}@{node['address']}", "id -un; sudo -n id -un"]
        return subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)

    assert ssh("admin").stdout.split() == ["admin", "root"]
    assert ssh("root").returncode != 0
    assert not cluster(**lab, ssh={"user": "admin", "authorized_keys": [public]})["changed"]
