"""Procedures on a running mesh, broken off at each phase and finished: ``make day-two-test``, half an hour.

The tests follow each other on one lab and are run in the order of this file.
"""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab.day_two import (
    BACK,
    CA,
    ENCRYPT,
    NODES,
    ROTATE,
    backed_up_and_restored,
    fresh_mesh,
    keys,
    no_lock_is_left,
    no_request_failed,
    one_new_key,
    phases,
    processes,
    stopped,
    trusted,
)
from tests.lab.labs import Lab

pytestmark = [pytest.mark.lab, pytest.mark.timeout(900)]

ROTATE_STOPS = ["install", "installed", "use", "used", "persist", "persisted", "remove", "removed"]


@pytest.fixture(scope="module")
def lab(checkout: Path) -> Iterator[Lab]:
    yield from fresh_mesh(checkout, "daytwolong", "172.28.206", 18465)


def test_a_killed_rotation_refused_a_second_one_and_is_finished_by_the_next_run(lab: Lab) -> None:
    before = keys(lab)
    command, checkout = lab.command(playbook=ROTATE), lab.checkout
    with subprocess.Popen(
        command, env=lab.environment, cwd=checkout, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout
        next(line for line in process.stdout if "Install the new key" in line)
        other = " ".join(lab.play(playbook=ROTATE, fails=True).output.split())
        assert "the mesh is being changed: gossip_rotate, begun by" in other
        assert f"process {process.pid})" in other
        next(line for line in process.stdout if "Use the new key" in line)
        process.send_signal(signal.SIGKILL)
    run = lab.play(playbook=ROTATE)
    one_new_key(lab, before)
    no_request_failed(run)
    no_lock_is_left(lab)


@pytest.mark.parametrize("stop", ROTATE_STOPS)
def test_a_rotation_stopped_at_a_phase_ends_with_one_new_key(lab: Lab, stop: str) -> None:
    before = keys(lab)
    stopped(lab, stop, playbook=ROTATE)
    run = lab.play(playbook=ROTATE)
    one_new_key(lab, before)
    no_request_failed(run)
    no_lock_is_left(lab)


def test_a_new_ca_takes_over_without_a_restart_and_without_a_failed_request(lab: Lab) -> None:
    running = processes(lab)
    run = lab.play(playbook=CA)
    assert run.output.count("4/4 ports present a certificate of CN=meshnode CA dc1 g2") == 2
    assert processes(lab) == running
    assert trusted(lab) == {"1"}
    no_request_failed(run)
    no_lock_is_left(lab)
    assert lab.printed_secrets(run) == []
    assert lab.play().changed == dict.fromkeys(NODES, 0)


@pytest.mark.parametrize(("stop", "left"), [("trust", "1"), ("sign", "2"), ("retire", "2")])
def test_a_rotation_of_the_ca_stopped_at_a_phase_is_finished_by_the_next_run(
    lab: Lab, stop: str, left: str
) -> None:
    stopped(lab, stop, playbook=CA)
    assert trusted(lab) == {left}
    run = lab.play(playbook=CA)
    assert trusted(lab) == {"1"}
    no_request_failed(run)
    no_lock_is_left(lab)
    assert lab.play().changed == dict.fromkeys(NODES, 0)


def test_a_new_root_of_connect_takes_over_under_open_connections(lab: Lab) -> None:
    run = lab.play(playbook="playbooks/connect_ca_rotate.yml")
    no_request_failed(run)
    no_lock_is_left(lab)


def test_a_changed_setting_is_rolled_out_and_a_second_run_restarts_nobody(lab: Lab) -> None:
    before, words = processes(lab), ("-e", json.dumps({"mesh_node_extra_config": {"log_level": "DEBUG"}}))
    no_request_failed(lab.play(*words, playbook="playbooks/roll.yml"))
    after = processes(lab)
    assert all(after[node] != before[node] for node in NODES)
    lab.play(*words, playbook="playbooks/roll.yml")
    assert processes(lab) == after
    lab.play(playbook="playbooks/roll.yml")
    no_lock_is_left(lab)


def test_a_backup_brings_back_what_was_written_before_it(lab: Lab) -> None:
    backed_up_and_restored(lab)


def test_gossip_goes_to_clear_and_back_without_a_failed_request(lab: Lab) -> None:
    back = lab.play(*BACK, playbook=ENCRYPT)
    assert {has_key for has_key, *_ in phases(lab)} == {False}
    assert 'put "mesh_gossip_encrypt: false" into the inventory' in back.output
    forth = lab.play(playbook=ENCRYPT)
    assert phases(lab) == {(True, True, True)}
    for run in (back, forth):
        no_request_failed(run)
        assert lab.printed_secrets(run) == []
    no_lock_is_left(lab)
    assert lab.play().changed == dict.fromkeys(NODES, 0)


@pytest.mark.parametrize("stop", ["accept", "accepted", "clear", "cleared", "remove"])
def test_the_way_back_stopped_at_a_phase_is_finished_by_the_next_run(lab: Lab, stop: str) -> None:
    stopped(lab, stop, *BACK, playbook=ENCRYPT)
    run = lab.play(*BACK, playbook=ENCRYPT)
    assert {has_key for has_key, *_ in phases(lab)} == {False}
    no_request_failed(run)
    lab.play(playbook=ENCRYPT)


@pytest.mark.parametrize("stop", ["key", "keyed", "outgoing", "sent", "incoming", "refused"])
def test_the_way_forth_stopped_at_a_phase_is_finished_by_the_next_run(lab: Lab, stop: str) -> None:
    lab.play(*BACK, playbook=ENCRYPT)
    stopped(lab, stop, playbook=ENCRYPT)
    run = lab.play(playbook=ENCRYPT)
    assert phases(lab) == {(True, True, True)}
    no_request_failed(run)
    no_lock_is_left(lab)
