"""The aggregate of checks, and who is left by the passing filter."""

from __future__ import annotations

import pytest

from meshnode.catalog.health import aggregate, not_critical, passing_only
from meshnode.catalog.model import Check, Instance, Node, Service


def check(status: str, check_id: str = "c") -> Check:
    return Check("n", check_id, status=status)


@pytest.mark.parametrize(
    ("statuses", "worst"),
    [
        ([], "passing"),
        (["passing"], "passing"),
        (["passing", "warning"], "warning"),
        (["warning", "passing"], "warning"),
        (["warning", "critical", "passing"], "critical"),
        (["critical", "warning"], "critical"),
    ],
)
def test_the_aggregate_is_the_worst_status(statuses: list[str], worst: str) -> None:
    assert aggregate(map(check, statuses)) == worst


@pytest.mark.parametrize("check_id", ["_node_maintenance", "_service_maintenance:web"])
def test_maintenance_is_worse_than_critical(check_id: str) -> None:
    assert aggregate([check("critical"), check("critical", check_id)]) == "maintenance"


def test_the_passing_filter_wants_every_check_to_pass_and_dns_only_that_none_is_critical() -> None:
    instances = [
        Instance(Node("n"), Service(name), tuple(map(check, statuses)))
        for name, statuses in {
            "none": [],
            "good": ["passing", "passing"],
            "warned": ["passing", "warning"],
            "bad": ["passing", "critical"],
        }.items()
    ]
    assert [i.service.name for i in passing_only(instances)] == ["none", "good"]
    assert [i.service.name for i in not_critical(instances)] == ["none", "good", "warned"]
