"""Pairs of sidecars as processes, each behind the same two ports: ours, a naive relay, Envoy, HAProxy, Consul.

``python -m tests.support.sidecar_pair ours server PORT TO DIRECTORY`` is one side of one of the first two.
"""

from __future__ import annotations

import asyncio
import shutil
import sys
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import uvloop

from meshnode.proxy.balance import Instance
from meshnode.proxy.config import Endpoint, ProxyConfig, PublicListener
from meshnode.runtime.proxy.contexts import make_contexts
from meshnode.runtime.proxy.interfaces import TlsMaterial
from meshnode.runtime.proxy.sidecar import Sidecar
from tests.support.envoy import client_sidecar, envoy_binary, server_sidecar
from tests.support.proxy import Decisions, Instances, spiffe, upstream
from tests.support.wire import free_port

__all__ = ["KINDS", "Pair", "absent", "pair"]

HOST = "127.0.0.1"
KINDS = ("ours", "naive", "envoy", "haproxy", "consul")
ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Pair:
    """Commands of two sidecars; those of ``before`` have to listen first, on ``before_port``."""

    lines: list[list[str]]
    before: list[list[str]] = field(default_factory=list)
    before_port: int = 0
    environment: dict[str, str] = field(default_factory=dict)


def absent(kind: str, consul: str) -> bool:
    """Whether that one is not on this machine."""
    return {
        "envoy": envoy_binary() is None,
        "haproxy": shutil.which("haproxy") is None,
        "consul": not consul,
    }.get(kind, False)


def pair(kind: str, directory: Path, entry: int, app: int, workers: int, consul: str = "") -> Pair:
    """The sidecars of ``web``, listening on ``entry``, and of ``api``, whose application is on ``app``.

    ``directory`` holds ``web.pem`` and so on (``tests.support.proxy.write``). ``workers``: processes or threads a side.
    """
    public = free_port()
    if kind == "consul":
        return _consul(consul, public, entry, app, workers)
    if kind == "envoy":
        api, web = ((f"{directory}/{name}.pem", f"{directory}/{name}-key.pem", f"{directory}/{name}-roots.pem")
                    for name in ("api", "web"))  # fmt: skip
        return Pair(
            [
                server_sidecar(directory, public, (HOST, app), api, spiffe("web"), workers),
                client_sidecar(directory, entry, (HOST, public), web, spiffe("api"), workers),
            ]
        )
    if kind == "haproxy":
        return Pair(
            [
                _haproxy(directory, "server", public, app, workers),
                _haproxy(directory, "client", entry, public, workers),
            ]
        )
    base = [sys.executable, "-m", __name__, kind]
    sides = [
        [*base, "server", str(public), str(app), str(directory)],
        [*base, "client", str(entry), str(public), str(directory)],
    ]
    return Pair(sides * workers, environment={"PYTHONPATH": str(ROOT)})


def _consul(consul: str, public: int, entry: int, app: int, workers: int) -> Pair:
    """Its own proxies beside an agent of its own, which they ask about every connection."""
    http = free_port()
    ports = f"ports {{ dns = -1 http = {http} server = {free_port()} serf_lan = {free_port()} "
    agent = [consul, "agent", "-dev", "-bind", HOST, "-hcl", ports + f"serf_wan = {free_port()} }}"]
    proxy = [consul, "connect", "proxy", f"-http-addr={HOST}:{http}"]
    return Pair(
        [
            [*proxy, "-service", "api", "-service-addr", f"{HOST}:{app}", "-listen", f"{HOST}:{public}", "-register"],
            [*proxy, "-service", "web", "-upstream", f"api:{entry}"],
        ],
        [agent],
        http,
        {"GOMAXPROCS": str(workers)},
    )  # fmt: skip


def _haproxy(directory: Path, side: str, listen: int, to: int, workers: int) -> list[str]:
    name = "api" if side == "server" else "web"
    pem, roots = directory / f"{name}-both.pem", directory / f"{name}-roots.pem"
    pem.write_text((directory / f"{name}.pem").read_text() + (directory / f"{name}-key.pem").read_text())
    tls = f"ssl crt {pem} ca-file {roots}"
    front = f"{HOST}:{listen} {tls} verify required" if side == "server" else f"{HOST}:{listen}"
    back = f"{HOST}:{to}" + (f" {tls} verify required" if side == "client" else "")
    file = directory / f"haproxy-{side}.cfg"
    file.write_text(
        f"global\n nbthread {workers}\n maxconn 4000\ndefaults\n mode tcp\n timeout connect 5s\n"
        " timeout client 60s\n timeout server 60s\n"
        f"frontend in\n bind {front}\n default_backend out\nbackend out\n server one {back}\n"
    )
    return ["haproxy", "-db", "-f", str(file)]


def _material(directory: Path, name: str) -> TlsMaterial:
    files = [directory / f"{name}{suffix}" for suffix in (".pem", "-key.pem", "-roots.pem")]
    return TlsMaterial(*(file.read_text() for file in files))


class _Given:
    """The certificate provider of one process: what is on disk, once."""

    def __init__(self, leaf: TlsMaterial) -> None:
        self._leaf = leaf

    async def watch(self) -> Any:
        yield self._leaf
        await asyncio.Event().wait()


async def _serve_ours(side: str, listen: int, to: int, directory: Path) -> None:
    name = "api" if side == "server" else "web"
    instances = Instances({"api": [Instance(HOST, to, spiffe("api"))]})
    sidecar = Sidecar(_Given(_material(directory, name)), Decisions(), instances, shared=True)
    bind, app = Endpoint(HOST, listen), Endpoint(HOST, to)
    if side == "server":
        config = ProxyConfig(name, PublicListener(bind, app))
    else:
        config = ProxyConfig(name, None, (replace(upstream(), bind=bind),))
    await sidecar.start(config)
    await asyncio.Event().wait()


class _Naive(asyncio.BufferedProtocol):
    """Forty lines: what a relay is before anybody thinks about it."""

    def __init__(self, dial: Any = None, peer: _Naive | None = None) -> None:
        self.dial, self.peer, self.early = dial, peer, b""
        self.buffer = bytearray(65536)

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        if self.dial:
            self.task = asyncio.get_running_loop().create_task(self.connect())

    async def connect(self) -> None:
        self.transport.pause_reading()
        _, self.peer = await self.dial(lambda: _Naive(peer=self))
        self.peer.transport.write(self.early)
        self.transport.resume_reading()

    def get_buffer(self, hint: int) -> bytearray:
        return self.buffer

    def buffer_updated(self, count: int) -> None:
        data = bytes(memoryview(self.buffer)[:count])
        if self.peer is None:
            self.early += data
        else:
            self.peer.transport.write(data)

    def pause_writing(self) -> None:
        if self.peer:
            self.peer.transport.pause_reading()

    def resume_writing(self) -> None:
        if self.peer:
            self.peer.transport.resume_reading()

    def connection_lost(self, error: Exception | None) -> None:
        if self.peer:
            self.peer.transport.close()


async def _serve_naive(side: str, listen: int, to: int, directory: Path) -> None:
    loop = asyncio.get_running_loop()
    contexts = make_contexts(_material(directory, "api" if side == "server" else "web"))
    tls = {"ssl": contexts.client, "server_hostname": ""} if side == "client" else {}

    def dial(factory: Any) -> Any:
        return loop.create_connection(factory, HOST, to, **tls)

    server_tls = contexts.server if side == "server" else None
    await loop.create_server(
        lambda: _Naive(dial), HOST, listen, ssl=server_tls, reuse_port=True, backlog=1024
    )
    await asyncio.Event().wait()


if __name__ == "__main__":
    _kind, _side, _listen, _to, _directory = sys.argv[1:]
    _serve = _serve_ours if _kind == "ours" else _serve_naive
    uvloop.run(_serve(_side, int(_listen), int(_to), Path(_directory)))
