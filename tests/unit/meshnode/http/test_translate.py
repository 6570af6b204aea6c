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


@pytest.mark.parametrize(("query", "on"), [("", True), ("dc=dc1", True), ("dc=", True), ("dc=dc2", False)])
def test_our_own_and_everything_while_it_is_off_stay_as_they_are(query: str, on: bool) -> None:
    assert shown([NODE], query, on=on) == [NODE]
