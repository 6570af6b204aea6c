"""Several processes behind one port, and one ledger of all of them."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from meshnode.base.errors import ConfigError, MeshError
from meshnode.proxy.balance import Instance
from meshnode.proxy.config import Endpoint, ProxyConfig, PublicListener, Upstream
from meshnode.runtime.proxy.interfaces import TlsMaterial
from meshnode.runtime.proxy.sidecar import Sidecar
from meshnode.runtime.proxy.workers import IDS_PER_LIFE, MAX_WORKERS, Workers
from meshnode.runtime.tasks import cancel_and_wait, spawn
from tests.support.asynchronous import asynchronous
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


class FromFiles:
    """Certificates that the test wrote for the workers, which share no memory with it."""

    def __init__(self, files: tuple[str, str, str]) -> None:
        self._files = files

    async def watch(self) -> AsyncIterator[TlsMaterial]:
        chain, key, roots = (Path(file).read_text() for file in self._files)
        yield TlsMaterial(chain, key, roots)
        await asyncio.Event().wait()


class Never:
    """An agent that is away."""

    async def watch(self) -> AsyncIterator[TlsMaterial]:
        await asyncio.Event().wait()
        yield TlsMaterial("", "", "")


def never(first_id: int, id_step: int) -> Sidecar:
    return Sidecar(Never(), Decisions(), Instances(), shared=True, first_id=first_id, id_step=id_step)


class Factory:
    """Picklable, as a new interpreter needs it."""

    def __init__(self, files: tuple[str, str, str]) -> None:
        self.files = files

    def __call__(self, first_id: int, id_step: int) -> Sidecar:
        return Sidecar(
            FromFiles(self.files), Decisions(), Instances(), shared=True, first_id=first_id, id_step=id_step
        )


@asynchronous
async def test_the_parent_reports_cuts_replaces_and_stops_its_workers(tmp_path: Path) -> None:
    ca, port = Ca(), free_port()
    async with echo_server() as app:
        files = write(ca.leaf("api"), tmp_path, "api")
        workers = Workers(Factory(files), ProxyConfig("api", PublicListener(local(port), app)), 2)
        await workers.start()
        web, _ = make_sidecar(
            ca, "web", Decisions(), Instances({"api": [Instance("127.0.0.1", port, spiffe("api"))]})
        )
        await web.start(ProxyConfig("web", None, (upstream(),)))
        clients = []
        try:
            for _ in range(12):
                reader, writer = await asyncio.open_connection(
                    "127.0.0.1", web.address("service:default/api").port
                )
                writer.write(b"hello")
                assert await asyncio.wait_for(reader.readexactly(5), 20) == b"hello"
                clients.append((reader, writer))
            report = await workers.report()
            connections, counters = report["Connections"], report["Counters"]
            assert len({entry["ID"] for entry in connections}) == 12
            assert {entry["Source"] for entry in connections} == {spiffe("web")}
            assert (report["Service"], report["Identity"]) == ("api", spiffe("api"))
            assert (counters["inbound.conns"], counters["inbound.rx_bytes"]) == (12, 60)

            assert await workers.cut(connections[0]["ID"], "a test wants it")
            assert not await workers.cut(connections[0]["ID"], "again")
            assert len((await workers.report())["Connections"]) == 11

            os.kill(workers._workers[1].process.pid, signal.SIGKILL)
            await until(lambda: not workers._workers[1].process.is_alive(), "it is dead")
            await until(
                lambda: workers._workers.get(1) and workers._workers[1].process.is_alive(), "another is there"
            )
            reader, writer = await asyncio.open_connection(
                "127.0.0.1", web.address("service:default/api").port
            )
            clients.append((reader, writer))
            while max(entry["ID"] for entry in (await workers.report())["Connections"]) < IDS_PER_LIFE:
                # The kernel chooses the worker: until the new one has a connection, whose id no earlier one had.
                reader, writer = await asyncio.open_connection(
                    "127.0.0.1", web.address("service:default/api").port
                )
                clients.append((reader, writer))
                writer.write(b"hello")
                assert await asyncio.wait_for(reader.readexactly(5), 20) == b"hello"
        finally:
            for _, writer in clients:
                writer.close()
            await web.stop(drain_timeout=0)
            await workers.stop(drain_timeout=1)
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.1", port)


@asynchronous
async def test_a_changed_configuration_reaches_every_worker_also_one_that_is_started_again(
    tmp_path: Path,
) -> None:
    ca, first, second = Ca(), free_port(), free_port()
    async with echo_server() as app:
        files = write(ca.leaf("api"), tmp_path, "api")
        workers = Workers(Factory(files), ProxyConfig("api", PublicListener(local(first), app)), 2)
        await workers.start()
        try:
            await workers.apply(ProxyConfig("api", PublicListener(local(second), app)))
            assert [item["Address"] for item in (await workers.report())["Listeners"]] == [
                f"127.0.0.1:{second}"
            ]
            with pytest.raises(ConnectionRefusedError):
                await asyncio.open_connection("127.0.0.1", first)

            # Nothing is changed anywhere when the address is not to be had.
            with pytest.raises(ConfigError, match="public can't listen on"):
                await workers.apply(ProxyConfig("api", PublicListener(app, app)))
            assert [item["Address"] for item in (await workers.report())["Listeners"]] == [
                f"127.0.0.1:{second}"
            ]

            killed = workers._workers[1].process
            os.kill(killed.pid, signal.SIGKILL)
            await until(
                lambda: workers._workers.get(1) and workers._workers[1].process is not killed, "another"
            )
            report = await workers._ask(workers._workers[1], {"ask": "report"}, 20)
            assert report["report"]["Listeners"][0]["Address"] == f"127.0.0.1:{second}"
        finally:
            await workers.stop(drain_timeout=1)


@asynchronous
async def test_a_configuration_that_one_worker_cannot_use_is_taken_back_by_all(tmp_path: Path) -> None:
    port, other = free_port(), free_port()
    async with echo_server() as app:
        old = ProxyConfig("api", PublicListener(local(port), app))
        workers = Workers(Factory(write(Ca().leaf("api"), tmp_path, "api")), old, 1)
        await workers.start()
        try:
            # A unix socket is not looked at beforehand: the worker itself finds that it can't have it.
            missing = Upstream(Endpoint(path=str(tmp_path / "none" / "db.sock")), "db")
            with pytest.raises(ConfigError, match="db can't listen on unix:"):
                await workers.apply(ProxyConfig("api", PublicListener(local(other), app), (missing,)))
            assert [item["Address"] for item in (await workers.report())["Listeners"]] == [
                f"127.0.0.1:{port}"
            ]
        finally:
            await workers.stop(drain_timeout=1)


@asynchronous
async def test_the_draining_of_workers_can_be_ended(tmp_path: Path) -> None:
    ca, port = Ca(), free_port()
    async with echo_server() as app:
        files = write(ca.leaf("api"), tmp_path, "api")
        workers = Workers(Factory(files), ProxyConfig("api", PublicListener(local(port), app)), 1)
        await workers.start()
        leads = Instances({"api": [Instance("127.0.0.1", port, spiffe("api"))]})
        web, _ = make_sidecar(ca, "web", Decisions(), leads)
        await web.start(ProxyConfig("web", None, (upstream(),)))
        reader, writer = await asyncio.open_connection("127.0.0.1", web.address("service:default/api").port)
        writer.write(b"hello")
        assert await asyncio.wait_for(reader.readexactly(5), 20) == b"hello"
        process = workers._workers[1].process
        stopping = spawn(workers.stop(drain_timeout=1000), name="test")
        await until(lambda: not workers._workers, "it is stopping")
        workers.hurry()
        await asyncio.wait_for(stopping, 20)
        assert not process.is_alive()
        writer.close()
        await web.stop(drain_timeout=0)


@asynchronous
async def test_an_address_in_use_is_told_before_any_worker_starts(tmp_path: Path) -> None:
    async with echo_server() as app:
        workers = Workers(Factory(("", "", "")), ProxyConfig("api", PublicListener(app, app)), 1)
        with pytest.raises(MeshError, match="public can't listen on"):
            await workers.start()


@asynchronous
async def test_two_proxies_with_workers_do_not_share_a_port_by_accident(tmp_path: Path) -> None:
    port = free_port()
    files = write(Ca().leaf("api"), tmp_path, "api")
    config = ProxyConfig("api", PublicListener(local(port), local(1)))
    workers = Workers(Factory(files), config, 1)
    await workers.start()
    try:
        with pytest.raises(ConfigError, match="Address already in use"):
            await Workers(Factory(files), config, 1).start()
    finally:
        await workers.stop(drain_timeout=0)


@asynchronous
async def test_a_worker_that_cannot_start_says_why(tmp_path: Path) -> None:
    chain, key, _ = write(Ca().leaf("api"), tmp_path, "api")
    workers = Workers(Factory((chain, key, key)), ProxyConfig("api"), 1)
    with pytest.raises(MeshError, match=r"worker 1: .* not certificates in PEM form"):
        await workers.start()


@asynchronous
async def test_a_worker_that_waits_for_its_certificate_is_ended_with_its_parent(tmp_path: Path) -> None:
    workers = Workers(never, ProxyConfig("api"), 1)
    starting = spawn(workers.start(), name="test")
    await until(multiprocessing.active_children, "a worker is there")
    await cancel_and_wait(starting)
    assert not multiprocessing.active_children()


@pytest.mark.parametrize("count", [0, MAX_WORKERS + 1])
def test_the_number_of_workers_is_bounded(count: int) -> None:
    with pytest.raises(MeshError, match="1 to 64"):
        Workers(Factory(("", "", "")), ProxyConfig("api"), count)


def test_the_bound_itself_is_allowed() -> None:
    assert Workers(Factory(("", "", "")), ProxyConfig("api"), MAX_WORKERS)
