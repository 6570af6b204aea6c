"""What config entries make of a destination, where the built-in proxy and the SDK can't follow: told, not ignored."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from typing import Any, Final, TypeAlias

from meshnode.base.errors import MeshError
from meshnode.client.agent import AgentClient
from meshnode.client.answer import ApiError
from meshnode.client.settings import path_segment
from meshnode.runtime.tasks import cancel_and_wait, spawn

__all__ = ["Routing", "UnsupportedRoutingError", "unsupported"]

#: Destination and datacenter, which is empty for ours.
_Key: TypeAlias = tuple[str, str]
_HASHED: Final = frozenset({"ring_hash", "maglev"})

_log: Final = logging.getLogger("meshnode.client")


class UnsupportedRoutingError(MeshError):
    """An entry says where requests go, and only Envoy can do that."""


class Routing:
    """Asked about a destination before its instances are; each one is followed from then on."""

    def __init__(self, client: AgentClient) -> None:
        self._client = client
        self._faults: dict[_Key, str] = {}
        self._watches: dict[_Key, asyncio.Task[None]] = {}

    async def fault(self, destination: str, datacenter: str) -> str:
        """Which entry leads elsewhere than to every instance of ``destination``, and what can follow it; or ``""``.

        Who may not read the chain, and agents without one, are not held up by it. Raises as
        :meth:`AgentClient.get_json` while the agent never answered.
        """
        key = destination, datacenter
        if key not in self._faults:
            try:
                answer = await self._client.get_json(*_question(key))
            except ApiError:
                self._faults[key] = ""
            else:
                self._faults[key] = unsupported(answer, destination)
                self._watches[key] = spawn(self._follow(key), name=f"client chain of {destination}")
        return self._faults[key]

    def forget(self, destination: str, datacenter: str) -> None:
        """Follow it no more."""
        self._faults.pop((destination, datacenter), None)
        if task := self._watches.pop((destination, datacenter), None):
            task.cancel()

    async def close(self) -> None:
        """Follow nothing any more."""
        tasks = [*self._watches.values()]
        self._watches.clear()
        self._faults.clear()
        await cancel_and_wait(*tasks)

    async def _follow(self, key: _Key) -> None:
        path, query = _question(key)
        async for answer in self._client.watch(path, query):
            fault = unsupported(answer, key[0])
            if fault != self._faults.get(key, ""):
                _log.warning("%s", fault or f"{key[0]} can be reached again: no entry leads elsewhere")
            self._faults[key] = fault


def unsupported(answer: Any, destination: str) -> str:
    """Which entry the built-in proxy can't follow, from ``/v1/discovery-chain/:service``, and what can; or ``""``."""
    chain = _object(answer, "Chain")
    start = _object(_object(chain, "Nodes"), str(chain.get("StartNode", "")))
    kind, name = start.get("Type"), start.get("Name")
    entry = f"service-resolver/{destination}"
    if kind in {"router", "splitter"}:
        entry, what = f"service-{kind}/{name}", "tells requests apart"
    else:
        resolver = _object(start, "Resolver")
        target = _object(_object(chain, "Targets"), str(resolver.get("Target", "")))
        policy = _object(resolver, "LoadBalancer").get("Policy")
        if str(target.get("Service", destination)).lower() != destination.lower():
            what = f"leads to {target['Service']}"
        elif target.get("ServiceSubset"):
            what = f"leads to the subset {target['ServiceSubset']}"
        elif _object(resolver, "Failover"):
            what = "names places to go on at"
        elif policy in _HASHED:
            what = f"chooses instances by {policy}"
        else:
            return ""
    return (
        f"{destination}: {entry} {what}, which the built-in proxy and the SDK can't: run Envoy as the sidecar "
        "(consul connect envoy), or delete the entry"
    )


def _question(key: _Key) -> tuple[str, dict[str, str]]:
    destination, datacenter = key
    query = {"compile-dc": datacenter} if datacenter else {}
    return f"/v1/discovery-chain/{path_segment(destination)}", query


def _object(body: Any, name: str) -> Mapping[str, Any]:
    found = body.get(name) if isinstance(body, Mapping) else None
    return found if isinstance(found, Mapping) else {}
