"""What the agent does by itself is there once the configuration asks for it."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

from meshnode.agent.automation import Automation
from meshnode.agent.config import AgentConfig
from meshnode.http.message import Request, Response
from tests.support.asynchronous import asynchronous

WATCH = {"type": "key", "key": "app/x", "args": ["/bin/true"]}


class Api:
    """Has no key, and says when it is asked for one."""

    def __init__(self) -> None:
        self.asked: asyncio.Queue[str] = asyncio.Queue()

    def handle(self, request: Request) -> Response:
        self.asked.put_nowait(request.path)
        return Response(404, headers=(("X-Consul-Index", "1"),))


def automation(config: AgentConfig, api: Any, connect: Any) -> Automation:
    nothing: Any = None
    performer: Any = SimpleNamespace(perform=None, call=None)
    access: Any = SimpleNamespace(tokens=SimpleNamespace(for_own_work=""))
    return Automation(
        config, api=api, performer=performer, access=access, events=nothing, lan=nothing, connect=connect,
        look_again=lambda _proxy: None, tls=nothing, rng=random.Random(1),
    )  # fmt: skip


@asynchronous
async def test_a_watch_that_a_reload_brings_is_run_though_there_was_none_before(
    config: Callable[..., AgentConfig],
) -> None:
    api = Api()
    made = automation(config(), api, SimpleNamespace())
    await made.reload(config())
    assert api.asked.empty()
    await made.reload(config(watches=[WATCH]))
    try:
        assert await asyncio.wait_for(api.asked.get(), 10) == "/v1/kv/app/x"
    finally:
        await made.stop()


@asynchronous
async def test_envoys_are_told_of_only_where_they_are_served(config: Callable[..., AgentConfig]) -> None:
    served, not_served = SimpleNamespace(), SimpleNamespace()
    for connect, keys in ((served, {"ports": {"grpc": 18502}}), (not_served, {})):
        await automation(config(**keys), Api(), connect).stop()
    assert served.envoys() == []
    assert not hasattr(not_served, "envoys")
