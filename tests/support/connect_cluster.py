"""One server's Connect without a network: the real state, the real CA of the leader, and calls that may fail."""

from __future__ import annotations

import asyncio
import random
import uuid
from collections.abc import Callable, Mapping
from types import SimpleNamespace
from typing import Any

from meshnode.acl.authorizer import ALLOW_ALL, Authorizer
from meshnode.agent.connect_ca import ConnectCa
from meshnode.agent.leaf_cache import LeafCache
from meshnode.base.errors import MeshError
from meshnode.connect.settings import CaSettings, parse_ca_settings
from meshnode.control.body import NANOSECONDS
from meshnode.control.command import parse_command, serialize_command
from meshnode.control.endpoints.connect_ca import METHODS
from meshnode.control.machine import StateMachine
from meshnode.control.method import Moment, ReadMethod, WriteMethod
from meshnode.control.watch import WatchTable

__all__ = ["ConnectCluster"]

START = 1_800_000_000.0


class ConnectCluster:
    """To be made inside a loop. ``skew`` is added to the wall clock of everybody, ``down`` refuses every call."""

    def __init__(
        self,
        *,
        ttl: str = "72h",
        settings: CaSettings | None = None,
        enabled: bool = True,
        seed: int = 7,
        datacenter: str = "dc1",
        secondary: bool = False,
    ) -> None:
        self.datacenter = datacenter
        #: Told what each command touched.
        self.on_applied: Callable[[frozenset[Any]], None] = lambda _touched: None
        self._loop = asyncio.get_running_loop()
        self.machine = StateMachine()
        self.rights: Authorizer = ALLOW_ALL
        self.down = False
        self.skew = 0.0
        self.alive = {"n1"}
        self.calls: list[tuple[float, str]] = []
        self._watches = WatchTable()
        self._wakes: dict[int, Callable[[], None]] = {}
        self._rng = random.Random(seed)
        self._leadership = SimpleNamespace(epoch=1)
        #: The state, as those who lead have it.
        self.held: Any = SimpleNamespace(
            machine=self.machine,
            log=SimpleNamespace(leadership=self._leadership),
            submit=self._submit,
            barrier=self._barrier,
            authorizer=lambda _: self.rights,
            watch=self._watch,
            unwatch=self._unwatch,
        )
        chosen = settings or parse_ca_settings("consul", {"LeafCertTTL": ttl})
        self.ca = ConnectCa(
            lambda: self.held,
            chosen if enabled else None,
            datacenter=datacenter,
            alive=lambda: self.alive,
            wall=self.wall,
            entropy=self._rng.randbytes,
            new_id=lambda: str(uuid.UUID(int=self._rng.getrandbits(128), version=4)),
            secondary=secondary,
        )

    def elect(self, epoch: int) -> None:
        """Another term of a leader that lost its own; terms only grow."""
        self.ca.lead(0)
        self._leadership.epoch = epoch
        self.ca.lead(epoch)

    def wall(self) -> float:
        return START + self._loop.time() + self.skew

    @property
    def store(self) -> Any:
        return self.machine.connect

    def cache(self, node: str = "n1") -> LeafCache:
        """The agent of a node."""
        return LeafCache(
            self.call,
            node_name=node,
            datacenter=self.datacenter,
            token=lambda: "",
            wall=self.wall,
            rng=self._rng,
        )

    async def call(self, method: str, body: Mapping[str, Any]) -> Any:
        await asyncio.sleep(0.01)
        self.calls.append((self.wall(), method))
        if self.down:
            raise MeshError("No known Consul servers")
        special = self.ca.methods.get(method)
        if special is not None:
            return await special(body, "")
        known = METHODS[method]
        if isinstance(known, WriteMethod):
            moment = Moment(self.wall(), lambda: str(uuid.uuid4()))
            return known.reply(
                self.machine, await self._submit(known.plan(self.machine, body, self.rights, moment))
            )
        return await self._read(known, body)

    async def _read(self, method: ReadMethod, body: Mapping[str, Any]) -> Any:
        wait = body.get("MaxQueryTime", 0) / NANOSECONDS
        try:
            async with asyncio.timeout(wait):
                while True:
                    index, reply = method.read(self.machine, body, self.rights)
                    if index > body.get("MinQueryIndex", 0):
                        return {**reply, "Index": index}
                    changed = asyncio.Event()
                    waiter = self._watch(method.watches(body), changed.set)
                    try:
                        await changed.wait()
                    finally:
                        self._unwatch(waiter)
        except TimeoutError:
            index, reply = method.read(self.machine, body, self.rights)
            return {**reply, "Index": index}

    async def _barrier(self) -> int:
        await asyncio.sleep(0)
        return self.machine.last_index

    async def _submit(self, command: Any, *, epoch: int | None = None) -> Any:
        del epoch
        result = self.machine.apply(self.machine.last_index + 1, parse_command(serialize_command(command)))
        touched = self.machine.take_touched()
        for waiter in self._watches.touched(touched):
            self._wakes[waiter]()
        self.ca.applied(touched)
        self.on_applied(touched)
        return result

    def _watch(self, keys: Any, wake: Callable[[], None]) -> int:
        waiter = self._watches.register(keys)
        self._wakes[waiter] = wake
        return waiter

    def _unwatch(self, waiter: int) -> None:
        self._watches.remove(waiter)
        self._wakes.pop(waiter, None)
