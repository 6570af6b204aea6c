"""What the web page costs with much to show: first paint, interaction, bytes, and the agent's CPU with many pages open.

    python bench/ui.py [--services 1000] [--connections 5000] [--pages 10] [--seconds 20]

A server of one shows nearly nothing first, which is the peer, then so many services, intentions and live connections.
Each place is opened in a profile of its own, so nothing is cached. ``paint`` is the first text, ``shown`` the moment at
which the data is there, both since the address was entered; ``act`` is the time from a key or a click to the frame that
shows its result, ``blocked`` the longest time for which the page could answer nobody. Debian's Chromium, headless.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# In place of this directory, in which ``http.py`` would hide the library's ``http``.
sys.path[0] = str(Path(__file__).parents[1])

from playwright.sync_api import Browser, Page, sync_playwright  # noqa: E402

from bench.agent_idle import Usage  # noqa: E402
from meshnode.testing import Mesh, MeshAgent  # noqa: E402
from tests.support.browser import CHROMIUM  # noqa: E402

PROXIES = 10
INTENTIONS = 300
#: Seconds: an agent forgets a proxy that told nothing for 15.
REPORT_INTERVAL = 5
WATCH_SECONDS = 5.0
#: Place -> what is there once its data is, and what is done there: (filter, text) or (button, "").
PLACES = {
    "overview": (".figure", None),
    "services": ("tbody tr", ("input[type=search]", "service-09")),
    "intentions": (".matrix td", ("input[type=search]", "service-09")),
    "intentions/graph": ("svg circle", None),
    "connections": ("tbody tr, .state .title", ("input[type=search]", "s3")),
}
OBSERVE = """
(selector) => {
  window.shownAt = 0;
  window.blocked = 0;
  new MutationObserver(() => {
    const there = document.querySelector(`main :is(${selector})`);
    if (!window.shownAt && there) window.shownAt = performance.now();
  }).observe(document, { childList: true, subtree: true });
  new PerformanceObserver((list) => {
    for (const one of list.getEntries()) window.blocked = Math.max(window.blocked, one.duration);
  }).observe({ type: "longtask", buffered: true });
}
"""
ACT = """
async ([selector, text]) => {
  const input = document.querySelector(`main ${selector}`);
  const frame = () => new Promise((resolve) => requestAnimationFrame(resolve));
  const times = [];
  for (let end = 1; end <= text.length; end += 1) {
    await frame();
    const began = performance.now();
    input.value = text.slice(0, end);
    input.dispatchEvent(new Event("input", { bubbles: true }));
    await frame();
    await new Promise((resolve) => setTimeout(resolve));
    times.push(performance.now() - began);
  }
  return Math.max(...times);
}
"""


@dataclass(frozen=True)
class Visit:
    """Milliseconds, and KiB on the wire until the data was there, then each second."""

    paint: float
    shown: float
    act: float
    blocked: float
    loaded: float
    live: float


def visit(browser: Browser, agent: MeshAgent, place: str) -> Visit:
    """Open a place with an empty cache, look at it for a while, then use it."""
    selector, action = PLACES[place]
    with opened(browser) as page:
        received = count_bytes(page)
        page.add_init_script(f"({OBSERVE})({json.dumps(selector)})")
        page.goto(f"{agent.http}/ui/#/{place}")
        page.wait_for_function("() => window.shownAt > 0")
        loaded, began = received[0], time.monotonic()
        page.wait_for_timeout(1000 * WATCH_SECONDS)
        live = (received[0] - loaded) / (time.monotonic() - began)
        act = (
            page.evaluate(ACT, list(action)) if action is not None and page.query_selector(action[0]) else 0.0
        )
        paint, shown, blocked = page.evaluate(
            "() => [performance.getEntriesByName('first-contentful-paint')[0].startTime, shownAt, blocked]"
        )
    return Visit(paint, shown, act, blocked, loaded / 1024, live / 1024)


@contextlib.contextmanager
def opened(browser: Browser) -> Iterator[Page]:
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    try:
        page = context.new_page()
        page.set_default_timeout(120_000)
        yield page
    finally:
        context.close()


def count_bytes(page: Page) -> list[float]:
    """A list whose only item grows with what is received, headers and compressed bodies."""
    received = [0.0]
    session = page.context.new_cdp_session(page)
    session.send("Network.enable")

    def took(event: dict[str, Any]) -> None:
        received[0] += event["encodedDataLength"]

    session.on("Network.loadingFinished", took)
    return received


def fill(agent: MeshAgent, services: int) -> None:
    """Register services on ten nodes, and write intentions between them."""
    names = [f"service-{number:04d}" for number in range(services)]
    for number, name in enumerate(names):
        node = {"Node": f"node{number % 10}", "Address": f"10.0.0.{number % 10}"}
        check = {"Name": "alive", "Status": "passing", "ServiceID": name}
        body = {**node, "Service": {"Service": name, "Port": 80, "Tags": ["v1"]}, "Check": check}
        agent.api("/v1/catalog/register", method="PUT", body=body)
    for number in range(min(INTENTIONS, services)):
        pair = {"SourceName": names[number], "DestinationName": names[number * 7 % services]}
        body = {**pair, "SourceType": "consul", "Action": "deny" if number % 5 else "allow"}
        agent.api("/v1/connect/intentions", method="POST", body=body)


def reports(connections: int) -> dict[str, dict[str, Any]]:
    """What ``PROXIES`` proxies say: the connections in equal parts."""
    uri = "spiffe://11111111-2222-3333-4444-555555555555.consul/ns/default/dc/dc1/svc/service"
    told = {}
    for proxy in range(PROXIES):
        mine = f"{uri}-{proxy:04d}"
        rows = [
            {
                "ID": number, "Direction": "inbound", "Listener": "public", "Source": f"{uri}-{number % 400:04d}",
                "Destination": mine, "Serial": "1f:2a", "Peer": f"10.0.1.{proxy}:{20000 + number}", "Rule": "",
                "Because": "by the default", "Age": 60.0 + number, "BytesIn": 1000 * number, "BytesOut": 77 * number,
            }
            for number in range(connections // PROXIES)
        ]  # fmt: skip
        whole = {
            "Service": f"service-{proxy:04d}",
            "Identity": mine,
            "Serial": "1f:2a",
            "Pid": 1,
            "Listeners": [],
        }
        told[f"proxy-{proxy}"] = {**whole, "Counters": {}, "Connections": rows, "Closed": [], "Refused": []}
    return told


@contextlib.contextmanager
def reporting(agent: MeshAgent, connections: int) -> Iterator[None]:
    """Proxies that go on telling; ends with the block."""
    ended, told = threading.Event(), reports(connections)

    def send() -> None:
        for proxy, body in told.items():
            for row in body["Connections"]:
                row["Age"] += REPORT_INTERVAL
                row["BytesIn"] += 5000
            agent.api(f"/v1/agent/connect/report/{proxy}", method="PUT", body=body)

    def again() -> None:
        while not ended.wait(REPORT_INTERVAL):
            send()

    send()
    thread = threading.Thread(target=again)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def cpu_with(browser: Browser, agent: MeshAgent, place: str, pages: int, seconds: float) -> float:
    """Part of one core that the agent takes while so many pages show ``place``."""
    with contextlib.ExitStack() as stack:
        for _ in range(pages):
            page = stack.enter_context(opened(browser))
            page.goto(f"{agent.http}/ui/#/{place}")
            page.wait_for_selector("main .region:not([aria-busy])")
        time.sleep(2)
        before = Usage.of(agent.pid).cpu_seconds
        time.sleep(seconds)
        return (Usage.of(agent.pid).cpu_seconds - before) / seconds


def show(title: str, visits: dict[str, Visit]) -> None:
    print(f"{title}\n  {'':<18} paint ms  shown ms  act ms  blocked ms  loaded KiB  then KiB/s")
    for place, one in visits.items():
        print(
            f"  {place:<18} {one.paint:8.0f}  {one.shown:8.0f}  {one.act:6.0f}  {one.blocked:10.0f}  "
            f"{one.loaded:10.1f}  {one.live:10.2f}"
        )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--services", type=int, default=1000)
    parser.add_argument("--connections", type=int, default=5000)
    parser.add_argument("--pages", type=int, default=10)
    parser.add_argument("--seconds", type=float, default=20)
    options = parser.parse_args()
    config = {"ui": True, "connect": {"enabled": True}, "log_level": "INFO"}
    with Mesh(servers=1, config=config) as mesh, sync_playwright() as playwright:
        agent = mesh["server1"]
        browser = playwright.chromium.launch(executable_path=CHROMIUM)
        visit(browser, agent, "overview")  # the browser's own start is not the page's
        small = {place: visit(browser, agent, place) for place in PLACES}
        show("one node, one service", small)
        fill(agent, options.services)
        with reporting(agent, options.connections):
            large = {place: visit(browser, agent, place) for place in PLACES}
            show(
                f"{options.services} services, {options.connections} connections, {INTENTIONS} intentions",
                large,
            )
            ratios = ", ".join(f"{place} {large[place].shown / small[place].shown:.1f}" for place in PLACES)
            print(f"  shown, as a ratio: {ratios}")
            print(f"agent's CPU of one core, {options.pages} pages open, for {options.seconds:g} s:")
            alone = cpu_with(browser, agent, "services", 0, options.seconds)
            print(f"  {'no page':<18} {100 * alone:5.1f} %, of which the proxies' reports are the most")
            for place in PLACES:
                share = cpu_with(browser, agent, place, options.pages, options.seconds)
                print(f"  {place:<18} {100 * share:5.1f} %")
        browser.close()


if __name__ == "__main__":
    main()
