"""Load on a server of the library: what is counted is what happened, and a wrong answer is an error with a name."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from meshnode.base.address import Address
from meshnode.runtime.load import LoadError, Target, measure
from tests.support.asynchronous import asynchronous
from tests.support.programs import needs

SMALL = b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n" + b"x" * 100
REQUEST_AND_ANSWER = 141 + len("GET / HTTP/1.1\r\nHost: 127.0.0.1:00000\r\n\r\n")


class Served:
    """A server that answers each head with the same bytes; counts connections and requests."""

    def __init__(self, answer: bytes) -> None:
        self.answer = answer
        self.connections = self.requests = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            while True:
                await reader.readuntil(b"\r\n\r\n")
                self.requests += 1
                writer.write(self.answer)
        writer.close()


@contextlib.asynccontextmanager
async def serving(answer: bytes) -> AsyncIterator[tuple[Served, Target]]:
    served = Served(answer)
    server = await asyncio.start_server(served.serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    try:
        yield served, Target("it", Address("127.0.0.1", port), "/", bulk="/large", processes=(os.getpid(),))
    finally:
        server.close()


@asynchronous
async def test_rates_latencies_and_processor_time_are_those_of_what_was_asked() -> None:
    async with serving(SMALL) as (served, target):
        found = await measure(target, 0.3, 3)
    rest = {"p50_ms", "p99_ms", "cpu_ms_per_1000_requests", "cpu_s_per_gib", "megabytes_per_second"}
    assert rest | {"requests_per_second", "handshakes_per_second"} <= set(found)
    assert 0 < found["p50_ms"] <= found["p99_ms"]
    # Each span of time has its own connections: the warm-up, those kept, the large answers; and one a request.
    fresh = served.connections - 3 * 3
    assert fresh > 3
    assert found["handshakes_per_second"] == pytest.approx(fresh / 0.3, rel=0.5)
    assert served.requests > fresh


@pytest.mark.parametrize("named", [True, False])
@needs("ip")
@asynchronous
async def test_bytes_on_the_wire_are_those_of_the_requests_and_answers(named: bool) -> None:
    async with serving(SMALL) as (_, target):
        wire = None if named else Address("", target.address.port)
        found = await measure(replace(target, wire=wire), 0.3, 2)
    assert found["wire_bytes_per_request"] == pytest.approx(REQUEST_AND_ANSWER, rel=0.05)


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (
            b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n",
            "it: / answers HTTP/1.1 404 Not Found: a 200 is needed",
        ),
        (b"HTTP/1.1 200 OK\r\n\r\n", "with Content-Length"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 99999999\r\n\r\n", "at most 16777216 bytes"),
        (b"x" * 70_000, "the head of its answer is longer than 65536 bytes"),
    ],
)
@asynchronous
async def test_an_answer_that_can_not_be_measured_is_an_error(answer: bytes, message: str) -> None:
    async with serving(answer) as (_, target):
        with pytest.raises(LoadError, match=message.replace("/", ".")):
            await measure(target, 0.1, 2)


@asynchronous
async def test_nobody_there_is_an_error_with_the_address() -> None:
    target = Target("it", Address("127.0.0.1", 1), "/")
    with pytest.raises(LoadError, match=r"it at 127\.0\.0\.1:1: "):
        await measure(target, 0.1, 2)


@asynchronous
async def test_a_process_that_has_ended_is_an_error() -> None:
    async with serving(SMALL) as (_, target):
        gone = Target("it", target.address, "/", processes=(2**22 + 1,))
        with pytest.raises(LoadError, match="can't tell the processor time of a process"):
            await measure(gone, 0.1, 1)
