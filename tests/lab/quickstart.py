"""The three nodes of the quickstart: what a run that has nothing to do asks of them, and what runs on them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from tests.lab.labs import Lab, Run

__all__ = ["CALLS_WHEN_CONVERGED", "NODES", "NOTHING", "calls", "changed_processes", "processes"]

NODES: Final = ("server1", "client1", "client2")
NOTHING: Final = dict.fromkeys(NODES, 0)
#: The request of mesh_pki, the state and the agent; for services one more, and for the intentions one on one node.
CALLS_WHEN_CONVERGED: Final = {"server1": 3, "client1": 5, "client2": 4}


def calls(lab: Lab, run: Run) -> dict[str, int]:
    """Remote calls of the run to each node."""
    return {name: run.remote_calls(f"{lab.name}-{name}") for name in NODES}


def processes(lab: Lab) -> dict[str, tuple[str, str]]:
    """PIDs of the clients' agents and of the units of their services, with the program that each of them is."""
    found = {}
    for node in ("client1", "client2"):
        listed = lab.on(node, "sh", "-c", "systemctl list-units --plain --no-legend 'mesh-*' | cut -d' ' -f1")
        for unit in [*listed.split(), "consul.service"]:
            pid = lab.on(node, "systemctl", "show", unit, "-P", "MainPID").strip()
            found[f"{node} {unit}"] = pid, lab.on(node, "cat", f"/proc/{pid}/comm").strip()
    return found


def changed_processes(lab: Lab, before: dict[str, tuple[str, str]]) -> set[str]:
    """``"NODE UNIT"`` of those that began, ended or were started again since."""
    after = processes(lab)
    return {name for name in before | after if before.get(name) != after.get(name)}
