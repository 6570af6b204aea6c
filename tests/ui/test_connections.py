"""Live connections of real sidecars: seen in the page, and cut by an intention that is made in it."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import expect

from meshnode.testing import Mesh
from tests.support.accessibility import faults
from tests.support.browser import Visitor
from tests.support.mesh_agent import wait
from tests.support.programs import needs
from tests.support.proxy_command import ProxyCommand, application, talk
from tests.support.wire import free_port

pytestmark = needs("socat")


@pytest.fixture
def upstream(mesh: Mesh, tmp_path: Path) -> Iterator[int]:
    """A port that leads to the service `echo`, as `shop`, through the sidecars of both."""
    agent, app, public, local = mesh["server1"], free_port(), free_port(), free_port()
    agent.wait_for("/v1/connect/ca/roots")
    agent.api("/v1/agent/service/register", method="PUT", body={"Name": "echo", "Port": app})
    sidecar = {
        "Kind": "connect-proxy",
        "Name": "echo-sidecar-proxy",
        "Port": public,
        "Proxy": {
            "DestinationServiceName": "echo",
            "DestinationServiceID": "echo",
            "LocalServicePort": app,
        },
    }
    agent.api("/v1/agent/service/register", method="PUT", body=sidecar)
    with contextlib.ExitStack() as stack:
        stack.enter_context(application(app, tmp_path))
        for name, arguments in (
            ("echo", ["-sidecar-for", "echo"]),
            ("shop", ["-service", "shop", "-upstream", f"echo:{local}"]),
        ):
            proxy = ProxyCommand(tmp_path / f"{name}.log", agent.http, *arguments)
            stack.callback(proxy.kill)
            proxy.wait_ready()
        wait(lambda: talk(local, "hello\n") == "hello\n", "hello comes back")
        yield local


def test_what_only_is_audited_is_let_through_and_counted_as_a_hit(
    visitor: Visitor, mesh: Mesh, upstream: int
) -> None:
    agent, page = mesh["server1"], visitor.page
    body = {"SourceName": "shop", "DestinationName": "echo", "Action": "deny", "Audit": True}
    made = agent.api("/v1/connect/intentions", method="POST", body=body)
    try:
        visitor.go("intentions/list")
        hits = page.get_by_role("region", name="Intentions").locator("tbody tr", has_text="shop")
        expect(hits).to_contain_text("0 hits on this node")
        with socket.create_connection(("127.0.0.1", upstream), timeout=30) as line:
            line.sendall(b"let through")
            assert line.recv(64)
            ledger = "/v1/agent/connect/connections"
            agent.wait_for(ledger, until=lambda found: any(row["Audited"] for row in found["Connections"]))
            # The page would ask by itself within ten seconds; who comes to it sees it at once.
            visitor.go("connections")
            visitor.go("intentions/list")
            expect(hits).to_contain_text("1 hit on this node")
            visitor.go("connections")
            row = page.get_by_role("region", name="Open connections").locator("tbody tr", has_text="inbound")
            expect(row).to_contain_text("audited")
            assert faults(page) == []
    finally:
        agent.api(f"/v1/connect/intentions/{made['ID']}", method="DELETE")


def test_a_connection_is_seen_and_cut_by_an_intention(visitor: Visitor, mesh: Mesh, upstream: int) -> None:
    page = visitor.page
    with socket.create_connection(("127.0.0.1", upstream), timeout=30) as line:
        line.sendall(b"x" * 4096)
        visitor.go("connections")
        row = page.get_by_role("region", name="Open connections").locator("tbody tr", has_text="inbound")
        expect(row).to_contain_text("shop")
        expect(row).to_contain_text("echo")
        expect(row).to_contain_text("4.0 KiB")
        expect(page.locator("svg path.line.good title").first).to_contain_text("shop to echo: 1 open")
        assert faults(page) == []
        visitor.picture("connections-live")
        visitor.go("intentions")
        page.get_by_role("button", name="New intention").click()
        page.get_by_label("Source", exact=True).fill("shop")
        page.get_by_label("Destination", exact=True).fill("echo")
        page.get_by_role("button", name="Create").click()
        expect(page.get_by_role("button", name="shop to echo: denied, by its own intention")).to_be_visible()
        # What was sent has come back long ago; then comes the end, or a reset.
        with contextlib.suppress(ConnectionResetError):
            while line.recv(65536):
                pass
    assert talk(upstream, "hello\n") == ""
    visitor.go("connections")
    refused = page.get_by_role("region", name="Refused connections").locator("tbody tr").first
    expect(refused).to_contain_text("shop")
    expect(refused).to_contain_text("Matched intention: DENY")
    expect(page.locator("svg path.line.flash title").first).to_contain_text("shop to echo: refused")
    expect(page.get_by_role("region", name="Closed connections")).to_contain_text("shop")
    assert faults(page) == []
    visitor.picture("connections-refused")
