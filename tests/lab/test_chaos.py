"""Faults from a fixed seed on three servers and two clients: ``make chaos-lab-test``, ten minutes.

The tests follow each other on one lab and are run in the order of this file.
"""

from __future__ import annotations

import re
import signal
import subprocess

import pytest

from tests.lab.labs import Lab
from tests.lab.under_faults import nothing_is_left, promises_kept

pytestmark = [pytest.mark.lab, pytest.mark.timeout(900)]

#: What the fault needs that one node does not have for a moment.
FAKETIME = "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1"
CHAOS, HEAL = "playbooks/chaos.yml", "playbooks/chaos_heal.yml"
SEED = ("-e", "chaos_seed=7")
SHORT = (*SEED, "-e", "chaos_minutes=1.2")
DIGEST = re.compile(r"seed 7, schedule ([0-9a-f]{12})")


@pytest.fixture
def lab(chaos_lab: Lab) -> Lab:
    return chaos_lab


def test_every_promise_is_kept_under_faults_and_nothing_is_left(lab: Lab) -> None:
    run = lab.play(*SHORT, "-e", "chaos_faults=kill,cut,delay", playbook=CHAOS)
    print(run.output[run.output.index("Faults and what they cost:") :])
    promises_kept(run)
    nothing_is_left(lab)


def test_a_fault_that_is_refused_is_an_error_with_its_reason_and_nothing_is_done(lab: Lab) -> None:
    lab.on("client2", "sh", "-c", f"mv {FAKETIME} /root/")
    try:
        run = lab.play(*SHORT, "-e", "chaos_faults=kill,clock", playbook=CHAOS, fails=True)
    finally:
        lab.on("client2", "sh", "-c", f"mv /root/libfaketimeMT.so.1 {FAKETIME}")
    said = " ".join(run.output.split())
    assert "chaos_faults: clock is refused: the wall clock belongs to the whole machine" in said
    nothing_is_left(lab)


def test_a_denied_pair_that_gets_through_fails_the_run_and_tells_the_seed(lab: Lab) -> None:
    lab.on("client1", "consul", "intention", "create", "-allow", "web", "frontend")
    try:
        run = lab.play(
            *SEED, "-e", "chaos_minutes=0.3", "-e", "chaos_faults=none", playbook=CHAOS, fails=True
        )
    finally:
        lab.on("client1", "consul", "intention", "delete", "web", "frontend")
    said = " ".join(run.output.split())
    assert "client1 denied 127.0.0.1:9393: a denied pair was connected" in said
    assert "The same again: -e chaos_seed=7 -e chaos_minutes=0.3 -e chaos_faults=none" in said
    nothing_is_left(lab)


def test_a_service_that_ends_without_a_fault_fails_the_run(lab: Lab) -> None:
    with started(lab, "-e", "chaos_minutes=0.6", "-e", "chaos_faults=dns") as process:
        output = until(process, "TASK [meshnode.lab.mesh_chaos : Fault 1")
        lab.on("client2", "systemctl", "stop", "mesh-app-socat")
        try:
            output += process.communicate(timeout=500)[0]
        finally:
            lab.on("client2", "systemctl", "start", "mesh-app-socat")
    assert process.returncode != 0
    assert "client1 tcp 127.0.0.1:9191: no good answer for" in " ".join(output.split())
    nothing_is_left(lab)


def test_a_run_that_is_killed_under_a_fault_is_undone_by_healing(lab: Lab) -> None:
    with started(lab, "-e", "chaos_minutes=1", "-e", "chaos_faults=cut") as process:
        until(process, "TASK [meshnode.lab.mesh_chaos : Fault 1")
        cut = [node for node in lab.nodes if wait_for_rule(lab, node)]
        process.send_signal(signal.SIGKILL)
    assert cut
    lab.play(playbook=HEAL)
    nothing_is_left(lab)


def started(lab: Lab, *words: str) -> subprocess.Popen[str]:
    """A run that goes on while the test does something."""
    command = lab.command(*SEED, *words, playbook=CHAOS)
    return subprocess.Popen(
        command,
        env=lab.environment,
        cwd=lab.checkout,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def until(process: subprocess.Popen[str], text: str) -> str:
    """What it printed until ``text`` was there."""
    assert process.stdout
    seen = ""
    for line in process.stdout:
        seen += line
        if text in line:
            return seen
    raise AssertionError(seen[-4000:])


def wait_for_rule(lab: Lab, node: str) -> bool:
    """Whether the node is cut off within five seconds."""
    look = "for n in $(seq 50); do iptables -S | grep -q mesh-fault && exit 0; sleep 0.1; done; exit 1"
    done = subprocess.run(["docker", "exec", f"{lab.name}-{node}", "sh", "-c", look], check=False)
    return done.returncode == 0
