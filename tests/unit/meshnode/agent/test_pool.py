from __future__ import annotations

import asyncio
import random
from types import SimpleNamespace
from typing import Any

import pytest

from meshnode.agent.pool import Pool
from meshnode.base.address import Address
from meshnode.gossip.memberlist.config import MemberlistConfig
from meshnode.gossip.memberlist.delegate import Peer
from meshnode.gossip.serf.config import SerfConfig
from meshnode.gossip.serf.member import Member, Status
from meshnode.gossip.serf.serf import Serf
from meshnode.http.view import MemberStatus

CONSUL = {"role": "consul", "port": "8300", "dc": "dc1"}


class Shell:
    """A started shell with members."""

    def __init__(self, *members: Member) -> None:
        self.known = list(members)
        self.serf = SimpleNamespace(members=lambda: self.known, local_member=members[0], members_revision=0)

    async def start(self) -> None:
        pass


def member(name: str, status: Status = Status.ALIVE, **tags: str) -> Member:
    return Member(name, Address("10.0.0.1", 8301), tags, status)


async def started(*members: Member) -> tuple[Pool, Any]:
    shell: Any = Shell(*members)
    pool = Pool(shell, wan=False)
    assert pool.members == ()
    await pool.start()
    return pool, shell


def of(*members: Member) -> tuple[Pool, Any]:
    return asyncio.run(started(*members))


def test_members_are_sorted_and_the_same_object_until_something_changes() -> None:
    pool, shell = of(member("b"), member("a"))
    assert [m.name for m in pool.members] == ["a", "b"]
    assert pool.members is pool.members
    assert (pool.servers, dict(pool.names_by_id)) == ((), {})
    shell.known.append(member("c", id="1", **CONSUL))
    assert (len(pool.members), pool.servers, dict(pool.names_by_id)) == (2, (), {})
    shell.serf.members_revision += 1
    assert (len(pool.servers), dict(pool.names_by_id), len(pool.members)) == (1, {"1": "c"}, 3)


def test_a_member_that_is_not_leaving_after_all_is_shown_so_although_no_event_says_it() -> None:
    shell: Any = Shell(member("me"))
    shell.serf = Serf(
        name="me",
        address=Address("10.0.0.1", 8301),
        tags={},
        config=SerfConfig(memberlist=MemberlistConfig.lan()),
        keyring=None,
        rng=random.Random(1),
        entropy=random.Random(1).randbytes,
    )
    table = shell.serf._state.members
    pool = Pool(shell, wan=False)
    asyncio.run(pool.start())

    def shown() -> str:
        return pool.members[0].status.name

    table.leave_intent("a", 5, prune=True, staying=True, now=0.0)
    table.peer_joined(Peer("a", Address("10.0.0.2", 8301), b"", (1, 5, 2, 2, 5, 5)), {})
    assert shown() == "LEAVING"
    table.join_intent("a", 6, 0.0)
    assert shown() == "ALIVE"
    table.leave_intent("a", 7, prune=False, staying=True, now=0.0)
    assert shown() == "LEAVING"
    table.listed_as_left("a", 9, staying=True, now=0.0)
    table.peer_left("a", True, 1.0)
    assert shown() == "LEFT"
    table.erase("a")
    assert pool.members == ()


@pytest.mark.parametrize(
    ("status", "shown"),
    [
        (Status.NONE, MemberStatus.NONE),
        (Status.ALIVE, MemberStatus.ALIVE),
        (Status.LEAVING, MemberStatus.LEAVING),
        (Status.LEFT, MemberStatus.LEFT),
        (Status.FAILED, MemberStatus.FAILED),
    ],
)
def test_every_status_has_its_number_and_only_who_left_is_no_server(
    status: Status, shown: MemberStatus
) -> None:
    pool, _ = of(member("a", status, **CONSUL))
    assert pool.members[0].status is shown
    present = status in (Status.ALIVE, Status.LEAVING, Status.FAILED)
    assert [s.alive for s in pool.servers] == ([status is Status.ALIVE] if present else [])
    assert len(pool.departed_servers) == (status is Status.LEFT)


def test_ids_belong_to_those_who_did_not_leave() -> None:
    pool, _ = of(
        member("a", id="1"), member("b", Status.LEFT, id="2"), member("c", Status.FAILED, id="3"), member("d")
    )
    assert pool.names_by_id == {"1": "a", "3": "c"}


def test_a_pool_has_a_title() -> None:
    shell: Any = Shell(member("a"))
    assert [Pool(shell, wan=wan).title for wan in (False, True)] == ["LAN", "WAN"]
