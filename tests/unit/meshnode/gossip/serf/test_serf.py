"""Whole nodes in a simulated pool, through Serf's public verbs."""

from __future__ import annotations

import base64
from dataclasses import replace
from functools import partial

import pytest

from meshnode.base.errors import MeshError
from meshnode.gossip.memberlist.config import MemberlistConfig
from meshnode.gossip.serf.config import SerfConfig
from meshnode.gossip.serf.events import (
    JoinFinished,
    KeyOperationFinished,
    KeyringChanged,
    LeaveFinished,
    MemberFailed,
    MemberJoined,
    MemberLeft,
    MemberReaped,
    MemberUpdated,
    NameConflictLost,
    QueryAcked,
    QueryFinished,
    QueryReceived,
    QueryResponded,
    SnapshotLine,
    UserEventReceived,
)
from meshnode.gossip.serf.queries import QueryParams
from meshnode.gossip.serf.snapshot import Snapshot, replay
from meshnode.gossip.serf.state import Lifecycle
from meshnode.gossip.serf.timers import QueryDeadline
from tests.unit.meshnode.gossip.serf.pool import SimPool, address

KEY, OTHER = b"1" * 32, b"2" * 16
LAN = SerfConfig(memberlist=MemberlistConfig.lan())


def text(key: bytes) -> str:
    return base64.b64encode(key).decode()


def test_a_node_that_starts_is_a_member_of_its_own_pool() -> None:
    pool = SimPool(1)
    serf = pool.hosts[0].machine
    assert [member.name for member in serf.members()] == ["node0"]
    assert serf.local_member == serf.member("node0")
    assert (serf.local_member.tags, serf.local_member.address) == ({"index": "0"}, address(0))
    assert len(pool.events(pool.hosts[0], MemberJoined)) == 1


def test_nodes_that_join_see_each_other_with_tags_and_versions() -> None:
    pool = SimPool(4, key=KEY)
    for host in pool.hosts:
        member = host.machine.member("node3")
        assert (member.tags, member.address) == ({"index": "3"}, address(3))
        assert member.versions == (1, 5, 2, 2, 5, 5)


def test_a_join_that_nobody_answers_says_why() -> None:
    pool = SimPool(1)
    pool.call(pool.hosts[0], lambda now: pool.hosts[0].machine.join(3, [address(9)], True, now))
    pool.until(lambda: bool(pool.events(pool.hosts[0], JoinFinished)))
    (finished,) = pool.events(pool.hosts[0], JoinFinished)
    assert (finished.request, finished.joined, finished.failures[0][0]) == (3, 0, address(9))


def test_a_graceful_leave_is_a_leave_everywhere_and_ends() -> None:
    pool = SimPool(4)
    leaver, *others = pool.hosts
    pool.call(leaver, leaver.machine.leave)
    pool.call(leaver, leaver.machine.leave)
    assert leaver.machine.lifecycle == Lifecycle.LEAVING
    pool.until(lambda: bool(pool.events(leaver, LeaveFinished)))
    assert len(pool.events(leaver, LeaveFinished)) == 1
    assert leaver.machine.lifecycle == Lifecycle.LEFT
    pool.until(lambda: all(pool.status(host, "node0") == "left" for host in others))
    assert not any(pool.events(host, MemberFailed) for host in others)
    with pytest.raises(MeshError, match="left"):
        leaver.machine.join(1, [address(1)], True, pool.world.now)
    pool.call(leaver, leaver.machine.leave)
    assert len(pool.events(leaver, LeaveFinished)) == 2


def test_a_node_alone_leaves_at_once() -> None:
    pool = SimPool(1)
    pool.call(pool.hosts[0], pool.hosts[0].machine.leave)
    pool.run(1.1)
    assert len(pool.events(pool.hosts[0], LeaveFinished)) == 1


def test_a_killed_node_fails_and_force_leave_turns_that_into_left() -> None:
    pool = SimPool(4)
    pool.world.kill(pool.hosts[3])
    alive = pool.hosts[:3]
    pool.until(lambda: all(pool.status(host, "node3") == "failed" for host in alive))
    assert all(pool.events(host, MemberFailed) for host in alive)
    pool.call(alive[0], lambda now: alive[0].machine.force_leave("node3", False, now))
    pool.until(lambda: all(pool.status(host, "node3") == "left" for host in alive))
    assert alive[1].machine.stats()["left"] == "1"


def test_force_leave_with_prune_erases_the_node_everywhere() -> None:
    pool = SimPool(4)
    pool.world.kill(pool.hosts[3])
    alive = pool.hosts[:3]
    pool.until(lambda: all(pool.status(host, "node3") == "failed" for host in alive))
    pool.call(alive[0], lambda now: alive[0].machine.force_leave("node3", True, now))
    pool.until(lambda: all(pool.status(host, "node3") is None for host in alive))
    assert all(pool.events(host, MemberReaped) for host in alive)


@pytest.mark.parametrize(("name", "said"), [("node0", "this node"), ("nobody", "not a member")])
def test_force_leave_names_what_it_cannot_do(name: str, said: str) -> None:
    pool = SimPool(1)
    with pytest.raises(MeshError, match=said):
        pool.hosts[0].machine.force_leave(name, False, pool.world.now)


def test_a_living_node_refutes_a_force_leave() -> None:
    pool = SimPool(3)
    pool.call(pool.hosts[0], lambda now: pool.hosts[0].machine.force_leave("node2", False, now))
    assert pool.status(pool.hosts[0], "node2") == "leaving"
    pool.until(lambda: all(pool.alive(host) == pool.names for host in pool.hosts))
    pool.run(20)
    assert all(pool.alive(host) == pool.names for host in pool.hosts)


def test_the_failed_are_reaped_after_their_time() -> None:
    config = SerfConfig(memberlist=MemberlistConfig.lan(), reconnect_timeout=60.0, reap_interval=5.0)
    pool = SimPool(3, config=config)
    pool.world.kill(pool.hosts[2])
    pool.until(lambda: pool.status(pool.hosts[0], "node2") == "failed")
    pool.run(50)
    assert pool.status(pool.hosts[0], "node2") == "failed"
    pool.until(lambda: pool.status(pool.hosts[0], "node2") is None, limit=30)
    assert [event.members[0].name for event in pool.events(pool.hosts[0], MemberReaped)] == ["node2"]


def test_a_failed_node_is_dialled_until_it_is_back() -> None:
    pool = SimPool(3)
    pool.world.split([pool.hosts[2]])
    pool.until(lambda: pool.status(pool.hosts[0], "node2") == "failed")
    pool.run(60)
    pool.world.heal()
    pool.until(lambda: all(pool.alive(host) == pool.names for host in pool.hosts), limit=180)


def test_tags_change_everywhere() -> None:
    pool = SimPool(3)
    pool.call(pool.hosts[0], lambda now: pool.hosts[0].machine.set_tags({"role": "db"}, now))
    pool.until(lambda: all(host.machine.member("node0").tags == {"role": "db"} for host in pool.hosts))
    assert all(pool.events(host, MemberUpdated) for host in pool.hosts[1:])
    with pytest.raises(MeshError, match="512"):
        pool.hosts[0].machine.set_tags({"k": "x" * 600}, pool.world.now)


def test_a_user_event_is_delivered_once_to_everybody_and_not_to_who_joins_later() -> None:
    pool = SimPool(4)
    pool.call(pool.hosts[0], lambda now: pool.hosts[0].machine.user_event("deploy", b"x", True, now))
    pool.run(60)
    for host in pool.hosts:
        assert pool.events(host, UserEventReceived) == [UserEventReceived(1, "deploy", b"x", True)]
    late, eager = pool.add(), pool.add()
    pool.join(late, ignore_old=True)
    pool.join(eager, ignore_old=False)
    pool.run(60)
    assert pool.events(late, UserEventReceived) == []
    assert [event.name for event in pool.events(eager, UserEventReceived)] == ["deploy"]


def test_a_user_event_may_fill_the_limit_and_not_a_byte_more() -> None:
    pool = SimPool(1)
    serf = pool.hosts[0].machine
    room = 512 - len(b"\x03\x84\xa2CC\xc2\xa5LTime\x01\xa4Name\xa1e\xa7Payload\xda\x01\xe0")
    pool.call(pool.hosts[0], lambda now: serf.user_event("e", b"x" * room, False, now))
    with pytest.raises(MeshError, match="513 bytes"):
        serf.user_event("e", b"x" * (room + 1), False, pool.world.now)


def test_a_query_reaches_everybody_and_is_over_at_its_timeout() -> None:
    pool = SimPool(4, key=KEY)
    asker = pool.hosts[0]
    params = QueryParams(request_ack=True, relay_factor=2)
    pool.call(asker, lambda now: asker.machine.query(9, "uptime", b"h", params, now))
    pool.until(lambda: all(pool.events(host, QueryReceived) for host in pool.hosts))
    for host in pool.hosts:
        (query,) = pool.events(host, QueryReceived)
        pool.call(host, partial(host.machine.respond, query, host.machine.name.encode()))
    pool.until(lambda: bool(pool.events(asker, QueryFinished)))
    assert {event.node for event in pool.events(asker, QueryAcked)} == pool.names
    answers = {event.node: event.payload for event in pool.events(asker, QueryResponded)}
    assert answers == {name: name.encode() for name in pool.names}
    assert pool.events(asker, QueryFinished) == [QueryFinished(9, 4, 4)]


def test_names_of_serfs_own_queries_are_reserved() -> None:
    pool = SimPool(1)
    with pytest.raises(MeshError, match="_serf_"):
        pool.hosts[0].machine.query(1, "_serf_ping", b"", QueryParams(), pool.world.now)


def key_operation(pool: SimPool, index: int, operation: str, key: bytes | None) -> KeyOperationFinished:
    host = pool.hosts[index]
    before = len(pool.events(host, KeyOperationFinished))
    pool.call(host, lambda now: host.machine.key_operation(before, operation, key, 0, now))
    pool.until(lambda: len(pool.events(host, KeyOperationFinished)) > before)
    finished = pool.events(host, KeyOperationFinished)[-1]
    assert finished.request == before
    return finished


def test_the_pools_key_is_rotated_without_losing_anybody() -> None:
    pool = SimPool(4, key=KEY)
    for index, operation, key in ((0, "install", OTHER), (1, "use", OTHER), (2, "remove", KEY)):
        assert key_operation(pool, index, operation, key).result.complete
    listed = key_operation(pool, 3, "list", None).result
    assert (listed.keys, listed.primary_keys) == ({text(OTHER): 4}, {text(OTHER): 4})
    pool.run(30)
    assert all(pool.alive(host) == pool.names for host in pool.hosts)
    assert all(len(pool.events(host, KeyringChanged)) == 3 for host in pool.hosts)
    assert not any(pool.events(host, MemberFailed) for host in pool.hosts)


def test_a_key_operation_with_a_silent_node_ends_at_its_timeout() -> None:
    pool = SimPool(3, key=KEY)
    pool.world.kill(pool.hosts[2])
    result = key_operation(pool, 0, "list", None).result
    assert (result.num_nodes, result.num_responses, result.complete) == (3, 2, False)


@pytest.mark.parametrize(("operation", "key"), [("list", KEY), ("use", None)])
def test_a_key_operation_takes_a_key_unless_it_lists(operation: str, key: bytes | None) -> None:
    pool = SimPool(1, key=KEY)
    with pytest.raises(MeshError):
        pool.hosts[0].machine.key_operation(1, operation, key, 0, pool.world.now)


def test_the_agent_refuses_a_node_of_another_datacenter() -> None:
    def refuse(name: str, _address: object, tags: dict[str, str]) -> str:
        return "" if tags.get("dc") == "dc1" else f"{name} is of datacenter {tags.get('dc')}"

    pool = SimPool(2, tags={"dc": "dc1"}, refuse_member=refuse)
    stranger = pool.add(name="stranger", tags={"dc": "dc2"})
    pool.join(stranger)
    assert pool.status(pool.hosts[0], "stranger") is None
    pool.run(30)
    for host in pool.hosts[:2]:
        assert pool.alive(host) == {"node0", "node1"}
        assert pool.status(host, "stranger") is None


def test_of_two_nodes_with_one_name_the_majority_keeps_the_first() -> None:
    pool = SimPool(4)
    impostor = pool.add(name="node3")
    pool.call(impostor, lambda now: impostor.machine.join(1, [address(0)], True, now))
    pool.until(lambda: bool(pool.events(impostor, NameConflictLost)), limit=120)
    assert impostor.machine.lifecycle is Lifecycle.STOPPED
    assert pool.hosts[3].machine.lifecycle is Lifecycle.ALIVE
    assert not pool.events(pool.hosts[3], NameConflictLost)
    pool.run(60)
    assert all(host.machine.member("node3").address == address(3) for host in pool.hosts[:3])


def test_coordinates_are_learned_from_pings() -> None:
    pool = SimPool(3)
    pool.run(60)
    serf = pool.hosts[0].machine
    for name in ("node1", "node2"):
        assert 0 < serf.coordinate().distance_to(serf.coordinate_of(name)) < 0.05
    assert serf.coordinate_of("node0") == serf.coordinate()
    assert serf.coordinate_of("nobody") is None


def test_stats_have_serfs_names() -> None:
    pool = SimPool(2, key=KEY)
    stats = pool.hosts[0].machine.stats()
    assert set(stats) == {
        "members", "failed", "left", "health_score", "member_time", "event_time", "query_time",
        "intent_queue", "event_queue", "query_queue", "encrypted", "coordinate_resets",
    }  # fmt: skip
    assert (stats["members"], stats["encrypted"], stats["health_score"]) == ("2", "true", "0")


def test_a_snapshot_lets_a_node_rejoin_and_not_replay_old_events() -> None:
    config = replace(LAN, writes_snapshot=True)
    pool = SimPool(3, config=config)
    pool.call(pool.hosts[0], lambda now: pool.hosts[0].machine.user_event("deploy", b"", True, now))
    pool.until(lambda: all(pool.events(host, UserEventReceived) for host in pool.hosts))
    pool.run(1.0)
    old = pool.hosts.pop(2)
    lines = [event.line for event in pool.events(old, SnapshotLine)]
    previous, complaints = replay(lines)
    assert complaints == []
    assert previous == old.machine.snapshot()
    assert set(previous.alive) == {"node0", "node1", "node2"}
    pool.world.kill(old)
    again = pool.add(name="node2", config=config, previous=previous, index=2)
    pool.until(lambda: pool.alive(again) == pool.names)
    pool.run(60)
    assert pool.events(again, UserEventReceived) == []
    pool.call(pool.hosts[0], lambda now: pool.hosts[0].machine.user_event("next", b"", True, now))
    pool.until(lambda: [event.name for event in pool.events(again, UserEventReceived)] == ["next"])


def test_a_snapshot_of_a_pool_that_is_gone_is_tried_to_the_end() -> None:
    pool = SimPool(1)
    previous = Snapshot({"gone1": address(7), "gone2": address(8), "lost": address(5)}, 5)
    host = pool.add(name="lost", previous=previous, index=5)
    pool.until(lambda: "could not rejoin" in pool.logs(host))
    assert pool.logs(host).count("trying to rejoin") == 2
    assert host.machine.stats()["member_time"] == "6"


def test_leaving_writes_a_line_that_forbids_a_rejoin() -> None:
    pool = SimPool(2, config=replace(LAN, writes_snapshot=True))
    leaver = pool.hosts[1]
    pool.call(leaver, leaver.machine.leave)
    pool.until(lambda: bool(pool.events(leaver, LeaveFinished)))
    lines = [event.line for event in pool.events(leaver, SnapshotLine)]
    assert lines[-1] == "leave"
    assert replay(lines) == (Snapshot(), [])


def test_after_shutdown_nothing_has_an_effect() -> None:
    pool = SimPool(2)
    serf = pool.hosts[0].machine
    serf.shutdown()
    now = pool.world.now
    assert serf.handle_packet(b"\x00", address(1), now) == []
    assert serf.handle_timer(QueryDeadline(1, 1), now) == []
    pool.until(lambda: pool.status(pool.hosts[1], "node0") == "failed")
    assert not pool.events(pool.hosts[1], MemberLeft)


def test_encryption_is_switched_on_without_losing_a_node() -> None:
    pool = SimPool(3, key=KEY)
    for incoming, outgoing in ((False, False), (False, True), (True, True)):
        for host in pool.hosts:
            host.machine.set_verification(incoming, outgoing)
        pool.run(30)
        assert all(pool.alive(host) == pool.names for host in pool.hosts)
    assert not any(pool.events(host, MemberFailed) for host in pool.hosts)
