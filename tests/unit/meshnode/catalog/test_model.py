"""Values of the catalog: what counts as the same, and whom a Connect client reaches."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

import pytest

from meshnode.catalog.model import Check, CheckDefinition, Node, Service, Weights, serf_check

OTHER: dict[Any, Any] = {
    str: "other",
    int: 7,
    bool: True,
    tuple: ("x",),
    dict: {"k": "v"},
    Weights: Weights(5, 5),
    CheckDefinition: CheckDefinition(tcp="other"),
    type(None): {"Command": ["x"]},
}


@pytest.mark.parametrize("value", [Node("n"), Service("s"), Check("n", "c")], ids=lambda v: type(v).__name__)
def test_every_field_but_the_indexes_counts_when_two_are_compared(value: Node | Service | Check) -> None:
    for field in fields(value):
        changed: Any = replace(value, **{field.name: OTHER[type(getattr(value, field.name))]})
        assert value.same_as(changed) is (field.name in {"create_index", "modify_index"}), field.name


@pytest.mark.parametrize(
    ("service", "name"),
    [
        (Service("web"), ""),
        (Service("web", native=True), "web"),
        (Service("web-proxy", kind="connect-proxy", proxy_destination="web"), "web"),
    ],
)
def test_a_connect_client_reaches_a_service_through_its_proxies_and_native_instances(
    service: Service, name: str
) -> None:
    assert service.connect_name == name


def test_the_serf_check_has_the_words_of_consul() -> None:
    assert serf_check("n", alive=True).output == "Agent alive and reachable"
    dead = serf_check("n", alive=False)
    assert (dead.check_id, dead.status, dead.service_id) == ("serfHealth", "critical", "")
