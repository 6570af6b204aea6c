from __future__ import annotations

import asyncio
import re
from typing import Any

from meshnode.agent.view import View
from meshnode.base.metrics import Metrics
from meshnode.control.status import ClusterView
from meshnode.http.user_events import EventBuffer
from meshnode.http.view import AgentView, HttpSettings


class Server:
    @property
    def owner(self) -> Server:
        return self

    def watches_of(self, _query: object) -> tuple[()]:
        return ()

    def may_answer(self) -> bool:
        return True

    def view(self) -> ClusterView:
        return ClusterView("10.0.0.1:8300", ("10.0.0.2:8300", "10.0.0.1:8300"))


class SomePool:
    members = ("somebody",)


def view_of(server: Any, wan: Any) -> View:
    async def make() -> View:
        lan: Any = SomePool()
        nothing: Any = None
        describe: Any = lambda: "described"  # noqa: E731
        return View(
            node_name="node1", datacenter="dc1", lan=lan, wan=wan, server=server, local=nothing, access=nothing,
            events=EventBuffer(),
            metrics=Metrics(0.0), settings=HttpSettings(), describe=describe,
        )  # fmt: skip

    return asyncio.run(make())


def test_a_server_knows_leader_peers_and_the_wan() -> None:
    view: AgentView = view_of(Server(), SomePool())
    assert (view.is_server, view.leader()) == (True, "10.0.0.1:8300")
    assert view.peers() == ["10.0.0.1:8300", "10.0.0.2:8300"]
    assert view.members(wan=True) is SomePool.members
    assert view.agent_self() == "described"


def test_a_client_knows_none_of_them() -> None:
    view: AgentView = view_of(None, None)
    assert (view.is_server, view.leader(), tuple(view.peers())) == (False, "", ())
    assert view.members(wan=True) == ()
    assert view.members(wan=False) is SomePool.members


def test_times_are_printed_as_go_prints_them() -> None:
    view = view_of(None, None)
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d \+0000 UTC", view.utc_text(view.now - 10))
