"""Our sidecars with Envoy's: each of them in front of the other, the SPIFFE IDs checked on both sides."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

from meshnode.proxy.balance import Instance
from meshnode.proxy.config import ProxyConfig, PublicListener
from meshnode.runtime.proxy.sidecar import Sidecar
from tests.support.asynchronous import asynchronous
from tests.support.envoy import client_sidecar, running, server_sidecar
from tests.support.programs import needs
from tests.support.proxy import (
    Ca,
    Decisions,
    Instances,
    echo_server,
    local,
    make_sidecar,
    spiffe,
    upstream,
    write,
)
from tests.support.waiting import until
from tests.support.wire import free_port

pytestmark = needs("envoy")

DATA = random.Random(5).randbytes(3_000_000)


@contextlib.asynccontextmanager
async def ours(sidecar: Sidecar, config: ProxyConfig) -> AsyncIterator[Sidecar]:
    await sidecar.start(config)
    try:
        yield sidecar
    finally:
        await sidecar.stop(drain_timeout=0)


async def exchange(port: int, data: bytes = DATA) -> bytes:
    """Send all, end, read all: half-close through both sidecars."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(data)
        writer.write_eof()
        return await asyncio.wait_for(reader.read(), 30)
    finally:
        writer.close()


@asynchronous
async def test_envoy_as_client_sidecar_reaches_our_application(tmp_path: Path) -> None:
    ca, decisions = Ca(), Decisions()
    api, _ = make_sidecar(ca, "api", decisions, Instances())
    async with echo_server() as app, ours(api, ProxyConfig("api", PublicListener(local(0), app))):
        port, files = free_port(), write(ca.leaf("web"), tmp_path, "web")
        to = ("127.0.0.1", api.address().port)
        async with running(client_sidecar(tmp_path, port, to, files, spiffe("api")), port):
            for _ in range(3):
                assert await exchange(port) == DATA
            assert {entry.source for entry in api.ledger.closed} == {spiffe("web")}
            decisions.denied.add("web")
            await api.recheck()
            with contextlib.suppress(ConnectionResetError):
                assert await exchange(port, b"hello") == b""
            assert api.counters()["refused.denied"] == 1


@asynchronous
async def test_our_client_sidecar_reaches_an_application_behind_envoy(tmp_path: Path) -> None:
    ca, instances = Ca(), Instances()
    web, _ = make_sidecar(ca, "web", Decisions(), instances)
    async with echo_server() as app, ours(web, ProxyConfig("web", None, (upstream(),))):
        port, files = free_port(), write(ca.leaf("api"), tmp_path, "api")
        async with running(server_sidecar(tmp_path, port, (app.host, app.port), files, spiffe("web")), port):
            instances.known["api"] = [Instance("127.0.0.1", port, spiffe("api"))]
            for _ in range(4):
                assert await exchange(web.address("service:default/api").port) == DATA
            assert web.counters()["upstream.resumed"] == 3


@asynchronous
async def test_envoy_with_another_identity_is_not_taken_for_the_instance(tmp_path: Path) -> None:
    ca, instances = Ca(), Instances()
    web, _ = make_sidecar(ca, "web", Decisions(), instances)
    async with echo_server() as app, ours(web, ProxyConfig("web", None, (upstream(),))):
        port, files = free_port(), write(ca.leaf("mail"), tmp_path, "mail")
        async with running(server_sidecar(tmp_path, port, (app.host, app.port), files, spiffe("web")), port):
            instances.known["api"] = [Instance("127.0.0.1", port, spiffe("api"))]
            with contextlib.suppress(ConnectionResetError):
                assert await exchange(web.address("service:default/api").port, b"hello") == b""
            assert web.counters()["refused.upstream"] == 1


@asynchronous
async def test_envoy_with_a_revoked_leaf_is_cut_and_gets_no_byte_more(tmp_path: Path) -> None:
    ca, instances = Ca(), Instances()
    web, certificates = make_sidecar(ca, "web", Decisions(), instances)
    async with echo_server() as app, ours(web, ProxyConfig("web", None, (upstream(),))):
        port, files = free_port(), write(ca.leaf("api"), tmp_path, "api")
        async with running(server_sidecar(tmp_path, port, (app.host, app.port), files, spiffe("web")), port):
            instances.known["api"] = [Instance("127.0.0.1", port, spiffe("api"))]
            to = web.address("service:default/api").port
            reader, writer = await asyncio.open_connection("127.0.0.1", to)
            writer.write(b"hello")
            assert await asyncio.wait_for(reader.readexactly(5), 10) == b"hello"
            (entry,) = web.ledger.live()
            certificates.replace(replace(ca.leaf("web"), revoked=frozenset({entry.serial})))
            with contextlib.suppress(ConnectionResetError):
                assert await asyncio.wait_for(reader.read(), 10) == b""
            writer.close()
            assert entry.close_cause == f"cut: Certificate {entry.serial} is revoked"
            with contextlib.suppress(ConnectionResetError):
                assert await exchange(to, b"hello") == b""
            assert "is revoked" in web.ledger.refused[-1].because


@asynchronous
async def test_a_connection_to_envoy_that_waited_serves_as_any_other(tmp_path: Path) -> None:
    ca, instances = Ca(), Instances()
    web, _ = make_sidecar(ca, "web", Decisions(), instances)
    async with echo_server() as app, ours(web, ProxyConfig("web", None, (upstream(prewarm=2),))):
        port, files = free_port(), write(ca.leaf("api"), tmp_path, "api")
        async with running(server_sidecar(tmp_path, port, (app.host, app.port), files, spiffe("web")), port):
            instances.known["api"] = [Instance("127.0.0.1", port, spiffe("api"))]
            (listener,) = web._listeners.values()
            for count in range(3):
                assert await exchange(listener.address.port) == DATA
                assert web.counters().get("upstream.prewarmed", 0) == count
                await until(lambda: len(listener._destination.warm) == 2, "two wait")  # type: ignore[union-attr]
