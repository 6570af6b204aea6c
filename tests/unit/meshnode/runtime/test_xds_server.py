"""The xDS port, with grpclib's client as the Envoy."""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from grpclib.client import Channel, StreamStreamMethod
from grpclib.const import Status
from grpclib.exceptions import GRPCError, StreamTerminatedError

from meshnode.base.address import Address
from meshnode.base.errors import ConfigError, MeshError
from meshnode.runtime import xds_server
from meshnode.runtime.xds_grpc import MAX_REQUEST_BYTES
from meshnode.runtime.xds_server import XdsListener, XdsServer
from meshnode.xds.compile import Snapshot, compile_snapshot
from meshnode.xds.schema import CLUSTER, LISTENER, SECRET, message
from meshnode.xds.session import Session
from tests.support.asynchronous import asynchronous
from tests.support.waiting import until
from tests.support.xds import Client, state, upstream

SERVICE = "/envoy.service.discovery.v3.AggregatedDiscoveryService/"


class OneFeed:
    def __init__(self) -> None:
        self.snapshot: Snapshot | None = compile_snapshot(state())
        self.refusal: MeshError | None = None
        self.tokens: list[str] = []
        self.sessions: list[Session] = []
        self.changed: Callable[[], None] = lambda: None
        self.closed = self.heard = 0

    def open(self, proxy_id: str, token: str, session: Session, changed: Callable[[], None]) -> OneFeed:
        if proxy_id != "web-sidecar-proxy":
            raise MeshError(f"no proxy {proxy_id}")
        self.tokens.append(token)
        self.sessions.append(session)
        self.changed = changed
        return self

    def applied(self) -> None:
        self.heard += 1

    def close(self) -> None:
        self.closed += 1


@contextlib.asynccontextmanager
async def serving(feed: OneFeed) -> AsyncIterator[Address]:
    server = XdsServer(feed, asyncio.get_running_loop().time)
    (where,) = server.listen(XdsListener(Address("127.0.0.1", 0)))
    try:
        yield where
    finally:
        await server.stop()
        await server.stop()


def method(channel: Channel, *, delta: bool) -> StreamStreamMethod[Any, Any]:
    name, kind = ("DeltaAggregatedResources", "Delta") if delta else ("StreamAggregatedResources", "")
    messages = [message(f"service.discovery.v3.{kind}Discovery{end}") for end in ("Request", "Response")]
    return StreamStreamMethod(channel, SERVICE + name, *messages)


@pytest.mark.parametrize("delta", [False, True])
@asynchronous
async def test_a_change_reaches_a_client_that_acknowledges(delta: bool) -> None:
    feed, client = OneFeed(), Client(delta=delta)
    async with serving(feed) as where, Channel(where.host, where.port) as channel:
        async with method(channel, delta=delta).open(metadata={"x-consul-token": "s3cret"}) as stream:
            await stream.send_message(client.asks(CLUSTER))
            response = await stream.recv_message()
            assert response is not None
            assert len(response.resources) == 1
            await stream.send_message(client.answers(response))
            await until(lambda: feed.sessions[0].status(0.0)[0].applied, "the ACK")
            feed.snapshot = compile_snapshot(state(upstream()))
            feed.changed()
            response = await stream.recv_message()
            assert response is not None
            assert "db.default.dc1" in str(response)
            await stream.cancel()
        await until(lambda: feed.closed, "the end of the stream")
    assert feed.tokens == ["s3cret"]


@asynchronous
async def test_the_feed_hears_once_listeners_and_secrets_are_applied() -> None:
    feed, client = OneFeed(), Client(delta=True)
    async with (
        serving(feed) as where,
        Channel(where.host, where.port) as channel,
        method(channel, delta=True).open() as stream,
    ):
        for asked in (client.asks(LISTENER), client.asks(SECRET, "leaf", "roots")):
            assert feed.heard == 0
            await stream.send_message(asked)
            response = await stream.recv_message()
            assert response is not None
            await stream.send_message(client.answers(response))
        await until(lambda: feed.heard, "the feed is told")
        await stream.cancel()


async def ending(where: Address, *requests: Any) -> GRPCError:
    async with Channel(where.host, where.port) as channel:
        try:
            async with method(channel, delta=False).open() as stream:
                for request in requests:
                    await stream.send_message(request)
                while await stream.recv_message() is not None:
                    pass
        except GRPCError as error:
            return error
    raise AssertionError("the stream went on")


@asynchronous
async def test_who_may_not_know_is_told_why_now_and_later() -> None:
    feed, client = OneFeed(), Client(delta=False)
    async with serving(feed) as where:
        request = client.asks(CLUSTER)
        request.node.id = "nobody"
        error = await ending(where, request)
        assert (error.status, error.message) == (Status.PERMISSION_DENIED, "no proxy nobody")
        feed.refusal = MeshError("ACL not found")
        error = await ending(where, client.asks(CLUSTER))
        assert (error.status, error.message) == (Status.PERMISSION_DENIED, "ACL not found")
        assert feed.closed == 1


@asynchronous
async def test_a_client_that_names_no_node_is_told_so() -> None:
    async with serving(OneFeed()) as where:
        error = await ending(where, message("service.discovery.v3.DiscoveryRequest")(type_url=CLUSTER))
    assert error.status is Status.INVALID_ARGUMENT
    assert error.message == "the first request names no node.id: it is the ID of the proxy"


@asynchronous
async def test_bytes_that_are_no_grpc_do_no_harm() -> None:
    async with serving(OneFeed()) as where:
        reader, writer = await asyncio.open_connection(where.host, where.port)
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n" * 10)
        await asyncio.wait_for(reader.read(), 10)
        writer.close()
        async with Channel(where.host, where.port) as channel, method(channel, delta=False).open() as stream:
            await stream.send_message(Client(delta=False).asks(CLUSTER))
            assert await stream.recv_message() is not None
            await stream.cancel()


class Raw:
    """A message that is sent as it is."""

    def __init__(self, body: bytes) -> None:
        self.body = body

    def SerializeToString(self) -> bytes:  # noqa: N802 - protobuf's name
        return self.body


async def sent(channel: Channel, body: bytes) -> None:
    method: Any = StreamStreamMethod(channel, SERVICE + "DeltaAggregatedResources", Raw, Raw)
    async with method.open() as stream:
        with contextlib.suppress(StreamTerminatedError):
            await stream.send_message(Raw(body))
        await stream.recv_message()


@pytest.mark.parametrize(
    ("size", "words"),
    [
        (MAX_REQUEST_BYTES, "the request can't be read: "),
        (MAX_REQUEST_BYTES + 1, "a request of 4194305 bytes is longer than 4194304"),
    ],
)
@asynchronous
async def test_a_request_that_can_t_be_read_ends_the_stream_with_its_reason(
    size: int, words: str, capfd: pytest.CaptureFixture[str]
) -> None:
    async with serving(OneFeed()) as where, Channel(where.host, where.port) as channel:
        with pytest.raises(GRPCError) as caught:
            await sent(channel, b"\xff" * size)
    assert caught.value.status is Status.INVALID_ARGUMENT
    assert (caught.value.message or "").startswith(words)
    assert "Traceback" not in capfd.readouterr().err


@asynchronous
async def test_a_port_that_is_taken_is_named_with_its_key() -> None:
    async with serving(OneFeed()) as where:
        with pytest.raises(ConfigError, match=r"ports\.grpc: can't listen on .* is taken by another program"):
            XdsServer(OneFeed(), lambda: 0.0).listen(XdsListener(where))


@asynchronous
async def test_without_the_packages_it_says_how_to_get_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(xds_server, "grpc_available", lambda: False)
    with pytest.raises(ConfigError, match=r"ports\.grpc: xDS needs .*: pip install 'meshnode\[envoy\]'"):
        XdsServer(OneFeed(), lambda: 0.0).listen(XdsListener(Address("127.0.0.1", 0)))


def test_an_agent_pays_for_grpc_only_once_an_envoy_connects() -> None:
    program = (
        "import sys, meshnode.agent.agent;"
        "print([name for name in ('grpclib', 'google.protobuf') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
