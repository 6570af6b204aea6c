"""Calls to a member of etcd that goes away: an error for who called, and nothing else left behind in its task."""

from __future__ import annotations

import asyncio
import socket
import ssl

import pytest

from meshnode.base.address import Address
from meshnode.runtime.etcd_client import EtcdClient, EtcdSettings, EtcdUnavailableError
from meshnode.runtime.etcd_messages import RANGE, WATCH, message
from tests.support.asynchronous import asynchronous

#: HTTP/2: an empty SETTINGS frame, so that a client takes us for a server and sends its request.
SETTINGS = bytes((0, 0, 0, 4, 0, 0, 0, 0, 0))


async def hangs_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Greets, takes the request, and is gone."""
    writer.write(SETTINGS)
    await reader.readuntil(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
    await reader.read(4096)
    writer.transport.abort()


async def asks(client: EtcdClient, *, streams: bool) -> None:
    if streams:
        async for _answer in client.stream(WATCH, message("WatchRequest")):
            raise AssertionError("there is no answer")
    else:
        await client.call(RANGE, message("RangeRequest", key=b"k"))


@asynchronous
async def test_members_are_asked_in_turns_with_tls_and_then_those_in_clear() -> None:
    """Nobody answers at the port, so that each call goes on to the next one."""
    listener = socket.create_server(("127.0.0.1", 0))
    port = listener.getsockname()[1]
    listener.close()
    one, two = Address("127.0.0.1", port), Address("127.0.0.2", port)
    contexts: list[ssl.SSLContext] = []

    def tls() -> ssl.SSLContext:
        contexts.append(ssl.create_default_context())
        return contexts[-1]

    client = EtcdClient(EtcdSettings((one, two), tls, clear=(two,)))
    seen = []
    for _ in range(4):
        endpoint, secured = client.endpoint, len(contexts)
        with pytest.raises(EtcdUnavailableError, match=str(endpoint)):
            await asks(client, streams=False)
        seen.append((endpoint, len(contexts) > secured))
    await client.close()
    assert seen == [(one, True), (two, True), (two, False), (one, True)]


@pytest.mark.parametrize("streams", [False, True], ids=["call", "stream"])
@asynchronous
async def test_a_member_that_hangs_up_leaves_no_request_to_cancel_in_the_caller(streams: bool) -> None:
    server = await asyncio.start_server(hangs_up, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()
    client = EtcdClient(EtcdSettings((Address(host, port),)))
    task = asyncio.current_task()
    assert task is not None
    for _ in range(3):
        with pytest.raises(EtcdUnavailableError):
            await asks(client, streams=streams)
        assert task.cancelling() == 0
    await client.close()
    server.close()
    await server.wait_closed()
