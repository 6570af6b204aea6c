"""Which instances answer a prepared query."""

from __future__ import annotations

import random
from typing import Any

import pytest

from meshnode.catalog.model import Check, Instance, Node, Service
from meshnode.control.prepared.model import ServiceQuery
from meshnode.control.prepared.select import choose


def instance(name: str, *statuses: str, tags: tuple[str, ...] = (), **meta: str) -> Instance:
    checks = tuple(Check(name, f"c{i}", status=status) for i, status in enumerate(statuses))
    return Instance(Node(name, meta=meta), Service("web", tags=tags, meta=meta), checks)


INSTANCES = [
    instance("plain"),
    instance("passing", "passing", "passing", tags=("V1", "blue")),
    instance("warning", "warning", tags=("v1",), rack="1"),
    instance("critical", "passing", "critical", tags=("v2",), rack="2"),
]


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ({}, "passing plain warning"),
        ({"only_passing": True}, "passing plain"),
        ({"ignore_check_ids": ("c1",)}, "critical passing plain warning"),
        ({"ignore_check_ids": ("c0",)}, "passing plain warning"),
        ({"only_passing": True, "ignore_check_ids": ("c0", "c1")}, "critical passing plain warning"),
        ({"tags": ("v1",)}, "passing warning"),
        ({"tags": ("v1", "!BLUE")}, "warning"),
        ({"tags": ("!v1",)}, "plain"),
        ({"node_meta": {"rack": "1"}}, "warning"),
        ({"service_meta": {"rack": "2"}, "ignore_check_ids": ("c1",)}, "critical"),
        ({"node_meta": {"rack": "1", "row": "1"}}, ""),
    ],
)
def test_health_tags_and_metadata_decide(asked: dict[str, Any], expected: str) -> None:
    chosen = choose(ServiceQuery("web", **asked), INSTANCES, random.Random(0))
    assert sorted(each.node.name for each in chosen) == expected.split()


def test_the_order_is_the_generators() -> None:
    listed = [instance(str(number)) for number in range(20)]
    orders = {
        tuple(i.node.name for i in choose(ServiceQuery("web"), listed, random.Random(seed)))
        for seed in (1, 2)
    }
    again = tuple(i.node.name for i in choose(ServiceQuery("web"), listed, random.Random(1)))
    assert len(orders) == 2
    assert again in orders
