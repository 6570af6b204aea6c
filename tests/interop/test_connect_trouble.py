"""Trouble under traffic, with real agents and ``connect proxy`` processes: a deny; agents and servers that go away."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from meshnode.testing import Mesh
from tests.support.asynchronous import asynchronous
from tests.support.connect_lab import answers, end, lab, refused, talk_on
from tests.support.flows import all_live, ask, flowing, requesting
from tests.support.waiting import until

#: Bounds of the destination's decisions, in milliseconds, so that a test sees them pass.
AGES = {"decision_refresh_ms": 500, "decision_max_age_ms": 8000}


@pytest.fixture
def mesh() -> Iterator[Mesh]:
    """``server1`` is the servers; the destination is on ``client1``, its sources are on ``client2``."""
    with Mesh(servers=1, clients=2, config={"connect": {"enabled": True}}) as made:
        made["server1"].wait_for("/v1/connect/ca/roots")
        yield made


@pytest.mark.timeout(240)
@asynchronous
async def test_of_200_flows_from_10_services_the_denied_ones_end_and_the_others_lose_no_byte(
    mesh: Mesh, tmp_path: Path
) -> None:
    async with lab(mesh, tmp_path) as (made, app):
        await asyncio.to_thread(made.serve, app)
        ports = [made.source(f"web{number}") for number in range(10)]
        await answers(*ports)
        async with flowing([port for port in ports for _ in range(20)]) as flows:
            await all_live(flows)
            victims = [flow for flow in flows if flow.port == ports[3]]
            others = [flow for flow in flows if flow.port != ports[3]]
            began = time.monotonic()
            await asyncio.to_thread(made.deny, "web3")
            written = time.monotonic() - began
            await until(
                lambda: all(flow.ended for flow in victims), "those of web3 have ended", interval=0.01
            )
            lasted = sorted(flow.ended - began for flow in victims)
            await talk_on(others)
            assert [flow.because for flow in others] == [""] * 180
            await end(others)
            print(
                f"\n{len(victims)} flows denied: the intention was written after {written * 1000:.0f} ms, "
                f"the first ended after {lasted[0] * 1000:.0f} ms, the last after {lasted[-1] * 1000:.0f} ms; "
                f"{len(others)} others lost none of {sum(flow.received for flow in others)} bytes "
                f"in {sum(flow.rounds for flow in others)} rounds"
            )
        assert made.log("echo").count(" is cut: Matched intention: DENY default/web3 => default/echo") == 20
        assert await refused(ports[3])


@pytest.mark.timeout(240)
@asynchronous
async def test_agents_are_restarted_under_their_proxies_and_no_connection_notices(
    mesh: Mesh, tmp_path: Path
) -> None:
    """Both are away at once; what is denied meanwhile is cut once they are back."""
    async with lab(mesh, tmp_path) as (made, app):
        await asyncio.to_thread(made.serve, app)
        web, db = made.source("web"), made.source("db")
        await answers(web, db)
        async with flowing([web] * 10 + [db] * 10) as flows:
            await all_live(flows)
            async with requesting([web]) as requests:
                for name in ("client1", "client2"):
                    mesh[name].kill()
                await until(lambda: "is not followed for now" in made.log("echo"), "the proxy notices")
                before = requests.done
                await until(lambda: requests.done >= before + 20, "new connections are let in meanwhile")
                await talk_on(flows)
                await asyncio.to_thread(made.deny, "db")
                for name in ("client1", "client2"):
                    await asyncio.to_thread(mesh[name].start)
                denied = [flow for flow in flows if flow.port == db]
                await until(
                    lambda: all(flow.ended for flow in denied), "what was denied meanwhile is cut", 60
                )
            rest = [flow for flow in flows if flow.port == web]
            await talk_on(rest)
            await end(rest)
            print(f"\n{requests.done} new connections, the slowest took {requests.slowest * 1000:.0f} ms")
            assert requests.failures == []
        await answers(web)


@pytest.mark.timeout(240)
@asynchronous
async def test_an_agent_is_away_until_gossip_reports_its_node_failed_and_no_connection_is_refused(
    mesh: Mesh, tmp_path: Path
) -> None:
    """The one on the node of the only instance: a slow restart. Proxy and application run on."""

    def health() -> str:
        rows = mesh["server1"].api("/v1/health/connect/echo")
        return " ".join(check["Status"] for row in rows for check in row["Checks"] if not check["ServiceID"])

    async with lab(mesh, tmp_path) as (made, app):
        await asyncio.to_thread(made.serve, app)
        web = made.source("web")
        await answers(web)
        async with requesting([web]) as requests:
            mesh["client1"].kill()
            await until(lambda: health() == "critical", "gossip misses the agent", 60)
            await until(
                lambda: "whose agents alone are not heard of" in made.log("web"), "the proxy hears of it"
            )
            before = requests.done
            await until(lambda: requests.done >= before + 20, "new connections are led on meanwhile")
            await asyncio.to_thread(mesh["client1"].start)
            await until(lambda: health() == "passing", "the agent is back", 60)
        assert requests.failures == []


@pytest.mark.timeout(240)
@asynchronous
async def test_while_all_servers_are_away_memory_decides_until_it_is_too_old(
    mesh: Mesh, tmp_path: Path
) -> None:
    async with lab(mesh, tmp_path) as (made, app):
        await asyncio.to_thread(lambda: made.serve(app, None, **AGES))
        web, stranger = made.source("web"), made.source("stranger")
        await answers(web)
        made.proxies["stranger"].wait_ready()
        async with flowing([web] * 20) as flows:
            await all_live(flows)
            await answers(web)
            began = time.monotonic()
            mesh["server1"].kill()
            decided = 0
            while time.monotonic() < began + AGES["decision_max_age_ms"] / 1000 - 3:
                assert await ask(web) == b"hello", made.log("echo")
                decided += 1
                await asyncio.sleep(0.05)
            assert "is let in by the last decision: nobody answers" in made.log("echo")
            assert await refused(stranger)
            await until(lambda: refused(web), "its decision is too old")
            assert time.monotonic() - began > AGES["decision_max_age_ms"] / 1000 - 1
            await until(lambda: "8 s is the most" in made.log("echo"), "the log says that it is too old")
            await talk_on(flows)
            await asyncio.to_thread(mesh["server1"].start)
            await answers(web, stranger)
            await talk_on(flows)
            await end(flows)
        print(f"\n{decided} new connections by memory")
