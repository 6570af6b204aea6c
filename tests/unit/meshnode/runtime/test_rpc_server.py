"""The server over loopback: first bytes, refusals, bounds, ends. Every test also proves that no task is left."""

from __future__ import annotations

import asyncio
import logging
import struct
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from meshnode.base.errors import MeshError
from meshnode.base.metrics import Metrics
from meshnode.control.status import STATUS_METHODS, ClusterView
from meshnode.rpc import yamux_frames as frames
from meshnode.rpc.codec import Request, Response, serialize_request
from meshnode.rpc.method import MethodTable, RpcError
from meshnode.rpc.yamux import Limits
from meshnode.runtime.rpc_client import CallLostError, ClientOptions
from meshnode.runtime.rpc_server import PeerInfo, RpcServer, ServerOptions
from meshnode.runtime.rpc_wire import WireTimes
from tests.support.rpc_lab import LOOPS, client_of, echo, run, serving
from tests.support.waiting import until
from tests.unit.meshnode.runtime.rpc_dialling import QUICK, dialled, responses, to_the_end


def frame(kind: int, flags: int, stream: int, length: int, payload: bytes = b"") -> bytes:
    return struct.pack(">BBHII", 0, kind, flags, stream, length) + payload


def call(stream: int, seq: int, body: object = None, flags: int = 0, method: str = "A.B") -> bytes:
    request = serialize_request(Request(method, seq, body))
    return frame(0, flags, stream, len(request), request)


def unfinished_request() -> tuple[bytes, int]:
    """A request without its last byte, and how much of it a server has to keep (the header is read already)."""
    whole, header = (
        serialize_request(Request("A.B", 1, bytes(50_000))),
        serialize_request(Request("A.B", 1, None)),
    )
    return whole[:-1], len(whole) - len(header)


@pytest.mark.parametrize("loop", LOOPS)
def test_plain_net_rpc_answers_calls_in_order(loop: str) -> None:
    async def main() -> None:
        async with serving() as (server, address), dialled(address) as (reader, writer):
            writer.write(b"\x00" + b"".join(serialize_request(Request("A.B", n, [n])) for n in range(50)))
            assert await responses(reader, 50) == [Response("A.B", n, "", [n]) for n in range(50)]
            assert server.counters["request"] == 50

    run(main, loop)


def test_one_byte_at_a_time_is_as_good_as_all_at_once() -> None:
    async def main() -> None:
        async with serving() as (_, address), dialled(address) as (reader, writer):
            for byte in b"\x00" + serialize_request(Request("A.B", 9, {"k": "v"})):
                writer.write(bytes([byte]))
                await writer.drain()
                await asyncio.sleep(0)
            assert await responses(reader, 1) == [Response("A.B", 9, "", {b"k": b"v"})]

    run(main)


def test_the_peers_fin_is_waited_for_by_the_answers_under_way() -> None:
    release = asyncio.Event()

    async def slow(request: Request, peer: PeerInfo) -> Any:
        await release.wait()
        return request.body

    async def main() -> None:
        async with serving(slow) as (server, address), dialled(address) as (reader, writer):
            writer.write(b"\x00" + serialize_request(Request("A.B", 1, "x")) * 2)
            writer.write_eof()
            await until(lambda: server.counters["request"], "the call arrived", interval=0.001)
            release.set()
            assert len(await responses(reader, 2)) == 2
            assert await reader.read() == b"", "then it closes"

    run(main)


def test_the_methods_of_status_through_the_whole_stack() -> None:
    table = MethodTable(STATUS_METHODS)
    view = ClusterView("10.0.0.1:8300", ("10.0.0.1:8300",))

    async def handler(request: Request, peer: PeerInfo) -> Any:
        return table.find(request.method)(view, request.body)

    async def main() -> None:
        async with serving(handler) as (server, address), client_of() as client:
            assert await client.call(address, "Status.Leader", {}, timeout=5) == b"10.0.0.1:8300"
            assert await client.call(address, "Status.Peers", {}, timeout=5) == [b"10.0.0.1:8300"]
            assert await client.call(address, "Status.Ping", {}, timeout=5) == {}
            with pytest.raises(RpcError, match=r"rpc: can't find method Status\.Nope"):
                await client.call(address, "Status.Nope", {}, timeout=5)
            assert server.counters["request_error"] == 1

    run(main)


def test_a_handler_that_breaks_answers_without_its_secrets(caplog: pytest.LogCaptureFixture) -> None:
    async def handler(request: Request, peer: PeerInfo) -> Any:
        if request.method == "Bad.Body":
            return object()
        raise ValueError("password=hunter2")

    async def main() -> None:
        async with serving(handler) as (_, address), client_of() as client:
            with pytest.raises(RpcError) as broken:
                await client.call(address, "Any.Thing", None, timeout=5)
            assert "hunter2" not in str(broken.value)
            with pytest.raises(RpcError, match="can't be written as msgpack"):
                await client.call(address, "Bad.Body", None, timeout=5)

    run(main)
    assert "the handler of Any.Thing failed" in caplog.text


@pytest.mark.parametrize("loop", LOOPS)
def test_a_silent_peer_is_cut(loop: str, caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        async with serving(options=QUICK) as (server, address), dialled(address) as (reader, _):
            assert await to_the_end(reader) == b""
            assert server.counters["refused.silent"] == 1

    run(main, loop)
    assert "said nothing for 0.1 s" in caplog.text


@pytest.mark.parametrize(
    "broken",
    [
        b"\x04" + b"\x01" + bytes(11),
        b"\x04" + frame(9, 0, 0, 0),
        b"\x04" + frame(1, 1, 2, 0),
        b"\x04" + frame(0, 1, 1, 1, b"\xc1"),
        b"\x00\xc1",
        b"\x00" + serialize_request(Request("A.B", 1, None))[:-1] + b"\xdb\x7f\xff\xff\xff",
        b"\x04" + frame(0, 1, 1, 5, b"\xdb\x7f\xff\xff\xff"),
    ],
)
def test_what_breaks_the_protocol_closes_the_connection_and_nothing_else(broken: bytes) -> None:
    async def main() -> None:
        async with serving() as (server, address), client_of() as client:
            assert await client.call(address, "A.B", 1, timeout=5) == 1
            async with dialled(address) as (reader, writer):
                writer.write(broken)
                await to_the_end(reader)
            await until(lambda: server.connection_count == 1, "only the good one is left", interval=0.001)
            assert await client.call(address, "A.B", 2, timeout=5) == 2

    run(main)


def test_half_open_streams_and_connections_hold_nothing_after_they_end() -> None:
    async def main() -> None:
        async with serving() as (server, address):
            async with dialled(address) as (_, writer):
                part, held = unfinished_request()
                writer.write(b"\x04" + frame(0, frames.SYN, 1, len(part), part))
                await until(lambda: server.buffered_bytes == held, "a part is held", interval=0.001)
                writer.write(frame(1, frames.RST, 1, 0))
                await until(lambda: server.buffered_bytes == 0, "a reset frees it", interval=0.001)
                writer.write(frame(0, frames.SYN, 3, len(part), part))
                await until(lambda: server.buffered_bytes == held, "a part is held", interval=0.001)
            await until(lambda: server.connection_count == 0, "the end frees it", interval=0.001)
            assert server.buffered_bytes == 0

    run(main)


@pytest.mark.parametrize("which", ["max_connection_buffered_bytes", "max_buffered_bytes"])
def test_unfinished_requests_are_bounded_together(which: str, caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        part, held = unfinished_request()
        options = replace(ServerOptions(), **{which: 2 * held})  # type: ignore[arg-type]
        async with serving(options=options) as (server, address), dialled(address) as (reader, writer):
            writer.write(b"\x04" + b"".join(frame(0, 1, n, len(part), part) for n in (1, 3)))
            await until(lambda: server.buffered_bytes == 2 * held, "at the limit", interval=0.001)
            writer.write(frame(0, 1, 5, 1, b"\x82"))
            await to_the_end(reader)
            assert server.counters["refused.request"] == 1

    run(main)
    assert "over the bound" in caplog.text


@pytest.mark.parametrize("loop", LOOPS)
def test_thousands_of_streams_are_served_at_once_and_more_are_reset(loop: str) -> None:
    release = asyncio.Event()

    async def slow(request: Request, peer: PeerInfo) -> Any:
        await release.wait()
        return request.body

    async def main() -> None:
        options = ServerOptions(yamux=Limits(max_streams=3000))
        async with (
            serving(slow, options=options) as (server, address),
            client_of(options=ClientOptions(max_calls=4000)) as client,
        ):
            async with asyncio.TaskGroup() as group:
                calls = [group.create_task(client.call(address, "A.B", n, timeout=20)) for n in range(3000)]
                await until(lambda: server.counters["request"] == 3000, "all run at once", interval=0.01)
                with pytest.raises(CallLostError, match="closed the stream"):
                    await client.call(address, "A.B", 3000, timeout=20)
                release.set()
            assert [call.result() for call in calls] == list(range(3000))
            assert client.session_count == 1

    run(main, loop)


def test_connections_are_bounded_in_all_and_per_host() -> None:
    async def main(options: ServerOptions, words: str) -> None:
        async with serving(options=options) as (server, address):
            async with dialled(address) as (_, first), dialled(address) as (_, second):
                first.write(b"\x00")
                second.write(b"\x00")
                await until(lambda: server.connection_count == 2, "two are taken", interval=0.001)
                async with dialled(address) as (reader, _):
                    assert await to_the_end(reader) == b""
                assert server.counters["refused.limit"] == 1
            await until(lambda: server.connection_count == 0, "all gone", interval=0.001)
            async with dialled(address) as (reader, writer):
                writer.write(b"\x00" + serialize_request(Request("A.B", 1, None)))
                assert len(await responses(reader, 1)) == 1

    run(lambda: main(ServerOptions(max_connections=2), "exist already"))
    run(lambda: main(ServerOptions(max_connections_per_host=2), "has 2 connections"))


@pytest.mark.parametrize("loop", LOOPS)
def test_a_peer_that_does_not_read_is_cut(loop: str) -> None:
    async def big(request: Request, peer: PeerInfo) -> Any:
        return bytes(8 * 1024 * 1024)

    async def main() -> None:
        options = ServerOptions(times=WireTimes(write_timeout=0.2))
        async with serving(big, options=options) as (server, address), dialled(address) as (reader, writer):
            reader._transport.pause_reading()  # type: ignore[attr-defined]
            writer.write(b"\x00" + serialize_request(Request("A.B", 1, None)) * 4)
            await until(lambda: server.counters["request"], "it is asked", interval=0.001)
            await until(lambda: server.connection_count == 0, "it is cut", interval=0.01)
            assert server.counters["request"] < 4, "no further call is begun for it"

    run(main, loop)


def test_calls_of_a_peer_that_left_are_cancelled() -> None:
    cancelled = asyncio.Event()
    started = asyncio.Event()

    async def forever(request: Request, peer: PeerInfo) -> Any:
        started.set()
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    async def main() -> None:
        async with serving(forever) as (_, address):
            async with dialled(address) as (_, writer):
                writer.write(b"\x04" + call(1, 1, flags=frames.SYN))
                await started.wait()
                writer.write(frame(1, frames.RST, 1, 0))
                await cancelled.wait()
                cancelled.clear()
                started.clear()
                writer.write(call(3, 1, flags=frames.SYN))
                await started.wait()
            await cancelled.wait()

    run(main)


@pytest.mark.parametrize("loop", LOOPS)
def test_stop_lets_calls_end_and_takes_no_new_ones(loop: str) -> None:
    release, started = asyncio.Event(), asyncio.Event()

    async def slow(request: Request, peer: PeerInfo) -> Any:
        started.set()
        await release.wait()
        return "done"

    async def main() -> None:
        server = RpcServer(slow)
        address = await server.start("127.0.0.1", 0)
        async with client_of() as client:
            pending = asyncio.ensure_future(client.call(address, "A.B", None, timeout=5))  # noqa: TID251
            await started.wait()
            stopping = asyncio.ensure_future(server.stop(grace=5))  # noqa: TID251
            await until(lambda: server.stopping, "it stops", interval=0.001)
            with pytest.raises(MeshError):
                await client.call(address, "A.B", None, timeout=1)
            assert not stopping.done()
            release.set()
            assert await pending == b"done"
            await stopping

    run(main, loop)


def test_stop_cuts_what_does_not_end_within_its_grace() -> None:
    async def forever(request: Request, peer: PeerInfo) -> Any:
        await asyncio.Event().wait()

    async def main() -> None:
        server = RpcServer(forever)
        address = await server.start("127.0.0.1", 0)
        async with dialled(address) as (reader, writer):
            writer.write(b"\x00" + serialize_request(Request("A.B", 1, None)))
            await until(lambda: server.counters["request"], "the call began", interval=0.001)
            await server.stop(grace=0.05)
            assert await to_the_end(reader) == b""
            assert server.connection_count == 0

    run(main)


def test_an_address_that_is_taken_is_said() -> None:
    async def main() -> None:
        async with serving() as (_, address):
            with pytest.raises(MeshError, match=f"can't listen on {address}"):
                await RpcServer(echo).start(*address)

    run(main)


def test_what_is_counted_reaches_the_metrics() -> None:
    async def main() -> None:
        metrics = Metrics(0.0)
        counted: list[str] = []
        metrics.increment = lambda name, now, by=1.0, labels=(): counted.append(name)  # type: ignore[method-assign]
        server = RpcServer(echo, metrics=metrics)
        address = await server.start("127.0.0.1", 0)
        async with dialled(address) as (reader, writer):
            writer.write(b"\x01")
            await to_the_end(reader)
        await server.stop()
        assert counted == ["consul.rpc.accept_conn", "consul.rpc.refused.raft"]

    run(main)


@pytest.fixture(autouse=True)
def _at_warning(caplog: pytest.LogCaptureFixture) -> Callable[[], None]:
    caplog.set_level(logging.WARNING)
    return lambda: None
