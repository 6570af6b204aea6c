from __future__ import annotations

import pytest

from meshnode.gossip.memberlist.schedule import push_pull_interval


@pytest.mark.parametrize(
    ("members", "factor"), [(0, 1), (32, 1), (33, 2), (64, 2), (65, 3), (128, 3), (1000, 6)]
)
def test_push_pull_slows_down_with_each_doubling_beyond_32(members: int, factor: int) -> None:
    assert push_pull_interval(30.0, members) == 30.0 * factor
