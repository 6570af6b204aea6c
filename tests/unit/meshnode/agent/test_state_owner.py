"""Who leads, as the status calls tell it: kept, and never old."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

from meshnode.agent.log_owner import OwnerMemory
from meshnode.agent.state_owner import StateOwner
from meshnode.base.address import Address
from meshnode.control.log import LeadershipChange
from meshnode.control.servers import ServerInfo
from meshnode.control.status import ClusterView


def server(number: int) -> ServerInfo:
    at = Address(f"10.0.0.{number}", 8300)
    return ServerInfo(f"s{number}", f"id{number}", "dc1", at, 0, False, 8302, True)


class Cluster:
    """A server ``s1`` with a copy of the state, among ``servers``."""

    def __init__(self, *servers: ServerInfo) -> None:
        self.servers: Any = servers
        nothing: Any = None
        self.owner = StateOwner(
            own_id="id1",
            servers=lambda: self.servers,
            departed=tuple,
            open_state=nothing,
            announce=nothing,
            log_path=None,
            memory=OwnerMemory(None),
            first=False,
            shared=True,
            halt=nothing,
        )

    def lead(self, number: int) -> None:
        leadership = LeadershipChange(f"id{number}", 1)
        state: Any = SimpleNamespace(log=SimpleNamespace(leadership=leadership))
        self.owner.state = state


def test_without_state_and_servers_nobody_leads() -> None:
    assert Cluster().owner.view() == ClusterView("", ())


def test_the_view_is_the_same_object_until_something_changes() -> None:
    cluster = Cluster(server(1), server(2))
    cluster.lead(2)
    view = cluster.owner.view()
    assert view == ClusterView("10.0.0.2:8300", ("10.0.0.1:8300", "10.0.0.2:8300"))
    assert cluster.owner.view() is view


def test_another_leader_is_seen_at_once() -> None:
    cluster = Cluster(server(1), server(2))
    cluster.lead(2)
    cluster.owner.view()
    cluster.lead(1)
    assert cluster.owner.view().leader == "10.0.0.1:8300"


def test_a_leader_that_fails_leads_no_more_in_the_view() -> None:
    cluster = Cluster(server(1), server(2))
    cluster.lead(2)
    cluster.owner.view()
    cluster.servers = (server(1), replace(server(2), alive=False))
    assert cluster.owner.view() == ClusterView("", ("10.0.0.1:8300", "10.0.0.2:8300"))


def test_servers_that_come_as_a_list_may_change_in_place() -> None:
    cluster = Cluster()
    cluster.servers = [server(1)]
    cluster.lead(1)
    cluster.owner.view()
    cluster.servers.append(server(3))
    assert cluster.owner.view().peers == ("10.0.0.1:8300", "10.0.0.3:8300")
