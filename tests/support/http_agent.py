"""An agent's view for tests of the API, and a shell that performs its effects in memory."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from meshnode.base.errors import MeshError
from meshnode.base.metrics import Metrics
from meshnode.control.user_event import UserEvent
from meshnode.http.api import Api
from meshnode.http.effects import (
    CallServer,
    Effect,
    FireEvent,
    Join,
    KeyOperation,
    KeyringStatus,
    Leave,
    StreamLog,
    WaitForEvents,
)
from meshnode.http.errors import ServerCallError
from meshnode.http.user_events import EventBuffer
from meshnode.http.view import AgentSelf, HttpSettings, MemberInfo, MemberStatus

EVENT_ID = "b54fe110-7af5-cafc-d1fb-afc8ba432b1c"


def member(name: str, addr: str = "10.0.0.1", status: MemberStatus = MemberStatus.ALIVE) -> MemberInfo:
    tags = {"role": "consul", "dc": "dc1", "port": "8300", "id": f"id-of-{name}", "vsn": "2"}
    return MemberInfo(name, addr, 8301, tags, status, (1, 5, 2), (2, 5, 4))


@dataclass
class FakeView:
    node_name: str = "node1"
    datacenter: str = "dc1"
    is_server: bool = True
    settings: HttpSettings = field(default_factory=HttpSettings)
    events: EventBuffer = field(default_factory=EventBuffer)
    metrics: Metrics = field(default_factory=lambda: Metrics(0.0))
    now: float = 0.0
    lan: tuple[MemberInfo, ...] = (member("node1"), member("node2", "10.0.0.2", MemberStatus.FAILED))
    wan: tuple[MemberInfo, ...] = (member("node1.dc1"),)
    leader_address: str = "10.0.0.1:8300"
    answers: None = None
    acl_enabled: bool = False
    default_token: str = ""

    def read_now(self, _query: object) -> None:
        return None

    def utc_text(self, monotonic: float) -> str:
        return f"2018-08-08 04:55:{int(monotonic) % 60:02d} +0000 UTC"

    def leader(self) -> str:
        return self.leader_address

    def peers(self) -> Sequence[str]:
        return [self.leader_address]

    def members(self, *, wan: bool) -> Sequence[MemberInfo]:
        return self.wan if wan else self.lan

    def agent_self(self) -> AgentSelf:
        config = {"Datacenter": "dc1", "NodeName": "node1", "NodeID": "id", "Revision": "", "Server": True,
                  "Version": "1.2.3"}  # fmt: skip
        mine = {"Version": "0.1.0", "ConfigDigest": "d", "GossipKeyFingerprints": [], "WanGossipKeyFingerprints": [],
                "Certificates": []}  # fmt: skip
        return AgentSelf(config, {"ACLTTL": "30s"}, None, self.lan[0], {"agent": {"checks": "0"}}, {}, mine)


class FakeShell:
    """Performs effects: records them, answers from ``outcomes`` (by type; an error is raised), waits and streams."""

    def __init__(self, view: FakeView) -> None:
        self.view = view
        self.performed: list[Effect[Any]] = []
        self.outcomes: dict[type, Any] = {}
        self.changed = asyncio.Event()
        self.started = asyncio.Event()
        self.release = asyncio.Event()
        self.cancelled = asyncio.Event()
        self.finished = asyncio.Event()
        self.waiting = 0
        self.log_lines = [b"one\n", b"two\n"]

    def fire(self, event: UserEvent) -> None:
        self.view.events.append(event)
        self.changed.set()

    async def perform(self, effect: Effect[Any]) -> Any:
        self.performed.append(effect)
        outcome = self.outcomes.get(type(effect))
        if isinstance(outcome, Exception):
            raise outcome
        match effect:
            case WaitForEvents():
                return await self._wait(self.changed.wait(), effect.timeout)
            case Leave():
                self.started.set()
                await self.release.wait()
                self.finished.set()
                return None
            case FireEvent():
                fired = replace(effect.event, event_id=EVENT_ID, ltime=7)
                self.fire(fired)
                return fired
            case StreamLog():
                return self._lines()
            case Join():
                return len(effect.addresses)
            case CallServer():
                if outcome is None:
                    raise ServerCallError("No cluster leader")
                return outcome
            case _:
                return outcome

    async def _wait(self, event: Any, timeout: float) -> None:
        self.waiting += 1
        self.started.set()
        try:
            async with asyncio.timeout(timeout):
                await event
        except TimeoutError:
            return
        except asyncio.CancelledError:
            self.cancelled.set()
            raise
        finally:
            self.waiting -= 1

    async def _lines(self) -> AsyncIterator[bytes]:
        try:
            for line in self.log_lines:
                yield line
            self.started.set()
            await self.release.wait()
        finally:
            self.cancelled.set()


def run(api: Api, request: Any, *outcomes: Any) -> tuple[Any, list[Effect[Any]]]:
    """Handle a request without a shell: send each outcome in turn (an error is thrown); the answer and the effects."""
    outcome = api.handle(request)
    effects: list[Effect[Any]] = []
    if not hasattr(outcome, "send"):
        return outcome, effects
    waiting = list(outcomes)
    try:
        effects.append(next(outcome))
        while True:
            given = waiting.pop(0)
            effects.append(outcome.throw(given) if isinstance(given, MeshError) else outcome.send(given))
    except StopIteration as end:
        return end.value, effects


def api_of(view: FakeView | None = None) -> Api:
    return Api(view or FakeView(), random.Random(1))


def keyring(**changes: Any) -> KeyringStatus:
    status = KeyringStatus(wan=False, datacenter="dc1", keys={"a2V5": 3}, num_nodes=3, messages={})
    return replace(status, **changes)


__all__ = ["EVENT_ID", "FakeShell", "FakeView", "KeyOperation", "api_of", "keyring", "member", "run"]
