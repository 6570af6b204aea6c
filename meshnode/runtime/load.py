"""Load on one HTTP address, and what it took: rates, latencies, processor time of others, bytes on the wire.

Three spans of time, one after the other: requests on connections that are kept, requests with a connection each, and
answers that are large. Who makes the load is a process of its own; only the processes that are named are counted.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import re
import shutil
import ssl
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import psutil

from meshnode.base.address import Address
from meshnode.base.errors import MeshError
from meshnode.prove.cost import percentile

__all__ = ["LoadError", "Target", "measure"]

#: Longest head of an answer, and longest answer.
MAX_HEAD_BYTES: Final = 64 * 1024
MAX_BODY_BYTES: Final = 16 * 1024 * 1024
_TIMEOUT: Final = 20.0
_GIB: Final = 1 << 30


class LoadError(MeshError):
    """The target doesn't answer as it has to."""


@dataclass(frozen=True, slots=True)
class Target:
    """Where requests go. ``context``: with TLS. ``bulk`` is the path of a large answer, or empty text.

    ``wire`` is the address whose connections are counted in bytes, where that isn't the target's own: of a sidecar, the
    public port of the other one; without a host it is that port of any. ``processes`` are those whose processor
    time counts.
    """

    name: str
    address: Address
    path: str
    context: ssl.SSLContext | None = None
    bulk: str = ""
    wire: Address | None = None
    processes: tuple[int, ...] = ()


@dataclass(slots=True)
class _Span:
    """What one span of time came to."""

    seconds: float = 0.0
    cpu_seconds: float = 0.0
    body_bytes: int = 0
    latencies: list[float] = field(default_factory=list)
    wire_bytes: float = math.nan


async def measure(target: Target, seconds: float, connections: int) -> dict[str, float]:
    """Figures by the keys of ``meshnode.prove.cost.METRICS``; raises :class:`LoadError` naming the target."""
    try:
        await _span(target, min(seconds, 0.3), connections, _kept, target.path)
        kept = await _span(target, seconds, connections, _kept, target.path)
        fresh = await _span(target, seconds, connections, _fresh, target.path)
        bulk = await _span(target, seconds, min(connections, 4), _kept, target.bulk) if target.bulk else None
    except (OSError, EOFError, TimeoutError, ValueError) as error:
        raise LoadError(f"{target.name} at {target.address}: {str(error) or type(error).__name__}") from None
    count = len(kept.latencies)
    found = {
        "requests_per_second": count / kept.seconds,
        "p50_ms": percentile(kept.latencies, 0.5) * 1000,
        "p99_ms": percentile(kept.latencies, 0.99) * 1000,
        "handshakes_per_second": len(fresh.latencies) / fresh.seconds,
        "wire_bytes_per_request": kept.wire_bytes / count if count else math.nan,
    }
    if target.processes and count:
        found["cpu_ms_per_1000_requests"] = kept.cpu_seconds / count * 1e6
    if bulk is not None:
        found["megabytes_per_second"] = bulk.body_bytes / bulk.seconds / 1e6
        if target.processes and bulk.body_bytes:
            found["cpu_s_per_gib"] = bulk.cpu_seconds / bulk.body_bytes * _GIB
    return {key: value for key, value in found.items() if math.isfinite(value)}


_Work = Callable[[Target, str, float, _Span, asyncio.Barrier], Coroutine[Any, Any, None]]


async def _span(target: Target, seconds: float, connections: int, work: _Work, path: str) -> _Span:
    """Let ``connections`` workers go at the same time, for ``seconds``; counted from when all are connected."""
    span, barrier = _Span(), asyncio.Barrier(connections + 1)
    try:
        await _run(target, seconds, connections, work, path, span, barrier)
    except ExceptionGroup as errors:
        raise errors.exceptions[0] from None
    return span


async def _run(
    target: Target,
    seconds: float,
    connections: int,
    work: _Work,
    path: str,
    span: _Span,
    barrier: asyncio.Barrier,
) -> None:
    async with asyncio.timeout(seconds + _TIMEOUT), asyncio.TaskGroup() as group:
        for _ in range(connections):
            group.create_task(work(target, path, seconds, span, barrier))
        await barrier.wait()
        before, used, began = await _on_the_wire(target), _cpu(target.processes), time.monotonic()
        await barrier.wait()
        await barrier.wait()
        span.seconds = time.monotonic() - began
        span.cpu_seconds = _cpu(target.processes) - used
        span.wire_bytes = await _on_the_wire(target) - before
        await barrier.wait()


async def _kept(target: Target, path: str, seconds: float, span: _Span, barrier: asyncio.Barrier) -> None:
    async with _connection(target) as (reader, writer):
        await _ask(reader, writer, target, path)  # so that the connection is there, and warm
        await barrier.wait()
        await barrier.wait()
        end = time.monotonic() + seconds
        while (began := time.monotonic()) < end:
            span.body_bytes += await _ask(reader, writer, target, path)
            span.latencies.append(time.monotonic() - began)
        await barrier.wait()
        await barrier.wait()


async def _fresh(target: Target, path: str, seconds: float, span: _Span, barrier: asyncio.Barrier) -> None:
    await barrier.wait()
    await barrier.wait()
    end = time.monotonic() + seconds
    while (began := time.monotonic()) < end:
        async with _connection(target) as (reader, writer):
            span.body_bytes += await _ask(reader, writer, target, path)
        span.latencies.append(time.monotonic() - began)
    await barrier.wait()
    await barrier.wait()


@contextlib.asynccontextmanager
async def _connection(
    target: Target,
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    reader, writer = await asyncio.open_connection(
        *target.address,
        ssl=target.context,
        server_hostname="" if target.context else None,
        limit=MAX_HEAD_BYTES,
    )
    try:
        yield reader, writer
    finally:
        writer.transport.abort()


async def _ask(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, target: Target, path: str) -> int:
    """One request; the length of the answer's body."""
    writer.write(f"GET {path} HTTP/1.1\r\nHost: {target.address}\r\n\r\n".encode())
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.LimitOverrunError:
        raise LoadError(
            f"{target.name}: the head of its answer is longer than {MAX_HEAD_BYTES} bytes"
        ) from None
    status = head[9:12]
    length = re.search(rb"\r\ncontent-length: *(\d{1,9})\r\n", head, re.IGNORECASE)
    if status != b"200" or length is None or int(length[1]) > MAX_BODY_BYTES:
        raise LoadError(
            f"{target.name}: {path} answers {head.splitlines()[0].decode('latin-1')[:80]}: a 200 is needed, with "
            f"Content-Length, and at most {MAX_BODY_BYTES} bytes"
        )
    return len(await reader.readexactly(int(length[1])))


def _cpu(processes: Sequence[int]) -> float:
    try:
        return sum(sum(psutil.Process(pid).cpu_times()[:2]) for pid in processes)
    except psutil.Error as error:
        raise LoadError(f"can't tell the processor time of a process: {error}") from None


async def _on_the_wire(target: Target) -> float:
    """Bytes of TCP payload, both ways, of the connections to the wire's address that live; ``nan`` without ss."""
    program = shutil.which("ss")
    if program is None:
        return math.nan
    wire = target.wire or target.address
    where = f"[{wire.host}]:{wire.port}" if ":" in wire.host else f"{wire.host}:{wire.port}"
    process = await asyncio.create_subprocess_exec(
        program, "-Htin", "dst", where, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL
    )
    output, _ = await process.communicate()
    found = re.findall(rb"bytes_(?:acked|received):(\d+)", output)
    return float(sum(map(int, found))) if found else math.nan
