"""What handlers ask of the shell. Each effect has a typed outcome, which ``ask`` hands back to the handler.

An expected failure comes back as a :class:`~meshnode.base.errors.MeshError` raised at the ``ask``; unless the
handler catches it, it becomes the answer (see ``errors.status_of``). An effect that may be ``abandoned`` is
cancelled when the client goes away; any other is carried to its end, and only its answer is dropped.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Generator, Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, ClassVar, Generic, TypeVar

from meshnode.acl.authorizer import Authorizer
from meshnode.control.user_event import UserEvent

__all__ = [
    "CallServer",
    "Effect",
    "FireEvent",
    "ForceLeave",
    "Join",
    "KeyOperation",
    "KeyVerb",
    "KeyringStatus",
    "Leave",
    "Pieces",
    "ReadServer",
    "Reload",
    "ResolveToken",
    "SetAgentToken",
    "Steps",
    "StreamLog",
    "WaitForEvents",
    "ask",
]

T = TypeVar("T")


class Effect(Generic[T]):
    """Something for the shell to do, with an outcome of type ``T``."""

    __slots__ = ()
    #: May be cancelled half-way when nobody waits for the outcome any more: true of waits and reads only.
    abandoned: ClassVar[bool] = False


#: A handler in progress: yields effects, is sent outcomes, returns the answer.
Steps = Generator[Effect[Any], Any, T]


def ask(effect: Effect[T]) -> Steps[T]:
    """``outcome = yield from ask(Join(...))``: perform ``effect`` and give its outcome, typed."""
    outcome: T = yield effect
    return outcome


@dataclass(frozen=True, slots=True)
class CallServer(Effect[Any]):
    """Call ``method`` (``Status.Leader``) at a server of ``datacenter`` (empty: the local one).

    The outcome is the decoded reply; a server's refusal is a :class:`~meshnode.http.errors.ServerCallError`.
    """

    method: str
    body: Mapping[str, object]
    datacenter: str = ""
    token: str = ""


@dataclass(frozen=True, slots=True)
class ReadServer(CallServer):
    """A :class:`CallServer` that changes nothing, so it may be abandoned; it may also block on an index."""

    abandoned = True


@dataclass(frozen=True, slots=True)
class Join(Effect[int]):
    """Join the pool by contacting ``addresses``; the outcome is how many answered (none is an error)."""

    addresses: tuple[str, ...]
    wan: bool
    token: str = ""


@dataclass(frozen=True, slots=True)
class Leave(Effect[None]):
    """Leave the pool gracefully. The agent stops only after the answer to this request was sent."""

    token: str = ""


@dataclass(frozen=True, slots=True)
class ForceLeave(Effect[None]):
    """Declare a failed member gone; with ``prune`` forget it at once."""

    name: str
    prune: bool
    token: str = ""


@dataclass(frozen=True, slots=True)
class Reload(Effect[None]):
    """Read the configuration again; a bad one is an error and changes nothing."""

    token: str = ""


@dataclass(frozen=True, slots=True)
class ResolveToken(Effect[Authorizer]):
    """What ``token`` (empty: the agent's default) may do; an unknown one is an error, ``ACL not found``."""

    abandoned = True
    token: str


@dataclass(frozen=True, slots=True)
class SetAgentToken(Effect[None]):
    """Use ``token`` (empty: none) as the agent's token that the API calls ``name``."""

    name: str
    token: str = field(repr=False)


class KeyVerb(Enum):
    """What to do to the gossip keyring."""

    LIST = "list"
    INSTALL = "install"
    USE = "use"
    REMOVE = "remove"


@dataclass(frozen=True, slots=True)
class KeyringStatus:
    """The answer of one pool: ``keys`` maps each key (base64) to the number of nodes that have it."""

    wan: bool
    datacenter: str
    keys: Mapping[str, int]
    num_nodes: int
    messages: Mapping[str, str]
    error: str = ""
    segment: str = ""


@dataclass(frozen=True, slots=True)
class KeyOperation(Effect[tuple[KeyringStatus, ...]]):
    """Run a keyring query; ``key`` is base64 and empty for LIST; ``relay_factor`` is 0-5.

    ``wan`` chooses the WAN's pool (true) or the LAN's (false); without it every pool of this server is asked.

    A pool whose nodes failed says so in ``KeyringStatus.error``; it is not an exception.
    """

    verb: KeyVerb
    key: str
    relay_factor: int
    token: str = ""
    wan: bool | None = None


@dataclass(frozen=True, slots=True)
class FireEvent(Effect[UserEvent]):
    """Fire a user event; the outcome is the event with the id that it was given."""

    event: UserEvent
    datacenter: str = ""
    token: str = ""


@dataclass(frozen=True, slots=True)
class WaitForEvents(Effect[None]):
    """Return when ``EventBuffer.generation`` is no longer ``generation``, or after ``timeout`` seconds."""

    abandoned = True
    generation: int
    timeout: float


@dataclass(frozen=True, slots=True)
class StreamLog(Effect[AsyncIterator[bytes]]):
    """Log lines of ``level`` (DEBUG, INFO, ...) and above, each with its newline, from now on.

    The outcome is an async generator; the shell closes it. It drops lines rather than grow without bound.
    """

    abandoned = True
    level: str


@dataclass(frozen=True, slots=True)
class Pieces(Effect[AsyncIterator[bytes]]):
    """A long answer that is rendered while it is sent: the next of ``pieces`` only when the client took the last one.

    Rendering one takes a few milliseconds at most; between two, all else has its turn. It is never abandoned: an
    answer that was cut could be taken for a whole one.
    """

    pieces: Iterator[bytes]
