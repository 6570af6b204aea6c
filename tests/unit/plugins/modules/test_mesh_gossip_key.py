from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest
from ansible_collections.meshnode.lab.plugins.module_utils._secrets import SecretStore, read_gossip_keyring
from ansible_collections.meshnode.lab.plugins.modules import mesh_gossip_key

from tests.unit.plugins.module_run import Outcome, run_module


@pytest.fixture
def run(tmp_path: Path, capsys: pytest.CaptureFixture[str]):  # type: ignore[no-untyped-def]
    def call(check: bool = False, **args: object) -> Outcome:
        return run_module(mesh_gossip_key.main, capsys, check=check, store=str(tmp_path / ".secrets"), **args)

    return call


def keys(tmp_path: Path) -> tuple[str, ...]:
    keyring = read_gossip_keyring(SecretStore(str(tmp_path / ".secrets"), "dc1"))
    assert keyring
    return keyring.keys


def test_check_run_check_run(run, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    first = run(check=True)
    assert (first["changed"], first["fingerprints"]) == (True, ["(new)"])
    assert list(tmp_path.iterdir()) == []
    made = run()
    assert made["changed"]
    assert [run(check=True)["changed"], run()["changed"]] == [False, False]
    assert run()["fingerprint"] == made["fingerprint"]


@pytest.mark.parametrize("size", [16, 24, 32])
def test_size_is_that_of_the_options_and_stays(run, tmp_path: Path, size: int) -> None:  # type: ignore[no-untyped-def]
    run(size=size)
    assert not run(size=16)["changed"]
    assert len(base64.b64decode(keys(tmp_path)[0])) == size
    stored = json.loads((tmp_path / ".secrets/dc1/gossip.json").read_text())
    assert stored["keys"][0]["size"] == size


def test_no_output_shows_a_key(run, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    printed = [run()["_printed"], run(state="new_key")["_printed"], run(check=True)["_printed"]]
    assert len(keys(tmp_path)) == 2
    for key in keys(tmp_path):
        assert not [text for text in printed if key in text or key.rstrip("=") in text]


def test_rotation(run, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    old = run()["fingerprint"]
    told = run(check=True, state="new_key")
    assert told["fingerprints"] == [old, "(new)"]
    assert len(keys(tmp_path)) == 1
    added = run(state="new_key")
    new = added["fingerprints"][1]
    assert added["fingerprint"] == old
    assert not run(state="new_key")["changed"]
    assert run(primary=new)["fingerprints"] == [new, old]
    assert run(remove=[old])["diff"] == {"before": {"keyring": [new, old]}, "after": {"keyring": [new]}}
    assert not run(primary=new, remove=[old])["changed"]


def test_key_of_the_variables_is_used_and_not_written_down(run, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    key = base64.b64encode(b"0123456789abcdef").decode()
    result = run(key=key)
    assert (result["changed"], result["fingerprint"], result["keyring"][0]["size"]) == (False, "9f9f5111", 16)
    assert key not in result["_printed"]
    assert list(tmp_path.iterdir()) == []


def test_bad_key_of_the_variables_is_refused_without_being_shown(run) -> None:  # type: ignore[no-untyped-def]
    result = run(key="not a key at all")
    assert result["msg"].startswith(
        "gossip key of dc1: option key: the gossip key (16 characters) is not base64"
    )
    assert "not a key at all" not in result["_printed"]


def test_keys_are_revealed_only_to_a_task_that_logs_nothing(run, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    refused = run(reveal=True)
    assert refused["msg"] == "reveal=true returns secret keys: set no_log: true on this task"
    assert list(tmp_path.iterdir()) == []
    assert run(reveal=True, _ansible_no_log=True)["keys"] == list(keys(tmp_path))
