"""The lab of `make up`: who leads, what its etcd runs as, and keys read on every node."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final

from tests.lab.labs import until

if TYPE_CHECKING:
    from tests.lab.labs import Lab, Run

__all__ = ["SERVERS", "etcd_process", "everywhere", "got", "leader", "put", "remote_calls"]

SERVERS: Final = ("server1", "server2", "server3")


def leader(lab: Lab) -> str:
    """The node that leads; empty: nobody is known to."""
    address = json.loads(lab.on("client1", "curl", "-s", "http://127.0.0.1:8500/v1/status/leader"))
    return next((name for name, own in lab.nodes.items() if address == f"{own}:8300"), "")


def remote_calls(lab: Lab, run: Run) -> dict[str, int]:
    """Remote calls of the run to each node."""
    return {name: run.remote_calls(f"{lab.name}-{name}") for name in lab.nodes}


def etcd_process(lab: Lab, node: str) -> str:
    """The process of a server's etcd."""
    return lab.on(node, "systemctl", "show", "etcd", "-p", "MainPID").strip()


def put(lab: Lab, node: str, key: str, value: str) -> None:
    """Ends with success, or after seconds: an agent may not have heard of a new leader yet."""
    until(
        f"a write on {node}", lambda: "Data written" in lab.said(node, "consul", "kv", "put", key, value), 90
    )


def got(lab: Lab, node: str, key: str) -> str:
    """The value, as soon as there is a leader to ask."""
    said = ""

    def answered() -> bool:
        nonlocal said
        said = lab.said(node, "consul", "kv", "get", key).strip()
        return "No cluster leader" not in said

    until(f"a read on {node}", answered, 90)
    return said


def everywhere(lab: Lab, key: str) -> dict[str, str]:
    """The value as each node reads it."""
    return {name: got(lab, name, key) for name in lab.nodes}
