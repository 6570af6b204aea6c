"""A proxy that follows its configuration: one sidecar in this process, or several in workers, and changes of either.

A configuration that can't be used leaves the one before in force, and is tried again: ports become free. One for
another service needs another certificate, so it is a new proxy, and the old one drains.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any, Final, Protocol

from meshnode.base.errors import ConfigError, MeshError
from meshnode.proxy.config import ProxyConfig
from meshnode.runtime.proxy.deadlines import DRAIN_TIMEOUT
from meshnode.runtime.proxy.host import log
from meshnode.runtime.proxy.sidecar import Sidecar
from meshnode.runtime.tasks import cancel_and_wait, spawn

__all__ = ["Engine", "OneProcess", "ProxyProcess"]

#: Seconds until a configuration that could not be used is tried again.
APPLY_INTERVAL: Final = 5.0


class Engine(Protocol):
    """What runs a proxy of one service: :class:`OneProcess` and :class:`~meshnode.runtime.proxy.workers.Workers`."""

    async def start(self) -> None:
        """Listen; raises :class:`MeshError`, and leaves nothing behind then."""
        ...

    async def apply(self, config: ProxyConfig) -> None:
        """Change the listeners; raises :class:`ConfigError`, and leaves the old ones then."""
        ...

    async def report(self) -> dict[str, Any]:
        """What the agent is told; empty when nothing runs."""
        ...

    async def stop(self, *, drain_timeout: float = DRAIN_TIMEOUT) -> None:
        """Accept nobody, let connections end, cut what is left."""
        ...

    def hurry(self) -> None:
        """End the draining of a ``stop`` that is under way."""
        ...


class OneProcess:
    """A sidecar in this process."""

    def __init__(self, sidecar: Sidecar, config: ProxyConfig) -> None:
        self.sidecar = sidecar
        self._config = config

    async def start(self) -> None:
        """As :class:`Engine`."""
        await self.sidecar.start(self._config)

    async def apply(self, config: ProxyConfig) -> None:
        """As :class:`Engine`."""
        self.sidecar.apply(config)

    async def report(self) -> dict[str, Any]:
        """As :class:`Engine`."""
        return self.sidecar.report()

    async def stop(self, *, drain_timeout: float = DRAIN_TIMEOUT) -> None:
        """As :class:`Engine`."""
        await self.sidecar.stop(drain_timeout=drain_timeout)

    def hurry(self) -> None:
        """As :class:`Engine`."""
        self.sidecar.hurry()


class ProxyProcess:
    """``make(config)`` gives the engine of a service; it is not started. ``running`` is set while one listens."""

    def __init__(
        self, make: Callable[[ProxyConfig], Engine], *, apply_interval: float = APPLY_INTERVAL
    ) -> None:
        self._make = make
        self._apply_interval = apply_interval
        self._engine: Engine | None = None
        self._config: ProxyConfig | None = None
        self._wanted: ProxyConfig | None = None
        self._changed = asyncio.Event()
        self._failure: MeshError | None = None
        self.running = asyncio.Event()

    async def follow(self, configs: AsyncIterator[ProxyConfig]) -> None:
        """Run the first configuration, then change to each that comes; it ends only when cancelled.

        Raises :class:`MeshError` when a proxy can't be started, and what ``configs`` raises.
        """
        collecting = spawn(self._collect(configs), name="proxy configuration")
        try:
            while True:
                await self._changed.wait()
                self._changed.clear()
                if self._failure is not None:
                    raise self._failure
                if self._wanted is not None and self._wanted != self._config:
                    await self._change(self._wanted)
        finally:
            await cancel_and_wait(collecting)

    async def _collect(self, configs: AsyncIterator[ProxyConfig]) -> None:
        try:
            async for config in configs:
                self._wanted = config
                self._changed.set()
        except MeshError as error:
            self._failure = error
            self._changed.set()

    async def _change(self, config: ProxyConfig) -> None:
        if self._engine is not None and self._config is not None and config.service == self._config.service:
            await self._apply(self._engine, config)
            return
        if self._engine is not None:
            log.warning("the proxy is of %s from now on: what is open drains first", config.service)
            await self.stop()
        self._engine = self._make(config)
        await self._engine.start()
        self._config = config
        self.running.set()

    async def _apply(self, engine: Engine, config: ProxyConfig) -> None:
        while True:
            try:
                await engine.apply(config)
            except ConfigError as error:
                log.error(
                    "the new configuration is not used, the old one stays: %s; trying again in %g s",
                    error, self._apply_interval,
                )  # fmt: skip
            else:
                self._config = config
                return
            try:
                async with asyncio.timeout(self._apply_interval):
                    await self._changed.wait()
            except TimeoutError:
                continue
            return  # a newer one is there

    async def report(self) -> dict[str, Any]:
        """What the agent is told; empty while nothing runs."""
        return await self._engine.report() if self._engine is not None else {}

    async def stop(self, *, drain_timeout: float = DRAIN_TIMEOUT) -> None:
        """Stop what runs; see :class:`Engine`."""
        self.running.clear()
        if self._engine is not None:
            await self._engine.stop(drain_timeout=drain_timeout)
            self._engine = None

    def hurry(self) -> None:
        """End the draining of a ``stop`` that is under way."""
        if self._engine is not None:
            self._engine.hurry()
