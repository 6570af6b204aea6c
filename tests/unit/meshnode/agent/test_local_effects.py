"""The whole way from curl to the catalog: server, routes, local state, running checks and the sync loop."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Mapping
from typing import Any

from meshnode.agent.local_changes import LocalAliases, LocalChanges
from meshnode.agent.local_effects import LocalPerformer, LocalStateView
from meshnode.agent.local_services import LocalPolicy, LocalServices
from meshnode.agent.local_sync import CatalogSync
from meshnode.base.address import Address
from meshnode.http.api import Api
from meshnode.http.local_routes import LOCAL_ROUTES
from meshnode.local.state import LocalSettings, LocalState
from meshnode.runtime.checks.clock import LoopClock
from meshnode.runtime.checks.runner import CheckRunners
from meshnode.runtime.http_server import HttpServer, TcpListener
from meshnode.runtime.tasks import cancel_and_wait, spawn
from tests.support.http_serving import run_curl, within
from tests.support.local_api import LocalFakeView
from tests.support.local_catalog import NODE, CatalogServer

WEB = {"ID": "web1", "Name": "web", "Port": 80, "Check": {"TTL": "30s"}}


def no_tls(*arguments: Any) -> Any:
    raise AssertionError(arguments)


def test_what_curl_registers_and_reports_reaches_the_catalog_and_comes_back() -> None:
    async def scenario() -> None:
        clock = asyncio.get_running_loop().time
        catalog, heard = CatalogServer(), asyncio.Event()

        async def call(method: str, body: Mapping[str, Any]) -> Any:
            reply = catalog.call(method, body)
            heard.set()
            return reply

        state = LocalState(NODE, LocalSettings(), random.Random(1))
        changes = LocalChanges(state)
        aliases = LocalAliases(state, changes, call, lambda: "")
        runners = CheckRunners(spawn, random.Random(1), LoopClock(), no_tls, alias=aliases)
        services = LocalServices(
            state, changes, runners, None, LocalPolicy(), clock=clock, wall_clock=lambda: 0.0
        )
        sync = CatalogSync(
            state, changes, call, members=lambda: 1, token=lambda: "", clock=clock, rng=random.Random(1)
        )
        view = LocalFakeView(node_name="web1", local=LocalStateView(state))
        server = HttpServer(Api(view, random.Random(1), LOCAL_ROUTES), LocalPerformer(services).perform)
        (where,) = await server.listen(TcpListener(Address("127.0.0.1", 0)))
        assert isinstance(where, Address)
        loop = spawn(sync.run(), name="sync")

        async def curl(path: str, *options: str) -> tuple[str, str]:
            url = f"http://127.0.0.1:{where.port}/v1/agent/{path}"
            code, out, err = await run_curl("-w", "\n%{http_code}", *options, url)
            assert code == 0, err
            body, _, status = out.rpartition("\n")
            return status, body

        try:
            assert await curl("service/register", "-X", "PUT", "-d", json.dumps(WEB)) == ("200", "")
            known = json.loads((await curl("service/web1"))[1])["ContentHash"]
            waiting = spawn(curl(f"service/web1?hash={known}&wait=60s"), name="waiting")
            assert await curl("check/pass/service:web1?note=fine", "-X", "PUT") == ("200", "")
            async with asyncio.timeout(20):
                while [(c.status, c.output) for c in catalog.checks().values()] != [("passing", "fine")]:
                    await heard.wait()
                    heard.clear()
            assert not waiting.done()
            assert await curl("health/service/name/web?format=text") == ("200", "passing")
            changed = json.dumps(WEB | {"Port": 81})
            assert await curl("service/register", "-X", "PUT", "-d", changed) == ("200", "")
            status, body = await within(waiting)
            assert (status, json.loads(body)["Port"]) == ("200", 81)
            assert await curl("service/deregister/web1", "-X", "PUT") == ("200", "")
            async with asyncio.timeout(20):
                while catalog.services() or catalog.checks():
                    await heard.wait()
                    heard.clear()
        finally:
            await cancel_and_wait(loop)
            await runners.stop_all()
            await server.stop(0.2)

    asyncio.run(scenario())
