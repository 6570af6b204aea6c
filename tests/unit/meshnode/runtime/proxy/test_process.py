"""A proxy that follows its configuration."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from meshnode.base.errors import ConfigError, MeshError
from meshnode.proxy.config import Endpoint, ProxyConfig, Upstream
from meshnode.runtime.proxy.process import OneProcess, ProxyProcess
from meshnode.runtime.tasks import cancel_and_wait, spawn
from tests.support.asynchronous import asynchronous
from tests.support.proxy import Ca, Decisions, Instances, make_sidecar, upstream
from tests.support.waiting import until


def config(service: str, *ports: int) -> ProxyConfig:
    return ProxyConfig(service, None, tuple(Upstream(Endpoint("127.0.0.1", port), "db") for port in ports))


@dataclass
class FakeEngine:
    """Does nothing, and fails as often as ``failures`` says."""

    config: ProxyConfig
    failures: int = 0
    cannot_start: bool = False
    did: list[str] = field(default_factory=list)

    async def start(self) -> None:
        if self.cannot_start:
            raise ConfigError("the port is in use")
        self.did.append("start")

    async def apply(self, config: ProxyConfig) -> None:
        if self.failures:
            self.failures -= 1
            self.did.append("fail")
            raise ConfigError("the port is in use")
        self.config = config
        self.did.append("apply")

    async def report(self) -> dict[str, Any]:
        return {"Service": self.config.service}

    async def stop(self, *, drain_timeout: float = 10.0) -> None:
        self.did.append(f"stop {drain_timeout:g}")

    def hurry(self) -> None:
        self.did.append("hurry")


class Rig:
    def __init__(self, **engine: Any) -> None:
        self.engines: list[FakeEngine] = []
        self.queue: asyncio.Queue[ProxyConfig | MeshError] = asyncio.Queue()
        self._engine = engine
        self.process = ProxyProcess(self.make, apply_interval=engine.pop("interval", 0.01))
        self.following = spawn(self.process.follow(self.configs()), name="test")

    def make(self, wanted: ProxyConfig) -> FakeEngine:
        self.engines.append(FakeEngine(wanted, **self._engine))
        return self.engines[-1]

    async def configs(self) -> AsyncIterator[ProxyConfig]:
        while True:
            item = await self.queue.get()
            if isinstance(item, MeshError):
                raise item
            yield item

    async def until_did(self, *did: str, number: int = 0) -> None:
        await until(lambda: len(self.engines) > number and self.engines[number].did == [*did], f"{did}")


@asynchronous
async def test_the_first_configuration_starts_and_the_next_ones_are_applied() -> None:
    rig = Rig()
    assert await rig.process.report() == {}
    rig.queue.put_nowait(config("web", 1))
    await rig.process.running.wait()
    assert await rig.process.report() == {"Service": "web"}
    rig.queue.put_nowait(config("web", 2))
    await rig.until_did("start", "apply")
    assert rig.engines[0].config == config("web", 2)
    await cancel_and_wait(rig.following)
    rig.process.hurry()
    await rig.process.stop(drain_timeout=3)
    assert rig.engines[0].did[2:] == ["hurry", "stop 3"]
    assert not rig.process.running.is_set()


@asynchronous
async def test_the_same_configuration_again_is_no_change() -> None:
    rig = Rig()
    for port in (1, 1, 2):
        rig.queue.put_nowait(config("web", port))
        await until(rig.queue.empty, "it is taken")
    await until(lambda: rig.engines and rig.engines[0].config == config("web", 2), "the last one is in force")
    assert rig.engines[0].did.count("apply") <= 1
    await cancel_and_wait(rig.following)


@asynchronous
async def test_a_configuration_that_cannot_be_used_is_tried_again_until_it_can() -> None:
    rig = Rig(failures=2)
    rig.queue.put_nowait(config("web", 1))
    await rig.process.running.wait()
    rig.queue.put_nowait(config("web", 2))
    await rig.until_did("start", "fail", "fail", "apply")
    await cancel_and_wait(rig.following)


@asynchronous
async def test_a_newer_configuration_takes_the_place_of_one_that_cannot_be_used() -> None:
    rig = Rig(failures=1, interval=1000.0)
    rig.queue.put_nowait(config("web", 1))
    await rig.process.running.wait()
    rig.queue.put_nowait(config("web", 2))
    await rig.until_did("start", "fail")
    rig.queue.put_nowait(config("web", 3))
    await rig.until_did("start", "fail", "apply")
    assert rig.engines[0].config == config("web", 3)
    await cancel_and_wait(rig.following)


@asynchronous
async def test_a_configuration_of_another_service_is_another_proxy() -> None:
    rig = Rig()
    rig.queue.put_nowait(config("web", 1))
    await rig.process.running.wait()
    rig.queue.put_nowait(config("api", 1))
    await rig.until_did("start", number=1)
    assert rig.engines[0].did == ["start", "stop 10"]
    await cancel_and_wait(rig.following)


@asynchronous
async def test_a_proxy_that_cannot_start_and_a_source_that_fails_end_it() -> None:
    rig = Rig(cannot_start=True)
    rig.queue.put_nowait(config("web", 1))
    with pytest.raises(ConfigError, match="in use"):
        await rig.process.follow(rig.configs())
    await cancel_and_wait(rig.following)

    rig = Rig()
    rig.queue.put_nowait(MeshError("no configuration"))
    with pytest.raises(MeshError, match="no configuration"):
        await rig.following


@asynchronous
async def test_a_sidecar_in_this_process_is_an_engine() -> None:
    sidecar, _ = make_sidecar(Ca(), "web", Decisions(), Instances())
    engine = OneProcess(sidecar, ProxyConfig("web", None, (upstream(),)))
    assert await engine.report() == {}
    await engine.start()
    report = await engine.report()
    assert (report["Service"], report["Listeners"][0]["Name"]) == ("web", "service:default/api")
    await engine.apply(ProxyConfig("web"))
    assert (await engine.report())["Listeners"] == []
    engine.hurry()
    await engine.stop(drain_timeout=0)
    assert await engine.report() == {}
