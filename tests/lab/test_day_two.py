"""A gossip key of a running mesh is rotated, with no failed request, and with a node away in the middle.

The tests follow each other on one lab and are run in the order of this file. What takes longer is in
``test_day_two_long.py``: ``make day-two-test``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab.day_two import (
    CA,
    NODES,
    ROTATE,
    fresh_mesh,
    keys,
    no_lock_is_left,
    no_request_failed,
    one_new_key,
    processes,
)
from tests.lab.labs import Lab

pytestmark = [pytest.mark.lab, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def lab(checkout: Path) -> Iterator[Lab]:
    yield from fresh_mesh(checkout, "daytwo", "172.28.248", 18467)


def test_a_new_key_takes_over_without_a_restart_and_without_a_failed_request(lab: Lab) -> None:
    before, running = keys(lab), processes(lab)
    run = lab.play(playbook=ROTATE)
    one_new_key(lab, before)
    assert processes(lab) == running
    old, new = before["client1"][0], keys(lab)["client1"][0]
    assert re.search(rf"client1\s+{old}\s+{new}\s+{new}", run.output)
    assert run.output.count("3/3 ") >= 4
    no_request_failed(run)
    no_lock_is_left(lab)
    assert lab.printed_secrets(run) == []


def test_after_a_rotation_there_is_nothing_left_to_change(lab: Lab) -> None:
    assert lab.play().changed == dict.fromkeys(NODES, 0)


def test_a_node_that_is_away_stops_the_rotation_before_the_key_is_used(lab: Lab) -> None:
    before = keys(lab)
    lab.on("client2", "systemctl", "stop", "consul")
    run = lab.play(playbook=ROTATE, fails=True)
    assert "2/3 have the key" in run.output
    assert "client2 does not answer" in run.output
    lab.on("client2", "systemctl", "start", "consul")
    assert {node: found[0] for node, found in keys(lab).items()} == {
        node: found[0] for node, found in before.items()
    }


def test_a_rotation_that_was_broken_off_keeps_other_procedures_out(lab: Lab) -> None:
    run = lab.play(playbook=CA, fails=True)
    output = " ".join(run.output.split())
    assert "a procedure was broken off: gossip_rotate, begun by" in output
    assert "run playbooks/gossip_rotate.yml again, which finishes it, before ca_rotate" in output


def test_the_rotation_goes_on_when_the_node_is_back(lab: Lab) -> None:
    before = keys(lab)
    run = lab.play(playbook=ROTATE)
    one_new_key(lab, before)
    no_lock_is_left(lab)
    assert "3/3 have the key" in run.output


def test_the_new_key_survives_a_restart(lab: Lab) -> None:
    before = keys(lab)
    lab.on("client1", "systemctl", "restart", "consul")
    lab.play(playbook="playbooks/verify.yml")
    assert keys(lab) == before
