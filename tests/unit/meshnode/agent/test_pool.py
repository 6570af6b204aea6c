from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from meshnode.agent.pool import Pool
from meshnode.base.address import Address
from meshnode.gossip.serf.member import Member, Status
from meshnode.http.view import MemberStatus

CONSUL = {"role": "consul", "port": "8300", "dc": "dc1"}


class Shell:
    """A started shell with members."""

    def __init__(self, *members: Member) -> None:
        self.known = list(members)
        self.serf = SimpleNamespace(members=lambda: self.known, local_member=members[0])

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
    import asyncio

    return asyncio.run(started(*members))


def test_members_are_sorted_and_the_same_object_until_something_changes() -> None:
    pool, shell = of(member("b"), member("a"))
    assert [m.name for m in pool.members] == ["a", "b"]
    assert pool.members is pool.members
    shell.known.append(member("c"))
    assert len(pool.members) == 2
    pool.changed()
    assert len(pool.members) == 3


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
