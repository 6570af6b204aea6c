"""The commands of the replicated log: every way in which the state can change, and nothing else.

A command carries all that its effect depends on. ``at`` is the leader's clock, in unix seconds, where time matters.
``epoch`` is the leadership epoch of a command that only the leader may give (0: anybody's): a stale one is refused.
On the wire: msgpack ``[tag, version, field, ...]``. Tags are never used again; a version grows when a field's meaning
changes, not when a field with a default is added at the end.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias, get_args

import msgpack

from meshnode.base.errors import LocalProtocolError, RemoteProtocolError
from meshnode.catalog.coordinates import NodeCoordinate
from meshnode.catalog.store import Registration
from meshnode.control.acl_commands import (
    AclBootstrap,
    AclPolicyDelete,
    AclPolicySet,
    AclReapTokens,
    AclRoleDelete,
    AclRoleSet,
    AclTokenDelete,
    AclTokenSet,
)
from meshnode.control.autopilot import AutopilotConfig
from meshnode.control.config_entry_commands import (
    ConfigEntryDelete,
    ConfigEntrySet,
    IntentionsReplace,
    PrimaryRules,
)
from meshnode.control.log import MAX_COMMAND_BYTES
from meshnode.control.mesh_commands import (
    ConnectCaSet,
    ConnectReport,
    ConnectRevoke,
    IntentionDelete,
    IntentionSet,
    IntentionUpsert,
    QueryDelete,
    QuerySet,
)
from meshnode.control.shape import Shape
from meshnode.kv.sessions import Session
from meshnode.kv.txn import TxnOp

__all__ = [
    "AclBootstrap",
    "AclPolicyDelete",
    "AclPolicySet",
    "AclReapTokens",
    "AclRoleDelete",
    "AclRoleSet",
    "AclTokenDelete",
    "AclTokenSet",
    "AutopilotSet",
    "Command",
    "ConfigEntryDelete",
    "ConfigEntrySet",
    "ConnectCaSet",
    "ConnectReport",
    "ConnectRevoke",
    "Deregister",
    "IntentionDelete",
    "IntentionSet",
    "IntentionUpsert",
    "IntentionsReplace",
    "KvAcquire",
    "KvCas",
    "KvDelete",
    "KvDeleteCas",
    "KvDeleteTree",
    "KvPut",
    "KvRelease",
    "Lead",
    "LeaderCommand",
    "PrimaryRules",
    "QueryDelete",
    "QuerySet",
    "ReapTombstones",
    "Register",
    "RestoreChunk",
    "RestoreCommit",
    "SessionCreate",
    "SessionDestroy",
    "Txn",
    "UpdateCoordinates",
    "parse_command",
    "serialize_command",
]


@dataclass(frozen=True, slots=True)
class KvPut:
    """Result: true."""

    key: str
    value: bytes
    flags: int = 0


@dataclass(frozen=True, slots=True)
class KvCas:
    """Put if the modify index is ``index``, 0: if there is no entry. Result: whether it was."""

    key: str
    value: bytes
    flags: int
    index: int


@dataclass(frozen=True, slots=True)
class KvAcquire:
    """Lock and put. Result: whether ``session`` has the lock now."""

    key: str
    value: bytes
    flags: int
    session: str
    at: float


@dataclass(frozen=True, slots=True)
class KvRelease:
    """Unlock and put. Result: whether ``session`` had the lock."""

    key: str
    value: bytes
    flags: int
    session: str


@dataclass(frozen=True, slots=True)
class KvDelete:
    """Result: true."""

    key: str


@dataclass(frozen=True, slots=True)
class KvDeleteCas:
    """Result: whether the modify index was ``index``, or there was no entry."""

    key: str
    index: int


@dataclass(frozen=True, slots=True)
class KvDeleteTree:
    """Delete every key that starts with ``prefix``. Result: true."""

    prefix: str


@dataclass(frozen=True, slots=True)
class Txn:
    """Result: ``TxnOutcome``."""

    ops: tuple[TxnOp, ...]
    at: float


@dataclass(frozen=True, slots=True)
class SessionCreate:
    """The id is in ``session``: whoever asks draws it. Result: the id."""

    session: Session


@dataclass(frozen=True, slots=True)
class SessionDestroy:
    """By request, or by the leader when the TTL is over. Result: true, also when there is no such session."""

    session_id: str
    at: float
    epoch: int = 0


@dataclass(frozen=True, slots=True)
class Register:
    """Result: true."""

    registration: Registration
    at: float
    epoch: int = 0


@dataclass(frozen=True, slots=True)
class Deregister:
    """A service if one is named, else a check, else the node. Result: true, also when it isn't there."""

    node: str
    service_id: str
    check_id: str
    at: float
    epoch: int = 0


@dataclass(frozen=True, slots=True)
class UpdateCoordinates:
    """Those of nodes that aren't registered are passed over. Result: true."""

    coordinates: tuple[NodeCoordinate, ...]
    epoch: int = 0


@dataclass(frozen=True, slots=True)
class ReapTombstones:
    """Forget what was deleted at or before ``through``. Result: true."""

    through: int
    epoch: int = 0


@dataclass(frozen=True, slots=True)
class Lead:
    """``node_id`` leads under ``epoch``: what earlier leaders still send is stale from here on. Result: true."""

    node_id: str
    epoch: int


@dataclass(frozen=True, slots=True)
class RestoreChunk:
    """A piece of a snapshot that is to replace the state; the first has position 0. Result: true."""

    restore_id: str
    position: int
    data: bytes = field(repr=False)
    epoch: int = 0


@dataclass(frozen=True, slots=True)
class RestoreCommit:
    """Become the state of the pieces so far, of which there are ``chunks``; 0 drops them. Result: true."""

    restore_id: str
    chunks: int
    epoch: int = 0


@dataclass(frozen=True, slots=True)
class AutopilotSet:
    """Replace the settings; ``expected``: only if they were last changed at that index (0: never). Result: whether."""

    config: AutopilotConfig
    expected: int | None = None
    epoch: int = 0


Command: TypeAlias = (
    KvPut
    | KvCas
    | KvAcquire
    | KvRelease
    | KvDelete
    | KvDeleteCas
    | KvDeleteTree
    | Txn
    | SessionCreate
    | SessionDestroy
    | Register
    | Deregister
    | UpdateCoordinates
    | ReapTombstones
    | Lead
    | RestoreChunk
    | RestoreCommit
    | AutopilotSet
    | AclBootstrap
    | AclTokenSet
    | AclTokenDelete
    | AclPolicySet
    | AclPolicyDelete
    | AclRoleSet
    | AclRoleDelete
    | AclReapTokens
    | QuerySet
    | QueryDelete
    | IntentionSet
    | IntentionUpsert
    | IntentionDelete
    | ConfigEntrySet
    | ConfigEntryDelete
    | IntentionsReplace
    | PrimaryRules
    | ConnectCaSet
    | ConnectReport
    | ConnectRevoke
)

#: Those that carry an epoch.
LeaderCommand: TypeAlias = (
    Register
    | Deregister
    | SessionDestroy
    | UpdateCoordinates
    | ReapTombstones
    | AclReapTokens
    | RestoreChunk
    | RestoreCommit
    | AutopilotSet
    | ConnectCaSet
    | PrimaryRules
    | Lead
)

#: tag -> (command, version). A tag stays with its command for ever.
_TAGS: Final[dict[int, tuple[type[Command], int]]] = {
    1: (KvPut, 1),
    2: (KvCas, 1),
    3: (KvAcquire, 1),
    4: (KvRelease, 1),
    5: (KvDelete, 1),
    6: (KvDeleteCas, 1),
    7: (KvDeleteTree, 1),
    8: (Txn, 1),
    16: (SessionCreate, 1),
    17: (SessionDestroy, 1),
    32: (Register, 1),
    33: (Deregister, 1),
    34: (UpdateCoordinates, 1),
    48: (ReapTombstones, 1),
    49: (Lead, 1),
    50: (RestoreChunk, 1),
    51: (RestoreCommit, 1),
    52: (AutopilotSet, 1),
    64: (AclBootstrap, 1),
    65: (AclTokenSet, 1),
    66: (AclTokenDelete, 1),
    67: (AclPolicySet, 1),
    68: (AclPolicyDelete, 1),
    69: (AclRoleSet, 1),
    70: (AclRoleDelete, 1),
    71: (AclReapTokens, 1),
    80: (QuerySet, 1),
    81: (QueryDelete, 1),
    96: (IntentionSet, 1),
    97: (IntentionUpsert, 1),
    98: (IntentionDelete, 1),
    99: (IntentionsReplace, 1),
    104: (ConfigEntrySet, 1),
    105: (ConfigEntryDelete, 1),
    106: (PrimaryRules, 1),
    112: (ConnectCaSet, 1),
    113: (ConnectReport, 1),
    114: (ConnectRevoke, 1),
}
_SHAPES: Final[dict[type[Command], tuple[int, int, Shape[Any]]]] = {
    of: (tag, version, Shape(of)) for tag, (of, version) in _TAGS.items()
}
assert set(_SHAPES) == set(get_args(Command))


def serialize_command(command: Command) -> bytes:
    """The bytes for the log. Raises :class:`LocalProtocolError` when a value can't be written, or is too large."""
    tag, version, shape = _SHAPES[type(command)]
    try:
        data: bytes = msgpack.packb([tag, version, *shape.pack(command)])
    except (ValueError, TypeError, OverflowError, AttributeError) as error:
        raise LocalProtocolError(f"{type(command).__name__} can't be written: {error}") from error
    if len(data) > MAX_COMMAND_BYTES:
        raise LocalProtocolError(
            f"{type(command).__name__} has {len(data)} bytes: at most {MAX_COMMAND_BYTES}"
        )
    return data


def parse_command(data: bytes) -> Command:
    """The inverse. Raises :class:`RemoteProtocolError` for anything else, and for what a newer meshnode wrote."""
    if len(data) > MAX_COMMAND_BYTES:
        raise RemoteProtocolError(f"a command of {len(data)} bytes: at most {MAX_COMMAND_BYTES}")
    try:
        parts = msgpack.unpackb(data, use_list=False)
    except (ValueError, TypeError, OverflowError, RecursionError, msgpack.UnpackException) as error:
        raise RemoteProtocolError(f"a command can't be read: {error}") from None
    if type(parts) is not tuple or len(parts) < 2 or type(parts[0]) is not int:
        raise RemoteProtocolError("a command isn't one: [tag, version, field, ...] is expected")
    known = _TAGS.get(parts[0])
    if known is None:
        raise RemoteProtocolError(f"command tag {parts[0]} is unknown: was it written by a newer meshnode?")
    of, version = known
    if type(parts[1]) is not int or parts[1] != version:
        raise RemoteProtocolError(f"{of.__name__} of version {parts[1]!r}: this meshnode reads {version}")
    command: Command = _SHAPES[of][2].unpack(parts[2:])
    return command
