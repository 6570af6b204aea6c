"""HTTP/2 pings against grpclib's server (the h2 library), and against servers that speak something else."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from ssl import SSLContext

import pytest
from grpclib.server import Server

from meshnode.local.check_status import Result
from meshnode.local.check_type import H2PingCheck
from meshnode.runtime.checks.h2ping import MAX_FRAME_BYTES, MAX_FRAMES, check_h2ping
from tests.support.certs import make_ca, make_cert
from tests.support.checks import client_contexts, no_tls, server_context, settled
from tests.support.rpc_lab import LOOPS, run

loops = pytest.mark.parametrize("loop", LOOPS)
CA = make_ca()
SETTINGS = bytes((0, 0, 0, 4, 0, 0, 0, 0, 0))


@contextlib.asynccontextmanager
async def http2(tls: SSLContext | None = None) -> AsyncIterator[str]:
    server = Server([])
    await server.start("127.0.0.1", 0, ssl=tls)
    try:
        yield f"127.0.0.1:{server._server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        await server.wait_closed()


def against(answer: bytes, timeout: float = 5.0, *, hold: bool = False) -> Result:
    """What the check says of a server that sends ``answer`` whatever it is asked, and closes unless ``hold``."""

    async def main() -> Result:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readexactly(24)
            writer.write(answer)
            if hold:
                await reader.read()
            writer.close()

        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        async with server:
            address = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
            check = H2PingCheck(address, use_tls=False, interval=10, timeout=timeout)
            result = await check_h2ping(check, no_tls)
            await settled()
        assert result.output.startswith(f"HTTP2 ping of {address} failed: ")
        return Result(result.status, result.output.partition("failed: ")[2])

    return run(main)


@loops
def test_a_server_of_http2_passes(loop: str) -> None:
    async def main() -> Result:
        async with http2() as address:
            return await check_h2ping(H2PingCheck(address, use_tls=False, interval=10, timeout=5), no_tls)

    assert run(main, loop) == ("passing", "HTTP2 ping was successful")


@loops
@pytest.mark.parametrize(
    ("name", "skip", "words"),
    [("h2.example", False, ""), ("", True, ""), ("", False, "x509: certificate is not valid for 127.0.0.1")],
)
def test_tls_is_verified_unless_it_is_skipped(
    loop: str, tmp_path: Path, name: str, skip: bool, words: str
) -> None:
    tls = server_context(make_cert(["h2.example"], CA), tmp_path)
    tls.set_alpn_protocols(["h2"])

    async def main() -> Result:
        async with http2(tls) as address:
            check = H2PingCheck(address, tls_server_name=name, tls_skip_verify=skip, interval=10, timeout=5)
            return await check_h2ping(check, client_contexts(CA))

    result = run(main, loop)
    assert result.status == ("critical" if words else "passing")
    assert words in result.output


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "the answer is not HTTP/2: does the server speak it?"),
        (b"", "the connection was closed: does the server speak HTTP/2?"),
        (SETTINGS, "the connection was closed: does the server speak HTTP/2?"),
        (bytes((0, 0, 0, 6, 1, 0, 0, 0, 0)), "the answer is not HTTP/2"),
        (
            SETTINGS + bytes((0, 0, 8, 7, 0, 0, 0, 0, 0)) + bytes(8),
            "the server closed the connection (GOAWAY)",
        ),
        (
            SETTINGS + (MAX_FRAME_BYTES + 1).to_bytes(3) + bytes((0, 0, 0, 0, 0, 0)),
            "the answer is not HTTP/2",
        ),
        (
            SETTINGS + bytes((0, 0, 8, 6, 1, 0, 0, 0, 0)) + b"not ours",
            "the connection was closed",
        ),
        (SETTINGS * MAX_FRAMES, f"no answer to the ping among {MAX_FRAMES} frames"),
    ],
)
def test_what_is_no_acknowledgement_is_critical(answer: bytes, words: str) -> None:
    result = against(answer)
    assert result.status == "critical"
    assert words in result.output


@pytest.mark.parametrize("before", [0, 1, MAX_FRAMES - 2])
def test_an_acknowledgement_may_come_after_other_frames_and_one_of_the_largest(before: int) -> None:
    ping = bytes((0, 0, 8, 6, 1, 0, 0, 0, 0)) + b"meshnode"
    largest = MAX_FRAME_BYTES.to_bytes(3) + bytes((0, 0, 0, 0, 0, 1)) + bytes(MAX_FRAME_BYTES)

    async def main() -> Result:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readexactly(24)
            writer.write(SETTINGS + largest * before + ping)
            await reader.read()
            writer.close()

        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        async with server:
            address = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
            result = await check_h2ping(H2PingCheck(address, use_tls=False, interval=10, timeout=5), no_tls)
            await settled()
        return result

    assert run(main).status == "passing"


def test_a_server_that_says_nothing_is_given_up_in_time() -> None:
    assert against(b"", timeout=0.3, hold=True) == ("critical", "i/o timeout: no answer in 0.3 s")
