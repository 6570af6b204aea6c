from __future__ import annotations

import logging

import pytest

from meshnode.agent.leadership import Leadership
from meshnode.base.address import Address
from meshnode.control.servers import ServerInfo


def server(number: int, *, alive: bool = True, expect: int = 3) -> ServerInfo:
    return ServerInfo(
        f"s{number}", f"id{number}", "dc1", Address(f"10.0.0.{number}", 8300), expect, False, 8302, alive
    )


class Pool:
    def __init__(self, *servers: ServerInfo) -> None:
        self.servers = list(servers)
        self.departed: list[ServerInfo] = []
        self.leadership = Leadership(lambda: self.servers, lambda: self.departed, "id1")

    def leader(self) -> str:
        self.leadership.refresh()
        return self.leadership.view().leader


def test_nobody_leads_before_the_expected_number_was_seen() -> None:
    pool = Pool(server(1), server(2))
    assert pool.leader() == ""
    pool.servers.append(server(3))
    assert pool.leader() == "10.0.0.1:8300"
    assert pool.leadership.is_leader


def test_a_majority_of_those_who_did_not_leave_must_be_alive() -> None:
    pool = Pool(server(1, alive=False), server(2), server(3))
    assert pool.leader() == "10.0.0.2:8300"
    assert not pool.leadership.is_leader
    pool.servers[1] = server(2, alive=False)
    assert pool.leader() == ""


def test_servers_that_leave_shrink_the_quorum_down_to_one() -> None:
    pool = Pool(server(1), server(2), server(3))
    assert pool.leader()
    for _ in range(2):
        pool.departed.append(pool.servers.pop())
        assert pool.leader() == "10.0.0.1:8300"
    pool.departed.clear()  # after a day they are forgotten
    assert pool.leader() == "10.0.0.1:8300"


def test_a_server_that_starts_again_counts_those_who_left_as_seen() -> None:
    pool = Pool(server(1), server(2))
    pool.departed = [server(3, alive=False)]
    assert pool.leader() == "10.0.0.1:8300"


def test_peers_are_those_who_did_not_leave() -> None:
    pool = Pool(server(2, alive=False), server(1))
    assert set(pool.leadership.view().peers) == {"10.0.0.1:8300", "10.0.0.2:8300"}


def test_each_change_is_logged_once(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logging.getLogger("meshnode"), "propagate", True)
    pool = Pool(server(1), server(2), server(3))
    with caplog.at_level(logging.INFO, "meshnode.server"):
        pool.leader()
        pool.leader()
        pool.servers[0] = server(1, alive=False)
        pool.leader()
        pool.servers[1] = server(2, alive=False)
        pool.leader()
    assert [record.getMessage() for record in caplog.records] == [
        "cluster leadership acquired",
        "New leader elected: s2",
        "No cluster leader",
    ]
