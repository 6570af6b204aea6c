"""A server whose leaf is revoked: OpenSSL with a stolen leaf and key, against a sidecar and a native service."""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from meshnode.client.settings import ApiSettings
from meshnode.sdk import DialError, Service
from meshnode.testing import Mesh, MeshAgent
from tests.support.asynchronous import asynchronous
from tests.support.connect_lab import Lab, answers, lab
from tests.support.flows import ask
from tests.support.waiting import until
from tests.support.wire import free_port


@pytest.fixture(scope="module")
def mesh() -> Iterator[Mesh]:
    with Mesh(servers=1, clients=1, config={"connect": {"enabled": True}}) as made:
        made["client1"].wait_for("/v1/agent/connect/ca/roots")
        yield made


@dataclass
class Impostor:
    """``openssl s_server`` with the leaf of ``echo``; it gives lines back reversed."""

    agent: MeshAgent
    serial: str
    port: int


@contextlib.asynccontextmanager
async def impostor(agent: MeshAgent, directory: Path) -> AsyncIterator[Impostor]:
    """In the catalog as a native instance of ``echo``, the only one."""
    leaf = agent.api("/v1/agent/connect/ca/leaf/echo")
    (roots,) = agent.api("/v1/agent/connect/ca/roots")["Roots"]
    files = {"leaf.pem": leaf["CertPEM"], "key.pem": leaf["PrivateKeyPEM"], "roots.pem": roots["RootCert"]}
    for name, text in files.items():
        (directory / name).touch(mode=0o600)
        (directory / name).write_text(text)
    port = free_port()
    chain, key, trusted = (str(directory / name) for name in files)
    command = ["openssl", "s_server", "-accept", f"127.0.0.1:{port}", "-rev", "-Verify", "3"]
    command += ["-cert", chain, "-key", key, "-CAfile", trusted]
    with (directory / "openssl.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
    try:
        body = {"Name": "echo", "Address": "127.0.0.1", "Port": port, "Connect": {"Native": True}}
        agent.api("/v1/agent/service/register", method="PUT", body=body)
        agent.wait_for("/v1/health/connect/echo", until=lambda rows: len(rows) == 1)
        yield Impostor(agent, leaf["SerialNumber"], port)
    finally:
        process.kill()
        process.wait()
        agent.api("/v1/agent/service/deregister/echo", method="PUT")


def revoke(mesh: Mesh, serial: str) -> None:
    body = {"SerialNumber": serial, "Reason": "stolen"}
    mesh["server1"].api("/v1/connect/ca/revoke", method="PUT", body=body)


async def said(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
    writer.write(b"olleh\n")
    return await asyncio.wait_for(reader.readline(), 20)


async def first_answer(port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A connection through the sidecar at ``port``, once it has found the instance."""
    found: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []

    async def answered() -> bool:
        with contextlib.suppress(OSError):
            streams = await asyncio.open_connection("127.0.0.1", port)
            if await said(*streams) == b"hello\n":
                found.append(streams)
                return True
        return False

    await until(answered, "the impostor is found", 60)
    return found[0]


async def ends(reader: asyncio.StreamReader) -> bool:
    try:
        return await asyncio.wait_for(reader.read(), 20) == b""
    except ConnectionError:
        return True


async def connections(agent: MeshAgent) -> dict[str, Any]:
    found: dict[str, Any] = await asyncio.to_thread(agent.api, "/v1/agent/connect/connections")
    return found


@asynchronous
async def test_a_sidecar_cuts_and_refuses_a_server_with_a_revoked_leaf_and_finds_the_true_one(
    mesh: Mesh, tmp_path: Path
) -> None:
    agent = mesh["client1"]
    async with lab(mesh, tmp_path) as (made, app):
        async with impostor(agent, tmp_path) as stolen:
            port = made.source("web", agent)
            reader, writer = await first_answer(port)
            began = time.monotonic()
            await asyncio.to_thread(revoke, mesh, stolen.serial)
            assert await ends(reader)
            print(f"\ncut {(time.monotonic() - began) * 1000:.0f} ms after the revocation")
            writer.close()
            assert f"is cut: Certificate {stolen.serial} is revoked" in made.log("web")
            await until(lambda: refused(made, port, stolen.serial), "new connections are refused")
        await asyncio.to_thread(made.serve, app, agent)
        await answers(port)
        # The next one wants to be the only instance.
        gone = "/v1/agent/service/deregister/echo-proxy"
        await asyncio.to_thread(agent.api, gone, method="PUT")


async def refused(made: Lab, port: int, serial: str) -> bool:
    with contextlib.suppress(OSError):
        assert await ask(port) == b"", "whoever shows a revoked leaf gets nothing"
    return f"the certificate {serial} of spiffe://" in made.log("web")


@asynchronous
async def test_a_native_service_cuts_and_refuses_it_and_its_agent_is_told(mesh: Mesh, tmp_path: Path) -> None:
    agent = mesh["client1"]
    async with impostor(agent, tmp_path) as stolen, Service("web", settings=ApiSettings(agent.http)) as web:
        reader, writer = await web.dial("echo")
        assert await said(reader, writer) == b"hello\n"

        async def shown() -> bool:
            rows = (await connections(agent))["Connections"]
            return [row["Direction"] for row in rows if row["Serial"] == stolen.serial] == ["outbound"]

        await until(shown, "the agent knows of the connection")
        await asyncio.to_thread(revoke, mesh, stolen.serial)
        assert await ends(reader)
        writer.close()
        with pytest.raises(DialError, match="is revoked"):
            await web.dial("echo")

        async def told() -> bool:
            closed = (await connections(agent))["Closed"]
            return f"cut: Certificate {stolen.serial} is revoked" in [row["CloseCause"] for row in closed]

        await until(told, "the agent knows why it ended")
