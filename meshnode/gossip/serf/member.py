"""A member of the cluster, and the table of how its status changes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum, IntEnum

from meshnode.base.address import Address

__all__ = ["Cause", "Member", "Status", "next_status"]


class Status(IntEnum):
    """Numbers as in Serf's ``MemberStatus`` (they appear in conflict answers and in Consul's API)."""

    NONE = 0
    ALIVE = 1
    LEAVING = 2
    LEFT = 3
    FAILED = 4

    def __str__(self) -> str:
        return self.name.lower()


@dataclass(frozen=True, slots=True)
class Member:
    """A point-in-time view of a member.

    ``versions`` are protocol min, max, current and delegate (Serf) min, max, current.
    """

    name: str
    address: Address
    tags: Mapping[str, str] = field(default_factory=dict)
    status: Status = Status.ALIVE
    versions: tuple[int, int, int, int, int, int] = (0, 0, 0, 0, 0, 0)


class Cause(Enum):
    """What can change a member's status."""

    JOINED = "memberlist sees it alive"
    FAILED = "memberlist declared it dead"
    DEPARTED = "memberlist heard its own goodbye"
    LEAVE_INTENT = "a newer leave intent arrived"
    JOIN_INTENT = "a newer join intent arrived"


_NEXT: dict[Status, dict[Cause, Status]] = {
    Status.ALIVE: {
        Cause.JOINED: Status.ALIVE,
        Cause.FAILED: Status.FAILED,
        # Serf goes by the intent alone and calls this one failed when the intent lost the race.
        Cause.DEPARTED: Status.LEFT,
        Cause.LEAVE_INTENT: Status.LEAVING,
        Cause.JOIN_INTENT: Status.ALIVE,
    },
    Status.LEAVING: {
        Cause.JOINED: Status.ALIVE,
        Cause.FAILED: Status.LEFT,
        Cause.DEPARTED: Status.LEFT,
        Cause.LEAVE_INTENT: Status.LEAVING,
        Cause.JOIN_INTENT: Status.ALIVE,
    },
    Status.LEFT: {
        Cause.JOINED: Status.ALIVE,
        Cause.FAILED: Status.LEFT,
        Cause.DEPARTED: Status.LEFT,
        Cause.LEAVE_INTENT: Status.LEFT,
        Cause.JOIN_INTENT: Status.LEFT,
    },
    Status.FAILED: {
        Cause.JOINED: Status.ALIVE,
        Cause.FAILED: Status.FAILED,
        Cause.DEPARTED: Status.FAILED,
        Cause.LEAVE_INTENT: Status.LEFT,
        Cause.JOIN_INTENT: Status.FAILED,
    },
}


def next_status(status: Status, cause: Cause) -> Status:
    """The status after ``cause``; members start as ``ALIVE`` and never return to ``NONE``."""
    return _NEXT[status][cause]
