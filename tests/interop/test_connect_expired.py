"""The root of Connect expires under sidecars: while no server is up, and while its rotation is paused."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from meshnode.testing import Mesh, MeshAgent
from tests.support.asynchronous import asynchronous
from tests.support.connect_lab import answers, lab, refused
from tests.support.own_root import NAME, own_root
from tests.support.waiting import until

TTL = "60s"
#: Seconds that the operator's root lives: time enough to take it over, and to stop the server before it is replaced.
LIFE = 40.0


@pytest.fixture(scope="module")
def mesh() -> Iterator[Mesh]:
    connect = {"enabled": True, "ca_config": {"leaf_cert_ttl": TTL}}
    with Mesh(servers=1, clients=2, config={"connect": connect}) as made:
        for name in ("client1", "client2"):
            made[name].wait_for("/v1/agent/connect/ca/roots")
        yield made


def active(agent: MeshAgent) -> dict[str, Any]:
    told = agent.api("/v1/connect/ca/roots")
    (root,) = [row for row in told["Roots"] if row["ID"] == told["ActiveRootID"]]
    return dict(root)


def take_over(server: MeshAgent) -> float:
    """A root of the operator signs, and no other is trusted; when it ends."""
    settings = own_root(datetime.now(UTC), starts=0, ends=LIFE)
    body = {"Provider": "consul", "Config": {"LeafCertTTL": TTL, **settings}}
    server.api("/v1/connect/ca/configuration", method="PUT", body=body)
    assert active(server)["Name"] == NAME
    return datetime.fromisoformat(active(server)["NotAfter"]).timestamp()


async def settled(mesh: Mesh) -> None:
    """Every node has a leaf of the root that signs, and trusts no other."""

    async def only_one() -> bool:
        shown = await asyncio.to_thread(mesh["server1"].api, "/v1/connect/ca/rotation")
        signs = (await asyncio.to_thread(active, mesh["server1"]))["ID"]
        uses = [row["LeafRoots"] for row in shown["Nodes"] if row["LeafRoots"]]
        return shown["Phase"] == "" and len(uses) >= 2 and all(roots == [signs] for roots in uses)

    await until(only_one, "one root is used", 30)


@asynchronous
async def test_sidecars_work_again_by_themselves_when_the_server_was_off_until_the_root_had_expired(
    mesh: Mesh, tmp_path: Path
) -> None:
    server = mesh["server1"]
    async with lab(mesh, tmp_path) as (made, app):
        await asyncio.to_thread(made.serve, app)
        port = made.source("web")
        await answers(port)
        ends = await asyncio.to_thread(take_over, server)
        await settled(mesh)
        await asyncio.to_thread(server.kill)
        assert time.time() < ends - LIFE / 2, "the leader would have replaced it: this machine is too slow"
        await answers(port)
        await until(lambda: refused(port), "nothing verifies any more", LIFE + 10)
        assert time.time() > ends - 1
        began = time.monotonic()
        await asyncio.to_thread(server.start)
        await answers(port)
        print(f"\ncalls go through again {time.monotonic() - began:.1f} s after the start of the server")
        root = await asyncio.to_thread(active, server)
        assert root["Name"].startswith("Consul CA")
        assert f"the Connect root {NAME} ended at " in server.log
        assert f"the Connect root {root['Name']} signs in place of {NAME}" in server.log
        assert all(proxy.process.poll() is None for proxy in made.proxies.values())


@asynchronous
async def test_a_root_that_expires_while_its_rotation_is_paused_does_not_take_the_mesh_with_it(
    mesh: Mesh, tmp_path: Path
) -> None:
    server = mesh["server1"]
    async with lab(mesh, tmp_path) as (made, app):
        await asyncio.to_thread(made.serve, app)
        port = made.source("web")
        await answers(port)
        ends = await asyncio.to_thread(take_over, server)
        body = {"Action": "start", "Paused": True}
        await settled(mesh)
        await asyncio.to_thread(server.api, "/v1/connect/ca/rotation", method="PUT", body=body)
        shown = await asyncio.to_thread(server.api, "/v1/connect/ca/rotation")
        assert (shown["Paused"], shown["ActiveRoot"]) == (True, NAME)

        async def replaced() -> bool:
            return str((await asyncio.to_thread(active, server))["Name"]) != NAME

        await until(replaced, "another root signs", LIFE + 10)
        assert ends - 1 <= time.time() <= ends + 5
        await answers(port)
