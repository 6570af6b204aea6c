"""A mesh under traffic: an application that echoes behind its sidecar, and sources with a sidecar each."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from meshnode.testing import Mesh, MeshAgent
from tests.support.flows import Flow, ask
from tests.support.proxy import echo_server
from tests.support.proxy_command import ProxyCommand
from tests.support.waiting import until
from tests.support.wire import free_port

__all__ = ["Lab", "answers", "end", "lab", "refused", "talk_on"]


class Lab:
    """Proxies of a test: one of ``echo``, and one for each source."""

    def __init__(self, mesh: Mesh, directory: Path, stack: ExitStack) -> None:
        self.mesh = mesh
        self._directory = directory
        self._stack = stack
        self.proxies: dict[str, ProxyCommand] = {}

    def start(self, agent: MeshAgent, name: str, *arguments: str) -> ProxyCommand:
        return self.start_at(agent.http, name, *arguments)

    def start_at(self, http: str, name: str, *arguments: str, **environment: str) -> ProxyCommand:
        """With the agent at another address than its own."""
        proxy = ProxyCommand(self._directory / f"{name}.log", http, *arguments, **environment)
        self._stack.callback(proxy.kill)
        self.proxies[name] = proxy
        return proxy

    def serve(
        self, app: int, agent: MeshAgent | None = None, *, workers: str = "1", **config: Any
    ) -> ProxyCommand:
        """The sidecar of ``echo``."""
        where, port = agent or self.mesh["client1"], free_port()
        ours = {"DestinationServiceName": "echo", "LocalServiceAddress": "127.0.0.1", "LocalServicePort": app}
        body = {"Kind": "connect-proxy", "ID": "echo-proxy", "Name": "echo-proxy", "Address": "127.0.0.1"}
        whole = {**body, "Port": port, "Proxy": {**ours, "Config": config}}
        where.api("/v1/agent/service/register", method="PUT", body=whole)
        proxy = self.start(where, "echo", "-proxy-id", "echo-proxy", "-workers", workers)
        proxy.wait_for("public listener starting on")
        return proxy

    def source(self, service: str, agent: MeshAgent | None = None) -> int:
        """The port of an upstream of a new source."""
        port = free_port()
        self.start(agent or self.mesh["client2"], service, "-service", service, "-upstream", f"echo:{port}")
        return port

    def deny(self, service: str) -> None:
        body = {"SourceName": service, "DestinationName": "echo", "Action": "deny"}
        self.mesh["server1"].api("/v1/connect/intentions", method="POST", body=body)

    def log(self, name: str) -> str:
        return self.proxies[name].output


@contextlib.asynccontextmanager
async def lab(mesh: Mesh, directory: Path) -> AsyncIterator[tuple[Lab, int]]:
    """With an application that gives back what it gets, on that port."""
    with ExitStack() as stack:
        async with echo_server() as app:
            yield Lab(mesh, directory, stack), app.port


async def answers(*ports: int) -> None:
    """Each source has found the destination and is let through."""

    async def answered(port: int) -> bool:
        with contextlib.suppress(OSError):
            return await ask(port) == b"hello"
        return False

    for port in ports:
        await until(lambda port=port: answered(port), f"port {port} answers", 60)  # type: ignore[misc]


async def refused(port: int) -> bool:
    try:
        return await ask(port) == b""
    except OSError:
        return True


async def talk_on(flows: Sequence[Flow], rounds: int = 20) -> None:
    """Wait until each has made so many more rounds."""
    wanted = [flow.rounds + rounds for flow in flows]
    await until(
        lambda: all(flow.rounds >= least or flow.ended for flow, least in zip(flows, wanted, strict=True)),
        f"{rounds} more rounds",
        60,
    )


async def end(flows: Sequence[Flow]) -> None:
    """Each ends cleanly, and has lost nothing."""
    await asyncio.gather(*(flow.stop() for flow in flows))
    assert [flow.because for flow in flows] == [""] * len(flows)
