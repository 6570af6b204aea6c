"""Who wants to know that a service or a check of this agent changed; how aliases see the checks that they follow."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any, Final

from meshnode.catalog.model import Check
from meshnode.local.state import LocalState
from meshnode.local.wire import parse_node_checks

__all__ = ["LocalAliases", "LocalChanges", "ServerCall"]

#: Calls a server's method; raises :class:`~meshnode.base.errors.MeshError` or ``OSError``.
ServerCall = Callable[[str, Mapping[str, Any]], Awaitable[Any]]
#: Seconds that a question about another node waits for news, as ``?wait=`` does.
ALIAS_WAIT: Final = 60.0


class LocalChanges:
    """Told of every change of ``state`` by those who make it."""

    def __init__(self, state: LocalState) -> None:
        self._state = state
        self._listeners: list[Callable[[], None]] = []
        self._changed = asyncio.Event()

    def notify(self) -> None:
        """Something changed, or has to be sent: wake everybody up."""
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()
        for listener in tuple(self._listeners):
            listener()

    def subscribe(self, listener: Callable[[], None]) -> Callable[[], None]:
        """Have ``listener`` called after every change; returns what ends it."""
        self._listeners.append(listener)

        def end() -> None:
            with contextlib.suppress(ValueError):
                self._listeners.remove(listener)

        return end

    async def wait_past(self, generation: int, timeout: float) -> None:
        """Return when the state is past ``generation``, or after ``timeout`` seconds."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                while self._state.generation == generation:
                    await self._changed.wait()

    async def wait(self, timeout: float) -> None:
        """Return at the next change, or after ``timeout`` seconds."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                await self._changed.wait()


class LocalAliases:
    """An :class:`~meshnode.local.check_alias.AliasSource`; ``token`` gives the agent's token."""

    def __init__(
        self, state: LocalState, changes: LocalChanges, call: ServerCall, token: Callable[[], str]
    ) -> None:
        self._state = state
        self._changes = changes
        self._call = call
        self._token = token

    def checks(self) -> Iterable[Check]:
        """The checks of this node."""
        return self._state.checks()

    def on_change(self, call: Callable[[], None]) -> Callable[[], None]:
        """Have ``call`` called after each change; returns what ends it."""
        return self._changes.subscribe(call)

    async def node_checks(self, node: str, index: int) -> tuple[Iterable[Check], int]:
        """The checks of ``node`` once they are newer than ``index``, with their own index."""
        body = {
            "Datacenter": self._state.node.datacenter,
            "Node": node,
            "MinQueryIndex": index,
            "MaxQueryTime": round(ALIAS_WAIT * 1_000_000_000),
            "AllowStale": True,
            "Token": self._token(),
        }
        reply = await self._call("Health.NodeChecks", body)
        checks = parse_node_checks(reply)
        newer = reply.get("Index", 0)
        return checks, newer if isinstance(newer, int) else 0
