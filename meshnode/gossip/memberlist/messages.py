"""The messages of the protocol as values, and their type numbers on the wire.

Names follow the field; the wire's own names (``SeqNo``, ``Vsn``) are in :mod:`meshnode.gossip.memberlist.codec`.
An IP address is kept as the bytes that its owner announced (4 or 16), since peers compare those bytes.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

__all__ = [
    "MAX_INCARNATION",
    "MAX_META_BYTES",
    "MAX_NAME_BYTES",
    "Ack",
    "Alive",
    "Dead",
    "ErrorReply",
    "IndirectPing",
    "Message",
    "MessageType",
    "Nack",
    "NodeState",
    "Ping",
    "PushPull",
    "State",
    "Suspect",
    "UserMessage",
    "Versions",
]

MAX_META_BYTES = 512
"""memberlist's MetaMaxSize."""
MAX_NAME_BYTES = 256
"""Longest node name that we accept (Serf itself validates at most 128)."""
MAX_INCARNATION = 2**32 - 2
"""One below the wire's u32 limit: a claim with the last number could never be refuted."""

Versions = tuple[int, int, int, int, int, int]
"""Protocol min, max, current and delegate min, max, current."""


class MessageType(IntEnum):
    """First byte of a message."""

    PING = 0
    INDIRECT_PING = 1
    ACK = 2
    SUSPECT = 3
    ALIVE = 4
    DEAD = 5
    PUSH_PULL = 6
    COMPOUND = 7
    USER = 8
    COMPRESS = 9
    ENCRYPT = 10
    NACK = 11
    HAS_CRC = 12
    ERROR = 13
    HAS_LABEL = 244


class State(IntEnum):
    """What is believed of a node; the numbers travel in push/pull."""

    ALIVE = 0
    SUSPECT = 1
    DEAD = 2
    LEFT = 3


@dataclass(frozen=True, slots=True)
class Ping:
    """Are you there? ``node`` is who is meant; the source says where the ack should go."""

    seq_no: int
    node: str
    source_addr: bytes = b""
    source_port: int = 0
    source_node: str = ""


@dataclass(frozen=True, slots=True)
class IndirectPing:
    """Please ping ``node`` at ``target`` for me; ``nack`` asks for word when it does not answer you."""

    seq_no: int
    target: bytes
    port: int
    node: str
    nack: bool
    source_addr: bytes = b""
    source_port: int = 0
    source_node: str = ""


@dataclass(frozen=True, slots=True)
class Ack:
    """Answer to a ping."""

    seq_no: int
    payload: bytes = b""


@dataclass(frozen=True, slots=True)
class Nack:
    """Answer to an indirect ping whose target kept silent."""

    seq_no: int


@dataclass(frozen=True, slots=True)
class Suspect:
    """``accuser`` got no answer from ``node``."""

    incarnation: int
    node: str
    accuser: str


@dataclass(frozen=True, slots=True)
class Alive:
    """``node`` announces itself. ``versions`` is ``None`` when the sender left them out (protocol 1)."""

    incarnation: int
    node: str
    addr: bytes
    port: int
    meta: bytes
    versions: Versions | None


@dataclass(frozen=True, slots=True)
class Dead:
    """``accuser`` declares ``node`` gone; when they are the same, it left on its own account."""

    incarnation: int
    node: str
    accuser: str


@dataclass(frozen=True, slots=True)
class UserMessage:
    """Bytes of the application."""

    body: bytes


@dataclass(frozen=True, slots=True)
class ErrorReply:
    """Why the peer could not use our stream."""

    error: str


@dataclass(frozen=True, slots=True)
class NodeState:
    """What a peer believes of one node (push/pull)."""

    name: str
    addr: bytes
    port: int
    meta: bytes
    incarnation: int
    state: State
    versions: Versions | None


@dataclass(frozen=True, slots=True)
class PushPull:
    """A complete exchange of state in one direction."""

    join: bool
    nodes: tuple[NodeState, ...]
    user_state: bytes


Message = (
    Ping | IndirectPing | Ack | Nack | Suspect | Alive | Dead | UserMessage | ErrorReply
)  # what one message can hold; PushPull is a sequence of objects and lives in stream.py
