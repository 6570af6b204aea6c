"""A server that is back before gossip has told it of anybody: what runs on the other nodes stays in the catalog."""

from __future__ import annotations

import signal
from typing import Any

from meshnode.testing import Mesh


def _passing(rows: Any) -> bool:
    return [check["Status"] for row in rows for check in row["Checks"]] == ["passing"]


def test_services_stay_while_a_restarted_server_has_not_heard_of_their_agents() -> None:
    """The agents of a busy machine answer late: the server leads before its first join is done."""
    with Mesh(servers=1, clients=2, config={"leave_on_terminate": False}) as mesh:
        server, others = mesh["server1"], mesh.clients
        mesh["client1"].api("/v1/agent/service/register", method="PUT", body={"Name": "api", "Port": 80})
        server.wait_for("/v1/health/service/api", until=_passing)
        # What the first look at gossip writes again, so that it is seen to have been.
        gone = {"Node": "server1", "CheckID": "serfHealth"}
        server.api("/v1/catalog/deregister", method="PUT", body=gone)
        assert server.api("/v1/health/node/server1") == []
        server.signal(signal.SIGTERM)
        server.wait_exit()
        for agent in others:
            agent.signal(signal.SIGSTOP)
        server.start()
        server.wait_for("/v1/health/node/server1")
        members = {member["Name"] for member in server.api("/v1/agent/members")}
        assert members == {"server1"}, "it heard of the others: this test proves nothing"
        assert len(server.api("/v1/health/service/api")) == 1
        for agent in others:
            agent.signal(signal.SIGCONT)
        mesh.wait_healthy()
        assert _passing(server.api("/v1/health/service/api"))
