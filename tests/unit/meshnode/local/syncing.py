"""An agent's state and a catalog in memory, and the syncs between them."""

from __future__ import annotations

import random
from typing import Any

from meshnode.base.errors import MeshError
from meshnode.local.check_type import TtlCheck
from meshnode.local.definitions import CheckDefinition, ServiceDefinition
from meshnode.local.state import LocalSettings, LocalState
from meshnode.local.sync import apply, call_of, compare, describe, steps
from meshnode.local.wire import parse_node_checks, parse_node_services
from tests.support.local_catalog import NODE, CatalogServer

__all__ = ["DENIED", "TTL", "check", "full_sync", "new_state", "read", "send", "synced", "web"]


TTL = TtlCheck(ttl=30.0)
DENIED = "rpc error making call: Permission denied"


def new_state(interval: float = 0.0) -> LocalState:
    return LocalState(NODE, LocalSettings(check_update_interval=interval), random.Random(1))


def check(check_id: str, service_id: str = "", **more: Any) -> CheckDefinition:
    return CheckDefinition(check_id, f"Check {check_id}", TTL, service_id=service_id, **more)


def web(**more: Any) -> ServiceDefinition:
    return ServiceDefinition("web", "web", port=80, **more)


def read(state: LocalState, server: CatalogServer) -> None:
    asked = {"Node": NODE.name}
    node, services = parse_node_services(server.call("Catalog.NodeServices", asked))
    compare(state, node, services, parse_node_checks(server.call("Health.NodeChecks", asked)))


def send(state: LocalState, server: CatalogServer) -> list[str]:
    """Send what waits; the lines for the log."""
    server.calls.clear()
    lines = []
    for step in steps(state):
        method, body = call_of(state, step, "agent-token")
        try:
            server.call(method, body)
            refusal = ""
        except MeshError as error:
            refusal = str(error)
        done = apply(state, step, refusal)
        if refusal:
            lines.append(f"{describe(step)} {'blocked' if done else 'failed'}: {refusal}")
    return lines


def full_sync(state: LocalState, server: CatalogServer) -> list[str]:
    read(state, server)
    return send(state, server)


def synced(state: LocalState) -> CatalogServer:
    server = CatalogServer()
    assert full_sync(state, server) == []
    assert not state.dirty
    server.calls.clear()
    return server
