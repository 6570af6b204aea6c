"""Real agents on loopback, captured and judged: a mesh, its twin in clear, and a mesh with one node set up wrongly.

Each mesh is a server and two clients. What is driven through them is the same: an event, a value, a name in DNS.
"""

from __future__ import annotations

import functools
import json
import random
import string
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.support.mesh_agent import Mesh, MeshAgent, run_mesh, wait
from tests.support.programs import can_capture, excuse, needs
from tests.support.wire import captured

NODES = ("s1", "c1", "c2")
CLEAR: Mapping[str, Any] = {
    **dict.fromkeys(("encrypt", "ca_file", "cert_file", "key_file"), None),
    **dict.fromkeys(("verify_incoming", "verify_outgoing", "verify_server_hostname", "ports"), None),
}
pytestmark = [
    needs("curl", "dig", "tcpdump", "tshark"),
    excuse("capture", unless=can_capture()),
    pytest.mark.timeout(240),
]


@dataclass(frozen=True)
class Captured:
    """A capture of one mesh, with what ``prove`` has to be told about it."""

    path: Path
    keyring: Path
    nodes: Mapping[str, str]
    words: Path

    def flags(self) -> list[str]:
        named = [f"-node={name}={address}" for name, address in self.nodes.items()]
        return [*named, f"-gossip-keyring={self.keyring}", f"-canary-file={self.words}", "-ports=8300,8301"]


def drive(mesh: Mesh, words: tuple[str, ...]) -> None:
    """An event, a value of the store and a service's name, each of which is one of ``words``, from each node."""
    event, value, service = words
    for name in NODES:
        agent = mesh[name]
        assert agent.cli("event", f"-name={event}", f"payload-{event}").returncode == 0
        assert agent.cli("kv", "put", f"proof/{name}", value).returncode == 0
        asked = ["dig", "+short", "+tries=1", f"@{agent.host}", "-p", "8600", f"{service}.service.consul"]
        subprocess.run(asked, capture_output=True, check=True, timeout=30)
    for name in NODES:
        wait(functools.partial(heard, mesh[name], event), f"{name} hears the event")


def heard(agent: MeshAgent, event: str) -> bool:
    return event in agent.api("/v1/event/list")[1]


def start(mesh: Mesh, changes: Mapping[str, Mapping[str, Any]]) -> None:
    for number, name in enumerate(NODES, 1):
        server = {"server": True, "bootstrap_expect": 1} if name == "s1" else {}
        joined = {"retry_join": [f"{mesh.network}.1"]} if name != "s1" else {}
        mesh.add(name, number, **{**server, **joined, **changes.get(name, {})})
    for name in NODES:
        mesh[name].launch()
    mesh.wait_alive(*NODES)
    wait(lambda: mesh.leader(*NODES), "there is a leader")


def capture(folder: Path, words: tuple[str, ...], changes: Mapping[str, Mapping[str, Any]]) -> Captured:
    folder.mkdir()
    (folder / "words").write_text("\n".join(words))
    with Mesh.new(folder) as mesh:
        (folder / "keyring.json").write_text(json.dumps([mesh.key]))
        with captured(folder, 8300, 8301, network=mesh.network, name=folder.name):
            start(mesh, changes)
            drive(mesh, words)
            hosts = {name: agent.host for name, agent in mesh.agents.items()}
            for agent in mesh.agents.values():
                end(agent)
    return Captured(folder / f"{folder.name}.pcap", folder / "keyring.json", hosts, folder / "words")


def end(agent: MeshAgent) -> None:
    """Killed: its connections end before the capture does."""
    agent.kill()


@pytest.fixture(scope="module")
def words() -> tuple[str, ...]:
    seed = random.SystemRandom().randrange(1 << 32)
    print(f"seed {seed}")
    rng = random.Random(seed)
    letters = string.ascii_lowercase + string.digits
    return tuple("canary" + "".join(rng.choices(letters, k=16)) for _ in range(3))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("prove")


@pytest.fixture(scope="module")
def sealed(folder: Path, words: tuple[str, ...]) -> Captured:
    return capture(folder / "sealed", words, {})


@pytest.fixture(scope="module")
def clear(folder: Path, words: tuple[str, ...]) -> Captured:
    return capture(folder / "clear", words, dict.fromkeys(NODES, CLEAR))


@pytest.fixture(scope="module")
def mixed(folder: Path, words: tuple[str, ...]) -> Captured:
    """All accept gossip in clear, as in the middle of a migration, and c2 sends it."""
    tolerant = {name: {"encrypt_verify_incoming": False} for name in NODES}
    return capture(
        folder / "mixed", words, {**tolerant, "c2": {**tolerant["c2"], "encrypt_verify_outgoing": False}}
    )


def judged(mesh: Captured, control: Captured, *more: str) -> tuple[int, dict[str, Any]]:
    done = run_mesh("prove", *mesh.flags(), f"-control={control.path}", "-format=json", *more, str(mesh.path))
    assert not done.stderr, done.stderr
    content: dict[str, Any] = json.loads(done.stdout)
    return done.returncode, content


def rows(content: Mapping[str, Any], port: int, *directions: str) -> dict[tuple[str, str], str]:
    """Level of each pair on ``port``; ends are names of nodes.

    Datagrams (``between``) come from the node's own address; who dials has the address that loopback gives everybody.
    """
    names = content["question"]["nodes"]
    (verdict,) = [one for one in content["verdicts"] if one["port"] == port]
    return {
        (
            names.get(flow["source"], flow["source"]),
            names.get(flow["destination"], flow["destination"]),
        ): flow["level"]
        for flow in verdict["flows"]
        if flow["level"] != "silent" and flow["direction"] in (directions or ("to", "from", "between"))
    }


def test_a_mesh_is_proved_by_its_twin_in_clear_which_shows_every_canary(
    sealed: Captured, clear: Captured, words: tuple[str, ...]
) -> None:
    code, content = judged(sealed, clear)
    assert (code, content["outcome"]) == (0, "proved"), content["reasons"]
    assert content["control"]["outcome"] == "proved"
    found = {one["port"]: set(one["canaries"]) for one in content["control"]["verdicts"]}
    assert found[8300] | found[8301] == set(words)
    assert set(rows(content, 8300).values()) == {"encrypted and authenticated"}
    assert set(rows(content, 8301).values()) == {"encrypted and authenticated"}
    pairs = {frozenset(pair) for pair in rows(content, 8301, "between")}
    assert pairs == {frozenset(pair) for pair in (("s1", "c1"), ("s1", "c2"), ("c1", "c2"))}


def test_a_sealed_mesh_is_no_control(sealed: Captured, clear: Captured) -> None:
    done = run_mesh("prove", *sealed.flags(), f"-control={sealed.path}", str(clear.path))
    assert done.returncode == 2
    copy = sealed.path.with_name("copy.pcap")
    copy.write_bytes(sealed.path.read_bytes())
    code, content = judged(sealed, Captured(copy, sealed.keyring, sealed.nodes, sealed.words))
    assert (code, content["control"]["outcome"]) == (3, "void")


def test_one_node_that_is_set_up_wrongly_flips_exactly_its_own_rows(mixed: Captured, clear: Captured) -> None:
    code, content = judged(mixed, clear)
    assert (code, content["outcome"]) == (2, "failed")
    gossip = rows(content, 8301, "between")
    assert {pair for pair, level in gossip.items() if level == "plaintext"} == {
        pair for pair in gossip if pair[0] == "c2"
    }
    assert {pair[0] for pair in gossip} == set(NODES)
    assert {level for pair, level in gossip.items() if pair[0] != "c2"} == {"encrypted and authenticated"}
    assert set(rows(content, 8300).values()) == {"encrypted and authenticated"}


def test_a_bundle_of_a_real_mesh_is_verified_without_the_mesh(
    sealed: Captured, clear: Captured, folder: Path
) -> None:
    bundle = folder / "evidence.tar.gz"
    code, content = judged(sealed, clear, f"-bundle={bundle}")
    assert (code, content["outcome"]) == (0, "proved")
    done = run_mesh("prove", f"-verify={bundle}", f"-gossip-keyring={sealed.keyring}")
    assert done.returncode == 0, done.stdout
    assert "VERIFIED" in done.stdout


def test_tshark_counts_the_same_packets_and_finds_tls_where_we_do(sealed: Captured, clear: Captured) -> None:
    _, content = judged(sealed, clear)
    for verdict in content["verdicts"]:
        port = verdict["port"]
        listed = tshark(sealed.path, f"tcp.port=={port} or udp.port=={port}", "frame.number", port)
        assert len(listed) == verdict["packets"]
    rpc = next(one for one in content["verdicts"] if one["port"] == 8300)
    versions = tshark(
        sealed.path, "tls.handshake.type==2", "tls.handshake.extensions.supported_version", 8300
    )
    assert rpc["versions"] == (["TLS 1.3"] if set(versions) == {"0x0304"} else [])


def tshark(path: Path, wanted: str, field: str, port: int) -> list[str]:
    command = ["tshark", "-n", "-r", str(path), "-d", f"tcp.port=={port},tls", "-Y", wanted]
    done = subprocess.run(
        [*command, "-T", "fields", "-e", field], capture_output=True, text=True, check=True, timeout=60
    )
    return done.stdout.split()
