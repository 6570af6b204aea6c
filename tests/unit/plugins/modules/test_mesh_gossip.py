"""C(mesh_gossip): the configuration on disk and a real agent that runs with it."""

from __future__ import annotations

import base64
import getpass
import grp
import json
import os
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.meshnode.lab.plugins.module_utils import _gossip_node
from ansible_collections.meshnode.lab.plugins.module_utils._files import File, Ownership
from ansible_collections.meshnode.lab.plugins.module_utils._gossip_node import GossipError, Seen, Wish, plan
from ansible_collections.meshnode.lab.plugins.module_utils._gossip_spec import key_of
from ansible_collections.meshnode.lab.plugins.module_utils._redact import fingerprint
from ansible_collections.meshnode.lab.plugins.module_utils._secrets import SecretStoreError
from ansible_collections.meshnode.lab.plugins.modules import mesh_gossip, mesh_gossip_key

from tests.unit.plugins.api_agents import ApiAgent
from tests.unit.plugins.module_run import Outcome, run_module

KEY = base64.b64encode(bytes([1]) * 32).decode()
OTHER = base64.b64encode(bytes([2]) * 32).decode()
BASE: dict[str, Any] = {"node_name": "a", "server": False}


@pytest.fixture(autouse=True)
def _own_files(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files of whoever runs the tests, who need not be root."""
    monkeypatch.setattr(
        _gossip_node, "Ownership", lambda _owner, _group, mode: Ownership(getpass.getuser(), me(), mode)
    )


def me() -> str:
    return grp.getgrgid(os.getgid()).gr_name


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "meshnode.json"
    path.write_text(json.dumps(BASE, indent=4, sort_keys=True) + "\n")
    path.chmod(0o640)
    return path


def call(config: Path, capsys: pytest.CaptureFixture[str], *, check: bool = False, **args: Any) -> Outcome:
    folder = str(config.parent)
    places = {"config_dir": folder, "data_dir": f"{folder}/data", "state_file": f"{folder}/state.json"}
    given = {"address": "http://127.0.0.1:1", "install_dir": folder, **places, **args}
    return run_module(mesh_gossip.main, capsys, check=check, **given)


@pytest.mark.parametrize(("wish", "wanted"), [
    ({"key": fingerprint(KEY), "_key": KEY, "verify_incoming": False, "verify_outgoing": False},
     {**BASE, "encrypt": KEY, "encrypt_verify_incoming": False, "encrypt_verify_outgoing": False}),
    ({"key": fingerprint(KEY), "_key": KEY}, {**BASE, "encrypt": KEY}),
])  # fmt: skip
def test_check_run_check_run(
    config: Path, capsys: pytest.CaptureFixture[str], wish: dict[str, Any], wanted: dict[str, Any]
) -> None:
    before = config.read_text()
    outcomes = [call(config, capsys, check=True, **wish)]
    assert config.read_text() == before
    outcomes += [call(config, capsys, check=check, **wish) for check in (False, True, False)]
    assert [one["changed"] for one in outcomes] == [True, True, False, False]
    assert json.loads(config.read_text()) == wanted
    assert all(KEY not in one["_printed"] for one in outcomes)
    assert fingerprint(KEY) in json.dumps(outcomes[1]["diff"])


def test_what_is_removed_is_key_settings_and_keyrings(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    call(config, capsys, key="primary", _key=KEY, verify_incoming=True, verify_outgoing=True)
    rings = [config.parent / "data" / name for name in _gossip_node.KEYRINGS]
    rings[0].parent.mkdir(parents=True)
    for ring in rings:
        ring.write_text(json.dumps([KEY]))
    outcomes = [call(config, capsys, check=check, encrypted=False) for check in (True, False, True, False)]
    assert [one["changed"] for one in outcomes] == [True, True, False, False]
    assert outcomes[0]["seen"]["files"] == {name: [fingerprint(KEY)] for name in _gossip_node.KEYRINGS}
    assert json.loads(config.read_text()) == BASE
    assert not any(ring.exists() for ring in rings)


def test_another_key_takes_the_place_of_the_first_and_nothing_else_changes(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    call(config, capsys, key="primary", _key=KEY, verify_incoming=True, verify_outgoing=True)
    before = json.loads(config.read_text())
    call(config, capsys, key="primary", _key=OTHER)
    assert json.loads(config.read_text()) == {**before, "encrypt": OTHER}


def test_without_a_key_there_is_nothing_to_verify(config: Path) -> None:
    with pytest.raises(GossipError, match="has no key, so there is nothing to verify"):
        plan(Wish(verify_outgoing=True), str(config), str(config.parent), me())


def test_a_node_without_configuration_is_named(tmp_path: Path) -> None:
    with pytest.raises(
        GossipError, match=r"none\.json: is not there or not JSON: run the playbook site\.yml first"
    ):
        plan(Wish(encrypted=False), str(tmp_path / "none.json"), str(tmp_path), me())


def test_nothing_asked_for_is_nothing_to_do(config: Path) -> None:
    items = plan(Wish(), str(config), str(config.parent), me())
    assert [item for item in items if isinstance(item, File)] == []


def test_an_agent_that_does_not_answer_does_not_run(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    seen = call(config, capsys)["seen"]
    assert (seen["running"], seen["phase"], seen["keys"]) == (False, "clear", [])


def test_what_the_agent_runs_with_is_asked_of_the_agent(
    open_agent: ApiAgent, config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    seen = call(config, capsys, **open_agent.plain)["seen"]
    assert seen["running"]
    assert seen["phase"] == "encrypted"
    assert seen["keys"] == open_agent.agent.get("/v1/agent/self")["Meshnode"]["GossipKeyFingerprints"]


def test_the_keys_of_the_wan_are_those_of_its_ring_and_of_its_file(
    open_agent: ApiAgent, config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ring = config.parent / "data" / "serf" / "remote.keyring"
    ring.parent.mkdir(parents=True)
    ring.write_text(json.dumps([OTHER, KEY]))
    seen = call(config, capsys, pool="wan", **open_agent.plain)["seen"]
    assert seen["keys"] == open_agent.agent.get("/v1/agent/self")["Meshnode"]["WanGossipKeyFingerprints"]
    assert seen["keys"] != []
    assert seen["configured"] == fingerprint(OTHER)


def test_the_configuration_has_no_key_of_the_wan(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = config.read_text()
    outcome = call(config, capsys, pool="wan", key=fingerprint(KEY), _key=KEY)
    assert "the configuration has no key of the WAN: mesh_keyring changes its keyring" in outcome["msg"]
    assert config.read_text() == before


@pytest.mark.parametrize(("keys", "incoming", "outgoing", "phase"), [
    ((), True, True, "clear"), (("a",), False, False, "key"), (("a",), True, False, "key"),
    (("a",), False, True, "outgoing"), (("a",), True, True, "encrypted"),
])  # fmt: skip
def test_phases(keys: tuple[str, ...], incoming: bool, outgoing: bool, phase: str) -> None:
    assert Seen(keys=keys, verify_incoming=incoming, verify_outgoing=outgoing, running=True).phase == phase


def test_a_key_is_found_by_its_fingerprint_in_the_store(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = str(tmp_path / ".secrets")
    options: dict[str, Any] = {"gossip_store": store, "gossip_cluster": "dc1", "key": "primary"}
    with pytest.raises(SecretStoreError, match="holds no gossip key: run the role mesh_gossip first"):
        key_of(options, None)
    first = run_module(mesh_gossip_key.main, capsys, store=store)["fingerprint"]
    second = run_module(mesh_gossip_key.main, capsys, store=store, state="new_key")["fingerprints"][1]
    assert fingerprint(key_of(options, None)) == first
    assert fingerprint(key_of({**options, "key": second}, None)) == second
    assert key_of({**options, "gossip_store": None}, str(tmp_path)) == key_of(options, None)
    with pytest.raises(SecretStoreError, match=f"has the fingerprint 00000000: there is {first}, {second}"):
        key_of({**options, "key": "00000000"}, None)
