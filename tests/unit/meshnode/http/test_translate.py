"""Addresses of nodes in other datacenters, as a client of this one should see them."""

from __future__ import annotations

from typing import Any

import pytest

from meshnode.http.context import Context
from meshnode.http.message import Request
from meshnode.http.translate import translated
from meshnode.http.view import HttpSettings
from tests.support.http_agent import FakeView

NODE = {"Node": "n1", "Address": "10.0.0.1", "TaggedAddresses": {"lan": "10.0.0.1", "wan": "203.0.113.1"}}
OUTSIDE = {**NODE, "Address": "203.0.113.1"}
BARE = {"Node": "n2", "Address": "10.0.0.2", "TaggedAddresses": None}


def shown(rows: Any, query: str, *, on: bool = True) -> Any:
    view: Any = FakeView(settings=HttpSettings(translate_wan_addrs=on))
    context = Context(view, None)  # type: ignore[arg-type]
    return translated(context, Request("GET", "/", query), rows)


def test_nodes_of_another_datacenter_have_their_wan_address() -> None:
    assert shown([NODE, BARE], "dc=dc2") == [OUTSIDE, BARE]
    assert shown([{"Node": NODE, "Service": {"Address": "10.9.9.9"}}], "dc=dc2") == [
        {"Node": OUTSIDE, "Service": {"Address": "10.9.9.9"}}
    ]


WAYS = {"lan": {"Address": "10.1.1.1", "Port": 1}, "wan": {"Address": "203.0.113.7", "Port": 8080}}


@pytest.mark.parametrize(
    ("ways", "address", "port"),
    [
        (WAYS, "203.0.113.7", 8080),
        ({"wan": {"Address": "203.0.113.7", "Port": 0}}, "203.0.113.7", 80),
        ({"lan": WAYS["lan"]}, "10.9.9.9", 80),
        (None, "10.9.9.9", 80),
    ],
)
def test_services_of_another_datacenter_have_theirs_with_its_port(ways: Any, address: str, port: int) -> None:
    service = {"Address": "10.9.9.9", "Port": 80, **({"TaggedAddresses": ways} if ways else {})}
    (row,) = shown([{"Node": NODE, "Service": service, "Checks": []}], "dc=dc2")
    assert row == {
        "Node": OUTSIDE,
        "Service": {**service, "Address": address, "Port": port},
        "Checks": [],
    }
    flat = {**NODE, **{f"Service{name}": value for name, value in service.items()}}
    assert shown([flat], "dc=dc2") == [
        {**flat, "Address": OUTSIDE["Address"], "ServiceAddress": address, "ServicePort": port}
    ]
    assert shown([flat], "dc=dc1") == [flat]


@pytest.mark.parametrize(("query", "on"), [("", True), ("dc=dc1", True), ("dc=", True), ("dc=dc2", False)])
def test_our_own_and_everything_while_it_is_off_stay_as_they_are(query: str, on: bool) -> None:
    assert shown([NODE], query, on=on) == [NODE]
