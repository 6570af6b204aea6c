"""gRPC checks against grpclib's own health service, with and without TLS."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from ssl import SSLContext
from typing import Any

import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from grpclib.const import Cardinality, Handler, Status
from grpclib.exceptions import GRPCError
from grpclib.server import Server
from hypothesis import given
from hypothesis import strategies as st

from meshnode.base.errors import RemoteProtocolError
from meshnode.local.check_status import Result
from meshnode.local.check_type import GrpcCheck
from meshnode.runtime.checks import grpc
from meshnode.runtime.checks.grpc import MISSING_GRPCLIB, check_grpc, parse_serving_status
from tests.support.certs import make_ca, make_cert
from tests.support.checks import client_contexts, no_tls, server_context
from tests.support.rpc_lab import LOOPS, run

loops = pytest.mark.parametrize("loop", LOOPS)
CA = make_ca()
UNKNOWN, SERVING, NOT_SERVING = 0, 1, 2


def _messages() -> tuple[Any, Any]:
    """``health.proto`` as Google's protobuf reads it."""
    field = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(
        name="test_health.proto", package="test.health", syntax="proto3"
    )
    for name, part, kind in (
        ("HealthCheckRequest", "service", field.TYPE_STRING),
        ("HealthCheckResponse", "status", field.TYPE_INT32),
    ):
        file.message_type.add(name=name).field.add(name=part, number=1, type=kind, label=field.LABEL_OPTIONAL)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    request, response = (
        message_factory.GetMessageClass(pool.FindMessageTypeByName(f"test.health.{name}"))
        for name in ("HealthCheckRequest", "HealthCheckResponse")
    )
    return request, response


REQUEST, RESPONSE = _messages()


class Health:
    def __init__(self, statuses: dict[str, int]) -> None:
        self.statuses = statuses

    async def check(self, stream: Any) -> None:
        request = await stream.recv_message()
        if request.service == "slow":
            await asyncio.Event().wait()
        if request.service not in self.statuses:
            raise GRPCError(Status.NOT_FOUND, "unknown service")
        await stream.send_message(RESPONSE(status=self.statuses[request.service]))

    def __mapping__(self) -> dict[str, Handler]:
        path = "/grpc.health.v1.Health/Check"
        return {path: Handler(self.check, Cardinality.UNARY_UNARY, REQUEST, RESPONSE)}


@contextlib.asynccontextmanager
async def serving(tls: SSLContext | None = None) -> AsyncIterator[str]:
    server = Server([Health({"": SERVING, "web": SERVING, "db": NOT_SERVING, "new": UNKNOWN})])
    await server.start("127.0.0.1", 0, ssl=tls)
    try:
        yield f"127.0.0.1:{server._server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        await server.wait_closed()


def ask(service: str, loop: str = "asyncio", timeout: float = 5.0) -> tuple[Result, str]:
    async def main() -> tuple[Result, str]:
        async with serving() as place:
            target = f"{place}/{service}" if service else place
            result = await check_grpc(GrpcCheck(target, interval=10, timeout=timeout), no_tls)
            await asyncio.sleep(0)
        await ended()
        return result, target

    return run(main, loop)


async def ended() -> None:
    """grpclib ends its tasks in the turns after a close."""
    for _ in range(50):
        await asyncio.sleep(0)


@loops
@pytest.mark.parametrize("service", ["", "web"])
def test_a_service_that_serves_passes(loop: str, service: str) -> None:
    result, target = ask(service, loop)
    assert result == ("passing", f"gRPC check {target}: success")


@loops
@pytest.mark.parametrize(
    ("service", "text"),
    [
        ("db", "gRPC application didn't report service healthy"),
        ("new", "gRPC application didn't report service healthy"),
        ("gone", "rpc error: code = NotFound desc = unknown service"),
    ],
)
def test_any_other_answer_is_critical(loop: str, service: str, text: str) -> None:
    assert ask(service, loop)[0] == ("critical", text)


@loops
def test_a_service_that_does_not_answer_is_given_up(loop: str) -> None:
    assert ask("slow", loop, timeout=0.3)[0] == (
        "critical",
        "rpc error: code = DeadlineExceeded desc = context deadline exceeded",
    )


@loops
def test_tls_is_verified_unless_it_is_skipped(loop: str, tmp_path: Path) -> None:
    async def main() -> None:
        context = server_context(make_cert(["127.0.0.1"], CA), tmp_path)
        context.set_alpn_protocols(["h2"])
        async with serving(context) as place:
            for ca, skip, status in (
                (CA, False, "passing"),
                (make_ca("X"), False, "critical"),
                (make_ca("X"), True, "passing"),
            ):
                check = GrpcCheck(place, use_tls=True, tls_skip_verify=skip, interval=10, timeout=5)
                result = await check_grpc(check, client_contexts(ca))
                assert result.status == status
                if status == "critical":
                    assert "x509: certificate signed by unknown authority" in result.output
            await ended()
        await ended()

    run(main, loop)


@loops
def test_http2_is_asked_for_in_the_handshake(loop: str, tmp_path: Path) -> None:
    async def main() -> None:
        context = server_context(make_cert(["127.0.0.1"], CA), tmp_path)
        context.set_alpn_protocols(["http/1.1", "h2"])
        chosen: asyncio.Future[str | None] = asyncio.get_running_loop().create_future()

        async def look(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            chosen.set_result(writer.get_extra_info("ssl_object").selected_alpn_protocol())
            writer.transport.abort()

        async with await asyncio.start_server(look, "127.0.0.1", 0, ssl=context) as server:
            place = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
            check = GrpcCheck(place, use_tls=True, interval=10, timeout=5)
            assert (await check_grpc(check, client_contexts(CA))).status == "critical"
            assert await chosen == "h2"
        await ended()

    run(main, loop)


@loops
def test_a_closed_port_and_a_server_of_something_else_say_so(loop: str) -> None:
    async def main() -> None:
        async with serving() as place:
            pass
        check = GrpcCheck(place, interval=10, timeout=5)
        text = f'connection error: desc = "transport: Error while dialing dial tcp {place}: connect: '
        result = await check_grpc(check, no_tls)
        assert result.status == "critical"
        assert text + "connection refused" in result.output
        handled = asyncio.Event()

        async def other(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            await reader.read(10)
            writer.close()
            handled.set()

        async with await asyncio.start_server(other, "127.0.0.1", 0) as server:
            place = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
            result = await check_grpc(GrpcCheck(place, interval=10, timeout=3), no_tls)
            await handled.wait()
            assert result.status == "critical"
            assert result.output.startswith("rpc error: code = ")
        await ended()

    run(main, loop)


def test_without_grpclib_the_check_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(grpc, "grpc_available", lambda: False)
    result = run(lambda: check_grpc(GrpcCheck("127.0.0.1:1", interval=10), no_tls))
    assert result == ("critical", MISSING_GRPCLIB)
    assert "meshnode[etcd]" in MISSING_GRPCLIB


@given(st.integers(0, 2**31 - 1))
def test_statuses_are_read_as_protobuf_writes_them(status: int) -> None:
    assert parse_serving_status(RESPONSE(status=status).SerializeToString()) == status


def test_other_fields_are_passed_over() -> None:
    more = b"\x12\x03abc" + b"\x19" + bytes(8) + b"\x25" + bytes(4) + b"\x28\x96\x01"
    assert parse_serving_status(more + b"\x08\x01" + more) == 1


@given(st.binary(max_size=40))
def test_any_bytes_end_in_a_status_or_in_our_error(data: bytes) -> None:
    with contextlib.suppress(RemoteProtocolError):
        parse_serving_status(data)
