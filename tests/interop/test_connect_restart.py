"""A node that asked for certificates before its agent was restarted is no node that a rotation waits for in vain."""

from __future__ import annotations

import signal

from meshnode.testing import Mesh

ROTATION = "/v1/connect/ca/rotation"


def test_a_rotation_ends_though_nobody_asks_a_restarted_agent_for_anything() -> None:
    with Mesh(clients=1, config={"leave_on_terminate": False, "connect": {"enabled": True}}) as mesh:
        server, client = mesh["server1"], mesh["client1"]
        client.api("/v1/agent/service/register", method="PUT", body={"Name": "web", "Port": 80})
        client.wait_for("/v1/agent/connect/ca/leaf/web")
        (row,) = server.wait_for(ROTATION, until=lambda found: bool(found["Nodes"]))["Nodes"]
        assert row["Node"] == "client1"
        client.signal(signal.SIGTERM)
        client.wait_exit()
        client.start()
        mesh.wait_healthy()
        server.api(ROTATION, method="PUT", body={"Action": "start"})
        ended = server.wait_for(ROTATION, until=lambda found: not found["Phase"])
        assert ended["ActiveRoot"] == "Consul CA 2"
        assert server.api("/v1/connect/ca/roots")["ActiveRootID"] in ended["Nodes"][0]["Roots"]
