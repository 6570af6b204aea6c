"""Procedures on a mesh of which one machine is off, goes off on the way, or has a full disk: named, and not half done.

The tests follow each other on one lab and are run in the order of this file: ``make day-two-test``.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab.day_two import fresh_mesh, inventory_says, keys, no_lock_is_left, one_new_key, stopped
from tests.lab.labs import Lab, until
from tests.lab.quickstart import NOTHING
from tests.lab.under_faults import under

pytestmark = [pytest.mark.lab, pytest.mark.timeout(600)]

AWAY = "client2"
BACK = ("-e", "gossip_encrypt_state=absent", "-e", "tls_upshift_state=absent")
#: Each of these changes every node, so it takes every node.
OF_ALL = ("gossip_rotate", "gossip_encrypt", "tls_upshift", "ca_rotate", "connect_ca_rotate", "roll")


@pytest.fixture(scope="module")
def lab(checkout: Path) -> Iterator[Lab]:
    yield from fresh_mesh(checkout, "nodeaway", "172.28.193", 18993)


def switched(lab: Lab, way: str) -> None:
    """The machine off, with all that runs on it, or on again."""
    subprocess.run(["docker", way, f"{lab.name}-{AWAY}"], check=True, capture_output=True)
    there = way == "start"
    until(f"after {way} {AWAY}", lambda: (AWAY in lab.alive("server1")) is there)


def others(lab: Lab) -> dict[str, str]:
    """The processes of the agents that are not away."""
    return {node: lab.process(node) for node in lab.nodes if node != AWAY}


@pytest.fixture(scope="module")
def away(lab: Lab) -> Iterator[Lab]:
    switched(lab, "stop")
    yield lab
    switched(lab, "start")


@pytest.mark.parametrize("procedure", OF_ALL)
def test_a_machine_that_is_off_is_named_and_nothing_is_changed(away: Lab, procedure: str) -> None:
    before = others(away)
    run = away.play(*BACK, playbook=f"playbooks/{procedure}.yml", fails=True)
    said = " ".join(run.output.split())
    assert f"{AWAY}: no answer (" in said
    assert (
        "Bring it up first, or take it out of the inventory when it is gone for good. Nothing was changed."
        in said
    )
    assert not any(run.changed.values())
    assert others(away) == before
    assert not (away.store / "procedure.json").exists()


def test_the_rest_can_be_rolled_meanwhile(away: Lab) -> None:
    words = ("--limit", f"!{AWAY}", "-e", "mesh_probe_enabled=false")  # What it serves is away, too.
    run = away.play(*words, playbook="playbooks/roll.yml")
    assert AWAY not in run.changed
    no_lock_is_left(away)


@pytest.mark.parametrize(("procedure", "stop"), [("ca_rotate", "sign"), ("gossip_encrypt", "clear")])
def test_a_machine_that_goes_off_on_the_way_is_named_and_the_rest_is_done_when_it_is_back(
    lab: Lab, procedure: str, stop: str
) -> None:
    # What the machine served is gone with it: that is no failure of the procedure.
    words = (*BACK, "-e", "mesh_probe_enabled=false")
    playbook = f"playbooks/{procedure}.yml"
    stopped(lab, stop, *words, playbook=playbook)
    switched(lab, "stop")
    try:
        run = lab.play(*words, playbook=playbook, fails=True)
    finally:
        switched(lab, "start")
    assert AWAY in run.output
    lab.play(*words, playbook=playbook)
    no_lock_is_left(lab)


def test_a_node_whose_disk_is_full_is_named_and_the_new_key_waits_for_it(lab: Lab) -> None:
    inventory_says(lab, mesh_gossip_encrypt=False)
    lab.play("-e", "mesh_probe_enabled=false", playbook="playbooks/gossip_encrypt.yml")
    inventory_says(lab, mesh_gossip_encrypt=True)
    before = keys(lab)
    with under(lab, "disk_full", AWAY):
        run = lab.play(playbook="playbooks/gossip_rotate.yml", fails=True)
        assert AWAY in run.output
        assert "No space left on device" in run.output
        assert {node: found[0] for node, found in keys(lab).items()} == {
            node: found[0] for node, found in before.items()
        }
    lab.play(playbook="playbooks/gossip_rotate.yml")
    one_new_key(lab, before)
    no_lock_is_left(lab)


def test_then_there_is_nothing_left_to_change(lab: Lab) -> None:
    assert lab.play().changed == NOTHING
