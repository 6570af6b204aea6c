"""C(mesh_keyring) against a real agent that seals its gossip: what it changed is asked of the agent itself."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.meshnode.lab.plugins.module_utils import _keyring
from ansible_collections.meshnode.lab.plugins.module_utils._keyring import Pool, lacking
from ansible_collections.meshnode.lab.plugins.module_utils._redact import fingerprint
from ansible_collections.meshnode.lab.plugins.modules import mesh_keyring

from tests.unit.plugins.api_agents import ApiAgent, running
from tests.unit.plugins.module_run import Outcome, run_module

Run = Callable[..., Outcome]
OTHER = base64.b64encode(b"\x08" * 32).decode()
NEW = base64.b64encode(b"\x07" * 32).decode()


@pytest.fixture(scope="module")
def sealed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiAgent]:
    with running(tmp_path_factory.mktemp("sealed")) as agent:
        yield agent


@pytest.fixture
def run(sealed: ApiAgent, capsys: pytest.CaptureFixture[str]) -> Run:
    def call(check: bool = False, **args: Any) -> Outcome:
        return run_module(mesh_keyring.main, capsys, check=check, **sealed.plain, **args)

    return call


def keys_of(agent: ApiAgent, name: str = "GossipKeyFingerprints") -> list[str]:
    found: list[str] = json.loads(agent.agent.api("/v1/agent/self")[1])["Meshnode"][name]
    return found


def test_a_rotation_step_by_step_and_each_step_again(run: Run, sealed: ApiAgent) -> None:
    old, new = keys_of(sealed)[0], fingerprint(NEW)
    steps: list[dict[str, Any]] = [
        {"state": "present", "key": new, "_key": NEW},
        {"state": "primary", "key": new},
        {"state": "absent", "key": old},
    ]
    expected = [[old, new], [new, old], [new]]
    for step, keys in zip(steps, expected, strict=True):
        before = keys_of(sealed)
        outcomes = [run(True, **step)]
        assert keys_of(sealed) == before
        outcomes += [run(**step), run(True, **step), run(**step)]
        assert [one["changed"] for one in outcomes] == [True, True, False, False], step
        assert keys_of(sealed) == keys
        assert outcomes[1]["primary"] == keys[0]
        assert all(set(pool["keys"]) == set(keys) for pool in outcomes[1]["pools"])
        assert all(NEW not in one["_printed"] for one in outcomes)
    assert run()["failed_members"] == []


def test_one_pool_is_rotated_and_the_other_one_is_left_as_it_is(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with running(tmp_path) as agent:
        lan, new = keys_of(agent), fingerprint(NEW)
        for step in ({"state": "present", "_key": NEW}, {"state": "primary"}):
            outcome = run_module(mesh_keyring.main, capsys, pool="wan", key=new, **step, **agent.plain)
            assert [pool["pool"] for pool in outcome["pools"]] == ["WAN"]
        assert outcome["primary"] == new
        assert outcome["failed_members"] == []
        removed = run_module(mesh_keyring.main, capsys, pool="wan", key=lan[0], state="absent", **agent.plain)
        assert removed["changed"]
        assert keys_of(agent, "WanGossipKeyFingerprints") == [new]
        assert keys_of(agent) == lan
        seen = run_module(mesh_keyring.main, capsys, pool="lan", **agent.plain)
        assert seen["pools"] == [{"pool": "dc1 (LAN)", "members": 1, "keys": {lan[0]: 1}}]
        assert seen["primary"] == lan[0]


def test_an_agent_that_would_change_every_pool_is_refused(
    run: Run, sealed: ApiAgent, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = keys_of(sealed), keys_of(sealed, "WanGossipKeyFingerprints")
    whole = _keyring.MeshApi.request
    monkeypatch.setattr(
        _keyring.MeshApi, "request", lambda api, method, path, query=None, body=None, **more: whole(
            api, method, path, {}, body, **more
        )
    )  # fmt: skip
    outcome = run(pool="lan", state="present", key=fingerprint(OTHER), _key=OTHER)
    assert "bring a newer package to the servers first" in outcome["msg"]
    assert (keys_of(sealed), keys_of(sealed, "WanGossipKeyFingerprints")) == before


def test_the_primary_key_is_not_removed(run: Run, sealed: ApiAgent) -> None:
    primary = keys_of(sealed)[0]
    assert "is the primary key" in run(state="absent", key=primary)["msg"]
    assert keys_of(sealed)[0] == primary


def test_a_key_that_no_member_has_is_not_used(run: Run) -> None:
    assert run(state="primary", key="00000000")["msg"] == (
        "mesh_keyring: key: no member has 00000000: install it first"
    )


def test_an_installation_needs_the_action_that_knows_the_key(run: Run) -> None:
    assert "call it as meshnode.lab.mesh_keyring" in run(state="present", key="00000000")["msg"]


def test_who_lacks_a_key_is_counted_by_pool() -> None:
    pools = [Pool("dc1 (LAN)", 5, {"a": 5, "b": 4}), Pool("WAN", 3, {"a": 3})]
    assert lacking(pools, "a") == []
    assert lacking(pools, "b") == ["dc1 (LAN): 4 of 5 members have b", "WAN: 0 of 3 members have b"]


def test_clear_gossip_has_no_keyring(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with running(tmp_path, encrypt="") as agent:
        outcome = run_module(mesh_keyring.main, capsys, state="absent", key="00000000", **agent.plain)
    assert outcome["failed"]
    assert "mesh_keyring:" in outcome["msg"]
