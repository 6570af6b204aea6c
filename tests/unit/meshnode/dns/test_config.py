"""Times to live: which rule of ``service_ttl`` is in force, and durations as DNS carries them."""

from __future__ import annotations

import pytest

from meshnode.dns.config import MAX_TTL, DnsConfig, ttl_seconds

RULES = {"*": 1.0, "db*": 2.0, "db-master*": 3.0, "db-master": 4.0, "API": 5.0}


@pytest.mark.parametrize(
    ("service", "ttl"),
    [("web", 1), ("db", 2), ("db-1", 2), ("db-master-1", 3), ("db-master", 4), ("DB-Master", 4), ("api", 5)],
)
def test_the_name_wins_over_prefixes_and_long_prefixes_over_short_ones(service: str, ttl: int) -> None:
    assert DnsConfig(service_ttl=RULES).ttl_of(service) == ttl
    assert DnsConfig(service_ttl=dict(reversed(RULES.items()))).ttl_of(service) == ttl


def test_without_a_rule_nothing_may_be_kept() -> None:
    assert DnsConfig(service_ttl={"web": 5.0}).ttl_of("db") == 0


@pytest.mark.parametrize(("ttl", "seconds"), [(0.9, 0), (1.9, 1), (-5.0, 0), (1e12, MAX_TTL)])
def test_durations_are_whole_seconds_in_31_bits(ttl: float, seconds: int) -> None:
    assert ttl_seconds(ttl) == seconds
