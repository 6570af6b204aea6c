"""What happened, in the past tense: the contents of ``Notify`` effects that Serf emits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from meshnode.base.address import Address
from meshnode.gossip.serf.member import Member

__all__ = [
    "JoinFinished",
    "KeyOperationFinished",
    "KeyResult",
    "KeyringChanged",
    "LeaveFinished",
    "MemberFailed",
    "MemberJoined",
    "MemberLeft",
    "MemberReaped",
    "MemberUpdated",
    "NameConflictLost",
    "QueryAcked",
    "QueryFinished",
    "QueryReceived",
    "QueryResponded",
    "SerfEvent",
    "SnapshotLine",
    "UserEventReceived",
]


@dataclass(frozen=True, slots=True)
class MemberJoined:
    """These members became alive (again)."""

    members: tuple[Member, ...]


@dataclass(frozen=True, slots=True)
class MemberLeft:
    """These members left on purpose, or an operator made them leave."""

    members: tuple[Member, ...]


@dataclass(frozen=True, slots=True)
class MemberFailed:
    """These members stopped answering without saying that they would."""

    members: tuple[Member, ...]


@dataclass(frozen=True, slots=True)
class MemberUpdated:
    """These members changed their tags or address."""

    members: tuple[Member, ...]


@dataclass(frozen=True, slots=True)
class MemberReaped:
    """These members were erased: gone for too long, or pruned."""

    members: tuple[Member, ...]


@dataclass(frozen=True, slots=True)
class UserEventReceived:
    """An application's event, delivered once; events of this node are delivered to it too."""

    ltime: int
    name: str
    payload: bytes
    coalesce: bool


@dataclass(frozen=True, slots=True)
class QueryReceived:
    """A query to be answered with ``Serf.respond`` no later than ``deadline`` (monotonic seconds)."""

    ltime: int
    id: int
    name: str
    payload: bytes
    source: Address
    source_node: str
    deadline: float
    relay_factor: int


@dataclass(frozen=True, slots=True)
class QueryAcked:
    """``node`` received our query ``request`` and passes its filters."""

    request: int
    node: str


@dataclass(frozen=True, slots=True)
class QueryResponded:
    """``node`` answered our query ``request``."""

    request: int
    node: str
    payload: bytes


@dataclass(frozen=True, slots=True)
class QueryFinished:
    """Our query ``request`` is over: its timeout passed. How many nodes acknowledged and answered."""

    request: int
    acks: int
    responses: int


@dataclass(frozen=True, slots=True)
class KeyResult:
    """Outcome of a keyring operation over the whole pool.

    ``messages`` maps a node to its error or remark, ``keys`` and ``primary_keys`` a base64 key to the number of
    nodes that hold it. The operation succeeded when ``num_errors`` is 0 and every node responded.
    """

    num_nodes: int
    num_responses: int = 0
    num_errors: int = 0
    messages: Mapping[str, str] = field(default_factory=dict)
    keys: Mapping[str, int] = field(default_factory=dict)
    primary_keys: Mapping[str, int] = field(default_factory=dict)

    @property
    def complete(self) -> bool:
        """Whether every node answered and none reported an error."""
        return self.num_errors == 0 and self.num_responses == self.num_nodes


@dataclass(frozen=True, slots=True)
class KeyOperationFinished:
    """Our keyring operation ``request`` is over."""

    request: int
    result: KeyResult


@dataclass(frozen=True, slots=True)
class KeyringChanged:
    """The ring holds other keys or another primary than before; ``keys`` lists them, primary first.

    With ``SerfConfig.persists_keyring`` the requester's answer waits for ``Serf.keyring_saved(change, ...)``.
    """

    change: int
    keys: tuple[bytes, ...] = field(repr=False)


@dataclass(frozen=True, slots=True)
class JoinFinished:
    """``join(request)`` is over: ``joined`` nodes answered, ``failures`` says why the others didn't."""

    request: int
    joined: int
    failures: tuple[tuple[Address, str], ...]


@dataclass(frozen=True, slots=True)
class LeaveFinished:
    """We left; the news had time to spread, and the node may be stopped."""


@dataclass(frozen=True, slots=True)
class NameConflictLost:
    """Another node has our name and the majority sides with it: this node has stopped taking part."""

    name: str
    matching: int
    responses: int


@dataclass(frozen=True, slots=True)
class SnapshotLine:
    """A line (without newline) to append to the snapshot file."""

    line: str


SerfEvent = (
    MemberJoined
    | MemberLeft
    | MemberFailed
    | MemberUpdated
    | MemberReaped
    | UserEventReceived
    | QueryReceived
    | QueryAcked
    | QueryResponded
    | QueryFinished
    | KeyOperationFinished
    | KeyringChanged
    | JoinFinished
    | LeaveFinished
    | NameConflictLost
    | SnapshotLine
)
