"""Which server is well, which may go: the rules as tables."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshnode.base.address import Address
from meshnode.control.autopilot import DEFAULT, AutopilotConfig
from meshnode.control.server_health import LogStats, Peer, failure_tolerance, is_healthy, replaced
from meshnode.control.servers import ServerInfo

LEADER = LogStats(0.0, 7, 1000)


def peer(number: int, status: str = "alive", *, voter: bool = True, leads: bool = False) -> Peer:
    info = ServerInfo(
        f"server{number}", f"id{number}", "dc1", Address(f"10.0.0.{number}", 8300), 3, False, 8302,
        status == "alive",
    )  # fmt: skip
    return Peer(info, status, "1.2.3", leads, voter)


@pytest.mark.parametrize(
    ("stats", "well"),
    [
        (LogStats(0.0, 7, 1000), True),
        (LogStats(0.2, 7, 750), True),
        (LogStats(0.2, 7, 1001), True),
        (LogStats(0.201, 7, 1000), False),
        (LogStats(None, 7, 1000), False),
        (LogStats(0.0, 6, 1000), False),
        (LogStats(0.0, 8, 1000), False),
        (LogStats(0.0, 7, 749), False),
        (None, False),
    ],
)
def test_a_server_is_well_while_it_is_close_to_the_log(stats: LogStats | None, well: bool) -> None:
    assert is_healthy(peer(1), stats, LEADER, DEFAULT) is well


@pytest.mark.parametrize("status", ["failed", "leaving", "none"])
def test_a_server_that_gossip_does_not_call_alive_is_not_well(status: str) -> None:
    assert not is_healthy(peer(1, status), LEADER, LEADER, DEFAULT)


def test_the_settings_move_the_bounds() -> None:
    loose, strict = AutopilotConfig(True, 5.0, 900), AutopilotConfig(True, 0.0, 0)
    behind = LogStats(4.0, 7, 100)
    assert is_healthy(peer(1), behind, LEADER, loose)
    assert is_healthy(peer(1), LEADER, LEADER, strict)
    assert not is_healthy(peer(1), LogStats(0.0, 7, 999), LEADER, strict)


def test_a_server_without_the_log_is_well_when_it_answers() -> None:
    assert is_healthy(peer(2, voter=False), LogStats(), LEADER, DEFAULT)
    assert not is_healthy(peer(2, voter=False), None, LEADER, DEFAULT)


@pytest.mark.parametrize(
    ("servers", "well", "tolerance"),
    [(1, 1, 0), (2, 2, 0), (3, 3, 1), (3, 2, 0), (4, 4, 1), (5, 5, 2), (5, 4, 1), (5, 2, 0), (0, 0, 0)],
)
def test_with_etcd_a_majority_of_the_servers_must_stay(servers: int, well: int, tolerance: int) -> None:
    peers = [peer(number) for number in range(servers)]
    healthy = {each.info.node_id: number < well for number, each in enumerate(peers)}
    assert failure_tolerance(peers, healthy, shared=True) == tolerance


def test_the_embedded_log_survives_no_failure_of_its_server() -> None:
    peers = [peer(1, leads=True), *(peer(number, voter=False) for number in range(2, 6))]
    assert failure_tolerance(peers, {each.info.node_id: True for each in peers}, shared=False) == 0


@pytest.mark.parametrize(
    ("alive", "failed", "removed"),
    [
        (1, 0, 0),
        (1, 1, 0),
        (2, 1, 0),
        (3, 1, 1),
        (4, 1, 1),
        (2, 2, 0),
        (3, 2, 0),
        (4, 2, 2),
        (5, 2, 2),
        (0, 3, 0),
    ],
)
def test_failed_servers_go_while_they_are_fewer_than_half(alive: int, failed: int, removed: int) -> None:
    peers = [peer(number) for number in range(alive)]
    peers += [peer(100 + number, "failed") for number in range(failed)]
    assert [each.info.name for each in replaced(peers, shared=True)] == [
        f"server{100 + number}" for number in range(removed)
    ]


def test_the_keeper_of_the_embedded_log_is_never_removed() -> None:
    peers = [peer(1, "failed"), *(peer(number, voter=False) for number in range(2, 9))]
    assert replaced(peers, shared=False) == []
    assert replaced([*peers, peer(9, "failed", voter=False)], shared=False) == [
        peer(9, "failed", voter=False)
    ]


@given(st.lists(st.sampled_from(["alive", "failed", "leaving"]), max_size=12), st.booleans())
def test_a_majority_is_never_removed_and_nobody_who_lives(statuses: list[str], shared: bool) -> None:
    peers = [peer(number, status) for number, status in enumerate(statuses)]
    removed = replaced(peers, shared=shared)
    assert 2 * len(removed) < max(len(peers), 1)
    assert all(each.serf_status == "failed" for each in removed)
