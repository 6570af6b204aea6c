"""What the reads of the catalog and of health ask of a server."""

from __future__ import annotations

import random
from typing import Any

import pytest

from meshnode.http.context import Context
from meshnode.http.discovery import named, nodes_query, service_query
from meshnode.http.errors import HttpError
from meshnode.http.message import Request
from tests.support.http_agent import FakeView


def request(query: str = "", param: str = "web", **fields: Any) -> Request:
    asked = Request("GET", "/v1/x", query, **fields)
    asked.param = param
    return asked


@pytest.mark.parametrize(
    ("query", "body"),
    [
        ("", {}),
        ("pretty&stale", {}),
        ("node-meta=a:b&node-meta=c:d:e&node-meta=f", {"NodeMetaFilters": {"a": "b", "c": "d:e", "f": ""}}),
        ("near=n7", {"Source": {"Datacenter": "dc1", "Node": "n7"}}),
        ("near=_agent&dc=dc2", {"Source": {"Datacenter": "dc2", "Node": "node1"}}),
        ("near=_ip", {"Source": {"Datacenter": "dc1", "Node": "_ip", "Ip": "10.0.0.9"}}),
        ("near=", {}),
    ],
)
def test_metadata_and_nearness_are_asked_for_when_they_are_given(query: str, body: dict[str, Any]) -> None:
    context = Context(FakeView(), random.Random(1))
    assert nodes_query(context, request(query, remote="10.0.0.9:4000")) == body


@pytest.mark.parametrize(
    ("query", "connect", "body"),
    [
        ("", False, {"ServiceName": "web"}),
        ("", True, {"ServiceName": "web", "Connect": True}),
        ("tag=a&tag=b", False, {"ServiceName": "web", "TagFilter": True, "ServiceTag": "a", "ServiceTags": ("a", "b")}),
        ("near=x", False, {"ServiceName": "web", "Source": {"Datacenter": "dc1", "Node": "x"}}),
    ],
)  # fmt: skip
def test_a_service_is_asked_for_with_its_tags(query: str, connect: bool, body: dict[str, Any]) -> None:
    context = Context(FakeView(), random.Random(1))
    assert service_query(context, request(query), connect=connect) == body


def test_a_name_is_text_and_not_empty() -> None:
    assert named(request(param="a/b ü"), "node name") == "a/b ü"
    for param, sentence in (
        ("", "^Missing node name$"),
        ("\udcff", "^The node name in the path is not UTF-8$"),
    ):
        with pytest.raises(HttpError, match=sentence):
            named(request(param=param), "node name")
