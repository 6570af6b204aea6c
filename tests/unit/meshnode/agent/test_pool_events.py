"""What an agent does with what its gossip pools tell."""

from __future__ import annotations

import pytest

from meshnode.agent.pool_events import PoolEvents
from meshnode.base.address import Address
from meshnode.gossip.serf.events import (
    MemberFailed,
    MemberJoined,
    MemberLeft,
    MemberReaped,
    MemberUpdated,
    NameConflictLost,
    UserEventReceived,
)
from meshnode.gossip.serf.member import Member

WEB = Member("web1", Address("10.0.0.1", 8301))
DEPLOY = UserEventReceived(1, "consul:event:deploy", b"", False)


class Heard:
    """What the agent was told, in order."""

    def __init__(self) -> None:
        self.told: list[object] = []
        self.events = PoolEvents(self.told.append, lambda: self.told.append("changed"), self.told.append)


@pytest.mark.parametrize(
    ("event", "name"),
    [
        (MemberJoined((WEB,)), "EventMemberJoin"),
        (MemberLeft((WEB,)), "EventMemberLeave"),
        (MemberFailed((WEB,)), "EventMemberFailed"),
        (MemberUpdated((WEB,)), "EventMemberUpdate"),
        (MemberReaped((WEB,)), "EventMemberReap"),
    ],
)
@pytest.mark.parametrize("pool", ["lan", "wan"])
def test_members_that_come_and_go_are_logged_in_serfs_words_and_told(
    event: object, name: str, pool: str, caplog: pytest.LogCaptureFixture
) -> None:
    heard = Heard()
    with caplog.at_level("INFO", "meshnode.serf"):
        getattr(heard.events, pool)(event)
    assert caplog.messages == [f"{name}: web1 10.0.0.1"]
    assert heard.told == ["changed"]


def test_user_events_of_the_lan_are_received_and_those_of_the_wan_are_nobodys() -> None:
    heard = Heard()
    heard.events.wan(DEPLOY)
    assert heard.told == []
    heard.events.lan(DEPLOY)
    assert heard.told == [DEPLOY]


def test_who_loses_its_name_ends_and_says_what_to_change() -> None:
    heard = Heard()
    heard.events.lan(NameConflictLost("web1", 3, 4))
    assert heard.told == ["another node is called web1 and the cluster sides with it: change node_name"]
