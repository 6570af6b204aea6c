"""Faults as commands: what is done, what undoes it, and that the undoing is there before anything is done."""

from __future__ import annotations

import json
import shlex
import subprocess
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.meshnode.lab.plugins.module_utils import _fault
from ansible_collections.meshnode.lab.plugins.module_utils._chaos import AGENT, CATALOGUE, ETCD
from ansible_collections.meshnode.lab.plugins.module_utils._fault import (
    MAX_DISK_MIB,
    FaultError,
    Faults,
    Place,
    Plan,
    device_of,
    plan,
    undo_text,
)

LIBRARY = "/usr/lib/faketime.so"
PLACE = Place("10.0.0.1", ("10.0.0.2", "10.0.0.3"), 8600, "/var/lib/consul", 40, "254:0", faketime=LIBRARY)


@pytest.mark.parametrize(
    ("fault", "service"), [(name, service) for name, kind in CATALOGUE.items() for service in kind.services]
)
def test_every_fault_of_the_catalogue_is_done_and_undone_by_commands(fault: str, service: str) -> None:
    made = plan(fault, service, 0, PLACE)
    assert made.do
    assert made.undo
    for command in (*made.do, *made.undo):
        assert all(isinstance(word, str) and word for word in command)


@pytest.mark.parametrize("fault", ["cut", "cut_in", "cut_out", "loss", "dns"])
def test_each_rule_of_the_firewall_that_is_made_is_taken_away(fault: str) -> None:
    made = plan(fault, AGENT, 0, PLACE)
    assert [tuple("-D" if word == "-I" else word for word in command) for command in made.do] == list(
        made.undo
    )
    assert all("mesh-fault" in command for command in made.do)


def test_a_cut_is_of_the_direction_that_it_is_named_after() -> None:
    def chains(fault: str) -> set[tuple[str, str]]:
        return {(command[3], command[4]) for command in plan(fault, AGENT, 0, PLACE).do}

    assert chains("cut") == {("INPUT", "-s"), ("OUTPUT", "-d")}
    assert chains("cut_in") == {("INPUT", "-s")}
    assert chains("cut_out") == {("OUTPUT", "-d")}


def test_only_packets_of_peers_are_dropped() -> None:
    for command in plan("cut", AGENT, 0, PLACE).do:
        assert set(command) & {"10.0.0.2", "10.0.0.3"}


def test_a_killed_unit_stays_away_until_it_is_started() -> None:
    made = plan("kill", ETCD, 0, PLACE)
    assert made.do == (
        ("systemctl", "kill", "--signal", "KILL", "--kill-who=main", "etcd"),
        ("systemctl", "stop", "etcd"),
    )
    assert made.undo[-1] == ("systemctl", "start", "--no-block", "etcd")


def test_the_amount_is_that_of_the_catalogue_unless_another_is_given() -> None:
    assert "0.2" in plan("loss", AGENT, 0, PLACE).do[0]
    assert "0.5" in plan("loss", AGENT, 0.5, PLACE).do[0]
    assert json.loads(plan("delay", AGENT, 0.3, PLACE).do[0][-1])["amount"] == 0.3


@pytest.mark.parametrize(
    ("fault", "service", "place", "text"),
    [
        ("meteor", AGENT, PLACE, "'meteor' is not known"),
        ("clock", ETCD, PLACE, "service: clock is not for 'etcd': write consul"),
        ("dns", ETCD, PLACE, "service: dns is not for 'etcd': write consul"),
        ("cut", AGENT, Place("10.0.0.1", ("server2",)), "peers: 'server2' is not an IP address"),
        ("delay", AGENT, Place("", ("10.0.0.2",)), "address: '' is not an IP address"),
        ("disk_full", AGENT, Place(data="/"), "data_dir: '/' can't be moved"),
        ("disk_full", AGENT, Place(data="/var"), "data_dir: '/var' can't be moved"),
        (
            "disk_full",
            AGENT,
            Place(data="/var/lib/x", data_mib=MAX_DISK_MIB + 1),
            "too many to be moved to memory",
        ),
    ],
)
def test_what_is_not_possible_is_refused_with_its_reason(
    fault: str, service: str, place: Place, text: str
) -> None:
    with pytest.raises(FaultError, match=text):
        plan(fault, service, 0, place)


def test_the_host_s_disk_is_never_what_fills_up() -> None:
    made = plan("disk_full", AGENT, 0, PLACE)
    (mount,) = [command for command in made.do if command[:3] == ("mount", "-t", "tmpfs")]
    assert "size=56M,mode=0755" in mount
    fill = made.do[-1][-1]
    assert f"of={mount[-1]}/" in fill


def test_data_is_in_one_place_at_least_at_every_step_of_coming_back() -> None:
    undo = plan("disk_full", ETCD, 0, PLACE).undo
    copied = undo.index(("cp", "-a", "/run/mesh-fault/disk/data", "/var/lib/consul.mesh-fault"))
    assert copied < undo.index(("umount", "/var/lib/consul"))
    assert undo.index(("mv", "/var/lib/consul.mesh-fault", "/var/lib/consul")) < undo.index(
        ("rm", "-rf", "/var/lib/consul.mesh-fault-old")
    )


def test_a_clock_jumps_once_the_agent_is_up_and_nothing_of_it_is_left() -> None:
    made = plan("clock", AGENT, -60, PLACE)
    folder = "/run/systemd/system/consul.service.d"
    up = made.do.index(("sleep", "3"))
    assert made.do[up + 1 :] == (("sh", "-c", f"printf '%s\\n' -60s > {folder}/mesh-fault.clock"),)
    (written,) = [command[-1] for command in made.do if "mesh-fault.conf" in command[-1]]
    assert f"Environment=LD_PRELOAD={LIBRARY}" in written
    assert "Environment=FAKETIME_DONT_FAKE_MONOTONIC=1" in written
    assert made.undo[0] == ("rm", "-f", f"{folder}/mesh-fault.conf", f"{folder}/mesh-fault.clock")
    assert made.undo.index(("systemctl", "daemon-reload")) < made.undo.index(("systemctl", "stop", "consul"))


MOUNTS = """\
1 2 0:52 / / rw - overlay overlay rw
3 1 254:1 /docker/containers/a/hosts /etc/hosts rw - ext4 /dev/vda rw
4 1 0:60 / /run rw - tmpfs tmpfs rw
"""


def test_the_disk_below_a_container_is_found_by_the_files_that_are_bound_into_it() -> None:
    assert device_of(MOUNTS, (0, 52)) == "254:1"
    assert device_of(MOUNTS, (8, 3)) == "8:3"
    assert device_of("1 2 0:52 / / rw\n", (0, 52)) == ""


def test_the_undoing_runs_every_command_and_says_which_failed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_fault, "DIRECTORY", str(tmp_path))
    record = tmp_path / "kill.undo"
    seen = tmp_path / "seen"
    record.write_text(undo_text([("false",), ("touch", str(seen))], "kill"))
    done = subprocess.run(["/bin/sh", str(record)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (1, "false failed\n")
    assert seen.exists()
    assert not record.exists()


class Module:
    """Notes what was run; ``fails`` is a word of the command that does not succeed."""

    check_mode = False

    def __init__(self, fails: str = "") -> None:
        self.fails, self.ran = fails, list[list[str]]()

    def run_command(self, command: list[str]) -> tuple[int, str, str]:
        self.ran.append(command)
        if command[0] == "/bin/sh":
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            return done.returncode, done.stdout, done.stderr
        return (1, "", "no bus") if self.fails and self.fails in command else (0, "", "")

    def get_bin_path(self, name: str) -> str | None:
        return None if name == self.fails else f"/sbin/{name}"


@pytest.fixture
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(_fault, "DIRECTORY", str(tmp_path / "faults"))
    return tmp_path / "faults"


WHAT = Plan((("do", "it"),), (("true",),))


def test_the_undoing_is_written_and_timed_before_anything_is_done(directory: Path) -> None:
    module = Module()
    faults = Faults(module, str(directory))
    faults.begin("kill", WHAT, 30, "")
    timed, done = module.ran
    assert timed[0] == "systemd-run"
    assert "--on-active=30" in timed
    assert timed[-1] == str(directory / "kill.undo")
    assert done == ["do", "it"]
    assert faults.there() == ["kill"]


def test_a_fault_that_fails_half_way_is_undone_at_once(directory: Path) -> None:
    module = Module(fails="it")
    faults = Faults(module, str(directory))
    with pytest.raises(FaultError, match="do failed: no bus"):
        faults.begin("kill", WHAT, 30, "")
    assert ["/bin/sh", str(directory / "kill.undo")] in module.ran
    assert faults.there() == []


def test_nothing_is_done_when_the_undoing_can_not_be_timed(directory: Path) -> None:
    module = Module(fails="--collect")
    faults = Faults(module, str(directory))
    with pytest.raises(FaultError, match="systemd-run failed"):
        faults.begin("kill", WHAT, 30, "")
    assert len(module.ran) == 1
    assert faults.there() == []


def test_a_node_has_one_fault_at_a_time_and_no_fault_is_undone_twice(directory: Path) -> None:
    module = Module()
    faults = Faults(module, str(directory))
    faults.begin("kill", WHAT, 30, "")
    with pytest.raises(FaultError, match="has the fault kill already"):
        faults.begin("pause", WHAT, 30, "")
    faults.end("kill")
    ran = len(module.ran)
    faults.end("kill")
    assert len(module.ran) == ran
    assert faults.there() == []


def test_a_fault_that_could_not_be_undone_is_told(directory: Path) -> None:
    faults = Faults(Module(), str(directory))
    faults.begin("kill", Plan(WHAT.do, (("false",),)), 30, "")
    with pytest.raises(FaultError, match="kill was not undone wholly: false failed"):
        faults.end("kill")


@pytest.mark.parametrize("name", ["", "../kill", "Kill", "a b"])
def test_a_name_that_is_no_name_of_a_file_is_refused(directory: Path, name: str) -> None:
    with pytest.raises(FaultError, match="name"):
        Faults(Module(), str(directory)).begin(name, WHAT, 30, "")


def test_a_node_says_what_it_can_not_have_and_why(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_fault, "TUN", str(directory / "none" / "tun"))
    monkeypatch.setattr(_fault, "BLKIO", str(directory / "blkio"))
    monkeypatch.setattr(_fault, "FAKETIME", str(directory / "*" / "faketime.so"))
    monkeypatch.setattr("os.mknod", _refuse)
    refused = Faults(Module(fails="iptables"), str(directory)).refused()
    assert set(refused) == {
        "clock",
        "delay",
        "duplicate",
        "reorder",
        "slow_disk",
        "cut",
        "cut_in",
        "cut_out",
        "loss",
        "dns",
    }
    assert refused["cut"] == "iptables is not installed on this node"
    assert "can't be opened" in refused["delay"]
    assert "cgroup v1" in refused["slow_disk"]
    assert "install libfaketime on this node" in refused["clock"]


def _refuse(*_: Any) -> None:
    raise PermissionError(1, "no")


def test_the_program_of_the_wire_gets_its_configuration_as_one_word() -> None:
    (started,) = plan("reorder", AGENT, 0, PLACE).do
    assert json.loads(shlex.split(shlex.join(started))[-1]) == {
        "fault": "reorder",
        "amount": 0.25,
        "address": "10.0.0.1",
        "peers": ["10.0.0.2", "10.0.0.3"],
    }
