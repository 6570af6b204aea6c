"""What the gossip pools tell: who comes and goes is logged, user events are passed on, a lost name ends the agent."""

from __future__ import annotations

import logging
from collections.abc import Callable

from meshnode.gossip.serf.events import (
    MemberFailed,
    MemberJoined,
    MemberLeft,
    MemberReaped,
    MemberUpdated,
    NameConflictLost,
    UserEventReceived,
)

__all__ = ["PoolEvents"]

_serf_log = logging.getLogger("meshnode.serf")

_MEMBERSHIP = {
    MemberJoined: "EventMemberJoin",
    MemberLeft: "EventMemberLeave",
    MemberFailed: "EventMemberFailed",
    MemberUpdated: "EventMemberUpdate",
    MemberReaped: "EventMemberReap",
}


class PoolEvents:
    """``receive`` gets user events of the LAN pool; ``changed`` is called when members did; ``halt`` ends the agent."""

    def __init__(
        self,
        receive: Callable[[UserEventReceived], None],
        changed: Callable[[], None],
        halt: Callable[[str], None],
    ) -> None:
        self._receive = receive
        self._changed = changed
        self._halt = halt

    def lan(self, event: object) -> None:
        """Take in an event of the LAN pool."""
        if isinstance(event, UserEventReceived):
            self._receive(event)
        else:
            self.wan(event)

    def wan(self, event: object) -> None:
        """Take in an event of the WAN pool, whose user events are nobody's."""
        kind = _MEMBERSHIP.get(type(event))
        if kind is not None:
            for member in getattr(event, "members", ()):
                _serf_log.info("%s: %s %s", kind, member.name, member.address.host)
            self._changed()
        elif isinstance(event, NameConflictLost):
            self._halt(f"another node is called {event.name} and the cluster sides with it: change node_name")
