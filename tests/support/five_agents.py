"""Three servers and two clients, real processes with every encryption on."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from tests.support.mesh_agent import Mesh, MeshAgent, wait

__all__ = ["ALL", "CLIENTS", "SERVERS", "five_agents", "forgets"]

SERVERS = ("server1", "server2", "server3")
CLIENTS = ("client1", "client2")
ALL = (*SERVERS, *CLIENTS)
NODE_ID_END = "-0000-4000-8000-000000000000"


@contextlib.contextmanager
def five_agents(directory: Path) -> Iterator[Mesh]:
    """Three servers and two clients that see each other and a leader."""
    with Mesh.new(directory) as mesh:
        seeds = [f"{mesh.network}.1", f"{mesh.network}.2"]
        for number, name in enumerate(ALL, 1):
            is_server = name in SERVERS
            # The least id keeps the log: server1's, in every run.
            own = {"node_id": f"0000000{number}{NODE_ID_END}", "bootstrap_expect": 3} if is_server else {}
            mesh.add(name, number, server=is_server, retry_join=seeds, **own).launch()
        mesh.wait_alive(*ALL)
        wait(lambda: mesh.leader(*ALL), "a leader")
        yield mesh


def forgets(agent: MeshAgent, name: str) -> bool:
    """Whether ``agent`` answers, and doesn't know ``name`` any more."""
    known = agent.statuses()
    return bool(known) and name not in known
