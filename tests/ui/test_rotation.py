"""A rotation of the mesh's root in the page: planned, started, watched, paused, resumed, given up."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import expect

from meshnode.testing import Mesh
from meshnode.testing.mesh import FAST_GOSSIP
from tests.support.accessibility import faults
from tests.support.browser import Visitor

ROTATION = "/v1/connect/ca/rotation"


@pytest.fixture(scope="module")
def mesh() -> Iterator[Mesh]:
    """As elsewhere, but a client that is stopped for a test is not called failed within it."""
    patient = {**FAST_GOSSIP, "suspicion_mult": 60}
    config = {"ui": True, "connect": {"enabled": True}, "gossip_lan": patient}
    with Mesh(servers=1, clients=1, config=config) as running:
        yield running


@pytest.fixture(autouse=True)
def settled(mesh: Mesh) -> Iterator[None]:
    """No rotation runs before a test, and none after it."""
    both = [mesh["server1"], mesh["client1"]]
    for agent in both:
        # A node that never had to do with Connect has nothing to report.
        agent.api("/v1/agent/connect/ca/roots")
    names = {agent.name for agent in both}
    both[0].wait_for(
        ROTATION, until=lambda found: {row["Node"] for row in found["Nodes"] if row["Alive"]} == names
    )
    yield
    if both[0].api(ROTATION)["Phase"]:
        turn(mesh, "resume")
    both[0].wait_for(ROTATION, until=lambda found: not found["Phase"])


def turn(mesh: Mesh, action: str, **more: Any) -> None:
    mesh["server1"].api(ROTATION, method="PUT", body={"Action": action, **more})


def test_a_rotation_is_planned_started_and_followed_to_its_end(visitor: Visitor, mesh: Mesh) -> None:
    visitor.go("certificates")
    page = visitor.page
    expect(page.get_by_text("no rotation runs")).to_be_visible()
    before = mesh["server1"].api("/v1/connect/ca/roots")["ActiveRootID"]
    page.get_by_role("button", name="Rotate the root").click()
    expect(page.get_by_text("acknowledge: 2 nodes are waited for: client1, server1")).to_be_visible()
    assert faults(page) == []
    page.get_by_role("dialog").get_by_text("Stop before the new root signs").click()
    page.get_by_role("button", name="Rotate", exact=True).click()
    expect(page.get_by_text("paused in distribute")).to_be_visible()
    expect(page.get_by_text("paused: 2 of 2 nodes trust the new root")).to_be_visible()
    expect(page.get_by_role("progressbar", name="Nodes that are done")).to_have_attribute("value", "2")
    expect(page.locator("[aria-current=step]")).to_contain_text("distribute")
    expect(page.get_by_role("cell", name="the new root", exact=False)).to_have_count(2)
    assert faults(page) == []
    visitor.picture("rotation-paused")
    assert mesh["server1"].api("/v1/connect/ca/roots")["ActiveRootID"] == before
    page.get_by_role("button", name="Resume").click()
    expect(page.get_by_text("no rotation runs")).to_be_visible()
    expect(page.get_by_role("button", name="Rotate the root")).to_be_visible()
    assert mesh["server1"].api("/v1/connect/ca/roots")["ActiveRootID"] != before
    visitor.go("overview")
    visitor.go("certificates")
    after = mesh["server1"].api("/v1/connect/ca/roots")["ActiveRootID"]
    expect(page.locator(".card").filter(has_text=after).first).to_contain_text("signs")


def test_one_that_waits_for_a_node_names_it_and_is_paused_and_given_up(visitor: Visitor, mesh: Mesh) -> None:
    before = mesh["server1"].api("/v1/connect/ca/roots")["ActiveRootID"]
    visitor.go("certificates")
    page = visitor.page
    expect(page.get_by_role("button", name="Rotate the root")).to_be_visible()
    mesh["client1"].signal(signal.SIGSTOP)
    try:
        turn(mesh, "start", Paused=True)
        page.get_by_role("button", name="Resume").click()
        expect(page.get_by_text("1 of 2 nodes trust the new root, waiting for client1")).to_be_visible()
        page.get_by_role("button", name="Pause").click()
        expect(page.get_by_text("paused in acknowledge")).to_be_visible()
        expect(page.get_by_role("button", name="Resume")).to_be_focused()
        expect(page.get_by_role("button", name="Rotate the root")).to_be_hidden()
        page.get_by_role("button", name="Give it up").click()
        assert faults(page) == []
        page.get_by_role("dialog").get_by_role("button", name="Give it up").click()
        expect(page.get_by_text("no rotation runs")).to_be_visible()
    finally:
        mesh["client1"].signal(signal.SIGCONT)
    assert mesh["server1"].api("/v1/connect/ca/roots")["ActiveRootID"] == before


def test_who_may_only_look_sees_it_and_is_told_why_no_button_works(stranger: Visitor, guarded: Mesh) -> None:
    agent = guarded["server1"]
    policy = agent.api("/v1/acl/policy", method="PUT", body={"Name": "looks", "Rules": 'operator = "read"'})
    token = agent.api("/v1/acl/token", method="PUT", body={"Policies": [{"ID": policy["ID"]}]})
    agent.api(ROTATION, method="PUT", body={"Action": "start", "Paused": True})
    stranger.go("certificates")
    stranger.sign_in(token["SecretID"])
    page = stranger.page
    expect(page.get_by_text("paused in distribute")).to_be_visible()
    page.get_by_role("button", name="Resume").click()
    expect(page.get_by_role("alert")).to_contain_text("Permission denied")
    agent.api(ROTATION, method="PUT", body={"Action": "abort"})
    page.get_by_role("button", name="Rotate the root").click()
    expect(page.get_by_role("dialog").get_by_role("alert")).to_contain_text("Permission denied")
    page.get_by_role("button", name="Rotate", exact=True).click()
    expect(page.get_by_role("dialog").get_by_role("alert")).to_have_count(2)
    assert agent.api(ROTATION)["Phase"] == ""
