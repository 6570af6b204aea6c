from __future__ import annotations

from typing import Any

import pytest

from meshnode.base.errors import ConfigError
from meshnode.gossip.memberlist.config import MemberlistConfig


def test_the_profiles_are_those_of_memberlist() -> None:
    lan, wan, local = MemberlistConfig.lan(), MemberlistConfig.wan(), MemberlistConfig.local()
    assert (lan.probe_interval, lan.probe_timeout, lan.suspicion_mult, lan.gossip_interval) == (
        1.0,
        0.5,
        4,
        0.2,
    )
    assert (lan.push_pull_interval, lan.gossip_nodes, lan.tcp_timeout, lan.indirect_checks) == (
        30.0,
        3,
        10.0,
        3,
    )
    assert (wan.probe_interval, wan.probe_timeout, wan.suspicion_mult, wan.gossip_interval) == (
        5.0,
        3.0,
        6,
        0.5,
    )
    assert (wan.push_pull_interval, wan.gossip_nodes, wan.tcp_timeout) == (60.0, 4, 30.0)
    assert (local.probe_timeout, local.suspicion_mult, local.gossip_interval, local.retransmit_mult) == (
        0.2,
        3,
        0.1,
        2,
    )
    assert (local.push_pull_interval, local.tcp_timeout, local.indirect_checks) == (15.0, 1.0, 1)


def test_what_is_announced_is_what_serf_announces() -> None:
    assert MemberlistConfig.lan().versions == (1, 5, 2, 2, 5, 5)


def test_a_profile_takes_changes() -> None:
    assert MemberlistConfig.wan(gossip_nodes=2, label="pool").gossip_nodes == 2


@pytest.mark.parametrize(
    "change",
    [
        {"protocol_version": 1},
        {"protocol_version": 6},
        {"delegate_versions": (3, 5, 2)},
        {"probe_interval": -1},
        {"probe_interval": float("inf")},
        {"probe_timeout": 0},
        {"probe_timeout": 1.5},
        {"indirect_checks": -1},
        {"gossip_nodes": 65},
        {"suspicion_mult": 0},
        {"suspicion_max_timeout_mult": 0},
        {"retransmit_mult": 0},
        {"awareness_max_multiplier": 0},
        {"gossip_interval": float("nan")},
        {"push_pull_interval": -30},
        {"gossip_to_the_dead_time": -1},
        {"dead_node_reclaim_time": -1},
        {"tcp_timeout": 0},
        {"leave_timeout": 0},
        {"udp_buffer_size": 575},
        {"udp_buffer_size": 65_508},
        {"label": "x" * 256},
    ],
    ids=str,
)
def test_each_field_that_can_not_be_used_is_named(change: dict[str, Any]) -> None:
    (key,) = change
    with pytest.raises(ConfigError, match=key) as caught:
        MemberlistConfig.lan(**change)
    assert caught.value.key == key


@pytest.mark.parametrize(
    "change",
    [{"udp_buffer_size": 576}, {"udp_buffer_size": 65_507}, {"label": "x" * 255}, {"probe_timeout": 1.0}],
)
def test_the_limits_themselves_are_accepted(change: dict[str, Any]) -> None:
    MemberlistConfig.lan(**change)
