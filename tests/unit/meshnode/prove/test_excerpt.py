"""An excerpt says when, who and what, in tcpdump's manner."""

from __future__ import annotations

import pytest

from meshnode.base.address import Address
from meshnode.prove.excerpt import Excerpt

A, B = Address("10.0.0.1", 40000), Address("10.0.0.2", 8301)


def test_the_line_is_tcpdumps_and_the_dump_is_under_it() -> None:
    lines = Excerpt(1_700_000_000.25, "udp", A, B, b"canary", 32).lines().splitlines()
    assert lines[0] == "22:13:20.250000 IP 10.0.0.1.40000 > 10.0.0.2.8301: UDP, payload"
    assert lines[1].startswith("\t0x0020:  6361 6e61 7279")


def test_ipv6_is_named_as_tcpdump_names_it() -> None:
    v6 = Address("fd00::1", 8300)
    assert " IP6 fd00::1.8300 > " in Excerpt(0, "tcp", v6, v6, b"x").lines()


@pytest.mark.parametrize("at", [-1.0, 0.0, 1e300, float("inf")])
def test_a_time_of_a_damaged_file_is_shown_as_some_time(at: float) -> None:
    assert Excerpt(at, "tcp", A, B, b"x").as_dict()["time"]
