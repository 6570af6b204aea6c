"""The snapshot's lines."""

from __future__ import annotations

import pytest

from meshnode.base.address import Address
from meshnode.gossip.serf.events import (
    MemberFailed,
    MemberJoined,
    MemberLeft,
    MemberUpdated,
    QueryReceived,
    UserEventReceived,
)
from meshnode.gossip.serf.member import Member
from meshnode.gossip.serf.snapshot import (
    MIN_COMPACT_BYTES,
    Snapshot,
    SnapshotWriter,
    compact,
    max_snapshot_bytes,
    replay,
)

HERE, THERE = Address("10.0.0.1", 8301), Address("2001:db8::1", 8301)
#: As serf writes it, with a line of an older version, a comment, and one that is broken.
FILE = """alive: a 10.0.0.1:8301
alive: with space [2001:db8::1]:8301
alive: gone 10.0.0.9:8301
not-alive: gone
# comment
coordinate: {"Vec":[]}
clock: 12
event-clock: 3
query-clock: 4
alive: broken
clock: -1
what: is this
"""


def joined(name: str, address: Address = HERE) -> MemberJoined:
    return MemberJoined((Member(name, address),))


def query(ltime: int) -> QueryReceived:
    return QueryReceived(ltime, 1, "q", b"", HERE, "a", 0.0, 0)


def test_a_file_is_replayed_and_its_broken_lines_are_named() -> None:
    snapshot, complaints = replay(FILE.splitlines(keepends=True))
    assert snapshot == Snapshot({"a": HERE, "with space": THERE}, 12, 3, 4)
    assert [complaint.split()[1] for complaint in complaints] == ["10", "11", "12"]


@pytest.mark.parametrize(
    ("rejoin", "expected"), [(False, Snapshot({"b": HERE}, 5)), (True, Snapshot({"a": HERE, "b": HERE}, 5))]
)
def test_a_leave_forgets_what_came_before_unless_the_node_is_to_rejoin(
    rejoin: bool, expected: Snapshot
) -> None:
    lines = ["alive: a 10.0.0.1:8301", "clock: 4", "leave", "alive: b 10.0.0.1:8301", "clock: 5"]
    assert replay(lines, rejoin_after_leave=rejoin) == (expected, [])


def test_what_is_compacted_replays_to_the_same() -> None:
    snapshot = Snapshot({"a": HERE, "with space": THERE}, 12, 3, 4)
    assert replay(compact(snapshot).splitlines()) == (snapshot, [])


def test_events_become_lines_and_the_lines_replay_to_the_current_state() -> None:
    writer = SnapshotWriter(Snapshot())
    events = [
        joined("a"), joined("b", THERE), joined("c"),
        MemberFailed((Member("b", THERE),)), MemberLeft((Member("c", HERE),)), MemberLeft((Member("c", HERE),)),
        MemberUpdated((Member("a", HERE),)),
        UserEventReceived(7, "e", b"", False), UserEventReceived(6, "e", b"", False), query(9), query(9),
    ]  # fmt: skip
    lines = [line for event in events for line in writer.record(event)]
    lines += writer.clock_ticked(5) + writer.clock_ticked(5)
    assert lines == [
        "alive: a 10.0.0.1:8301", "alive: b [2001:db8::1]:8301", "alive: c 10.0.0.1:8301",
        "not-alive: b", "not-alive: c", "event-clock: 7", "query-clock: 9", "clock: 4",
    ]  # fmt: skip
    assert replay(lines) == (writer.current, [])


def test_after_leaving_nothing_is_recorded() -> None:
    for rejoin, alive in ((False, {}), (True, {"a": HERE})):
        writer = SnapshotWriter(Snapshot(), rejoin_after_leave=rejoin)
        writer.record(joined("a"))
        assert writer.leave() == ["leave"]
        assert (writer.record(joined("b")), writer.clock_ticked(99)) == ([], [])
        assert writer.current.alive == alive


def test_a_name_with_a_line_break_writes_no_line() -> None:
    writer = SnapshotWriter(Snapshot())
    assert writer.record(joined("a\nclock: 999")) == []
    assert writer.record(MemberLeft((Member("a\nclock: 999", HERE),))) == []


def test_a_file_is_compacted_beyond_its_minimum_or_twice_its_estimated_size() -> None:
    assert max_snapshot_bytes(0) == MIN_COMPACT_BYTES == 128 * 1024
    assert max_snapshot_bytes(10_000) == 10_000 * 256
