"""Several processes behind one port, and one ledger of all of them."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from meshnode.base.errors import MeshError
from meshnode.proxy.config import ProxyConfig, PublicListener
from meshnode.runtime.proxy.interfaces import TlsMaterial
from meshnode.runtime.proxy.sidecar import Sidecar
from meshnode.runtime.proxy.workers import MAX_WORKERS, Workers
from tests.support.asynchronous import asynchronous
from tests.support.proxy import (
    Ca,
    Decisions,
    Instances,
    echo_server,
    free_port,
    local,
    make_sidecar,
    spiffe,
    upstream,
    write,
)
from tests.support.waiting import until


class FromFiles:
    """Certificates that the test wrote for the workers, which share no memory with it."""

    def __init__(self, files: tuple[str, str, str]) -> None:
        self._files = files

    async def watch(self) -> AsyncIterator[TlsMaterial]:
        yield TlsMaterial(*(Path(file).read_text() for file in self._files))
        await asyncio.Event().wait()


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
    from meshnode.proxy.balance import Instance

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
            connections, counters = await workers.report()
            assert len({entry["id"] for entry in connections}) == 12
            assert {entry["source"] for entry in connections} == {spiffe("web")}
            assert (counters["inbound.conns"], counters["inbound.rx_bytes"]) == (12, 60)

            assert await workers.cut(connections[0]["id"], "a test wants it")
            assert not await workers.cut(connections[0]["id"], "again")
            assert len((await workers.report())[0]) == 11

            os.kill(workers._workers[1].process.pid, signal.SIGKILL)
            await until(lambda: not workers._workers[1].process.is_alive(), "it is dead")
            await until(
                lambda: workers._workers.get(1) and workers._workers[1].process.is_alive(), "another is there"
            )
        finally:
            for _, writer in clients:
                writer.close()
            await web.stop(drain_timeout=0)
            await workers.stop(drain_timeout=1)
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.1", port)


@asynchronous
async def test_a_worker_that_cannot_listen_says_why(tmp_path: Path) -> None:
    async with echo_server() as app:
        files = write(Ca().leaf("api"), tmp_path, "api")
        workers = Workers(Factory(files), ProxyConfig("api", PublicListener(app, app)), 1)
        with pytest.raises(MeshError, match="worker 1: public can't listen on"):
            await workers.start()


@pytest.mark.parametrize("count", [0, MAX_WORKERS + 1])
def test_the_number_of_workers_is_bounded(count: int) -> None:
    with pytest.raises(MeshError, match="1 to 64"):
        Workers(Factory(("", "", "")), ProxyConfig("api"), count)


def test_the_bound_itself_is_allowed() -> None:
    assert Workers(Factory(("", "", "")), ProxyConfig("api"), MAX_WORKERS)
