"""Somebody on the network of a service who goes past its sidecar: the application has to listen where only the node is.

The positive control is who may, through the sidecar; the negative one is an application that listens everywhere, which
anybody reaches whatever the intentions say.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from meshnode.testing import Mesh
from tests.support.asynchronous import asynchronous
from tests.support.connect_lab import answers, lab, refused
from tests.support.waiting import until

pytestmark = pytest.mark.timeout(120)


@pytest.fixture(scope="module")
def mesh() -> Iterator[Mesh]:
    with Mesh(servers=1, clients=2, config={"connect": {"enabled": True}}) as made:
        made["server1"].wait_for("/v1/connect/ca/roots")
        yield made


def reached(host: str, port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection((host, port), 5) as attacker:
        attacker.sendall(b"hello")
        attacker.shutdown(socket.SHUT_WR)
        return attacker.recv(100) == b"hello"
    return False


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(await reader.read())
    writer.close()


@asynchronous
async def test_an_application_on_loopback_is_reached_through_its_sidecar_only(
    mesh: Mesh, tmp_path: Path
) -> None:
    outside = mesh["client1"].host
    async with lab(mesh, tmp_path) as (made, app):
        await asyncio.to_thread(made.serve, app)
        web, evil = made.source("web"), made.source("evil")
        await answers(web, evil)
        await asyncio.to_thread(made.deny, "evil")
        await until(lambda: refused(evil), "evil is refused by the sidecar", 60)
        await answers(web)
        assert not await asyncio.to_thread(reached, outside, app)
        careless = await asyncio.start_server(echo, "0.0.0.0", 0)
        async with careless:
            assert await asyncio.to_thread(reached, outside, careless.sockets[0].getsockname()[1])
