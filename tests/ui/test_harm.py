"""Names that mean harm, the policy that stands behind them, HTTPS with certificates of clients, and large catalogs."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import pytest
from playwright.sync_api import expect

from meshnode.testing import Mesh
from tests.support.accessibility import faults
from tests.support.browser import Visitor, visit

if TYPE_CHECKING:
    from playwright.sync_api import Browser

NAMES = [
    "<script>window.harm = 1</script>",
    '"><img src=x onerror=window.harm=1>',
    "'-alert(1)-'",
    "javascript:window.harm=1",
    "{{constructor.constructor('window.harm=1')()}}",
    "turned \u202e around \u2066 here",
    "zero\u200bwidth",
    "back\\slash/and/slashes",
    "ünïcode 🦀",
    "__proto__",
    "x" * 200,
]


@pytest.fixture(scope="module")
def hostile(mesh: Mesh) -> list[str]:
    """Every name as that of a service, with a check, tags and a node of their own; those that the catalog took."""
    agent = mesh["server1"]
    taken = []
    for number, name in enumerate(NAMES):
        body: dict[str, Any] = {
            "Node": f"node-{number} {name}"[:100],
            "Address": "10.0.0.1",
            "NodeMeta": {"note": name},
            "Service": {"Service": name, "ID": name, "Port": 80, "Tags": [name], "Meta": {"note": name}},
            "Check": {"CheckID": "c", "Name": name, "Status": "warning", "Output": name, "ServiceID": name},
        }
        if agent.request("/v1/catalog/register", method="PUT", body=body).status == 200:
            taken.append(name)
            intention = {"SourceName": name, "DestinationName": "*", "Action": "deny", "Description": name}
            agent.request("/v1/connect/intentions", method="POST", body=intention)
    assert len(taken) >= 8, taken
    return taken


def shown(name: str) -> str:
    return "".join(f"\\u{ord(c):04x}" if c in "\u202e\u2066\u200b" else c for c in name)


def test_names_that_mean_harm_are_texts_on_every_page(visitor: Visitor, hostile: list[str]) -> None:
    page = visitor.page
    assert NAMES[1] in hostile
    for place in ("overview", "services", "nodes", "intentions", "intentions/graph", "intentions/list"):
        visitor.go(place)
        expect(page.get_by_text(NAMES[1]).first).to_be_attached()
        expect(page.locator("[aria-busy]")).to_have_count(0)
        assert page.evaluate("() => window.harm ?? null") is None
        expect(page.locator("main script, main img")).to_have_count(0)
        assert faults(page) == [], place
        visitor.picture(f"harm-{place.replace('/', '-')}")


def test_a_service_of_any_name_has_its_page(visitor: Visitor, hostile: list[str]) -> None:
    page = visitor.page
    for name in hostile:
        visitor.go("services")
        page.get_by_label("Filter Services").fill(name)
        page.locator("tbody a").first.click()
        expect(page.get_by_role("heading", level=1)).to_have_text(shown(name))
        expect(page.get_by_role("region", name="Instances").locator("tbody tr")).to_have_count(1)
        page.get_by_role("region", name="Instances").locator("summary").click()
        expect(page.locator("pre").first).to_have_text(shown(name))
        assert page.evaluate("() => window.harm ?? null") is None
        assert faults(page) == [], name


def test_the_policy_lets_nothing_run_that_is_not_a_file_of_ours(visitor: Visitor) -> None:
    visitor.go("overview")
    page = visitor.page
    blocked = page.evaluate(
        """async () => {
          const found = [];
          document.addEventListener("securitypolicyviolation", (event) => found.push(event.effectiveDirective));
          const seen = () => new Promise((done) => {
            document.addEventListener("securitypolicyviolation", done, { once: true });
          });
          let next = seen();
          const script = document.createElement("script");
          script.textContent = "window.harm = 1";
          document.body.append(script);
          await next;
          next = seen();
          const image = document.createElement("img");
          image.src = "http://127.0.0.1:1/x.png";
          document.body.append(image);
          await next;
          next = seen();
          fetch("http://127.0.0.1:1/").catch(() => {});
          await next;
          script.remove();
          image.remove();
          return [found, window.harm ?? null];
        }"""
    )
    assert blocked == [["script-src-elem", "img-src", "connect-src"], None]
    # Chromium tells of each on the console, which is what was asked for here.
    assert len(visitor.complaints) >= 3
    visitor.complaints.clear()


def test_the_page_works_over_https_with_a_certificate_of_the_client(browser: Browser) -> None:
    with Mesh(servers=1, secure=True, config={"ui": True}) as mesh:
        agent = mesh["server1"]
        certificate, key = mesh.client_certificate("browser")
        known = [{"origin": agent.https, "certPath": str(certificate), "keyPath": str(key)}]
        with visit(browser, agent.https, client_certificates=known, ignore_https_errors=True) as visitor:
            visitor.page.goto(f"{agent.https}/")
            expect(visitor.page.get_by_text("all well")).to_be_visible()
            assert visitor.page.url.startswith(f"{agent.https}/ui/")
            expect(visitor.page.get_by_text("days", exact=False).first).to_be_visible()
            expect(visitor.page.get_by_text("one key")).to_be_visible()
            assert faults(visitor.page) == []
            visitor.picture("overview-https")


def test_a_thousand_services_are_drawn_as_they_come_into_sight(visitor: Visitor) -> None:
    rows = [{"Name": f"service-{n:04d}", "Tags": ["t"], "Nodes": ["n"], "ChecksPassing": 1, "ChecksWarning": 0,
             "ChecksCritical": 0, "ExternalSources": None} for n in range(1000)]  # fmt: skip
    page = visitor.page
    answer = {"status": 200, "body": json.dumps(rows), "headers": {"X-Consul-Index": "7"}}
    page.route("**/v1/internal/ui/services", lambda route: route.fulfill(**answer))
    page.route("**/v1/internal/ui/services?index*", lambda route: None)
    visitor.go("services")
    drawn = page.locator("tbody tr")
    expect(page.get_by_text("1000 in all")).to_be_visible()
    assert drawn.count() <= 200
    page.get_by_label("Filter Services").fill("service-0999")
    expect(drawn).to_have_count(1)
    page.get_by_label("Filter Services").fill("")
    last = page.get_by_role("link", name="service-0999")
    for _ in range(12):
        if last.count():
            break
        before = drawn.count()
        page.evaluate("() => window.scrollTo(0, document.body.scrollHeight)")
        page.wait_for_function("(n) => document.querySelectorAll('tbody tr').length > n", arg=before)
    expect(last).to_be_attached()
    visitor.go("intentions")
    expect(page.get_by_text(re.compile(r"of 10\d\d")).first).to_be_visible()
    assert page.get_by_role("region", name="Matrix of services").locator("td").count() <= 24 * 24


def test_thousands_of_connections_stay_a_drawing_and_a_table(visitor: Visitor) -> None:
    uri = "spiffe://a.consul/ns/default/dc/dc1/svc"
    rows = [{"ID": n, "Direction": "inbound", "Listener": "public", "Source": f"{uri}/s{n % 500}",
             "Destination": f"{uri}/s{n % 7}", "Serial": "1", "Peer": "10.0.0.1:1", "Rule": "", "Because": "b",
             "Age": n, "BytesIn": n, "BytesOut": n, "CloseCause": "", "ProxyID": "p", "Service": "s"}
            for n in range(5000)]  # fmt: skip
    body = json.dumps({"Proxies": [], "Connections": rows, "Closed": [], "Refused": []})
    page = visitor.page
    page.route("**/v1/agent/connect/connections", lambda route: route.fulfill(status=200, body=body))
    visitor.go("connections")
    expect(page.get_by_text("5000 in all")).to_be_visible()
    assert page.get_by_role("region", name="Open connections").locator("tbody tr").count() <= 200
    assert page.locator("svg circle").count() <= 60
    assert page.locator("svg path.line").count() <= 300
    expect(page.get_by_text("Not drawn:")).to_contain_text("the table has them all")
    assert faults(page) == []
