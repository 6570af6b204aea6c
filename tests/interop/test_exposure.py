"""Real agents on loopback, knocked at in every way: each answers whom its configuration says, and nobody else."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from meshnode.cli.exposure_matrix import Result, observe_setups
from meshnode.prove.exposure import Answer, Door, differences
from meshnode.prove.exposure_setups import Setup, covering
from tests.support.mesh_agent import Mesh, MeshAgent, run_mesh, wait
from tests.support.programs import excuse, needs

pytestmark = [
    excuse("loopback", unless=sys.platform == "linux"),
    needs("curl"),
    pytest.mark.timeout(300),
]
OPEN = Setup("neither", "certificate", "http+https", "both", "server")
SHUT = Setup("in+out", "verify_incoming", "https", "inside", "server")


@pytest.fixture(scope="module")
def results() -> list[Result]:
    return list(observe_setups([OPEN, SHUT, *covering()]))


def test_every_pair_of_settings_answers_whom_it_claims(results: list[Result]) -> None:
    wrong = {str(result.setup): result.differences for result in results if result.differences}
    assert wrong == {}
    # Each claim was looked at, with a key, a certificate, and at the doors that are off.
    for result in results:
        assert set(result.claimed) == set(result.seen), result.setup


def test_each_answer_was_seen_at_each_door_that_can_give_it(results: list[Result]) -> None:
    seen = {(knock.door, answer) for result in results for knock, answer in result.seen.items()}
    gossip = {Answer.REFUSES, Answer.READABLE, Answer.SEALED}
    expected = {(door, answer) for door in (Door.GOSSIP_UDP, Door.GOSSIP_TCP) for answer in gossip}
    for door in (Door.RPC, Door.HTTP, Door.HTTPS):
        expected |= {(door, answer) for answer in (Answer.CLOSED, Answer.REFUSES, Answer.ANSWERS)}
    assert expected <= seen


def test_an_agent_that_is_more_open_than_somebody_claims_is_found(results: list[Result]) -> None:
    of_open, of_shut = results[:2]
    assert (of_open.setup, of_shut.setup) == (OPEN, SHUT)
    found = differences(of_shut.claimed, of_open.seen)
    assert "server rpc from outside, in clear: answered; the configuration claims: refused (OPEN)" in found
    assert any(sentence.startswith("http from outside, in clear: answered") for sentence in found)
    assert any("gossip udp from outside, in clear: answered in clear" in sentence for sentence in found)


def judged(agent: MeshAgent, files: Path, *flags: str) -> tuple[int, Mapping[str, Any]]:
    done = run_mesh("exposure", "-observe", "-json", f"-inside={agent.host}", *flags, str(files))
    assert not done.stderr, done.stderr
    content: Mapping[str, Any] = json.loads(done.stdout)
    return done.returncode, content


def test_a_running_agent_is_compared_with_its_files_and_with_files_that_it_does_not_have(
    tmp_path: Path,
) -> None:
    with Mesh.new(tmp_path) as mesh:
        agent = mesh.add("server1", 1, server=True, bootstrap_expect=1)
        agent.launch()
        agent.wait_running()
        wait(lambda: agent.get("/v1/status/leader"), "there is a leader")
        code, content = judged(agent, agent.config_file)
        assert (code, content["differences"]) == (0, [])
        assert {row["seen"] for row in content["doors"]} >= {"refused", "answered", "answered, sealed"}
        stricter = json.loads(agent.config_file.read_text()) | {"ports": {"http": 8500, "https": 10443}}
        tolerant = stricter | {"verify_incoming": False, "encrypt_verify_incoming": False}
        agent.kill()
        agent.config_file.write_text(json.dumps(tolerant))
        claimed = tmp_path / "claimed.json"
        claimed.write_text(json.dumps(stricter))
        agent.config = {}
        super(MeshAgent, agent).launch()
        agent.wait_running()
        wait(lambda: agent.get("/v1/status/leader"), "there is a leader")
        code, content = judged(agent, claimed)
        assert code == 2
        assert all(sentence.endswith("(OPEN)") for sentence in content["differences"])
        opened = {sentence.partition(" from ")[0] for sentence in content["differences"]}
        assert opened == {"gossip udp", "gossip tcp", "server rpc", "https"}
        text = run_mesh("exposure", "-observe", f"-inside={agent.host}", str(claimed)).stdout
        assert "<-- different" in text
        assert mesh.key not in text


def test_an_agent_that_is_not_there_is_different_and_not_open(tmp_path: Path) -> None:
    file = tmp_path / "agent.json"
    file.write_text(
        json.dumps({"bind_addr": "127.0.0.78", "client_addr": "127.0.0.77", "data_dir": str(tmp_path)})
    )
    done = run_mesh("exposure", "-observe", "-inside=127.0.0.77", "-json", str(file))
    assert done.returncode == 2
    content = json.loads(done.stdout)
    assert {row["seen"] for row in content["doors"]} <= {"nobody listens", None}
    assert content["differences"]
    assert not [sentence for sentence in content["differences"] if sentence.endswith("(OPEN)")]
