"""The action as Ansible runs it: who holds the turn, who is refused, who goes on."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.meshnode.lab.plugins.action.mesh_procedure import birth, is_alive
from ansible_collections.meshnode.lab.plugins.module_utils._procedure import Run

from tests.unit.plugins.api_agents import ansible


def play(tmp_path: Path, *tasks: dict[str, Any], check: bool = False) -> tuple[int, str]:
    """Exit code and output of a playbook with tasks of these options."""
    store = {"store": str(tmp_path / ".secrets"), "name": "gossip_rotate"}
    listed = [{"name": "Turn", "meshnode.lab.mesh_procedure": {**store, **task}} for task in tasks]
    (tmp_path / "play.yml").write_text(
        yaml.safe_dump([{"hosts": "localhost", "gather_facts": False, "tasks": listed}])
    )
    done = ansible(tmp_path, "ansible-playbook", "play.yml", *(["--check"] if check else []))
    return done.returncode, " ".join((done.stdout + done.stderr).split())


def record(tmp_path: Path) -> dict[str, Any] | None:
    text = (tmp_path / ".secrets" / "dc1" / "procedure.json").read_text().strip()
    loaded: dict[str, Any] | None = json.loads(text) if text else None
    return loaded


def test_a_broken_run_leaves_its_phase_and_the_next_one_goes_on(tmp_path: Path) -> None:
    notes = {"target": "1f3870be"}
    code, said = play(
        tmp_path, {"state": "begun"}, {"state": "phase", "phase": "use", "notes": notes, "stop_at": "use"}
    )
    assert code != 0
    assert "stopped at use, as mesh_procedure_stop_at says: run the playbook again, and it goes on" in said
    kept = record(tmp_path)
    assert kept
    assert (kept["phase"], kept["notes"]) == ("use", notes)
    code, said = play(tmp_path, {"state": "begun", "name": "ca_rotate"})
    assert code != 0
    assert "a procedure was broken off: gossip_rotate, begun by" in said
    code, said = play(tmp_path, {"state": "begun"}, {"state": "ended"})
    assert code == 0, said
    assert record(tmp_path) is None


def test_a_check_refuses_the_same_and_writes_nothing(tmp_path: Path) -> None:
    assert play(tmp_path, {"state": "begun"}, {"state": "ended"}, check=True)[0] == 0
    assert not (tmp_path / ".secrets").exists()
    play(tmp_path, {"state": "begun"}, {"state": "phase", "phase": "use"})
    before = record(tmp_path)
    code, said = play(tmp_path, {"state": "begun", "name": "ca_rotate"}, check=True)
    assert code != 0
    assert "was broken off" in said
    assert record(tmp_path) == before


def test_a_run_that_lives_keeps_others_out(tmp_path: Path) -> None:
    play(tmp_path, {"state": "begun"})
    kept = record(tmp_path)
    assert kept
    kept["run"] |= {"pid": os.getpid(), "born": birth(os.getpid())}
    (tmp_path / ".secrets" / "dc1" / "procedure.json").write_text(json.dumps(kept))
    code, said = play(tmp_path, {"state": "begun"})
    assert code != 0
    assert f"(process {os.getpid()})" in said
    assert "let it end, or end that process and run again" in said


@pytest.mark.parametrize(("host", "born", "alive"), [
    ("", "", False), ("", "1", False), ("", "own", True), ("elsewhere", "1", True),
])  # fmt: skip
def test_a_process_is_known_by_its_birth_and_one_elsewhere_is_believed(
    host: str, born: str, alive: bool
) -> None:
    own = birth(os.getpid())
    assert own.isdecimal()
    run = Run("a", host or os.uname().nodename, os.getpid(), own if born == "own" else born)
    assert is_alive(run) is alive
