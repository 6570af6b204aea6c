"""``/v1/health``: checks, and services with the checks that count for them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from meshnode.catalog.model import PASSING
from meshnode.http.context import Context
from meshnode.http.discovery import named, nodes_query, read_rows, service_query
from meshnode.http.errors import HttpError
from meshnode.http.filter.evaluate import as_flag
from meshnode.http.filter.fields import HEALTH_CHECKS, HEALTH_SERVICE
from meshnode.http.filtering import filtered
from meshnode.http.message import Request
from meshnode.http.router import Outcome
from meshnode.http.state import flag, read
from meshnode.http.translate import translated

__all__ = ["checks", "connect", "node", "service", "state"]


def node(context: Context, request: Request) -> Outcome:
    """GET /v1/health/node/:node: its checks and those of its services."""
    body = {"Node": named(request, "node name")}
    return read_rows(context, request, "Health.NodeChecks", body, "HealthChecks", HEALTH_CHECKS)


def checks(context: Context, request: Request) -> Outcome:
    """GET /v1/health/checks/:service: the checks of its instances."""
    body = {"ServiceName": named(request, "service name"), **nodes_query(context, request)}
    return read_rows(context, request, "Health.ServiceChecks", body, "HealthChecks", HEALTH_CHECKS)


def state(context: Context, request: Request) -> Outcome:
    """GET /v1/health/state/:state: any, passing, warning or critical."""
    body = {"State": named(request, "check state"), **nodes_query(context, request)}
    return read_rows(context, request, "Health.ChecksInState", body, "HealthChecks", HEALTH_CHECKS)


def service(context: Context, request: Request) -> Outcome:
    """GET /v1/health/service/:service; ``?passing`` leaves the instances whose every check passes."""
    return _instances(context, request, connect=False)


def connect(context: Context, request: Request) -> Outcome:
    """GET /v1/health/connect/:service: the same for its proxies and its native instances."""
    return _instances(context, request, connect=True)


def _instances(context: Context, request: Request, *, connect: bool) -> Outcome:
    body = service_query(context, request, connect=connect)
    passing, keep = _passing(request), filtered(request, HEALTH_SERVICE)

    def shown(reply: Mapping[str, Any]) -> Any:
        found = reply["Nodes"]
        rows = keep([row for row in found if _all_pass(row["Checks"])] if passing else found)
        return translated(context, request, rows)

    return read(context, request, "Health.ServiceNodes", body, shown, discovery=True)


def _all_pass(checks: list[Mapping[str, Any]]) -> bool:
    return all(check["Status"] == PASSING for check in checks)


def _passing(request: Request) -> bool:
    if not flag(request, PASSING):
        return False
    value = request.query.get(PASSING)
    wanted = as_flag(value) if value else True
    if wanted is None:
        raise HttpError(400, f"Invalid value for ?passing: {value!r} is neither true nor false")
    return wanted
