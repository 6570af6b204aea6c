"""What a service speaks where its proxy's own configuration doesn't say: ``service-defaults`` and ``proxy-defaults``.

Read from the service's discovery chain, which knows both. Until the agent has answered, and with an agent that knows no
chains, it is ``tcp``: intentions about requests deny then.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from dataclasses import replace
from typing import Any, Final

from meshnode.base.errors import MeshError
from meshnode.client.agent import AgentClient
from meshnode.client.answer import ApiError
from meshnode.client.settings import path_segment
from meshnode.proxy.config import PROTOCOLS, ProxyConfig
from meshnode.runtime.tasks import cancel_and_wait, spawn

__all__ = ["PATIENCE", "with_protocol"]

#: Seconds that the first configuration waits for the answer.
PATIENCE: Final = 2.0
_DEFAULT: Final = "tcp"
_log: Final = logging.getLogger("meshnode.proxy")


async def with_protocol(
    client: AgentClient, configs: AsyncIterator[tuple[ProxyConfig, bool]]
) -> AsyncGenerator[ProxyConfig, None]:
    """Each configuration with its protocol, and again when that is another; ``True`` beside one that says it itself."""
    following = _Following(client)
    reading = spawn(following.read(configs), name="proxy configuration and protocol")
    try:
        while True:
            await following.changed.wait()
            following.changed.clear()
            if reading.done():
                reading.result()
            if following.config is not None:
                yield following.config
    finally:
        await cancel_and_wait(reading, following.chain)


class _Following:
    """The latest configuration and the latest protocol."""

    def __init__(self, client: AgentClient) -> None:
        self._client = client
        self._latest: tuple[ProxyConfig, bool] | None = None
        self._service = ""
        self._protocol = _DEFAULT
        self._answered = asyncio.Event()
        self.changed = asyncio.Event()
        self.chain: asyncio.Task[Any] | None = None

    @property
    def config(self) -> ProxyConfig | None:
        """As it is to be used now."""
        if self._latest is None:
            return None
        config, says_it = self._latest
        if says_it or config.public is None:
            return config
        return replace(config, public=replace(config.public, protocol=self._protocol))

    async def read(self, configs: AsyncIterator[tuple[ProxyConfig, bool]]) -> None:
        """Take each configuration; ends with an error only."""
        try:
            async for found in configs:
                config, says_it = found
                if config.service != self._service and not says_it and config.public is not None:
                    await self._ask_about(config.service)
                self._latest = found
                self.changed.set()
        finally:
            self.changed.set()

    async def _ask_about(self, service: str) -> None:
        await cancel_and_wait(self.chain)
        self._service, self._protocol = service, _DEFAULT
        self._answered.clear()
        self.chain = spawn(self._follow(service), name=f"protocol of {service}")
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(PATIENCE):
                await self._answered.wait()

    async def _follow(self, service: str) -> None:
        path = f"/v1/discovery-chain/{path_segment(service)}"
        try:
            await self._client.get_json(path)
        except ApiError as error:
            _log.debug("what %s speaks is not known, %s is taken: %s", service, _DEFAULT, error)
            self._answered.set()
            return
        except MeshError:
            _log.debug("what %s speaks is asked for again", service)
        async for answer in self._client.watch(path):
            chain = answer.get("Chain") if isinstance(answer, Mapping) else None
            found = chain.get("Protocol") if isinstance(chain, Mapping) else None
            self._protocol = found if found in PROTOCOLS else _DEFAULT
            self._answered.set()
            self.changed.set()
