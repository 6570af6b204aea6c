"""Ten thousand clients that connect to a sidecar and say nothing, and one that has something to say."""

from __future__ import annotations

import asyncio
import contextlib
import resource
import socket
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import psutil
import pytest

from meshnode.testing import Mesh
from tests.support.asynchronous import asynchronous
from tests.support.connect_lab import answers, end, lab, talk_on
from tests.support.flows import all_live, ask, flowing
from tests.support.programs import skip

SILENT = 10_000
#: Descriptors that this process needs for anything else.
ROOM = 500


@pytest.fixture
def descriptors() -> None:
    """As many as the clients need."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < SILENT + ROOM:
        skip("descriptors")
    if soft != resource.RLIM_INFINITY and soft < SILENT + ROOM:
        resource.setrlimit(resource.RLIMIT_NOFILE, (SILENT + ROOM, hard))


def _accepted(shown: dict[str, Any]) -> int:
    return sum(proxy["Counters"].get("accepted.inbound", 0) for proxy in shown["Proxies"])


@pytest.mark.usefixtures("descriptors")
@asynchronous
async def test_ten_thousand_half_open_connections_keep_nobody_out(tmp_path: Path) -> None:
    with Mesh(servers=1, clients=2, config={"connect": {"enabled": True}}) as mesh:
        mesh["server1"].wait_for("/v1/connect/ca/roots")
        async with lab(mesh, tmp_path) as (made, app):
            proxy = await asyncio.to_thread(made.serve, app)
            port = mesh["client1"].api("/v1/agent/services")["echo-proxy"]["Port"]
            web = made.source("web")
            await answers(web)
            process = psutil.Process(proxy.process.pid)
            before, slowest = process.memory_info().rss, 0.0
            async with flowing([web] * 20) as flows:
                await all_live(flows)
                with ExitStack() as stack:
                    for number in range(SILENT):
                        sock = stack.enter_context(socket.socket())
                        sock.setblocking(False)
                        with contextlib.suppress(BlockingIOError):
                            sock.connect(("127.0.0.1", port))
                        if number % 500 == 0:
                            began = time.monotonic()
                            assert await ask(web) == b"hello", proxy.output[-2000:]
                            slowest = max(slowest, time.monotonic() - began)
                    await asyncio.to_thread(
                        mesh["client1"].wait_for,
                        "/v1/agent/connect/connections",
                        until=lambda shown: _accepted(shown) >= SILENT,
                    )
                    during = process.memory_info().rss
                    await talk_on(flows)
                    await answers(web)
                await end(flows)
            print(
                f"\n{SILENT} clients that said nothing: the slowest of the others waited {slowest * 1000:.0f} ms; "
                f"the proxy has {(during - before) / 2**20:.0f} MiB more"
            )
            assert during - before < 64 * 2**20
