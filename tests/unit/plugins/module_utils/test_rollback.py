"""A node that a roll has changed, and the way back by what the roll has kept there."""

from __future__ import annotations

import getpass
import grp
import hashlib
import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.meshnode.lab.plugins.module_utils import _before, _node, _node_spec, _rollback
from ansible_collections.meshnode.lab.plugins.module_utils._agent_state import layout_of
from ansible_collections.meshnode.lab.plugins.module_utils._files import Ownership
from ansible_collections.meshnode.lab.plugins.module_utils._node import Node, NodeError, places_of, plan_from
from ansible_collections.meshnode.lab.plugins.module_utils._redact import placeholder
from ansible_collections.meshnode.lab.plugins.module_utils._rollback import Rollback, reach

HERE = f"{sys.version_info.major}.{sys.version_info.minor}"
OLD, NEW = "0123456789abcdef", "fedcba9876543210"
KEY = "cg8StVXbQJ0gPvMd9o7yrg=="


class Module:
    """As much of AnsibleModule as is used here."""

    def __init__(self, *, check_mode: bool = False) -> None:
        self.check_mode = check_mode
        self.no_log_values: set[str] = set()
        self.commands: list[list[str]] = []

    def run_command(self, command: list[str], **_options: object) -> tuple[int, str, str]:
        self.commands.append(command)
        return 0, "", ""


@pytest.fixture(autouse=True)
def own(monkeypatch: pytest.MonkeyPatch) -> str:
    """Files of the user who runs the tests, wherever root's are meant."""
    user, group = getpass.getuser(), grp.getgrgid(os.getgid()).gr_name

    def owned(_owner: str = "", _group: str = "", mode: int = 0o644) -> Ownership:
        return Ownership(user, group, mode)

    monkeypatch.setattr(_before, "PRIVATE", owned(mode=0o600))
    monkeypatch.setattr(_node, "Ownership", owned)
    monkeypatch.setattr(_rollback, "Ownership", owned)
    return user


class Machine:
    """A node in a folder: packages, configuration, unit."""

    def __init__(self, folder: Path, user: str) -> None:
        self.folder, self.user = folder, user
        self.unit = folder / "consul.service"
        for digest in (OLD, NEW):
            self.release(digest)

    def release(self, digest: str) -> None:
        path = self.folder / "opt" / "releases" / digest / "bin"
        path.mkdir(parents=True)
        files = {}
        for name in ("meshnode", "consul"):
            (path / name).write_text(digest)
            (path / name).chmod(0o755)
            files[f"bin/{name}"] = hashlib.sha256(digest.encode()).hexdigest()
        (path.parent / "package.json").write_text(
            json.dumps({"digest": digest, "files": files, "compiled": True})
        )

    def params(self, digest: str = OLD, level: str = "INFO", roll: str | None = None) -> dict[str, Any]:
        config = {"log_level": level, "encrypt": KEY}
        params: dict[str, Any] = {
            "client_environment": {},
            "client_environment_file": str(self.folder / "client.env"),
            "config": config,
            "config_alias": "",
            "config_dir": str(self.folder / "consul.d"),
            "config_file": "meshnode.json",
            "data_dir": str(self.folder / "data"),
            "group": grp.getgrgid(os.getgid()).gr_name,
            "install_dir": str(self.folder / "opt"),
            "name": "consul",
            "package": {"digest": digest, "path": "/p", "python_version": HERE},
            "roll": roll,
            "state_file": str(self.folder / "state.json"),
            "tls": None,
            "unit": None,
            "user": self.user,
            "_secrets": {placeholder(KEY): KEY},
        }
        params["_files"] = _node_spec.render_files(params)
        return params

    def bring(self, monkeypatch: pytest.MonkeyPatch, *, check_mode: bool = False, **wanted: Any) -> None:
        """What mesh_node does."""
        monkeypatch.setattr(_node, "COMMANDS", ())
        Node(Module(check_mode=check_mode), plan_from(self.params(**wanted)), None).run()

    def back(self, roll: str = "r1", *, check_mode: bool = False) -> Rollback:
        """What mesh_rollback does."""
        params = self.params()
        layout = layout_of(params, "consul")
        made = Rollback(Module(check_mode=check_mode), layout, places_of(params, layout), params["group"])
        made.look()
        made.run(roll)
        return made

    @property
    def runs(self) -> tuple[str, str]:
        """Package and configuration that a start would take."""
        config = json.loads((self.folder / "consul.d" / "meshnode.json").read_text())
        assert config["encrypt"] == KEY
        return (self.folder / "opt" / "current").readlink().name, config["log_level"]

    @property
    def record(self) -> Path:
        return self.folder / "opt" / _before.RECORD


@pytest.fixture
def machine(tmp_path: Path, own: str, monkeypatch: pytest.MonkeyPatch) -> Machine:
    made = Machine(tmp_path, own)
    made.bring(monkeypatch)
    return made


def test_without_a_roll_nothing_is_kept(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    machine.bring(monkeypatch, digest=NEW, level="DEBUG")
    assert not machine.record.exists()


def test_what_a_roll_replaced_comes_back_and_once(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    machine.bring(monkeypatch, digest=NEW, level="DEBUG", roll="r1")
    assert machine.runs == (NEW, "DEBUG")
    assert KEY not in machine.record.read_text()
    done = machine.back()
    assert machine.runs == (OLD, "INFO")
    assert done.due == ["configuration", "package"]
    assert len(done.changes) == 2
    assert KEY not in json.dumps(done.diff)
    assert KEY in done.module.no_log_values
    again = machine.back()
    assert (again.due, again.changes, again.problem) == ([], [], "")


def test_in_check_mode_neither_keeps_or_puts_back_anything(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine.bring(monkeypatch, digest=NEW, roll="r1", check_mode=True)
    assert not machine.record.exists()
    machine.bring(monkeypatch, digest=NEW, roll="r1")
    told = machine.back(check_mode=True)
    assert told.changes == [f"{machine.folder}/opt/current: as before the roll"]
    assert machine.runs == (NEW, "INFO")


@pytest.mark.parametrize("roll", ["a b", "../x", "-x", "x" * 65])
def test_an_id_that_no_record_can_have_is_refused_before_anything_is_replaced(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, roll: str
) -> None:
    with pytest.raises(NodeError, match="is not an id"):
        machine.bring(monkeypatch, digest=NEW, roll=roll)
    assert machine.runs == (OLD, "INFO")


def test_another_roll_is_not_taken_back(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    machine.bring(monkeypatch, digest=NEW, roll="r1")
    assert machine.back("r2").changes == []
    assert machine.runs == (NEW, "INFO")


def test_a_rotation_since_is_refused_and_nothing_is_replaced(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine.bring(monkeypatch, digest=NEW, level="DEBUG", roll="r1")
    machine.bring(monkeypatch, digest=NEW, level="WARN")
    with pytest.raises(
        NodeError, match=r"configuration: changed by something else since the roll of r1.* Nothing was"
    ):
        machine.back()
    assert machine.runs == (NEW, "WARN")


def test_a_package_that_is_not_whole_any_more_is_refused(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine.bring(monkeypatch, digest=NEW, roll="r1")
    (machine.folder / "opt" / "releases" / OLD / "bin" / "consul").write_text("harmed")
    with pytest.raises(NodeError, match=r"not whole \(bin/consul was changed\).*mesh_node_package_source"):
        machine.back()


def test_the_package_of_before_stays_when_the_roll_is_begun_anew_with_others(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(4):
        digest = f"{number}" * 16
        machine.release(digest)
        machine.bring(monkeypatch, digest=digest, roll="r1")
    assert (machine.folder / "opt" / "releases" / OLD).is_dir()
    machine.back()
    assert machine.runs == (OLD, "INFO")


def test_a_rollback_that_was_broken_off_is_finished(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine.bring(monkeypatch, digest=NEW, level="DEBUG", roll="r1")
    config = machine.folder / "consul.d" / "meshnode.json"
    config.write_text(config.read_text().replace("DEBUG", "INFO"))
    assert machine.back().due == ["package"]
    assert machine.runs == (OLD, "INFO")


def test_a_damaged_record_stops_roll_and_rollback_with_the_fix(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine.record.write_text("{")
    with pytest.raises(NodeError, match=r"is damaged: .*remove it.*Nothing was replaced"):
        machine.bring(monkeypatch, digest=NEW, roll="r1")
    assert machine.runs == (OLD, "INFO")
    assert "is damaged" in machine.back().problem
    machine.bring(monkeypatch, digest=NEW)  # site.yml has no use for it
    assert machine.runs == (NEW, "INFO")


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({}, {"http": True, "http_address": "127.0.0.1", "http_port": 8500, "tls": False}),
        ({"ports": {"http": -1, "https": 10443}, "cert_file": "/c"}, {"http": False, "tls": True, "https_port": 10443}),
        ({"client_addr": "0.0.0.0", "addresses": {"http": "127.0.0.1"}},
         {"client_address": "0.0.0.0", "http_address": "127.0.0.1"}),
        ({"ports": {"http": 9500}, "advertise_addr": "192.0.2.1"}, {"http_port": 9500, "address": "192.0.2.1"}),
        ({"ports": 5, "addresses": []}, {"http_port": 8500}),
    ],
)  # fmt: skip
def test_the_agent_is_found_where_its_configuration_has_it(
    config: dict[str, Any], expected: dict[str, Any]
) -> None:
    assert expected.items() <= reach(config).items()
