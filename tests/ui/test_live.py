"""The page stays up to date by itself, asks little, and gets over an agent that goes away."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import expect

from meshnode.testing import Mesh
from tests.support.accessibility import faults
from tests.support.browser import Visitor, visit
from tests.support.mesh_agent import wait

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page, Route

#: Places of pages that show lists, with what they wait on.
WAITED = {
    "overview": "/v1/internal/ui/nodes",
    "services": "/v1/internal/ui/services",
    "services/web": "/v1/health/service/web",
    "nodes": "/v1/internal/ui/nodes",
    "intentions": "/v1/connect/intentions",
    "kv": "/v1/kv/",
    "key/k": "/v1/kv/k",
    "certificates": "/v1/connect/ca/rotation",
    "events": "/v1/event/list",
    "proof": "/v1/kv/meshnode/proof/latest",
}


def register(mesh: Mesh, name: str) -> None:
    mesh["server1"].api("/v1/agent/service/register", method="PUT", body={"Name": name, "Port": 80})


def hide(page: Page, *, hidden: bool) -> None:
    """Make the page believe that its tab is in the background, or is seen again."""
    page.evaluate(
        """(hidden) => {
          Object.defineProperty(document, "hidden", { configurable: true, get: () => hidden });
          document.dispatchEvent(new Event("visibilitychange"));
        }""",
        hidden,
    )


def test_a_new_service_appears_without_anybody_asking(visitor: Visitor, mesh: Mesh) -> None:
    visitor.go("services")
    expect(visitor.page.get_by_role("link", name="consul")).to_be_visible()
    register(mesh, "fresh")
    expect(visitor.page.get_by_role("link", name="fresh")).to_be_visible()
    mesh["server1"].api("/v1/agent/service/deregister/fresh", method="PUT")
    expect(visitor.page.get_by_role("link", name="fresh")).to_have_count(0)


@pytest.mark.parametrize("place", WAITED)
def test_a_page_has_one_question_waiting_and_ends_it_when_it_is_left(visitor: Visitor, place: str) -> None:
    page = visitor.page
    asked: list[str] = []
    ended: list[str] = []

    def waits(url: str) -> bool:
        return "index=" in urlsplit(url).query

    page.on("request", lambda request: asked.append(request.url) if waits(request.url) else None)
    for way in ("requestfailed", "requestfinished"):
        page.on(way, lambda request: ended.append(request.url) if waits(request.url) else None)
    with page.expect_request(lambda request: waits(request.url)) as waiting:
        visitor.go(place)
    assert urlsplit(waiting.value.url).path == WAITED[place]
    expect(page.locator("[aria-busy]")).to_have_count(0)
    assert len(asked) - len(ended) <= 1
    visitor.go("nowhere")

    def over() -> bool:
        page.wait_for_timeout(20)  # lets the events of the browser in
        return sorted(ended) == sorted(asked)

    wait(over, "what was asked has ended, five minutes before its time")


def test_what_takes_long_to_answer_is_asked_more_rarely(visitor: Visitor) -> None:
    page = visitor.page
    held: list[Route] = []
    body = json.dumps({"Proxies": [], "Connections": [], "Closed": [], "Refused": []})
    page.clock.install()
    page.route("**/v1/agent/connect/connections", lambda route: held.append(route))  # noqa: PLW0108
    visitor.go("connections")

    def asked(times: int) -> None:
        def so_often() -> bool:
            page.wait_for_timeout(20)  # lets the events of the browser in
            return len(held) == times

        wait(so_often, f"{times} questions")

    asked(1)
    page.clock.run_for(500)
    held[0].fulfill(status=200, body=body)
    expect(page.get_by_text("No connection is open.")).to_be_visible()
    page.clock.run_for(9_000)
    assert len(held) == 1, "it took half a second, so it is not asked again after two"
    page.clock.run_for(4_000)
    asked(2)
    held[1].fulfill(status=200, body=body)


def test_a_tab_that_nobody_sees_asks_nothing(visitor: Visitor, mesh: Mesh) -> None:
    page = visitor.page
    page.clock.install()
    with page.expect_request(lambda request: "index=" in request.url):
        visitor.go("services")
    with page.expect_event("requestfailed", lambda request: "index=" in request.url):
        hide(page, hidden=True)
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    register(mesh, "unseen-service")
    page.clock.run_for(60_000)
    assert asked == []
    hide(page, hidden=False)
    expect(page.get_by_role("link", name="unseen-service")).to_be_visible()


def test_a_row_that_did_not_change_stays_the_same_element(visitor: Visitor, mesh: Mesh) -> None:
    visitor.go("services")
    row = visitor.page.get_by_role("link", name="consul")
    row.evaluate("(element) => { element.marked = true; }")
    register(mesh, "another")
    expect(visitor.page.get_by_role("link", name="another")).to_be_visible()
    assert row.evaluate("(element) => element.marked") is True


@pytest.fixture
def mortal() -> Iterator[Mesh]:
    with Mesh(servers=1, config={"ui": True}) as running:
        yield running


def test_an_agent_that_went_away_is_told_of_and_its_return_noticed(browser: Browser, mortal: Mesh) -> None:
    agent = mortal["server1"]
    with visit(browser, agent.http) as visitor:
        visitor.go("services")
        page = visitor.page
        expect(page.get_by_role("link", name="consul")).to_be_visible()
        agent.kill()
        banner = page.locator("#banner")
        expect(banner).to_contain_text("does not answer")
        expect(page.get_by_role("link", name="consul")).to_be_visible()
        assert faults(page) == []
        visitor.picture("agent-away")
        agent.start()
        mortal.wait_healthy()
        register(mortal, "after-the-restart")
        expect(page.get_by_role("link", name="after-the-restart")).to_be_visible()
        expect(banner).to_be_hidden()
        expect(page.locator("#announcer")).to_have_text("The agent answers again.")


def test_while_the_agent_is_away_the_page_asks_ever_more_rarely(browser: Browser, mortal: Mesh) -> None:
    agent = mortal["server1"]
    with visit(browser, agent.http) as visitor:
        page = visitor.page
        visitor.go("services")
        expect(page.get_by_role("link", name="consul")).to_be_visible()
        page.evaluate(
            """() => {
              const real = window.setTimeout;
              window.pauses = [];
              // Time is not waited for: what would be waited is written down.
              window.setTimeout = (then, after, ...more) => {
                if (window.pauses.length < 9) window.pauses.push(after);
                return real(then, window.pauses.length < 9 ? 0 : after, ...more);
              };
            }"""
        )
        agent.kill()
        page.wait_for_function("() => window.pauses.length >= 9")
        grown = page.evaluate("() => window.pauses")
        assert grown[-1] <= 15_000
        assert grown[-1] > 10_000
        assert grown[-1] > 4 * min(grown)


def test_a_server_without_a_leader_is_told_as_passing(browser: Browser, mesh: Mesh) -> None:
    with visit(browser, mesh["server1"].http) as visitor:
        page = visitor.page
        answers = {"left": 2}

        def refuse(route: Route) -> None:
            if answers["left"]:
                answers["left"] -= 1
                route.fulfill(status=500, body="No cluster leader")
            else:
                route.continue_()

        page.route("**/v1/internal/ui/services*", refuse)
        visitor.go("services")
        expect(page.locator("#banner")).to_contain_text("No cluster leader")
        page.get_by_role("button", name="Try now").click()
        expect(page.get_by_role("link", name="consul")).to_be_visible()
        expect(page.locator("#banner")).to_be_hidden()


def test_an_event_that_is_fired_in_the_page_appears(visitor: Visitor, mesh: Mesh) -> None:
    visitor.go("events")
    page = visitor.page
    page.get_by_role("button", name="Fire an event").click()
    assert faults(page) == []
    page.get_by_role("button", name="Fire", exact=True).click()
    expect(page.get_by_role("alert")).to_contain_text("Write the name")
    page.get_by_label("Name").fill("deploy <b>now</b>")
    page.get_by_label("Payload").fill("v" * 2000)
    page.get_by_role("button", name="Fire", exact=True).click()
    expect(page.get_by_role("alert")).to_be_visible()
    page.get_by_label("Payload").fill("versión 3")
    page.get_by_role("button", name="Fire", exact=True).click()
    expect(page.get_by_role("cell", name="deploy <b>now</b>")).to_be_visible()
    expect(page.get_by_role("cell", name="versión 3")).to_be_visible()
    (event,) = mesh["server1"].api("/v1/event/list", query={"name": "deploy <b>now</b>"})
    assert event["LTime"] > 0
