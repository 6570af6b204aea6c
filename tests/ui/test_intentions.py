"""Intentions in the page: made, changed, deleted, explained, and decided as the agent decides."""

from __future__ import annotations

import itertools
import re
from typing import Any

import pytest
from playwright.sync_api import Locator, expect

from meshnode.testing import Mesh, MeshAgent
from tests.support.accessibility import faults
from tests.support.browser import Visitor


@pytest.fixture
def agent(mesh: Mesh) -> MeshAgent:
    """An agent without intentions."""
    server = mesh["server1"]
    for row in intentions(server):
        server.api(f"/v1/connect/intentions/{row['ID']}", method="DELETE")
    return server


def intentions(agent: MeshAgent) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = agent.api("/v1/connect/intentions")
    return found


def put(agent: MeshAgent, source: str, destination: str, **more: Any) -> str:
    body = {"SourceName": source, "DestinationName": destination, "Action": "deny", **more}
    return str(agent.api("/v1/connect/intentions", method="POST", body=body)["ID"])


def dialog(visitor: Visitor) -> Locator:
    return visitor.page.get_by_role("dialog")


def test_an_intention_is_made_and_seen_by_everybody_at_once(visitor: Visitor, agent: MeshAgent) -> None:
    visitor.go("intentions/list")
    page = visitor.page
    expect(page.get_by_text("There are no intentions")).to_be_visible()
    page.get_by_role("button", name="New intention").click()
    assert faults(page) == []
    page.get_by_label("Source").fill("web")
    page.get_by_label("Destination").fill("db")
    page.get_by_label("Action").select_option("deny")
    page.get_by_label("Description").fill("until the audit")
    visitor.picture("intention-form")
    page.get_by_role("button", name="Create").click()
    expect(dialog(visitor)).to_have_count(0)
    expect(page.locator("tbody tr")).to_contain_text("until the audit")
    (made,) = intentions(agent)
    assert (made["SourceName"], made["DestinationName"], made["Action"]) == ("web", "db", "deny")
    put(agent, "api", "db")
    expect(page.locator("tbody tr")).to_have_count(2)


def test_what_the_agent_refuses_is_told_in_the_form(visitor: Visitor, agent: MeshAgent) -> None:
    put(agent, "web", "db")
    visitor.go("intentions/list")
    page = visitor.page
    page.get_by_role("button", name="New intention").click()
    page.get_by_role("button", name="Create").click()
    expect(page.get_by_role("alert")).to_contain_text("Invalid intention")
    page.get_by_label("Source").fill("web")
    page.get_by_label("Destination").fill("db")
    page.get_by_role("button", name="Create").click()
    expect(page.get_by_role("alert")).to_contain_text("duplicate intention")
    assert faults(page) == []
    page.keyboard.press("Escape")
    expect(dialog(visitor)).to_have_count(0)
    assert len(intentions(agent)) == 1


def test_an_intention_is_changed_and_keeps_what_the_form_does_not_show(
    visitor: Visitor, agent: MeshAgent
) -> None:
    put(agent, "web", "db", Meta={"owner": "blue"}, Description="old")
    visitor.go("intentions/list")
    page = visitor.page
    page.get_by_role("button", name="Edit web to db").click()
    page.get_by_label("Action").select_option("allow")
    page.get_by_label("Description").fill("new")
    page.get_by_role("button", name="Save").click()
    expect(page.locator("tbody tr")).to_contain_text("allow")
    (now,) = intentions(agent)
    assert (now["Action"], now["Description"], now["Meta"]) == ("allow", "new", {"owner": "blue"})


def test_permissions_on_requests_are_written_as_json(visitor: Visitor, agent: MeshAgent) -> None:
    entry = {"Kind": "service-defaults", "Name": "api", "Protocol": "http"}
    agent.api("/v1/config", method="PUT", body=entry)
    visitor.go("intentions/list")
    page = visitor.page
    page.get_by_role("button", name="New intention").click()
    page.get_by_label("Source").fill("web")
    page.get_by_label("Destination").fill("api")
    expect(page.get_by_label("Permissions")).to_be_hidden()
    page.get_by_label("Action").select_option("request")
    for bad, text in (
        ("{", "Permissions are not JSON"),
        ("[]", "at least one"),
        ("[{}]", "Invalid intention"),
    ):
        page.get_by_label("Permissions").fill(bad)
        page.get_by_role("button", name="Create").click()
        expect(page.get_by_role("alert")).to_contain_text(text)
    page.get_by_label("Permissions").fill('[{"Action": "deny", "HTTP": {"PathPrefix": "/admin"}}]')
    page.get_by_role("button", name="Create").click()
    expect(page.locator("tbody tr")).to_contain_text("by request")
    (made,) = intentions(agent)
    assert made["Permissions"][0]["HTTP"]["PathPrefix"] == "/admin"
    visitor.go("intentions/explain")
    page.get_by_label("Source").fill("web")
    page.get_by_label("Destination").fill("api")
    page.get_by_text("About one HTTP request").click()
    page.get_by_label("Path").fill("/admin/x")
    page.get_by_role("button", name="Explain").click()
    expect(page.locator(".verdict")).to_contain_text("denied")
    assert faults(page) == []


def test_an_intention_is_deleted_after_a_question(visitor: Visitor, agent: MeshAgent) -> None:
    put(agent, "web", "db")
    visitor.go("intentions/list")
    page = visitor.page
    page.get_by_role("button", name="Delete web to db").click()
    assert faults(page) == []
    page.get_by_role("button", name="Cancel").click()
    assert len(intentions(agent)) == 1
    page.get_by_role("button", name="Delete web to db").click()
    dialog(visitor).get_by_role("button", name="Delete").click()
    expect(page.get_by_text("There are no intentions")).to_be_visible()
    assert intentions(agent) == []


def test_of_two_who_change_the_same_one_the_second_is_told(visitor: Visitor, agent: MeshAgent) -> None:
    known = put(agent, "web", "db")
    visitor.go("intentions/list")
    page = visitor.page
    page.get_by_role("button", name="Edit web to db").click()
    body = {"SourceName": "web", "DestinationName": "db", "Action": "allow"}
    agent.api(f"/v1/connect/intentions/{known}", method="PUT", body=body)
    page.get_by_label("Description").fill("mine")
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_role("alert")).to_contain_text("Somebody changed this intention meanwhile (now allow)")
    agent.api(f"/v1/connect/intentions/{known}", method="DELETE")
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_role("alert")).to_contain_text("Somebody deleted this intention meanwhile")
    assert intentions(agent) == []


def test_a_cell_of_the_matrix_explains_and_leads_to_a_change(visitor: Visitor, agent: MeshAgent) -> None:
    put(agent, "web", "*")
    put(agent, "web", "db", Action="allow")
    put(agent, "api", "db", Audit=True)
    visitor.go("intentions")
    page = visitor.page
    expect(
        page.get_by_role("button", name="api to db: let through, although it would be denied")
    ).to_be_visible()
    expect(page.get_by_role("button", name="db to web: allowed, by the default")).to_be_visible()
    expect(page.get_by_role("button", name="web to db: allowed, by its own intention")).to_be_visible()
    page.get_by_role("button", name="web to api: denied, by a wider intention").click()
    expect(dialog(visitor).locator(".verdict")).to_contain_text("denied")
    expect(dialog(visitor).get_by_text("decides")).to_be_visible()
    assert faults(page) == []
    visitor.picture("intentions-explained")
    dialog(visitor).get_by_role("button", name="New intention for this pair").click()
    page.get_by_label("Action").select_option("allow")
    page.get_by_role("button", name="Create").click()
    expect(page.get_by_role("button", name="web to api: allowed, by its own intention")).to_be_visible()
    page.get_by_role("button", name="web to db: allowed, by its own intention").press("Enter")
    dialog(visitor).get_by_role("button", name="Delete").click()
    dialog(visitor).get_by_role("button", name="Delete").click()
    expect(page.get_by_role("button", name="web to db: denied, by a wider intention")).to_be_visible()


def test_the_matrix_is_one_stop_of_the_tab_key_and_walked_by_arrows(
    visitor: Visitor, agent: MeshAgent
) -> None:
    put(agent, "api", "db")
    visitor.go("intentions")
    page = visitor.page

    def cell(pair: str) -> Locator:
        return page.get_by_role("button", name=re.compile(rf"^{pair}: "))

    expect(cell("api to db")).to_be_visible()
    page.get_by_role("region", name="Matrix of services").focus()
    page.keyboard.press("Tab")
    expect(cell(r"\* to \*")).to_be_focused()
    for key, pair in (
        ("ArrowDown", r"api to \*"),
        ("ArrowRight", "api to api"),
        ("ArrowUp", r"\* to api"),
        ("ArrowUp", r"\* to api"),
        ("ArrowLeft", r"\* to \*"),
    ):
        page.keyboard.press(key)
        expect(cell(pair)).to_be_focused()
    page.keyboard.press("Tab")
    expect(page.locator(".matrix button:focus")).to_have_count(0)
    page.keyboard.press("Shift+Tab")
    page.keyboard.press("ArrowDown")
    put(agent, "api", "*")
    expect(cell(r"api to \*")).to_have_accessible_name(re.compile("denied, by its own"))
    expect(cell(r"api to \*")).to_be_focused()


def test_the_page_decides_about_every_pair_as_the_agent_does(visitor: Visitor, agent: MeshAgent) -> None:
    names = ["a", "b", "c", "*"]
    for number, (source, destination) in enumerate(itertools.product(names, names)):
        if number % 3 != 2:
            put(agent, source, destination, Action="allow" if number % 2 else "deny")
    visitor.go("intentions")
    pairs = list(itertools.product(["a", "b", "c", "other"], repeat=2))
    decided = visitor.page.evaluate(
        """async ([pairs, rows]) => {
          const { decide } = await import("/ui/parts/rules.js");
          return pairs.map(([from, to]) => decide(rows, from, to).state);
        }""",
        [pairs, intentions(agent)],
    )
    asked = [
        agent.api("/v1/connect/intentions/check", query={"source": s, "destination": d}) for s, d in pairs
    ]
    wanted = ["allow" if answer["Allowed"] else "deny" for answer in asked]
    assert ["allow" if state == "default" else state for state in decided] == wanted
    assert {"allow", "deny"} <= set(decided)


def test_the_layout_of_a_graph_is_always_the_same_and_nothing_is_hidden(
    visitor: Visitor, agent: MeshAgent
) -> None:
    visitor.go("intentions/graph")
    first, second = visitor.page.evaluate(
        """async () => {
          const { layout } = await import("/ui/parts/graph.js");
          const names = [...Array(60).keys()].map((n) => `s${n}`);
          const links = names.map((name, n) => ({ from: name, to: `s${(n * 7) % 60}` }));
          return [[...layout(names, links)], [...layout(names, links)]];
        }"""
    )
    assert first == second
    spots = [at for _name, at in first]
    assert all(0 <= x <= 1000 and 0 <= y <= 560 for x, y in spots)
    nearest = min(abs(x - u) + abs(y - v) for (x, y), (u, v) in itertools.combinations(spots, 2))
    assert nearest > 12


def test_the_matrix_tells_every_kind_of_decision_apart(visitor: Visitor, agent: MeshAgent) -> None:
    """Its picture is the one of the documents, ``docs/ui.png``."""
    agent.api(
        "/v1/config", method="PUT", body={"Kind": "service-defaults", "Name": "orders", "Protocol": "http"}
    )
    for pair in (
        "web api",
        "api db",
        "payments db",
        "api cache",
        "api payments",
        "orders db",
        "orders mailer",
    ):
        put(agent, *pair.split(), Action="allow")
    put(agent, "web", "db")
    put(agent, "*", "cache")
    put(agent, "mailer", "payments", Audit=True)
    rules = [{"Action": "allow", "HTTP": {"PathPrefix": "/v1", "Methods": ["GET"]}}]
    put(agent, "web", "orders", Action="", Permissions=rules)
    visitor.page.set_viewport_size({"width": 1200, "height": 760})
    visitor.go("intentions")
    for text in (
        "web to api: allowed, by its own intention",
        "web to db: denied, by its own intention",
        "web to cache: denied, by a wider intention",
        "web to mailer: allowed, by the default",
        "web to orders: depends on the request, by its own intention",
        "mailer to payments: let through, although it would be denied: the intention only audits, by its own intention",
    ):
        expect(visitor.page.get_by_role("button", name=text, exact=True)).to_be_visible()
    visitor.picture("documents")
