"""The link between two datacenters, captured: all of it is sealed, and a twin in clear shows what would be seen."""

from __future__ import annotations

import json
import random
import string
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from meshnode.testing import Mesh
from tests.support.federation import CONFIG, allowed
from tests.support.mesh_agent import run_mesh, wait
from tests.support.programs import can_capture, excuse, needs
from tests.support.wire import captured as capture

pytestmark = [needs("dig", "tcpdump"), excuse("capture", unless=can_capture())]
#: Server RPC, which ``?dc=`` takes, and the WAN pool.
PORTS = (8300, 8302)


@dataclass(frozen=True)
class Words:
    """Canaries: the name of the second datacenter, which WAN gossip tells, and what calls to it carry."""

    datacenter: str
    value: str
    service: str
    intention: str

    @classmethod
    def new(cls) -> Words:
        seed = random.SystemRandom().randrange(1 << 32)
        print(f"seed {seed}")
        rng, letters = random.Random(seed), string.ascii_lowercase + string.digits
        return cls(*("canary" + "".join(rng.choices(letters, k=16)) for _ in range(4)))


def drive(mesh: Mesh, words: Words) -> None:
    """A write, a name, an event and a denial that is copied, from one datacenter to the other."""
    near, far = mesh["dc1-server1"], mesh[f"{words.datacenter}-server1"]
    there = {"dc": words.datacenter}
    near.api("/v1/kv/proof", method="PUT", body=words.value.encode(), query=there)
    assert near.api("/v1/kv/proof", query={"raw": "", **there}) == words.value
    host, port = near.dns
    name = f"{words.service}.service.{words.datacenter}.consul"
    command = ["dig", "+short", "+tries=1", f"@{host}", "-p", str(port), name]
    subprocess.run(command, capture_output=True, check=True, timeout=30)
    near.api("/v1/event/fire/proof", method="PUT", body=words.value.encode(), query=there)
    body = {"SourceName": words.intention, "DestinationName": "db", "Action": "deny"}
    far.api("/v1/connect/intentions", method="POST", body=body)
    wait(lambda: not allowed(far, words.intention, "db"), "the denial is copied")


@dataclass(frozen=True)
class Captured:
    path: Path
    flags: tuple[str, ...]


def driven(folder: Path, words: Words, *, secure: bool) -> Captured:
    folder.mkdir()
    with Mesh(servers=1, secure=secure, datacenters=("dc1", words.datacenter), config=CONFIG) as mesh:
        network = mesh["dc1-server1"].host.rpartition(".")[0]
        keys = folder / "keyring.json"
        with capture(folder, *PORTS, network=network, name=folder.name) as wire:
            for agent in mesh:
                agent.kill()
            for agent in mesh:
                agent.start()
            mesh.wait_healthy()
            drive(mesh, words)
            nodes = [f"-node={agent.name}={agent.host}" for agent in mesh]
            config = json.loads(mesh["dc1-server1"].config_file.read_text())
            for agent in mesh:
                agent.kill()
    keys.write_text(json.dumps([config.get("encrypt", "pUqJrVyVRj5jsiYEkM/tFQ==")]))
    return Captured(wire.path, (*nodes, f"-gossip-keyring={keys}"))


@pytest.fixture(scope="module")
def captures(tmp_path_factory: pytest.TempPathFactory) -> tuple[Captured, Captured, Words]:
    folder, words = tmp_path_factory.mktemp("wire"), Words.new()
    clear = driven(folder / "clear", words, secure=False)
    return driven(folder / "sealed", words, secure=True), clear, words


def judged(mesh: Captured, control: Captured, port: int, *words: str) -> tuple[int, Mapping[str, Any]]:
    canaries = mesh.path.with_name("words")
    canaries.write_text("\n".join(words))
    asked = [*mesh.flags, f"-ports={port}", f"-canary-file={canaries}", f"-control={control.path}"]
    done = run_mesh("prove", *asked, "-format=json", str(mesh.path))
    assert not done.stderr, done.stderr
    content: dict[str, Any] = json.loads(done.stdout)
    return done.returncode, content


def levels(content: Mapping[str, Any]) -> set[str]:
    (verdict,) = content["verdicts"]
    return {flow["level"] for flow in verdict["flows"]} - {"silent"}


def test_calls_between_the_datacenters_can_not_be_read(captures: tuple[Captured, Captured, Words]) -> None:
    sealed, clear, words = captures
    code, content = judged(sealed, clear, 8300, words.value, words.service, words.intention)
    assert (code, content["outcome"]) == (0, "proved")
    # The agents are killed under the capture: a handshake that was under way then shows no client's certificate.
    assert levels(content) - {"encrypted"} == {"encrypted and authenticated"}


def test_the_gossip_of_their_servers_can_not_be_read(captures: tuple[Captured, Captured, Words]) -> None:
    sealed, clear, words = captures
    code, content = judged(sealed, clear, 8302, words.datacenter)
    assert (code, content["outcome"], levels(content)) == (0, "proved", {"encrypted and authenticated"})


def test_a_link_in_clear_is_found_out(captures: tuple[Captured, Captured, Words]) -> None:
    sealed, clear, words = captures
    for port, word in ((8300, words.value), (8302, words.datacenter)):
        code, content = judged(clear, sealed, port, word)
        assert code != 0
        assert content["outcome"] != "proved"


def test_only_the_name_of_the_datacenter_is_seen_as_tls_tells_whom_it_calls(
    captures: tuple[Captured, Captured, Words],
) -> None:
    """RFC 6066, 3: the name that the server has to show goes ahead of the keys."""
    sealed, clear, words = captures
    _, content = judged(sealed, clear, 8300, words.datacenter)
    assert content["reasons"] == ["port 8300 shows 1 canary in clear"]
    assert f"server.{words.datacenter}.consul".encode() in sealed.path.read_bytes()
