"""Health as a function of checks. Source: Consul 1.2.3, api/health.go ``AggregatedStatus``, health_endpoint.go."""

from __future__ import annotations

from collections.abc import Iterable

from meshnode.catalog.model import (
    CRITICAL,
    MAINTENANCE,
    NODE_MAINTENANCE,
    PASSING,
    SERVICE_MAINTENANCE_PREFIX,
    WARNING,
    Check,
    Instance,
)

__all__ = ["aggregate", "not_critical", "passing_only"]


def aggregate(checks: Iterable[Check]) -> str:
    """The worst of ``checks``: maintenance, critical, warning, passing; passing when there are none."""
    worst = PASSING
    for check in checks:
        if check.check_id == NODE_MAINTENANCE or check.check_id.startswith(SERVICE_MAINTENANCE_PREFIX):
            return MAINTENANCE
        if check.status == CRITICAL or (check.status == WARNING and worst == PASSING):
            worst = check.status
    return worst


def passing_only(instances: Iterable[Instance]) -> list[Instance]:
    """The instances whose every check passes: what ``?passing`` leaves."""
    return [i for i in instances if all(check.status == PASSING for check in i.checks)]


def not_critical(instances: Iterable[Instance]) -> list[Instance]:
    """The instances without a critical check: what DNS answers with unless ``only_passing`` is set."""
    return [i for i in instances if all(check.status != CRITICAL for check in i.checks)]
