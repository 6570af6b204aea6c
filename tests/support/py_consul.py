"""Clients of py-consul for agents of ``meshnode.testing``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import consul

from meshnode.testing.waiting import wait_until

__all__ = ["UNKNOWN", "client_of", "eventually"]

UNKNOWN = "00000000-0000-4000-8000-000000000000"


def eventually(condition: Callable[[], Any]) -> Any:
    """The first truthy result: what an agent knows reaches the catalog within a moment."""
    return wait_until(condition, 20)


def client_of(agent: Any, **options: Any) -> consul.Consul:
    return consul.Consul(agent.host, agent.listen.http, **options)
