"""RPC on port 8300: calls per second, plain and over mutual TLS, and handshakes per second.

    python bench/rpc.py [--seconds 3] [--loop uvloop|asyncio] [--processes]

The peer is the same workload over bare asyncio streams (one connection per worker, length-prefixed msgpack): what the
event loop gives at most. Ratios to it, in one run, are the result; absolute figures are this machine's.
"""

from __future__ import annotations

import argparse
import asyncio
import multiprocessing
import ssl
import struct
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import msgpack
import uvloop

sys.path.insert(0, str(Path(__file__).parents[1]))

from meshnode.base.address import Address
from meshnode.rpc.codec import Request
from meshnode.runtime.rpc_client import RpcClient
from meshnode.runtime.rpc_server import PeerInfo, RpcServer, ServerOptions
from meshnode.runtime.tls import TlsContexts, TlsSettings
from meshnode.runtime.tls_channel import TlsChannel, TlsProfile
from tests.support.certs import make_ca, make_cert

BODY = {"Datacenter": "dc1", "Key": "app/config/limit", "AllowStale": False, "MaxQueryTime": 0}


async def echo(request: Request, peer: PeerInfo) -> Any:
    return request.body


def settings(directory: Path) -> tuple[TlsSettings, TlsSettings]:
    ca = make_ca()
    ca_file, _ = ca.write(directory, "ca")
    files = [make_cert([name], ca).write(directory, name) for name in ("server.dc1.consul", "client")]
    server = TlsSettings(
        ca_file=ca_file, cert_file=files[0][0], key_file=files[0][1], verify_incoming_rpc=True
    )
    client = TlsSettings(
        ca_file=ca_file, cert_file=files[1][0], key_file=files[1][1], verify_server_hostname=True
    )
    return server, client


async def bare(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while head := await reader.read(4):
        head += await reader.readexactly(4 - len(head)) if len(head) < 4 else b""
        body = msgpack.unpackb(await reader.readexactly(*struct.unpack(">I", head)))
        packed = msgpack.packb(body)
        writer.write(struct.pack(">I", len(packed)) + packed)
    writer.close()


async def start(tls: TlsSettings) -> list[Address]:
    options = ServerOptions(max_connections_per_host=2000)
    plain = await RpcServer(echo, options=options).start("127.0.0.1", 0)
    secure = await RpcServer(echo, tls=TlsContexts(tls), options=options).start("127.0.0.1", 0)
    streams = await asyncio.start_server(bare, "127.0.0.1", 0)
    START.append(streams)
    return [plain, secure, Address(*streams.sockets[0].getsockname())]


START: list[asyncio.Server] = []  # keeps the server alive


def serve(pipe: Connection, tls: TlsSettings, loop: str) -> None:
    async def main() -> None:
        pipe.send(await start(tls))
        await asyncio.Event().wait()

    run(main(), loop)


def run(coroutine: Any, loop: str) -> Any:
    factory = uvloop.new_event_loop if loop == "uvloop" else asyncio.new_event_loop
    with asyncio.Runner(loop_factory=factory) as runner:
        return runner.run(coroutine)


async def rate(call: Callable[[int], Awaitable[object]], workers: int, seconds: float) -> float:
    done = 0
    end = time.perf_counter() + seconds

    async def work(worker: int) -> None:
        nonlocal done
        while time.perf_counter() < end:
            await call(worker)
            done += 1

    began = time.perf_counter()
    await asyncio.gather(*(work(worker) for worker in range(workers)))
    return done / (time.perf_counter() - began)


async def measure(addresses: list[Address], tls: TlsSettings, seconds: float, loop: str, where: str) -> None:
    plain, secure, streams = addresses
    contexts = TlsContexts(tls)
    print(f"{loop}, {where}: calls/s (ratio to bare streams)")
    for workers in (1, 64):
        pairs = [await asyncio.open_connection(*streams) for _ in range(workers)]

        async def over_streams(worker: int, pairs: Any = pairs) -> None:
            reader, writer = pairs[worker]
            packed = msgpack.packb(BODY)
            writer.write(struct.pack(">I", len(packed)) + packed)
            (length,) = struct.unpack(">I", await reader.readexactly(4))
            msgpack.unpackb(await reader.readexactly(length))

        base = await rate(over_streams, workers, seconds)
        for _, writer in pairs:
            writer.close()
        print(f"  {workers:3} concurrent  bare streams {base:8.0f}")
        for name, address, client in (
            ("plain yamux ", plain, RpcClient()),
            ("mutual TLS  ", secure, RpcClient(tls=contexts)),
        ):
            await client.call(address, "Bench.Echo", BODY, timeout=10)

            def over_rpc(
                worker: int, client: RpcClient = client, address: Address = address
            ) -> Awaitable[object]:
                return client.call(address, "Bench.Echo", BODY, timeout=10)

            got = await rate(over_rpc, workers, seconds)
            print(f"  {workers:3} concurrent  {name} {got:8.0f}  ({got / base:.2f})")
            await client.close()

    async def connect(worker: int) -> None:
        client = RpcClient(tls=contexts)
        await client.call(secure, "Bench.Echo", None, timeout=20)
        await client.close()

    print(f"  mutual TLS: connect + handshake + call + close {await rate(connect, 4, seconds):8.0f} /s")


def handshakes(server: TlsSettings, client: TlsSettings, seconds: float) -> None:
    """Both ends in memory, with and without the recorder of certificates, and its cost per record."""
    here, there = TlsContexts(server).incoming_rpc(), TlsContexts(client).outgoing_rpc()
    assert here is not None
    assert there is not None
    for name in ("with", "without"):
        if name == "without":
            for profile in (here, there):
                profile.context.sslobject_class = ssl.SSLObject
                ssl.SSLContext.__mro__[1]._msg_callback.__set__(profile.context, None)  # type: ignore[attr-defined]  # noqa: SLF001
        count, began = 0, time.perf_counter()
        while time.perf_counter() - began < seconds:
            a, b = pair(here, there)
            count += 1
        per_second = count / (time.perf_counter() - began)
        records, began = 20_000, time.perf_counter()
        for _ in range(records):
            a.send(b"x" * 100)
            b.receive(a.to_send())
        cost = (time.perf_counter() - began) / records * 1e6
        print(
            f"  in memory, {name:7} recorder: {per_second:6.0f} mutual handshakes/s, {cost:5.2f} us per record"
        )


def pair(here: TlsProfile, there: TlsProfile) -> tuple[TlsChannel, TlsChannel]:
    server, client = TlsChannel(here), TlsChannel(there)
    while not (server.established and client.established):
        client.receive(server.to_send())
        server.receive(client.to_send())
    return client, server


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--seconds", type=float, default=3.0)
    arguments.add_argument("--loop", choices=["uvloop", "asyncio"], default="uvloop")
    arguments.add_argument("--processes", action="store_true", help="server and client in a process each")
    options = arguments.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        server, client = settings(Path(directory))
        handshakes(server, client, options.seconds / 2)
        if options.processes:
            ours, theirs = multiprocessing.Pipe()
            process = multiprocessing.Process(target=serve, args=(theirs, server, options.loop), daemon=True)
            process.start()
            where = "a process each"
            run(measure(ours.recv(), client, options.seconds, options.loop, where), options.loop)
            process.kill()
            return

        async def together() -> None:
            await measure(await start(server), client, options.seconds, options.loop, "one process")
            START[0].close()

        run(together(), options.loop)


if __name__ == "__main__":
    main()
