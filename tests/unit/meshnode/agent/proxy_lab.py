"""An agent's managed proxies, with processes that a test ends."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from meshnode.agent.local_services import LocalPolicy
from meshnode.agent.managed_proxies import ManagedProxies, ManagedSettings
from meshnode.local.managed import ProxyDefaults
from meshnode.local.parse import parse_service
from meshnode.local.proxy_plan import ProxyRules
from meshnode.runtime.child import ChildError
from tests.support.local_agent import LocalAgent
from tests.support.waiting import until

__all__ = ["ENVIRONMENT", "POLICY", "FakeLauncher", "FakeProcess", "Lab", "lab", "snapshot"]


ENVIRONMENT = {"PATH": os.environ["PATH"], "CONSUL_HTTP_ADDR": "127.0.0.1:8500"}
POLICY = LocalPolicy(
    allow_managed_proxies=True,
    proxies=ProxyRules(defaults=ProxyDefaults(own_command=("own", "connect", "proxy"))),
)


class FakeProcess:
    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.started = pid * 10
        self.ended: asyncio.Future[int | None] = asyncio.get_running_loop().create_future()

    async def wait(self) -> int | None:
        return await asyncio.shield(self.ended)

    async def end(self) -> None:
        self.exit(-signal.SIGTERM)

    def exit(self, code: int | None) -> None:
        if not self.ended.done():
            self.ended.set_result(code)


class FakeLauncher:
    """Processes have the ids 100, 101, ...; ``there`` are those of an earlier run."""

    def __init__(self) -> None:
        self.started: list[tuple[tuple[str, ...], Mapping[str, str], Path | None, Path | None]] = []
        self.processes: list[FakeProcess] = []
        self.there: dict[tuple[int, int], FakeProcess] = {}
        self.refusal = ""

    def start(
        self,
        arguments: tuple[str, ...],
        environment: Mapping[str, str],
        stdout: Path | None,
        stderr: Path | None,
    ) -> FakeProcess:
        if self.refusal:
            raise ChildError(arguments[0], FileNotFoundError(2, self.refusal))
        self.started.append((arguments, environment, stdout, stderr))
        self.processes.append(FakeProcess(100 + len(self.processes)))
        return self.processes[-1]

    def adopt(self, pid: int, started: int) -> FakeProcess | None:
        return self.there.get((pid, started))


class Lab:
    def __init__(self, directory: Path | None, launcher: FakeLauncher | None, refusal: str = "") -> None:
        self.agent = LocalAgent(policy=POLICY)
        self.launcher = launcher or FakeLauncher()
        self.slept: list[float] = []
        self.proxies = ManagedProxies(
            self.agent.state,
            self.agent.changes,
            ManagedSettings(ENVIRONMENT, directory, refusal),
            clock=lambda: self.agent.now,
            launcher=launcher,
            sleep=self.sleep,
        )

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.agent.now += seconds
        await asyncio.sleep(0)

    def register(self, name: str = "web", **proxy: Any) -> None:
        body = {"Name": name, "Port": 80, "Token": "service-token", "Connect": {"Proxy": proxy}}
        self.agent.services.register_service(parse_service(body))

    async def running(self, *proxy_ids: str) -> dict[str, int]:
        await until(
            lambda: sorted(self.proxies.pids) == sorted(proxy_ids), f"{proxy_ids} run", interval=0.001
        )
        return self.proxies.pids


@asynccontextmanager
async def lab(
    directory: Path | None = None,
    launcher: FakeLauncher | None = None,
    *,
    refusal: str = "",
    real: bool = False,
) -> AsyncIterator[Lab]:
    made = Lab(directory, None if real else launcher or FakeLauncher(), refusal)
    try:
        yield made
    finally:
        await made.proxies.stop()


def snapshot(directory: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((directory / "snapshot.json").read_text())
    return found["Proxies"]
