"""``docs/config-entries.md``: what it shows is taken, in its order, and does what it says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from meshnode.agent.config.load import load
from meshnode.config_entries.parse import parse_entry
from meshnode.hcl.located import plain
from meshnode.hcl.parse import parse_hcl
from tests.support.config_entries import plain_of
from tests.support.state_api import StateApi

PAGE = Path(__file__).parents[4] / "docs" / "config-entries.md"
BLOCKS = re.findall(r"^```hcl\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)


@pytest.fixture
def api() -> StateApi:
    api = StateApi()
    for block in BLOCKS[:-1]:
        response = api.put("/v1/config", plain(parse_hcl(block, PAGE.name)))
        assert (response.status, response.body) == (200, b"true")
    return api


def test_the_entries_make_the_chain_that_the_page_is_about(api: StateApi) -> None:
    chain = api.json("/v1/discovery-chain/web")["Chain"]
    routes = chain["Nodes"][chain["StartNode"]]["Routes"]
    assert [route["NextNode"] for route in routes] == ["resolver:admin.default.dc1", "splitter:web"]
    splits = chain["Nodes"]["splitter:web"]["Splits"]
    assert [(split["Weight"], split["NextNode"]) for split in splits] == [
        (90, "resolver:v1.web.default.dc1"), (10, "resolver:v2.web.default.dc1"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("DELETE", "/v1/config/service-resolver/web", None),
        ("DELETE", "/v1/config/proxy-defaults/global", None),
        ("PUT", "/v1/config", {"Kind": "service-defaults", "Name": "web", "Protocol": "tcp"}),
        ("PUT", "/v1/config", {"Kind": "service-defaults", "Name": "admin", "Protocol": "grpc"}),
    ],
)
def test_what_would_break_it_is_refused(api: StateApi, method: str, path: str, body: object) -> None:
    assert api.request(method, path, body).status == 500


def test_the_intentions_are_those_of_the_api(api: StateApi) -> None:
    rows = api.json("/v1/connect/intentions")
    assert [(row["SourceName"], row["Action"], len(row.get("Permissions", ()))) for row in rows] == [
        ("web", "", 1), ("*", "deny", 0),
    ]  # fmt: skip


def test_the_configuration_is_taken() -> None:
    entries = load(["-dev", "-hcl", BLOCKS[-1]], {}).config.connect.bootstrap_entries
    assert [entry["kind"] for entry in entries] == ["proxy-defaults"]


def test_the_gateways_of_the_page_about_envoy_are_taken() -> None:
    page = PAGE.with_name("envoy.md")
    entries = [
        parse_entry(plain_of(block))
        for block in re.findall(r"^```hcl\n(.*?)^```$", page.read_text(), re.MULTILINE | re.DOTALL)
    ]
    assert [entry.kind for entry in entries] == ["ingress-gateway", "terminating-gateway"]
