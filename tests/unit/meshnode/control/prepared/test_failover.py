"""Which datacenters are asked, in which order."""

from __future__ import annotations

import pytest

from meshnode.control.prepared.failover import datacenters_to_ask
from meshnode.control.prepared.model import Failover

NEAREST = ("dc1", "dc2", "dc3", "dc4")


@pytest.mark.parametrize(
    ("failover", "expected"),
    [
        (Failover(), ()),
        (Failover(2), ("dc2", "dc3")),
        (Failover(9), ("dc2", "dc3", "dc4")),
        (Failover(0, ("dc4", "dc1", "dc2", "dc4")), ("dc4", "dc2")),
        (Failover(1, ("dc4", "dc2", "gone")), ("dc2", "dc4")),
    ],
)
def test_the_nearest_come_first_then_the_listed_each_once(
    failover: Failover, expected: tuple[str, ...]
) -> None:
    assert datacenters_to_ask(failover, "dc1", NEAREST) == expected
