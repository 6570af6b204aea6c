"""Every page: what it shows, on a wide and a narrow screen, in light and in dark, and where there is nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from playwright.sync_api import expect

from meshnode.testing import Mesh
from tests.support.accessibility import faults
from tests.support.browser import Visitor, visit

if TYPE_CHECKING:
    from playwright.sync_api import Browser

#: Place -> a text that the page shows once it has its data.
PLACES = {
    "overview": "all well",
    "services": "payments",
    "services/web": "payments may read",
    "nodes": "client1",
    "nodes/server1": "consul",
    "intentions": "any (*)",
    "intentions/graph": "2 in all",
    "intentions/list": "2 in all",
    "intentions/explain": "Name two services",
    "connections": "presents",
    "kv": "config",
    "kv/config%2F": "colour",
    "key/config%2Fcolour": "Created at index",
    "certificates": "no rotation runs",
    "events": "deploy",
    "proof": "Nothing has been proved yet.",
}
LOOKS: dict[str, dict[str, Any]] = {
    "light": {"viewport": {"width": 1280, "height": 900}},
    "dark": {"viewport": {"width": 1280, "height": 900}, "color_scheme": "dark"},
    "narrow": {"viewport": {"width": 360, "height": 740}, "has_touch": True},
    "wide": {"viewport": {"width": 3840, "height": 2160}},
}


@pytest.fixture(scope="module", autouse=True)
def content(mesh: Mesh) -> None:
    agent = mesh["server1"]
    for name, tags in (("web", ["v1", "public"]), ("payments", []), ("db", ["primary"])):
        check = {"CheckID": f"ttl-{name}", "TTL": "1h", "Status": "passing"}
        body = {"Name": name, "Port": 8080, "Tags": tags, "Checks": [check], "Meta": {"team": "blue"}}
        agent.api("/v1/agent/service/register", method="PUT", body=body)
    agent.api("/v1/agent/check/warn/ttl-web", method="PUT", query={"note": "This one is slow"})
    for source, destination, action in (("web", "db", "allow"), ("payments", "*", "deny")):
        body = {"SourceName": source, "DestinationName": destination, "Action": action}
        agent.api("/v1/connect/intentions", method="POST", body={**body, "Description": f"{source} may read"})
    agent.api("/v1/kv/config/colour", method="PUT", body=b"blue")
    agent.api("/v1/event/fire/deploy", method="PUT", body=b"v2")
    agent.wait_for("/v1/health/service/web", until=lambda rows: rows and len(rows[0]["Checks"]) > 1)


def send_report(mesh: Mesh) -> None:
    mesh["server1"].api("/v1/agent/connect/report/web-proxy", method="PUT", body=report())


def report() -> dict[str, Any]:
    """What a proxy of `web` says: one connection open, one refused, one closed."""
    uri = "spiffe://11111111-2222-3333-4444-555555555555.consul/ns/default/dc/dc1/svc"
    row = {"ID": 1, "Direction": "inbound", "Listener": "public", "Source": f"{uri}/payments"}
    row |= {
        "Destination": f"{uri}/web",
        "Serial": "1f:2a",
        "Peer": "127.0.0.1:5000",
        "Because": "by the default",
    }
    row |= {"Age": 90.5, "BytesIn": 2048, "BytesOut": 5_000_000}
    refused = {
        "ID": 2,
        "Listener": "public",
        "Source": f"{uri}/db",
        "Peer": "127.0.0.1:5001",
        "Kind": "denied",
        "Request": "GET /admin",
        "Connection": 1,
    }
    return {
        "Service": "web",
        "Identity": f"{uri}/web",
        "Serial": "1f:2a",
        "Pid": 7,
        "Listeners": [{"Name": "public", "Address": "127.0.0.1:21000", "Serial": "1f:29"}],
        "Counters": {"accepted": 3},
        "Connections": [row],
        "Closed": [{**row, "ID": 3, "CloseCause": "peer closed", "EndedAgo": 4}],
        "Refused": [{**refused, "Because": "an intention denies it", "Ago": 1}],
    }


@pytest.mark.parametrize("look", LOOKS)
def test_every_page_shows_its_data_and_is_for_everybody(look: str, browser: Browser, mesh: Mesh) -> None:
    with visit(browser, mesh["server1"].http, **LOOKS[look]) as visitor:
        for place, text in PLACES.items():
            # The agent forgets a proxy that has told nothing for a while.
            send_report(mesh)
            visitor.go(place)
            expect(visitor.page.get_by_text(text).first).to_be_visible()
            expect(visitor.page.locator("[aria-busy]")).to_have_count(0)
            assert faults(visitor.page) == [], f"{place}, {look}"
            visitor.picture(f"{place.replace('/', '-').replace('%2F', '-').strip('-')}-{look}")


def test_a_refused_request_is_shown_with_the_number_that_explains_it(visitor: Visitor, mesh: Mesh) -> None:
    send_report(mesh)
    visitor.go("connections")
    row = visitor.page.get_by_role("region", name="Refused connections").locator("tbody tr")
    expect(row.get_by_role("cell").first).to_have_text("2")
    expect(row).to_contain_text("GET /admin, on connection 1")


def test_the_navigation_leads_to_every_page_by_keyboard(visitor: Visitor) -> None:
    visitor.go()
    page = visitor.page
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("main")).to_be_focused()
    for title in (
        "Services",
        "Nodes",
        "Intentions",
        "Connections",
        "Key/Value",
        "Certificates",
        "Proof",
        "Events",
        "Overview",
    ):
        link = page.get_by_role("navigation", name="Pages").get_by_role("link", name=title)
        link.focus()
        page.keyboard.press("Enter")
        expect(page.get_by_role("heading", level=1, name=title)).to_be_focused()
        expect(link).to_have_attribute("aria-current", "page")
        assert page.title() == f"{title} · meshnode"


def test_what_has_the_focus_is_outlined(visitor: Visitor) -> None:
    visitor.go("services")
    page = visitor.page
    expect(page.get_by_role("link", name="payments")).to_be_visible()
    reached = set()
    for _ in range(40):
        page.keyboard.press("Tab")
        style = page.evaluate(
            "() => { const e = document.activeElement, s = getComputedStyle(e);"
            " return [e.textContent.trim().slice(0, 30), s.outlineStyle, s.outlineWidth, e === document.body]; }"
        )
        if style[3]:
            break
        assert style[1:3] == ["solid", "3px"], style
        reached.add(style[0])
    assert {"Token", "Events", "payments", "web"} <= reached


def test_a_table_is_filtered_and_sorted(visitor: Visitor) -> None:
    visitor.go("services")
    page = visitor.page
    rows = page.locator("tbody tr")
    expect(rows).to_have_count(4)
    page.get_by_role("button", name="Service", exact=True).click()
    page.get_by_role("button", name="Service", exact=True).click()
    expect(rows.first).to_contain_text("web")
    expect(page.get_by_role("columnheader", name="Service")).to_have_attribute("aria-sort", "descending")
    page.get_by_label("Filter Services").fill("PRIMARY")
    expect(rows).to_have_count(1)
    expect(page.get_by_text("1 of 4")).to_be_visible()
    page.get_by_label("Filter Services").fill("nothing like it")
    expect(page.get_by_text("Nothing fits the filter.")).to_be_visible()


def test_a_check_is_shown_with_its_output(visitor: Visitor) -> None:
    visitor.go("services/web")
    visitor.page.locator("summary", has_text="web").click()
    expect(visitor.page.get_by_label("Output of Service 'web' check")).to_have_text("This one is slow")
    assert faults(visitor.page) == []


def test_dates_are_local_and_tell_utc_on_hover(browser: Browser, mesh: Mesh) -> None:
    with visit(browser, mesh["server1"].http, timezone_id="Asia/Tokyo", locale="en-GB") as visitor:
        visitor.go("intentions/list")
        shown = visitor.page.locator("time").first
        title, text = shown.get_attribute("title") or "", shown.inner_text()
        assert title.endswith("Z (UTC)")
        hour = (int(title[11:13]) + 9) % 24
        assert f"{hour:02d}:{title[14:16]}" in text, (title, text)


def test_places_of_consuls_own_page_lead_to_the_same_here(visitor: Visitor) -> None:
    visitor.page.goto(f"{visitor.url}/ui/dc1/services/web")
    expect(visitor.page.get_by_role("heading", level=1, name="web")).to_be_visible()
    assert visitor.page.url == f"{visitor.url}/ui/#/services/web"


@pytest.mark.parametrize(
    ("place", "text"),
    [
        ("nowhere", "There is no such page."),
        ("constructor", "There is no such page."),
        ("services/%E0%A4%A", "There is no such page."),
        ("intentions/toString", "There is no such page."),
        ("services/nothing", "There is no instance."),
        ("nodes/nothing", "The catalog has no such node."),
        ("kv/nothing%2F", "There is nothing under this prefix."),
        ("key/nothing", "There is no such key yet"),
        ("services/..", "can't be put into an address"),
    ],
)
def test_what_is_not_there_is_said_with_what_to_do(visitor: Visitor, place: str, text: str) -> None:
    visitor.go(place)
    expect(visitor.page.get_by_text(text)).to_be_visible()
    expect(visitor.page.locator("[aria-busy]")).to_have_count(0)
    assert faults(visitor.page) == []


def test_the_graph_of_connections_has_the_refused_ones_too(visitor: Visitor, mesh: Mesh) -> None:
    send_report(mesh)
    visitor.go("connections")
    graph = visitor.page.locator("svg[role=img]")
    expect(graph).to_have_attribute(
        "aria-label", "Live connections: 3 services and 2 links, listed in the table"
    )
    expect(graph.locator("path.line.flash title")).to_have_text("db to web: refused, an intention denies it")
    row = visitor.page.get_by_role("region", name="Open connections").locator("tbody tr")
    expect(row).to_contain_text("4.8 MiB")
    expect(visitor.page.get_by_role("region", name="Closed connections")).to_contain_text("peer closed")
