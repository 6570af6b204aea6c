"""The tables of selectors against the rows that the API really answers with."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from meshnode.catalog.model import Check, CheckDefinition, Instance, Node, Service
from meshnode.catalog.wire import (
    check_fields,
    instance_fields,
    node_fields,
    service_fields,
    service_node_fields,
)
from meshnode.http.filter.fields import (
    CATALOG_NODE_SERVICES,
    CATALOG_NODES,
    CATALOG_SERVICE,
    HEALTH_CHECKS,
    HEALTH_SERVICE,
    Fields,
    Kind,
)
from meshnode.http.filter.parse import parse_filter

NODE = Node("n1", "10.0.0.1", "id", "dc1", {"wan": "1.2.3.4"}, {"rack": "1"})
SERVICE = Service(
    "web",
    "web-1",
    "connect-proxy",
    ("v1",),
    "10.0.0.2",
    80,
    {"k": "v"},
    proxy_destination="api",
    proxy={"a": {"b": 1}},
)
CHECK = Check(
    "n1", "c1", "C", "passing", "notes", "out", "web-1", "web", ("v1",), CheckDefinition("http://x")
)
INSTANCE = Instance(NODE, SERVICE, (CHECK,))
ROWS: list[tuple[Fields, dict[str, Any]]] = [
    (CATALOG_NODES, node_fields(NODE)),
    (CATALOG_SERVICE, service_node_fields(INSTANCE)),
    (CATALOG_NODE_SERVICES, service_fields(SERVICE)),
    (HEALTH_CHECKS, check_fields(CHECK)),
    (HEALTH_SERVICE, instance_fields(INSTANCE)),
]
QUESTIONS = {
    Kind.TEXT: "{} == x",
    Kind.NUMBER: "{} == 1",
    Kind.FLAG: "{} == true",
    Kind.LIST: "x in {}",
    Kind.MAP: "x in {}",
    Kind.OPEN: "{} is empty",
}


def leaves(value: Any, fields: Fields, path: str = "") -> Iterator[str]:
    """The dotted names of all that is in a row, as deep as the table goes."""
    if path in fields or not isinstance(value, Mapping | list):
        yield path
    elif isinstance(value, list):
        for item in value:
            yield from leaves(item, fields, path)
    else:
        for name, item in value.items():
            yield from leaves(item, fields, f"{path}.{name}" if path else name)


@pytest.mark.parametrize(("fields", "row"), ROWS)
def test_every_field_of_a_row_has_a_selector(fields: Fields, row: dict[str, Any]) -> None:
    assert set(leaves(row, fields)) <= set(fields)


@pytest.mark.parametrize(("fields", "row"), ROWS)
def test_every_selector_can_be_asked_what_its_kind_allows(fields: Fields, row: dict[str, Any]) -> None:
    answers = {
        name: parse_filter(QUESTIONS[kind].format(name), fields).matches(row) for name, kind in fields.items()
    }
    assert set(answers) == set(fields)
