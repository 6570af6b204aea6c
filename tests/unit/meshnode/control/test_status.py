from __future__ import annotations

from meshnode.control.status import STATUS_METHODS, ClusterView
from meshnode.rpc.method import MethodTable

VIEW = ClusterView(leader="10.0.0.2:8300", peers=("10.0.0.3:8300", "10.0.0.1:8300", "10.0.0.2:8300"))


def answer(method: str, view: ClusterView = VIEW) -> object:
    return MethodTable(STATUS_METHODS).find(method)(view, {b"anything": 1})


def test_ping_answers_with_an_empty_struct() -> None:
    assert answer("Status.Ping") == {}


def test_leader_is_the_address_of_the_leader_or_empty() -> None:
    assert answer("Status.Leader") == "10.0.0.2:8300"
    assert answer("Status.Leader", ClusterView("", ())) == ""


def test_peers_are_sorted() -> None:
    assert answer("Status.Peers") == ["10.0.0.1:8300", "10.0.0.2:8300", "10.0.0.3:8300"]
    assert answer("Status.Peers", ClusterView("", ())) == []
