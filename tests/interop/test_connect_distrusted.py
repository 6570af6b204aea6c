"""A root is distrusted while its leafs are used: what is open by them ends. An orderly rotation ends nothing."""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from meshnode.client.settings import ApiSettings
from meshnode.sdk import Service
from meshnode.testing import Mesh, MeshAgent
from tests.support.asynchronous import asynchronous
from tests.support.connect_lab import answers, end, lab, talk_on
from tests.support.flows import all_live, flowing
from tests.support.waiting import until

#: Seconds from the answer of the API until what is open has ended.
CUT_WITHIN = 2.0


@pytest.fixture(scope="module")
def mesh() -> Iterator[Mesh]:
    connect = {"enabled": True, "ca_config": {"leaf_cert_ttl": "60s"}}
    with Mesh(servers=1, clients=2, config={"connect": connect}) as made:
        for name in ("client1", "client2"):
            made[name].wait_for("/v1/agent/connect/ca/roots")
        yield made


def rotate(mesh: Mesh, action: str, **more: bool) -> None:
    mesh["server1"].api("/v1/connect/ca/rotation", method="PUT", body={"Action": action, **more})


def active(agent: MeshAgent) -> dict[str, Any]:
    told = agent.api("/v1/agent/connect/ca/roots")
    (root,) = [row for row in told["Roots"] if row["ID"] == told["ActiveRootID"]]
    return dict(root)


async def distrust(mesh: Mesh) -> tuple[str, float]:
    """What is said of the root that goes, and when it has gone."""
    root = await asyncio.to_thread(active, mesh["client1"])
    await asyncio.to_thread(rotate, mesh, "start", Force=True)
    await asyncio.to_thread(rotate, mesh, "distrust")
    return f"Root {root['Name']} ({root['ID']}) is distrusted", time.monotonic()


def in_time(began: float, ended: float, what: str) -> None:
    print(f"\n{what}: cut {(ended - began) * 1000:.0f} ms after the answer")
    assert ended - began < CUT_WITHIN


async def closed(agent: MeshAgent) -> list[str]:
    found = await asyncio.to_thread(agent.api, "/v1/agent/connect/connections")
    return [row["CloseCause"] for row in found["Closed"]]


@asynchronous
async def test_what_two_sidecars_have_open_is_cut_and_they_go_on_with_the_next_root(
    mesh: Mesh, tmp_path: Path
) -> None:
    async with lab(mesh, tmp_path) as (made, app):
        await asyncio.to_thread(made.serve, app)
        port = made.source("web")
        await answers(port)
        async with flowing([port]) as flows:
            await all_live(flows)
            cause, began = await distrust(mesh)
            await until(lambda: flows[0].ended > 0, "it is cut")
            in_time(began, flows[0].ended, "sidecars")
        told = [*await closed(mesh["client1"]), *await closed(mesh["client2"])]
        logs = made.log("web") + made.log("echo")
        assert f"is cut: {cause}" in logs
        print([line for line in logs.splitlines() if "is cut" in line], told)
        await answers(port)

        async def known() -> bool:
            causes = [*await closed(mesh["client1"]), *await closed(mesh["client2"])]
            return f"cut: {cause}" in causes

        await until(known, "the agents know why it ended")


@asynchronous
async def test_a_client_that_goes_on_with_a_leaf_of_before_is_cut_by_the_other_side(
    mesh: Mesh, tmp_path: Path
) -> None:
    agent = mesh["client1"]
    async with lab(mesh, tmp_path) as (made, app):
        await asyncio.to_thread(made.serve, app)
        with stolen(agent, tmp_path) as process:
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.write(b"hello\n")
            process.stdin.flush()
            assert await asyncio.to_thread(process.stdout.readline) == b"hello\n"
            cause, began = await distrust(mesh)
            assert await asyncio.to_thread(process.stdout.read) == b""
            in_time(began, time.monotonic(), "openssl s_client")
        assert f"is cut: {cause}" in made.log("echo")


@contextlib.contextmanager
def stolen(agent: MeshAgent, directory: Path) -> Iterator[subprocess.Popen[bytes]]:
    """``openssl s_client`` at the sidecar of ``echo`` with the leaf of ``web``, which it keeps."""
    leaf = agent.api("/v1/agent/connect/ca/leaf/web")
    files = {
        "leaf.pem": leaf["CertPEM"],
        "key.pem": leaf["PrivateKeyPEM"],
        "root.pem": active(agent)["RootCert"],
    }
    for name, text in files.items():
        (directory / name).touch(mode=0o600)
        (directory / name).write_text(text)
    port = agent.api("/v1/agent/services")["echo-proxy"]["Port"]
    chain, key, root = (str(directory / name) for name in files)
    command = [
        "openssl",
        "s_client",
        "-connect",
        f"127.0.0.1:{port}",
        "-quiet",
        "-cert",
        chain,
        "-cert_chain",
    ]
    command += [chain, "-key", key, "-CAfile", root, "-verify_return_error"]
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    try:
        yield process
    finally:
        process.kill()
        with contextlib.suppress(BrokenPipeError):
            process.communicate()


@asynchronous
async def test_two_native_services_cut_it_too(mesh: Mesh) -> None:
    one, two = mesh["client1"], mesh["client2"]

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(1024):
            writer.write(data)

    async with (
        Service("api", settings=ApiSettings(one.http)) as api,
        Service("web", settings=ApiSettings(two.http)) as web,
        await api.start_server(echo, "127.0.0.1", 0) as server,
    ):
        await api.register(server.sockets[0].getsockname()[1], address="127.0.0.1")
        await until(lambda: dials(web), "it is found", 60)
        reader, writer = await web.dial("api")
        writer.write(b"hello")
        assert await reader.readexactly(5) == b"hello"
        cause, began = await distrust(mesh)
        with contextlib.suppress(ConnectionError):
            assert await asyncio.wait_for(reader.read(), 20) == b""
        in_time(began, time.monotonic(), "native services")
        ledgers = (api.live.ledger, web.live.ledger)
        await until(lambda: not any(map(len, ledgers)), "both know")
        assert f"cut: {cause}" in [entry.close_cause for ledger in ledgers for entry in ledger.closed]
        writer.close()


async def dials(web: Service) -> bool:
    try:
        _, writer = await web.dial("api")
    except OSError:
        return False
    writer.close()
    return True


@asynchronous
async def test_what_is_open_lives_on_through_an_orderly_rotation(mesh: Mesh, tmp_path: Path) -> None:
    server, agents = mesh["server1"], [mesh["client1"], mesh["client2"]]
    async with lab(mesh, tmp_path) as (made, app):
        await asyncio.to_thread(made.serve, app)
        port = made.source("web")
        await answers(port)
        async with flowing([port]) as flows:
            await all_live(flows)
            before = await asyncio.to_thread(active, server)
            await asyncio.to_thread(rotate, mesh, "start")

            def retired() -> bool:
                over = server.api("/v1/connect/ca/rotation")["Phase"] == ""
                return over and all(ids(agent) == [active(server)["ID"]] for agent in agents)

            await until(threaded(retired), "the old root is dropped everywhere", 120)
            assert before["ID"] not in ids(server)
            assert "is distrusted" not in made.log("web") + made.log("echo")
            await talk_on(flows)
            await end(flows)


def ids(agent: MeshAgent) -> list[str]:
    return [row["ID"] for row in agent.api("/v1/agent/connect/ca/roots")["Roots"]]


def threaded(look: Callable[[], bool]) -> Callable[[], Any]:
    return lambda: asyncio.to_thread(look)
