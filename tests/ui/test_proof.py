"""The proof page: the verdict that `meshnode prove` left in the KV store, whatever that key holds."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from playwright.sync_api import expect

from meshnode.prove.summary import KV_KEY, SCHEMA
from meshnode.testing import Mesh
from tests.support.accessibility import faults
from tests.support.browser import Visitor, visit

if TYPE_CHECKING:
    from playwright.sync_api import Browser

SERVER, CLIENT = "172.28.10.11", "172.28.10.21"
LOOKS: dict[str, dict[str, Any]] = {
    "light": {"viewport": {"width": 1280, "height": 900}},
    "dark": {"viewport": {"width": 1280, "height": 900}, "color_scheme": "dark"},
    "narrow": {"viewport": {"width": 360, "height": 740}, "has_touch": True},
}


@pytest.fixture(autouse=True)
def no_proof(mesh: Mesh) -> Iterator[None]:
    yield
    mesh["server1"].api(f"/v1/kv/{KV_KEY}", method="DELETE")


def leave(mesh: Mesh, content: object) -> None:
    """Put it where ``meshnode prove`` leaves its summary."""
    body = content if isinstance(content, bytes) else json.dumps(content).encode()
    mesh["server1"].api(f"/v1/kv/{KV_KEY}", method="PUT", body=body)


def row(source: str, destination: str, port: int, level: str) -> dict[str, Any]:
    found = {"source": source, "destination": destination, "port": port, "direction": "between"}
    return {**found, "level": level, "packets": 61, "payload_bytes": 20011, "missing_bytes": 0, "canaries": 0}


def port(number: int, judgement: str, *, canaries: int = 0) -> dict[str, Any]:
    found = {"port": number, "judgement": judgement, "packets": 360, "payload_bytes": 124252}
    seen = {"canaries": canaries, "sealed_canaries": 1, "control_canaries": 3, "seen": ["360x AES-GCM"]}
    return {**found, "missing_bytes": 0, **seen}


def summary(outcome: str = "proved", **changes: Any) -> dict[str, Any]:
    captured = (datetime.now(UTC) - timedelta(minutes=5)).isoformat(timespec="seconds")
    found = {
        "schema": SCHEMA,
        "outcome": outcome,
        "reasons": ["everything on port 8301 is encrypted, and 3 canaries planted can be read nowhere"],
        "judged_at": captured,
        "captured_at": captured,
        "bundle": {"file": "evidence.tar.gz", "manifest_sha256": "9f86d081884c7d65"},
        "at_sockets": False,
        "canaries": 3,
        "control": {"outcome": "proved", "reasons": ["the control finds every canary in clear"]},
        "gossip_keys": ["02735290"],
        "nodes": {SERVER: "server1", CLIENT: "client1"},
        "ports": [port(8301, "encrypted")],
        "rows": [row(CLIENT, SERVER, 8301, "encrypted and authenticated")],
        "rows_left_out": 0,
    }
    return {**found, **changes}


@pytest.mark.parametrize("look", LOOKS)
def test_a_proof_is_shown_with_its_matrix_and_its_evidence(look: str, browser: Browser, mesh: Mesh) -> None:
    leave(mesh, summary())
    with visit(browser, mesh["server1"].http, **LOOKS[look]) as visitor:
        visitor.go("proof")
        page = visitor.page
        expect(page.locator(".figure", has_text="Verdict")).to_contain_text("proved")
        expect(page.locator(".figure", has_text="Negative control")).to_contain_text("found every canary")
        pair = page.get_by_role("region", name="Pairs of nodes by port").locator("tbody tr")
        expect(pair).to_contain_text("client1")
        expect(pair).to_contain_text("encrypted and authenticated")
        expect(page.get_by_text("meshnode prove -verify evidence.tar.gz")).to_be_visible()
        expect(page.locator("[aria-busy]")).to_have_count(0)
        assert faults(page) == []
        visitor.picture(f"proof-proved-{look}")


def test_without_a_proof_the_page_says_how_to_make_one(visitor: Visitor) -> None:
    visitor.go("proof")
    expect(visitor.page.get_by_text("Nothing has been proved yet.")).to_be_visible()
    expect(visitor.page.get_by_text("make prove")).to_be_visible()
    visitor.go("overview")
    visitor.page.get_by_role("link", name="See the proof").click()
    expect(visitor.page.get_by_role("heading", level=1, name="Proof")).to_be_focused()


def test_a_new_verdict_replaces_the_one_that_is_seen(visitor: Visitor, mesh: Mesh) -> None:
    leave(mesh, summary())
    visitor.go("proof")
    page = visitor.page
    verdict = page.locator(".figure", has_text="Verdict")
    expect(verdict).to_contain_text("proved")
    rows = [
        row(CLIENT, SERVER, 8500, "plaintext"),
        row(CLIENT, SERVER, 8500, "encrypted"),
        row(SERVER, CLIENT, 8301, "unknown"),
    ]
    ports = [port(8500, "plaintext", canaries=2), port(8301, "unknown")]
    leave(mesh, summary("failed", rows=rows, ports=ports, control=None, at_sockets=True, rows_left_out=7))
    expect(verdict).to_contain_text("failed")
    expect(page.get_by_role("region", name="Ports", exact=True)).to_contain_text("2 canaries")
    pairs = page.get_by_role("region", name="Pairs of nodes by port").locator("tbody tr")
    expect(pairs.filter(has_text="plaintext")).to_have_count(1)
    expect(pairs.filter(has_text="unknown")).to_have_count(1)
    expect(page.get_by_text("nobody has shown that a leak would be found")).to_be_visible()
    expect(page.get_by_text("weaker evidence than the wire")).to_be_visible()
    expect(page.get_by_text("7 rows more")).to_be_visible()
    assert faults(page) == []


def test_who_is_in_the_mesh_and_not_in_the_proof_is_named(visitor: Visitor, mesh: Mesh) -> None:
    leave(mesh, summary())
    visitor.go("proof")
    expect(visitor.page.get_by_text("not in this proof")).to_be_visible()
    expect(visitor.page.get_by_role("main").get_by_role("link", name="client1")).to_be_visible()


def test_an_old_proof_is_shown_as_old(visitor: Visitor, mesh: Mesh) -> None:
    leave(mesh, summary(captured_at=(datetime.now(UTC) - timedelta(days=3)).isoformat()))
    visitor.go("proof")
    expect(visitor.page.get_by_text("3 d 0 h ago: capture it again")).to_be_visible()


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (b"no JSON at all", "holds no JSON"),
        (b"\xff\xfe\x00", "holds no JSON"),
        (b"null", "is of another form (none)"),
        ({"schema": "somebody/9"}, "is of another form (somebody/9)"),
        ({"schema": SCHEMA}, "This page doesn't know such a verdict."),
        (
            {"schema": SCHEMA, "outcome": "<img src=x onerror=alert(1)>", "ports": 7, "rows": [None, {}]},
            "<img src=x onerror=alert(1)>",
        ),
        ({**summary(), "rows": "many", "reasons": {"a": 1}, "nodes": None, "control": 3}, "proved"),
    ],
    ids=["text", "bytes", "null", "another schema", "empty", "markup", "wrong types"],
)
def test_whatever_the_key_holds_is_told_and_harms_nothing(
    visitor: Visitor, mesh: Mesh, content: object, text: str
) -> None:
    leave(mesh, content)
    visitor.go("proof")
    expect(visitor.page.get_by_text(text).first).to_be_visible()
    expect(visitor.page.locator("main img")).to_have_count(0)
    assert faults(visitor.page) == []
    visitor.go("overview")
    expect(
        visitor.page.get_by_role("link", name="See the proof").or_(visitor.page.get_by_text("unreadable"))
    ).to_be_visible()
