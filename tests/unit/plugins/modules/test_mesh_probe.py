"""Starting and ending a probe: which commands, which files, what is told."""

from __future__ import annotations

import getpass
import grp
import json
import os
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.meshnode.lab.plugins.module_utils import _probe
from ansible_collections.meshnode.lab.plugins.module_utils._probe import (
    MAX_TARGETS,
    Layout,
    Probe,
    ProbeError,
    check_targets,
    summary,
)

TARGET = {"kind": "kv", "agents": ["http://127.0.0.1:8500"], "key": "k"}
FAILURE = {"at": 5.0, "why": "ConnectionRefusedError"}
REPORT = {
    "seconds": 12.5,
    "targets": [
        {
            "name": "http x",
            "requests": 10,
            "failed": 1,
            "asked_again": 0,
            "longest": 0.5,
            "failures": [FAILURE],
        },
        {"name": "kv y", "requests": 5, "failed": 0, "asked_again": 2, "longest": 1.5, "failures": []},
    ],
}


class Module:
    """Notes what was run; C(active) is whether the unit is up."""

    def __init__(self, *, active: bool = False, check: bool = False, refuses: str = "") -> None:
        self.active, self.check_mode, self.refuses = active, check, refuses
        self.ran: list[list[str]] = []

    def run_command(self, command: list[str]) -> tuple[int, str, str]:
        if "is-active" in command:
            return (0 if self.active else 3), "", ""
        self.ran.append(command)
        self.active = command[0] == "systemd-run" or (self.active and "stop" not in command)
        return (1, "", "no bus") if command[0] == self.refuses else (0, "", "")


@pytest.fixture
def layout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Layout:
    monkeypatch.setattr(Layout, "directory", property(lambda self: str(tmp_path / self.name)))
    return Layout("mesh-probe", getpass.getuser(), grp.getgrgid(os.getgid()).gr_name)


def start(module: Module, layout: Layout, **config: Any) -> bool:
    return Probe(module, layout).start("print()", {"targets": [TARGET], **config}, "/usr/bin/python3")


def test_a_probe_is_started_once_with_its_files_private(layout: Layout) -> None:
    module = Module()
    assert start(module, layout)
    assert not start(module, layout)
    (started,) = [command for command in module.ran if command[0] == "systemd-run"]
    assert started[-3:] == [
        "/usr/bin/python3",
        f"{layout.directory}/probe.py",
        f"{layout.directory}/config.json",
    ]
    config = json.loads(Path(f"{layout.directory}/config.json").read_text())
    assert config == {"targets": [TARGET], "report": layout.report}
    assert {oct(path.stat().st_mode & 0o777) for path in Path(layout.directory).iterdir()} == {"0o600"}
    assert oct(Path(layout.directory).stat().st_mode & 0o777) == "0o700"


def test_an_old_report_does_not_count(layout: Layout) -> None:
    Path(layout.directory).mkdir()
    Path(layout.report).write_text(json.dumps(REPORT))
    module = Module()
    start(module, layout)
    assert Probe(module, layout).report()["requests"] == 0


def test_a_check_starts_and_stops_nothing(layout: Layout) -> None:
    assert start(module := Module(check=True), layout)
    assert module.ran == []
    assert not Path(layout.directory).exists()
    assert Probe(module := Module(check=True, active=True), layout).stop()
    assert module.ran == []


def test_a_probe_is_stopped_read_and_forgotten(layout: Layout) -> None:
    module = Module()
    start(module, layout)
    Path(layout.report).write_text(json.dumps(REPORT))
    probe = Probe(module, layout)
    assert probe.stop()
    assert not probe.stop()
    assert probe.report()["failed_requests"] == 1
    probe.forget()
    assert not Path(layout.directory).exists()


def test_without_targets_nothing_is_started(layout: Layout) -> None:
    module = Module()
    assert not start(module, layout, targets=[])
    assert module.ran == []


def test_a_node_without_systemd_is_told_so(layout: Layout) -> None:
    with pytest.raises(ProbeError, match="systemd-run failed: no bus: is systemd running on this node"):
        start(Module(refuses="systemd-run"), layout)


@pytest.mark.parametrize("name", ["", "../x", "a b", "x" * 80])
def test_a_name_that_is_no_unit_is_refused(name: str) -> None:
    with pytest.raises(ProbeError, match="can't be a unit"):
        Probe(Module(), Layout(name, "a", "a"))


@pytest.mark.parametrize(("targets", "text"), [
    ([{"kind": "ping"}], r"targets\[0\]\.kind: 'ping' is not known: write http, tcp, kv, members, dns, denied"),
    ([TARGET, {"kind": "http"}], r"targets\[1\]: has no url: a target of kind http needs it"),
    ([{"kind": "tcp", "address": ""}], r"targets\[0\]: has no address"),
    ([TARGET] * (MAX_TARGETS + 1), "21 are too many: at most 20"),
])  # fmt: skip
def test_a_target_that_can_not_be_probed_is_named(targets: list[dict[str, Any]], text: str) -> None:
    with pytest.raises(ProbeError, match=text):
        check_targets(targets)
    check_targets([TARGET] * MAX_TARGETS)


def test_a_summary_has_sums_and_every_failure() -> None:
    told = summary(REPORT)
    assert (told["requests"], told["failed_requests"], told["asked_again"], told["longest"]) == (
        15,
        1,
        2,
        1.5,
    )
    assert told["failures"] == ["http x: ConnectionRefusedError"]
    assert [target["name"] for target in told["targets"]] == ["http x", "kv y"]


def test_no_report_is_no_request() -> None:
    assert summary({})["requests"] == 0
    assert _probe.summary({"targets": ["x", None]})["targets"] == []
