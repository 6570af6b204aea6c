"""With access control: what a stranger sees, what a token opens, and that it is kept nowhere else."""

from __future__ import annotations

import pytest
from playwright.sync_api import Request, expect

from meshnode.testing import Mesh
from tests.support.accessibility import faults
from tests.support.browser import Visitor


@pytest.mark.parametrize(
    ("place", "text"),
    [
        ("overview", "Permission denied"),
        ("services", "No services can be seen."),
        ("services/web", "There is no instance."),
        ("nodes", "No nodes can be seen."),
        ("intentions", "any (*)"),
        ("intentions/list", "There are no intentions that you may see."),
        ("connections", "No connection is open."),
        ("kv", "There are no keys that you may see."),
        ("key/secret", "Permission denied"),
        ("events", "This agent has seen no events"),
        ("certificates", "Permission denied"),
    ],
)
def test_a_stranger_is_told_what_is_closed_and_what_to_do(stranger: Visitor, place: str, text: str) -> None:
    stranger.go(place)
    expect(stranger.page.get_by_text(text).first).to_be_visible()
    expect(stranger.page.locator("[aria-busy]")).to_have_count(0)
    assert faults(stranger.page) == []


def test_one_closed_part_leaves_the_others_open(stranger: Visitor, guarded: Mesh) -> None:
    agent = guarded["server1"]
    rules = 'node_prefix "" { policy = "read" } service_prefix "" { policy = "read" }'
    policy = agent.api("/v1/acl/policy", method="PUT", body={"Name": "reader", "Rules": rules})
    reader = agent.api("/v1/acl/token", method="PUT", body={"Policies": [{"ID": policy["ID"]}]})
    stranger.go("overview")
    stranger.sign_in(reader["SecretID"])
    page = stranger.page
    expect(page.get_by_text("1 node", exact=True)).to_be_visible()
    expect(page.get_by_text("Permission denied").first).to_be_visible()
    stranger.picture("overview-partly-denied")
    stranger.go("nodes")
    expect(page.get_by_role("link", name="server1")).to_be_visible()


def test_a_write_that_is_denied_says_so_and_loses_nothing(stranger: Visitor, guarded: Mesh) -> None:
    agent = guarded["server1"]
    agent.api("/v1/kv/readable", method="PUT", body=b"old")
    rules = 'key_prefix "" { policy = "read" }'
    policy = agent.api("/v1/acl/policy", method="PUT", body={"Name": "keys", "Rules": rules})
    reader = agent.api("/v1/acl/token", method="PUT", body={"Policies": [{"ID": policy["ID"]}]})
    stranger.go("key/readable")
    stranger.sign_in(reader["SecretID"])
    page = stranger.page
    expect(page.get_by_label("Value", exact=True)).to_have_value("old")
    page.get_by_label("Value", exact=True).fill("mine")
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_role("alert")).to_contain_text("Permission denied")
    expect(page.get_by_label("Value", exact=True)).to_have_value("mine")
    assert agent.api("/v1/kv/readable", query={"raw": ""}) == "old"
    stranger.sign_in(guarded.token)
    expect(page.get_by_label("Value", exact=True)).to_have_value("mine")
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_text("Saved.").first).to_be_visible()
    assert agent.api("/v1/kv/readable", query={"raw": ""}) == "mine"


def test_a_token_goes_into_a_header_and_the_tab_and_nowhere_else(stranger: Visitor, guarded: Mesh) -> None:
    page = stranger.page
    requests: list[Request] = []
    # A function of its own: Playwright leaves a mark on it, which a method of a list can't have.
    page.on("request", lambda request: requests.append(request))  # noqa: PLW0108
    stranger.go("overview")
    stranger.sign_in(guarded.token)
    expect(page.get_by_text("all well")).to_be_visible()
    assert guarded.token in [request.headers.get("x-consul-token") for request in requests]
    assert not [request.url for request in requests if guarded.token in request.url]
    assert guarded.token not in page.url
    assert guarded.token not in page.content()
    kept = page.evaluate(
        "() => [Object.values(sessionStorage), Object.values(localStorage), document.cookie]"
    )
    assert kept == [[guarded.token], [], ""]
    page.get_by_role("button", name="Token", exact=True).click()
    page.get_by_role("button", name="Forget it").click()
    expect(page.get_by_text("Permission denied").first).to_be_visible()
    assert page.evaluate("() => sessionStorage.length") == 0


def test_an_unknown_token_is_refused_and_the_old_one_kept(stranger: Visitor) -> None:
    stranger.go("overview")
    for bad, text in (
        ("11111111-2222-3333-4444-555555555555", "was it copied whole?"),
        ("two words", "no spaces"),
    ):
        stranger.sign_in(bad)
        expect(stranger.page.get_by_role("alert")).to_contain_text(text)
        assert stranger.page.evaluate("() => sessionStorage.length") == 0
        stranger.page.get_by_role("button", name="Cancel").click()


def test_a_token_that_was_deleted_under_the_page_is_told_as_such(stranger: Visitor, guarded: Mesh) -> None:
    agent = guarded["server1"]
    rules = 'agent_prefix "" { policy = "read" } operator = "read" node_prefix "" { policy = "read" }'
    policy = agent.api("/v1/acl/policy", method="PUT", body={"Name": "short", "Rules": rules})
    token = agent.api("/v1/acl/token", method="PUT", body={"Policies": [{"ID": policy["ID"]}]})
    stranger.go("nodes")
    stranger.sign_in(token["SecretID"])
    expect(stranger.page.get_by_role("link", name="server1")).to_be_visible()
    agent.api(f"/v1/acl/token/{token['AccessorID']}", method="DELETE")
    stranger.go("certificates")
    expect(stranger.page.get_by_text("it has expired, or was deleted").first).to_be_visible()
    stranger.page.get_by_role("button", name="Use another token").first.click()
    expect(stranger.page.get_by_role("dialog")).to_be_visible()
    assert faults(stranger.page) == []
