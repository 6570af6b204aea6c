"""A server's methods as values: what each reads or writes, without saying how calls travel.

A body is as :mod:`meshnode.control.body` says. A reply is a mapping of the same kind; the
keys ``Index``, ``LastContact`` (nanoseconds) and ``KnownLeader`` are added by whoever carries the read out.

Common fields of reads (structs.QueryOptions): ``MinQueryIndex``, ``MaxQueryTime`` (nanoseconds), ``AllowStale``,
``RequireConsistent``, ``MaxStaleDuration`` (nanoseconds). Source: Consul 1.2.3, agent/structs.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

from meshnode.acl.authorizer import Authorizer
from meshnode.control.body import Body
from meshnode.control.command import Command
from meshnode.control.machine import Refusal, Result, StateMachine
from meshnode.control.watch import WatchKey
from meshnode.rpc.method import RpcError

__all__ = ["Method", "Moment", "ReadMethod", "WriteMethod", "accepted"]


@dataclass(frozen=True, slots=True)
class Moment:
    """What a write may depend on beside the state: ``at`` in unix seconds, ``new_id`` a fresh UUID as text."""

    at: float
    new_id: Callable[[], str]


@dataclass(frozen=True, slots=True)
class ReadMethod:
    """``watches``: what its answer depends on. ``read``: (index, reply). Both may raise :class:`RpcError`.

    ``read`` raises :class:`~meshnode.acl.authorizer.PermissionDeniedError` for one thing, and leaves out of lists what
    the caller may not see. With the same state, body and authorizer it gives an equal reply.
    """

    watches: Callable[[Body], tuple[WatchKey, ...]]
    read: Callable[[StateMachine, Body, Authorizer], tuple[int, dict[str, Any]]]


@dataclass(frozen=True, slots=True)
class WriteMethod:
    """``plan``: the command for the log, or :class:`RpcError`, or a denial; it sees the leader's present state.

    ``reply``: what the caller hears of the command's result; a ``Refusal`` is an :class:`RpcError` (``accepted``).
    """

    plan: Callable[[StateMachine, Body, Authorizer, Moment], Command]
    reply: Callable[[StateMachine, Result], Any]


Method: TypeAlias = ReadMethod | WriteMethod


def accepted(result: Result) -> Any:
    """The result of a command that was carried out. Raises :class:`RpcError` with the reason of a ``Refusal``."""
    if isinstance(result, Refusal):
        raise RpcError(result.because)
    return result
