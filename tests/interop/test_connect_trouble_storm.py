"""Leaves of seconds, new roots, flipping intentions and a revoked leaf under traffic: nobody who may is refused."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from meshnode.runtime.tasks import spawn
from meshnode.testing import Mesh
from tests.support.asynchronous import asynchronous
from tests.support.connect_lab import answers, end, lab, refused, talk_on
from tests.support.flows import all_live, flowing, requesting
from tests.support.waiting import until

#: Seconds that a leaf lives in the storm.
TTL = 6
ROTATIONS = 2


@pytest.fixture
def mesh() -> Iterator[Mesh]:
    with Mesh(servers=1, clients=2, config={"connect": {"enabled": True}}) as made:
        made["server1"].wait_for("/v1/connect/ca/roots")
        yield made


def root(mesh: Mesh) -> str:
    found: str = mesh["server1"].api("/v1/connect/ca/roots")["ActiveRootID"]
    return found


async def _rotate(mesh: Mesh, times: int) -> None:
    """Each to its end: the old root is dropped."""
    server = mesh["server1"]
    for _ in range(times):
        before = root(mesh)
        await asyncio.to_thread(server.api, "/v1/connect/ca/rotation", method="PUT", body={"Action": "start"})

        def is_over(before: str = before) -> bool:
            found = server.api("/v1/connect/ca/roots")
            return found["ActiveRootID"] != before and len(found["Roots"]) == 1

        await until(lambda: asyncio.to_thread(is_over), "the rotation is over", 60, interval=0.2)


async def _flip(mesh: Mesh, over: asyncio.Event) -> int:
    """Rules come and go: of others, of everybody, and of those who may connect; none denies one of them."""
    server, flips = mesh["server1"], 0
    rules = [
        ("evil", "echo", "deny"),
        ("web", "echo", "allow"),
        ("*", "echo", "allow"),
        ("db", "echo", "allow"),
        ("web", "other", "deny"),
    ]
    while not over.is_set():
        source, destination, action = rules[flips // 2 % len(rules)]
        path = "/v1/connect/intentions"
        body = {"SourceName": source, "DestinationName": destination, "Action": action}
        made = await asyncio.to_thread(server.api, path, method="POST", body=body)
        await asyncio.sleep(0.05)
        await asyncio.to_thread(server.api, f"{path}/{made['ID']}", method="DELETE")
        flips += 2
    return flips


@pytest.mark.timeout(300)
@asynchronous
async def test_new_roots_leaves_of_seconds_and_flipping_rules_fail_no_request(
    mesh: Mesh, tmp_path: Path
) -> None:
    settings = {"Provider": "consul", "Config": {"LeafCertTTL": f"{TTL}s"}}
    mesh["server1"].api("/v1/connect/ca/configuration", method="PUT", body=settings)
    async with lab(mesh, tmp_path) as (made, app):
        await asyncio.to_thread(made.serve, app)
        ports = [made.source(name) for name in ("web", "db", "mail")]
        evil = made.source("evil")
        await answers(*ports, evil)
        over = asyncio.Event()
        async with flowing([port for port in ports for _ in range(10)]) as flows:
            await all_live(flows)
            began, serials = time.monotonic(), _serials(mesh)
            async with requesting(ports, at_once=2) as requests:
                flipping = spawn(_flip(mesh, over), name="flips")
                await _rotate(mesh, ROTATIONS)
                await until(lambda: not serials & _serials(mesh), "each leaf was renewed", 60)
                await until(lambda: time.monotonic() > began + 2 * TTL, "two lifetimes have passed", 60)
                over.set()
                flips = await flipping
            await talk_on(flows)
            await end(flows)
        lasted = time.monotonic() - began
        print(
            f"\nin {lasted:.0f} s: {ROTATIONS} new roots, leaves of {TTL} s, {flips} changes of intentions; "
            f"{requests.done} requests, {len(requests.failures)} failed, slowest {requests.slowest * 1000:.0f} ms; "
            f"30 flows lost none of {sum(flow.received for flow in flows)} bytes"
        )
        assert requests.failures == [], made.log("echo")[-4000:]
        assert requests.done > 100
        # The storm changed nothing about who may not.
        await asyncio.to_thread(made.deny, "evil")
        await until(lambda: refused(evil), "evil is refused")


def _serials(mesh: Mesh) -> set[str]:
    """Of the leaves that listeners and sources present now."""
    rows: list[dict[str, Any]] = []
    for name in ("client1", "client2"):
        rows += mesh[name].api("/v1/agent/certs")
    return {row["Serial"] for row in rows if row["Kind"] == "leaf"}


@pytest.mark.timeout(240)
@pytest.mark.parametrize("workers", ["1", "2"])
@asynchronous
async def test_a_revoked_leaf_ends_its_connections_and_no_other_and_the_service_gets_a_new_one(
    mesh: Mesh, tmp_path: Path, workers: str
) -> None:
    async with lab(mesh, tmp_path) as (made, app):
        await asyncio.to_thread(lambda: made.serve(app, workers=workers))
        web, db = made.source("web"), made.source("db")
        await answers(web, db)
        before = mesh["client2"].api("/v1/agent/connect/ca/leaf/web")["SerialNumber"]
        async with flowing([web] * 20 + [db] * 20) as flows:
            await all_live(flows)
            cut, others = flows[:20], flows[20:]
            began = time.monotonic()
            body = {"SerialNumber": before, "Reason": "stolen"}
            await asyncio.to_thread(mesh["server1"].api, "/v1/connect/ca/revoke", method="PUT", body=body)
            await until(lambda: all(flow.ended for flow in cut), "those of web have ended", interval=0.01)
            lasted = max(flow.ended for flow in cut) - began
            print(f"\n20 flows of a revoked leaf: the last ended after {lasted * 1000:.0f} ms")
            await talk_on(others)
            await end(others)
        assert f"is cut: Certificate {before} is revoked" in made.log("echo")
        await answers(web)
        after = mesh["client2"].api("/v1/agent/connect/ca/leaf/web")["SerialNumber"]
        assert after != before
