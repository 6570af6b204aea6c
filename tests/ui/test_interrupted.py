"""What comes between in the middle of work: a token that ends, an agent that restarts, a rule that closes one thing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from playwright.sync_api import expect

from meshnode.testing import Mesh, MeshAgent
from tests.support.accessibility import faults
from tests.support.browser import Visitor, visit

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Browser, Route


def token_with(agent: MeshAgent, name: str, rules: str) -> dict[str, Any]:
    policy = agent.api("/v1/acl/policy", method="PUT", body={"Name": name, "Rules": rules})
    made: dict[str, Any] = agent.api("/v1/acl/token", method="PUT", body={"Policies": [{"ID": policy["ID"]}]})
    return made


def test_a_token_that_ends_under_a_half_typed_value_loses_nothing(stranger: Visitor, guarded: Mesh) -> None:
    agent = guarded["server1"]
    agent.api("/v1/kv/typed", method="PUT", body=b"old")
    token = token_with(agent, "writer", 'key_prefix "" { policy = "write" }')
    stranger.go("key/typed")
    stranger.sign_in(token["SecretID"])
    page = stranger.page
    value = page.get_by_label("Value", exact=True)
    expect(value).to_have_value("old")
    value.fill("half a thought")
    agent.api(f"/v1/acl/token/{token['AccessorID']}", method="DELETE")
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_role("alert")).to_contain_text("it has expired, or was deleted")
    expect(value).to_have_value("half a thought")
    assert faults(page) == []
    stranger.sign_in(guarded.token)
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_text("Saved.").first).to_be_visible()
    assert agent.api("/v1/kv/typed", query={"raw": ""}) == "half a thought"


def test_one_key_that_is_closed_leaves_its_neighbours_writable(stranger: Visitor, guarded: Mesh) -> None:
    agent = guarded["server1"]
    for key in ("part/open", "part/closed", "hidden/one"):
        agent.api(f"/v1/kv/{key}", method="PUT", body=b"x")
    rules = 'key_prefix "part/" { policy = "write" } key "part/closed" { policy = "read" }'
    token = token_with(agent, "parts", rules)
    stranger.go("kv")
    stranger.sign_in(token["SecretID"])
    page = stranger.page
    expect(page.get_by_role("link", name="part/")).to_be_visible()
    expect(page.get_by_role("link", name="hidden/")).to_have_count(0)
    for key, said in (("closed", "Permission denied"), ("open", "Saved.")):
        stranger.go(f"key/part%2F{key}")
        value = page.get_by_label("Value", exact=True)
        expect(value).to_have_value("x")
        value.fill("y")
        page.get_by_role("button", name="Save").click()
        expect(page.locator("form.editor").get_by_text(said).first).to_be_visible()
        value.fill("x")
        page.once("dialog", lambda dialog: dialog.accept())
    assert agent.api("/v1/kv/part/closed", query={"raw": ""}) == "x"
    assert agent.api("/v1/kv/part/open", query={"raw": ""}) == "y"


def test_an_intention_to_a_closed_service_is_refused_in_the_form_and_one_to_an_open_one_made(
    stranger: Visitor, guarded: Mesh
) -> None:
    agent = guarded["server1"]
    rules = 'service_prefix "" { policy = "read" } service "mine" { policy = "read" intentions = "write" }'
    token = token_with(agent, "mine-only", rules)
    stranger.go("intentions/list")
    stranger.sign_in(token["SecretID"])
    page = stranger.page
    page.get_by_role("button", name="New intention").click()
    page.get_by_label("Source").fill("web")
    page.get_by_label("Destination").fill("theirs")
    page.get_by_role("button", name="Create").click()
    expect(page.get_by_role("alert")).to_contain_text("Permission denied")
    expect(page.get_by_label("Destination")).to_have_value("theirs")
    page.get_by_label("Destination").fill("mine")
    page.get_by_role("button", name="Create").click()
    expect(page.get_by_role("dialog")).to_have_count(0)
    (made,) = agent.api("/v1/connect/intentions")
    assert (made["SourceName"], made["DestinationName"]) == ("web", "mine")


def test_what_is_opened_right_after_a_sign_in_belongs_to_the_page_that_stays(
    stranger: Visitor, guarded: Mesh
) -> None:
    page = stranger.page
    stranger.go("intentions/list")
    expect(page.get_by_text("no intentions that you may see")).to_be_visible()
    unanswered: list[Route] = []
    # A function of its own: Playwright leaves a mark on it, which a method of a list can't have.
    page.route("**/v1/agent/self", lambda route: unanswered.append(route))  # noqa: PLW0108
    stranger.sign_in(guarded.token)
    page.get_by_role("button", name="New intention").click()
    page.get_by_label("Source").fill("early")
    page.get_by_label("Destination").fill("bird")
    for route in unanswered:
        route.continue_()
    page.get_by_role("button", name="Create").click()
    expect(page.get_by_role("link", name="early")).to_be_visible()
    assert unanswered != []


def test_the_page_of_the_agents_own_node_shows_its_certificates_when_it_is_opened_first(
    browser: Browser, mesh: Mesh
) -> None:
    with visit(browser, mesh["server1"].http) as visitor:
        visitor.go("nodes/server1")
        expect(visitor.page.get_by_text("this agent speaks without TLS")).to_be_visible()


@pytest.fixture
def mortal() -> Iterator[Mesh]:
    with Mesh(servers=1, config={"ui": True}) as running:
        yield running


def test_an_agent_that_restarts_under_a_half_typed_value_loses_nothing(
    browser: Browser, mortal: Mesh
) -> None:
    agent = mortal["server1"]
    agent.api("/v1/kv/typed", method="PUT", body=b"old")
    with visit(browser, agent.http) as visitor:
        visitor.go("key/typed")
        page = visitor.page
        value = page.get_by_label("Value", exact=True)
        expect(value).to_have_value("old")
        value.fill("half a thought")
        agent.kill()
        expect(page.locator("#banner")).to_contain_text("does not answer")
        page.get_by_role("button", name="Save").click()
        expect(page.get_by_role("alert")).to_contain_text("the agent does not answer")
        agent.start()
        mortal.wait_healthy()
        expect(page.locator("#banner")).to_be_hidden()
        expect(value).to_have_value("half a thought")
        page.get_by_role("button", name="Save").click()
        expect(page.get_by_text("Saved.").first).to_be_visible()
        assert agent.api("/v1/kv/typed", query={"raw": ""}) == "half a thought"
